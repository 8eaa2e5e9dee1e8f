"""The folder in which a sweep's state is kept, .dvc/tmp/sweeps/NAME: enough to go on with it after any end."""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dvc_sweep import space
from dvc_sweep.errors import BadInput
from dvc_sweep.space import nearest

LONGEST_NAME = 100
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|lock\b))*(?<!\.)")


@dataclass(frozen=True)
class About:
    """What was decided when the sweep began."""

    name: str
    identity: str  # a name that no other sweep has ever had
    file: str  # the sweep file, relative to the project
    commit: str  # the baseline
    hub: str
    trials: int | None  # None: all of a grid
    shared: bool  # whether workers see this project's folder, and so DVC's cache


class Folder:
    """The state of one sweep; the paths are absolute."""

    def __init__(self, sweeps: Path, name: str) -> None:
        self.path = sweeps / name
        self.name = name
        self.journal = self.path / "journal.log"
        self.workers = self.path / "workers"
        self.hub = self.path / "hub.git"
        self.clone_config = self.hub / "config.local"  # where workers find it
        self._about = self.path / "about.json"
        self._sweep = self.path / "sweep.yaml"
        self._driver = self.path / "driver.lock"

    @property
    def about(self) -> About:
        try:
            return About(**json.loads(self._about.read_text(encoding="utf-8")))
        except (ValueError, TypeError, OSError):
            raise self.damaged(self._about) from None

    @property
    def sweep(self) -> space.Sweep:
        return space.read(self._sweep)

    def damaged(self, path: Path) -> BadInput:
        """What there is to say of a file of this sweep that cannot be read."""
        return BadInput(f"{path}: is damaged; remove {self.path} to forget the sweep, its experiments stay")

    @property
    def exists(self) -> bool:
        return self._about.exists()

    def plan(self, file: str, commit: str, hub: str | None, trials: int | None) -> About:
        """Decide on what is to be decided once; nothing is written yet."""
        return About(
            self.name,
            f"{self.name}-{secrets.token_hex(4)}",
            file,
            commit,
            hub or str(self.hub),
            trials,
            hub is None,
        )

    def begin(self, about: About, text: str) -> None:
        """Write down what was decided, and the sweep file; from now on the sweep exists."""
        self._sweep.write_text(text, encoding="utf-8")
        self.write(about)

    def write(self, about: About) -> None:
        partial = self._about.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(about), indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self._about)

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Be the one driver of this sweep."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self._driver, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(f"{self.name} runs already; `dvc-sweep stop {self.name}` ends it") from None
            file.truncate(0)
            file.write(json.dumps([socket.gethostname(), os.getpid()]))
            file.flush()
            try:
                yield
            finally:
                if not self.exists:  # it did not come to a sweep
                    shutil.rmtree(self.path, ignore_errors=True)

    def driver(self) -> tuple[str, int] | None:
        """Host and process of the driver that runs it now."""
        try:
            with open(self._driver, encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    host, process = json.loads(file.read())
                    return host, process
        except (OSError, ValueError):
            pass
        return None


def check_name(name: str) -> None:
    """Refuse a name that Git would not take as a part of a ref."""
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise BadInput(f"'{name[:LONGEST_NAME]}' cannot be a name for experiments; give another with --name")


def every(sweeps: Path) -> list[Folder]:
    """All sweeps there are, by name."""
    return [Folder(sweeps, path.parent.name) for path in sorted(sweeps.glob("*/about.json"))]


def find(sweeps: Path, name: str) -> Folder:
    """The sweep called `name`."""
    names = [folder.name for folder in every(sweeps)]
    if name not in names:
        known = (
            f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}"
            if names
            else "; there is none yet"
        )
        raise BadInput(f"no sweep is called '{name}'{nearest(name, names) or known}")
    return Folder(sweeps, name)
