"""A worker's clone of the project: one trial after the other runs in it, each from the baseline.

It is a full clone with DVC's index and locks to itself. What it shares is DVC's cache: the project's own where workers
see the project's folder, one for each machine otherwise.
"""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from configobj import ConfigObj

from dvc_sweep.git import GitError, git
from dvc_sweep.hub import Hub


class Clone:
    """A clone in `folder`, which is this object's alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hub: Hub | None = None

    def prepare(self, hub: Hub, subfolder: str, cache: Path, shared: bool, author: dict[str, str]) -> None:
        """Bring the clone to the baseline of `hub`, with no trace of earlier trials but what Git ignores.

        author : `user.name` and `user.email` of the project's repository, as far as Git has them
        """
        if self._hub != hub:
            self._make(hub, subfolder, cache, shared, author)
        git("reset", "--quiet", "--hard", "baseline", cwd=self.folder)
        git("clean", "--quiet", "-d", "--force", "--force", cwd=self.folder)
        refs = git("for-each-ref", "--format=delete %(refname)", "refs/exps", cwd=self.folder)
        git("update-ref", "--no-deref", "--stdin", cwd=self.folder, given=f"{refs}\n" if refs else "")

    def _make(self, hub: Hub, subfolder: str, cache: Path, shared: bool, author: dict[str, str]) -> None:
        self.drop()
        self.folder.mkdir(parents=True)
        git("init", "--quiet", "--template=", "--initial-branch=baseline", cwd=self.folder)
        for key, value in author.items():
            git("config", key, value, cwd=self.folder)
        git("fetch", "--quiet", "--no-tags", hub.url, hub.baseline, cwd=self.folder)
        git("reset", "--quiet", "--hard", "FETCH_HEAD", cwd=self.folder)
        # In a shared folder what the project's own folder says, with its paths made absolute.
        settings = str(Path(hub.url) / "config.local") if shared else None
        config: Any = ConfigObj(settings, interpolation=False, encoding="utf-8")
        config.setdefault("cache", {})["dir"] = str(cache)
        local = self.folder / subfolder / ".dvc" / "config.local"
        with open(local, "wb", opener=_private) as file:
            config.write(file)
        self._hub = hub

    def drop(self) -> None:
        """Throw the clone away: it is in doubt."""
        self._hub = None
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def commit(self, experiment: str) -> str | None:
        """The commit of an experiment that DVC has made here."""
        with contextlib.suppress(GitError):
            return git("rev-parse", "--verify", "--quiet", experiment, cwd=self.folder)
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # it may hold passwords of a remote
