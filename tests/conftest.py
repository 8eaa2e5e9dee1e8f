"""Fixtures that more than one file uses; the marker `fault`, and the page docs/faults.md that is made of it.

@pytest.mark.fault(room, what was done, what the user sees) on a test makes it a row of the page; parametrised
tests carry it on each case, or once for all of them. How often a thing was done is counted from the cases
collected, from Hypothesis' settings, and from `times=`, a constant that the test itself uses.
"""

import mnistcore.reproducible  # noqa: F401  (before NumPy: stages run in this process, too)

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import faults_page

from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.settings import Examples

if TYPE_CHECKING:
    from by_hand import Workplace
    from dvc_project import Project

PAGE = pytest.StashKey[str]()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has its background jobs ignore SIGINT, and what the tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults-page", metavar="FILE", help="write the page of faults to FILE, and run nothing"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[PAGE] = faults_page.page(items)  # before the slow ones are left out


def pytest_collection_finish(session: pytest.Session) -> None:
    where = session.config.getoption("--faults-page")
    if where:
        Path(where).parent.mkdir(exist_ok=True)
        Path(where).write_text(session.config.stash[PAGE], encoding="utf-8")
        session.items.clear()


@pytest.fixture
def collected_page(request: pytest.FixtureRequest) -> str:
    """The page as the tests collected now make it; only the whole suite makes all of it."""
    if request.config.args not in (request.config.getini("testpaths"), [str(request.config.rootpath)]):
        pytest.skip("some tests only were asked for, and the page is of all of them")
    return request.config.stash[PAGE]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """The project run once and committed, shared by all workers; not to be changed: take a copy."""
    from dvc_project import Project, prepare  # DVC is slow to import, and most tests need it not

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = base / "prepared" / "project"
    with open(base / "prepared.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker prepares, the others wait for it
        if not (path.parent / "complete").exists():
            shutil.rmtree(path.parent, ignore_errors=True)
            prepare(path)
            (path.parent / "complete").touch()
    return Project(path)


@pytest.fixture
def project(prepared: "Project", tmp_path: Path) -> "Project":
    """A copy of the prepared project, to be changed at will."""
    return prepared.copy_to(tmp_path / "project")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Workplace":
    """A `Workplace` in an empty folder."""
    from by_hand import Workplace

    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MNISTCORE_SOURCE", raising=False)
    return Workplace(folder)


@pytest.fixture
def serve() -> Iterator[Callable]:
    """Starts a server with the given answer; see `servers.Servers.start`."""
    from servers import Servers

    servers = Servers()
    yield servers.start
    servers.end()


@pytest.fixture
def blobs() -> Callable[..., Examples]:
    """Makes examples of classes that can be told apart."""

    def make(count=200, features=20, classes=4, dtype="float64", seed=0) -> Examples:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, classes, count)
        images = rng.random((classes, features))[labels] + 0.3 * rng.random((count, features))
        return Examples(images.astype(dtype), labels)

    return make


@pytest.fixture
def fresh() -> Callable[..., Network]:
    """Makes networks with a softmax output, each with the same weights."""

    def make(features=20, classes=4, precision="float64", hidden=(Dense(16, "tanh"),)) -> Network:
        layers = [*hidden, Dense(classes, "softmax")]
        return Network(features, layers, precision=precision).initialize(stream(1, "weights"))

    return make
