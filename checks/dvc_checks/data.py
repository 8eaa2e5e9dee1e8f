"""The bytes behind a hash: finds an output of the project in its workspace, its cache or its remote."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc_checks.pipeline import Output, Pipeline


def digest(path: Path) -> str:
    """A hash of a file's bytes, or of a folder's names and bytes; "" if there is nothing."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    if not path.is_dir():
        return ""
    total = hashlib.md5()
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
    info = out.dvc.hash_info
    if not info:
        return ""
    for _, candidate in home.outputs():
        if candidate.path == out.path and candidate.dvc.exists and candidate.dvc.get_hash() == info:
            copy(home.root / out.path, target)
            return "workspace"
    for name, odb in _stores(home, out):
        try:
            _from_store(odb, info, target)
        except Exception:  # not there, or, for a remote, any trouble on the way
            shutil.rmtree(target, ignore_errors=True)
            target.unlink(missing_ok=True)
            continue
        return name
    return ""


def _stores(home: Pipeline, out: Output) -> Iterator[tuple[str, Any]]:
    legacy = out.dvc.hash_name == "md5-dos2unix"
    yield "cache", home.repo.cache.legacy if legacy else home.repo.cache.local
    if home.repo.config["core"].get("remote") or out.dvc.remote:
        try:
            yield "remote", home.repo.cloud.get_remote_odb(out.dvc.remote, hash_name=out.dvc.hash_name)
        except Exception:  # no such remote, or its library is not installed
            return


def _from_store(odb: Any, info: Any, target: Path) -> None:
    from dvc_data.hashfile.tree import Tree

    if not info.isdir:
        target.parent.mkdir(parents=True, exist_ok=True)
        odb.fs.get_file(odb.oid_to_path(info.value), os.fspath(target))
        os.chmod(target, 0o644)
        return
    for key, _, item in Tree.load(odb, info):
        file = target.joinpath(*key)
        file.parent.mkdir(parents=True, exist_ok=True)
        odb.fs.get_file(odb.oid_to_path(item.value), os.fspath(file))
        os.chmod(file, 0o644)


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
