"""A clean clone of one commit, in a temporary folder that is gone afterwards, however the program ends."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc_checks.errors import BadInput

# What the configuration of a foreign repository could have Git run.
INERT = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class NoProject(BadInput):
    """The commit is from before there was a DVC project."""


@dataclass(frozen=True)
class Snapshot:
    """A clone of `commit`; `root` is the DVC project in it, `scratch` a folder beside it for all else."""

    repository: Path
    root: Path
    commit: str
    scratch: Path


def git(*arguments: str, cwd: str | os.PathLike[str]) -> str:
    """Run Git and return what it prints.

    Raises
    ------
    BadInput : with Git's own words, when it fails
    """
    try:
        run = subprocess.run(
            ["git", *INERT, *arguments], cwd=cwd, capture_output=True, text=True, errors="surrogateescape"
        )
    except FileNotFoundError:
        raise BadInput("git is not installed") from None
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"git {arguments[0]} failed"]
        raise BadInput(lines[0].removeprefix("fatal: "))
    return run.stdout


def resolve(revision: str, cwd: str | os.PathLike[str]) -> str:
    """The full hash of a revision: whatever Git knows, or the name of an experiment."""
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    try:
        return git(*arguments, f"{revision}^{{commit}}", cwd=cwd).strip()
    except BadInput:
        found = {ref: commit for name, commit, ref in experiments(cwd) if name == revision}
    if len(found) > 1:
        head = git(*arguments, "HEAD^{commit}", cwd=cwd).strip()
        found = {ref: commit for ref, commit in found.items() if commit == head} or found
    if len(found) > 1:
        raise BadInput(f"'{revision}' is the name of several experiments; give one as {' or '.join(found)}")
    if not found:
        raise BadInput(f"'{revision}' is not a commit of this repository, and not one of its experiments")
    return git(*arguments, f"{next(iter(found))}^{{commit}}", cwd=cwd).strip()


def experiments(cwd: str | os.PathLike[str]) -> list[tuple[str, str, str]]:
    """DVC's experiments in this repository: (name, the commit it started from, its ref)."""
    listed = git("for-each-ref", "--format=%(refname)", "refs/exps", cwd=cwd).split()
    found = [re.fullmatch(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38,})/(.+)", ref) for ref in listed]
    return [(match[3], match[1] + match[2], match[0]) for match in found if match]


def experiment(revision: str, cwd: str | os.PathLike[str]) -> str:
    """The name, if this is an experiment's name or ref; "" otherwise."""
    return next((name for name, _, ref in experiments(cwd) if revision in (name, ref)), "")


def is_bare(start: str | os.PathLike[str]) -> bool:
    """Whether the folder is a Git repository without a work tree, such as one on a server."""
    run = subprocess.run(
        ["git", "rev-parse", "--is-bare-repository"], cwd=start, capture_output=True, text=True
    )
    return run.stdout.strip() == "true"


@contextmanager
def clone(start: str | os.PathLike[str], revision: str, cache: bool = False) -> Iterator[Snapshot]:
    """Clone the Git repository around `start`, as of a revision.

    Its DVC cache is one of its own that is empty, or, with `cache`, the original's.

    Nothing that Git does not track comes along, but the settings in
    `.dvc/config.local` do, and remotes given as relative paths still mean the
    same folders.
    """
    commit = resolve(revision, start)
    if is_bare(start):
        top, project = Path(start).resolve(), _project_in(commit, start)
    else:
        top = Path(git("rev-parse", "--show-toplevel", cwd=start).strip())
        project = _relative_project(start, top)
    with tempfile.TemporaryDirectory(prefix="dvc-checks-", ignore_cleanup_errors=True) as folder:
        target = Path(folder).resolve() / "clone"
        git("clone", "--quiet", "--shared", "--no-checkout", os.fspath(top), os.fspath(target), cwd=folder)
        git("-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", commit, cwd=target)
        if not (target / project / ".dvc").is_dir():
            raise NoProject(f"commit {commit[:7]} is not a DVC project")
        scratch = target.parent / "scratch"
        scratch.mkdir()
        _configure(target / project, top / project, scratch, cache)
        yield Snapshot(target, Path(os.path.normpath(target / project)), commit, scratch)


def _relative_project(start: str | os.PathLike[str], top: Path) -> str:
    folder = Path(start).resolve()
    while not (folder / ".dvc").is_dir():
        if folder in (top, folder.parent):
            raise BadInput(f"{Path(start).resolve().name} is not inside a DVC project")
        folder = folder.parent
    return os.path.relpath(folder, top)


def _project_in(commit: str, start: str | os.PathLike[str]) -> str:
    listed = git("ls-tree", "-r", "-z", "--name-only", commit, cwd=start).split("\0")
    configs = sorted((path for path in listed if f"/{path}".endswith("/.dvc/config")), key=len)
    if not configs:
        raise NoProject(f"commit {commit[:7]} is not a DVC project")
    return configs[0].removesuffix(".dvc/config") or "."


def _configure(project: Path, original: Path, scratch: Path, cache: bool) -> None:
    """Write the clone's config.local: its cache, and the remotes where they really are."""
    local = _settings(project / ".dvc" / "config.local")
    for name in ("config", "config.local"):
        config = _settings(original / ".dvc" / name)
        if name == "config.local":
            local.merge(config)
        for section, values in config.items():
            remote = section.startswith(("remote ", "'remote ")) and isinstance(values, dict)
            url = values.get("url") if remote else None
            if isinstance(url, str) and url and "://" not in url and not os.path.isabs(url):
                local.setdefault(section, {})["url"] = os.path.normpath(original / ".dvc" / url)
    kept = _cache(original) if cache else os.fspath(scratch / "cache")
    for section, key, folder in (
        ("cache", "dir", kept),
        ("core", "site_cache_dir", os.fspath(scratch / "site")),
    ):
        if not isinstance(local.get(section), dict):
            local[section] = {}
        local[section][key] = folder
    local.write()


def _cache(project: Path) -> str:
    """The folder of a project's cache, wherever DVC's settings put it."""
    from dvc_checks import internals

    return internals.folder_of(internals.cache(internals.open_project(project), "md5")) or ""


def _settings(path: Path) -> Any:
    from configobj import ConfigObj, ConfigObjError

    try:
        return ConfigObj(os.fspath(path), list_values=False)
    except (ConfigObjError, UnicodeError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise BadInput(f".dvc/{path.name} cannot be read: {reason}") from None
