"""What a pipeline is made of: stages, and what they read and write, with every path relative to the root."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hash:
    """A hash as dvc.lock has it."""

    name: str  # "md5", or "md5-dos2unix" for that of DVC 2
    value: str

    @property
    def is_folder(self) -> bool:
        return self.value.endswith(".dir")


@dataclass(frozen=True)
class Output:
    """Something a stage writes."""

    path: str
    written: str  # as DVC resolves it from dvc.yaml, relative to the stage's wdir
    inside: bool  # inside the project
    cached: bool  # kept by DVC; otherwise Git has to keep it
    kind: str  # "out", "metric" or "plot"
    pushed: bool  # should be in the remote
    remote: str | None  # the remote of its own, if it has one
    persist: bool
    hash: Hash | None  # what dvc.lock says of it
    dvc: Any = field(repr=False, compare=False)  # DVC's own, for `internals` alone


@dataclass(frozen=True)
class Dependency:
    """Something a stage reads. `path` is relative to the root, or an URL for what lies outside."""

    path: str
    written: str
    inside: bool  # inside the Git repository that the project is in
    hash: Hash | None
    dvc: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Stage:
    """One stage after expansion, such as `train` or `recipes/dvc.yaml:train@plain`."""

    name: str
    file: str  # its dvc.yaml
    key: str  # its name inside dvc.lock
    entry: str  # its name inside dvc.yaml, before a foreach or matrix was expanded
    commands: tuple[str, ...]
    wdir: str
    deps: tuple[Dependency, ...]
    outs: tuple[Output, ...]
    params: dict[str, tuple[str, ...] | None]  # params file: declared keys; None for the whole file
    interpolated: dict[str, tuple[str, ...]]  # file: keys that `${...}` takes into the stage's definition
    frozen: bool
    always_changed: bool
    dvc: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Source:
    """Data that no stage makes: what a `.dvc` file tracks."""

    file: str
    outs: tuple[Output, ...]
