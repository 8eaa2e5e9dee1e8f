"""The bytes behind a hash: finds an output of the project in its workspace, its cache or its remote."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dvc_checks import internals
from dvc_checks.pipeline import Pipeline
from dvc_checks.stages import Hash, Output


def digest(path: Path) -> str:
    """A hash of a file's bytes, or of a folder's names and bytes; "" if there is nothing."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    if not path.is_dir():
        return ""
    total = hashlib.md5(usedforsecurity=False)
    for name, file in files(path).items():
        total.update(f"{name}\0{digest(file)}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest() + ".dir"


def files(path: Path) -> dict[str, Path]:
    """The files of a folder by their names relative to it, sorted; a file is its own only one, named ""."""
    if path.is_file():
        return {"": path}
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            found[file.relative_to(path).as_posix()] = file
    return dict(sorted(found.items()))


def original(home: Pipeline, out: Output, target: Path) -> str:
    """Copy what dvc.lock says an output was to `target`, from wherever the project `home` has it.

    Returns
    -------
    str : "workspace", "cache" or "remote", where it was found; "" if nowhere
    """
    if not out.hash:
        return ""
    for _, candidate in home.outputs():
        if candidate.path != out.path or not internals.is_there(candidate):
            continue
        if internals.hash_now(candidate) == out.hash:
            copy(home.root / out.path, target)
            return "workspace"
    for name, store in _stores(home, out, out.hash):
        try:
            _from_store(store, out.hash, target)
        except Exception:  # not there, or, for a remote, any trouble on the way
            shutil.rmtree(target, ignore_errors=True)
            target.unlink(missing_ok=True)
            continue
        return name
    return ""


def _stores(home: Pipeline, out: Output, wanted: Hash) -> Iterator[tuple[str, internals.Store]]:
    yield "cache", internals.cache(home.dvc, wanted.name)
    if internals.has_default_remote(home.dvc) or out.remote:
        try:
            yield "remote", internals.remote(home.dvc, out.remote, wanted.name)
        except Exception:  # no such remote, or its library is not installed
            return


def _from_store(store: internals.Store, wanted: Hash, target: Path) -> None:
    if not wanted.is_folder:
        internals.copy_object(store, wanted.value, target)
        return
    for key, value in internals.folder_list(store, wanted).items():
        internals.copy_object(store, value, target.joinpath(*key))


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder; links are followed, and the copy can be written to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for name, file in files(source).items():
        to = target / name if name else target
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
        shutil.copymode(file, to)
        os.chmod(to, os.stat(to).st_mode | 0o200)
    if source.is_dir():
        target.mkdir(exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
