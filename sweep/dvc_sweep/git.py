"""Git as a subprocess: what it prints, or an error with its one line."""

import contextlib
import os
import subprocess
from pathlib import Path


class GitError(Exception):
    """Git refused; the message is what it said."""


def git(*arguments: str, cwd: Path | str, given: str | None = None) -> str:
    """Run Git in `cwd` with `given` on its standard input, and return what it prints.

    Raises
    ------
    GitError : with the last line that Git wrote about it
    """
    # Messages are looked at below and in `hub`; nobody is there to type a password; and hooks are for what the user
    # does: `dvc install` has one that pushes the data with each push.
    environment = os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    finished = subprocess.run(
        ["git", "-c", f"core.hooksPath={os.devnull}", *arguments],
        cwd=cwd,
        input=given,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if line.strip()]
        reason = next(
            (line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else ""
        )
        raise GitError(f"git {arguments[0]}: {reason or f'exit status {finished.returncode}'}")
    return finished.stdout.strip()


def author(repository: Path) -> dict[str, str]:
    """The settings `user.name` and `user.email` that hold in a repository, as far as there are any."""
    found = {}
    for key in ("user.name", "user.email"):
        with contextlib.suppress(GitError):  # not set
            found[key] = git("config", key, cwd=repository)
    return found
