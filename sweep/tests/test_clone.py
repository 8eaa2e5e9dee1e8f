"""The hub and a worker's clone, in surroundings that are the user's own: hooks, an author, paths."""

import subprocess
from pathlib import Path

import pytest
from dvc.config import Config

from dvc_sweep.clone import Clone
from dvc_sweep.git import author, git
from dvc_sweep.hub import Hub, Outcome


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One commit by somebody whom only the repository knows."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "repository"
    git("init", "--quiet", str(folder), cwd=tmp_path)
    git("config", "user.name", "Ada", cwd=folder)
    git("config", "user.email", "ada@example.org", cwd=folder)
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n")
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n")
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "--message", "first", cwd=folder)
    return folder


def test_no_hook_of_the_users_runs(repository: Path, tmp_path: Path) -> None:
    """`dvc install` has one that pushes the data."""
    for name in ("pre-push", "post-checkout", "reference-transaction"):
        hook = repository / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    hub = Hub(str(tmp_path / "hub.git"), "s-1")
    hub.create(repository, git("rev-parse", "HEAD", cwd=repository))
    assert hub.put(repository, Outcome(0, "failed"), "") == Outcome(0, "failed") == hub.outcome(repository, 0)


def test_a_clone_has_the_author_of_the_project(repository: Path, tmp_path: Path) -> None:
    assert author(repository) == {"user.name": "Ada", "user.email": "ada@example.org"}
    hub, clone = Hub(str(tmp_path / "hub.git"), "s-1"), Clone(tmp_path / "clone")
    hub.create(repository, git("rev-parse", "HEAD", cwd=repository))
    clone.prepare(hub, ".", tmp_path / "cache", False, author(repository))
    assert author(clone.folder) == author(repository)
    subprocess.run(["git", "config", "--unset", "user.name"], cwd=repository, check=True)
    assert author(repository) == {"user.email": "ada@example.org"}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["plain", "a #b", "a, b", 'a "b"', "ä'b", "100% c"])
def test_a_cache_may_lie_anywhere(repository: Path, tmp_path: Path, name: str, shared: bool) -> None:
    hub, clone, cache = Hub(str(tmp_path / "hub.git"), "s-1"), Clone(tmp_path / "clone"), tmp_path / name
    hub.create(repository, git("rev-parse", "HEAD", cwd=repository))
    (tmp_path / "hub.git" / "config.local").write_text("[cache]\ntype = copy\ndir = elsewhere\n")
    clone.prepare(hub, ".", cache, shared, {})
    found = Config.load_file(str(clone.folder / ".dvc" / "config.local"))
    assert found["cache"] == {"dir": str(cache)} | ({"type": "copy"} if shared else {})
