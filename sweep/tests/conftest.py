"""Fixtures: the digits project, made once and copied for each test, and a cluster of its own."""

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from digits import SWEEP, Cluster, Project, cluster, make

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has its background jobs ignore SIGINT, and what the tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, not to be changed."""
    folder = tmp_path_factory.mktemp("original")
    return make(folder / "project", folder / "home")


@pytest.fixture(scope="session")
def swept(original: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A copy of it in which a grid of six was swept in peace, two of them failing; and what the command said."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(original.root, folder / "project", symlinks=True)
    project = Project(folder / "project", folder / "home")
    (folder / "home").mkdir()
    project.write("grid.yaml", SWEEP.replace("[0.01, 0.1, 0.5]", "[0.01, -1, 0.5]"))
    project.commit()
    return project, project.sweep("run", "grid.yaml", "--workers", "2")


@pytest.fixture
def project(original: Project, tmp_path: Path) -> Project:
    """A copy of the project, to be changed at will."""
    shutil.copytree(original.root, tmp_path / "project", symlinks=True)
    (tmp_path / "home").mkdir()
    return Project(tmp_path / "project", tmp_path / "home")


@pytest.fixture
def machines(project: Project, tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers, for a sweep of `project`."""
    with cluster(project, tmp_path / "cluster") as one:
        yield one
