"""Git as a subprocess: what it prints, or an error with its one line."""

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
    # Messages are looked at below and in `hub`; and nobody is there to type a password.
    environment = os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    finished = subprocess.run(
        ["git", *arguments],
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
