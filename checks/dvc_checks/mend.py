"""`dvc-checks mend`: put right what a killed `dvc` has left half-written, so that the next one can start.

DVC writes two files in place. A kill in that moment leaves half of one, and every
later command stops at it: dvc.lock, of which Git has a whole one, and its table
of locks on files, which is empty while no command runs.
"""

import json
import subprocess
import time
from pathlib import Path

from dvc_checks import fastyaml, internals
from dvc_checks.errors import BadInput
from dvc_checks.pipeline import root_of

SECONDS = 1.0  # a command that is writing the file right now has finished it by then


def mend(directory: str) -> list[str]:
    """Mend the project around `directory`; a line for each thing put right.

    Raises
    ------
    BadInput : when there is no project, or Git has no whole dvc.lock either
    """
    root = root_of(directory)
    return [*_table_of_locks(root / ".dvc" / "tmp" / "rwlock"), *_lock_files(root)]


def _table_of_locks(path: Path) -> list[str]:
    before = _broken_table(path)
    if before is None:
        return []
    time.sleep(SECONDS)
    if _broken_table(path) != before:
        return []
    path.unlink(missing_ok=True)
    return [".dvc/tmp/rwlock: half-written; removed, DVC makes it anew"]


def _broken_table(path: Path) -> bytes | None:
    """The content, if it is not what DVC can read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return None if isinstance(json.loads(content), dict) else content
    except ValueError:
        return content


def _lock_files(root: Path) -> list[str]:
    from ruamel.yaml.error import YAMLError

    messages = []
    locks = "dvc.lock", "**/dvc.lock"
    # In the middle of a merge the file is its user's to settle, conflict marks and all.
    merging = _git(root, "diff", "--name-only", "-z", "--diff-filter=U", "--relative", "--", *locks).split(
        "\0"
    )
    for name in _git(root, "ls-files", "-z", "--", *locks).split("\0"):
        path = root / name
        if not name or name in merging or not path.is_file():
            continue
        try:
            whole = internals.is_lock(fastyaml.load(path.read_text(encoding="utf-8")))
        except (YAMLError, UnicodeDecodeError, ValueError):
            whole = False
        if not whole:
            _git(root, "checkout", "--quiet", "HEAD", "--", name)
            messages.append(f"{name}: half-written; the one of the last commit is back")
    return messages


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
