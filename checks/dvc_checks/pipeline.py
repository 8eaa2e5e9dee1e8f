"""A DVC project as the checks see it: its stages, expanded by DVC itself.

`foreach`, `matrix`, `vars`, `wdir` and interpolation mean what DVC says they
mean, because DVC does the expanding; this module only gathers the result with
every path made relative to the project's root.
"""

import os
import re
from collections.abc import Iterator
from contextlib import chdir
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from dvc_checks import internals
from dvc_checks.errors import BadInput
from dvc_checks.snapshot import git
from dvc_checks.stages import Output, Source, Stage


class Pipeline:
    """All stages of a DVC project, in the order in which DVC lists them."""

    def __init__(self, project: internals.Project) -> None:
        self.dvc = project  # DVC's own, for `internals` alone
        self.root = internals.root(project)
        self.repository = internals.repository(project)  # the root, or what it is a folder of
        self.stages: list[Stage] = []
        self.sources: list[Source] = []
        self.params: dict[
            str, dict[str, Any] | None
        ] = {}  # params files read so far; see `effects.read_params`
        for maker in internals.makers(project):
            if isinstance(maker, Stage):
                self.stages.append(maker)
            else:
                self.sources.append(maker)

    def relative(self, path: str | os.PathLike[str]) -> str:
        """The path relative to the root, with forward slashes."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def expansions(self) -> dict[str, dict[str, set[str]]]:
        """For each file that `foreach` and `matrix` take values from: its keys, and the groups they shape."""
        with chdir(self.root):  # DVC tells paths relative to the current folder
            return self._expansions()

    def _expansions(self) -> dict[str, dict[str, set[str]]]:
        shaped: dict[str, dict[str, set[str]]] = {}
        for file, stage in {stage.file: stage for stage in self.stages}.items():
            for entry, over, whence in internals.expansions(stage):
                for key in re.findall(r"\$\{\s*([^}\s]+)\s*\}", over):
                    if found := whence(key):
                        group = f"{entry}@*" if file == "dvc.yaml" else f"{file}:{entry}@*"
                        shaped.setdefault(self.relative(found[0]), {}).setdefault(found[1], set()).add(group)
        return shaped

    @cached_property
    def tracked(self) -> frozenset[str] | None:
        """The files of the repository that Git tracks, relative to the root; None where there is no Git."""
        try:
            listed = git("ls-files", "-z", "--", ":/", cwd=self.root)
        except BadInput:
            return None
        return frozenset(listed.split("\0")) - {""}

    def outputs(self) -> "Iterator[tuple[Stage | Source, Output]]":
        """Everything that stages make or `.dvc` files track, with who does."""
        for maker in (*self.stages, *self.sources):
            for out in maker.outs:
                yield maker, out

    def producer(self, path: str) -> "tuple[Stage | Source, Output] | None":
        """The stage or `.dvc` file whose output is `path`, or holds it."""
        for at in upwards(path):
            if at in self._places:
                kind, number, place = self._places[at]
                maker = (self.stages if kind is Stage else self.sources)[number]
                return maker, maker.outs[place]
        return None

    @cached_property
    def _places(self) -> dict[str, tuple[type, int, int]]:
        """Where an output's maker stands among its kind, and the output among the maker's."""
        return {
            out.path: (type(maker), number, place)
            for makers in (self.stages, self.sources)
            for number, maker in enumerate(makers)
            for place, out in enumerate(maker.outs)
        }

    @cached_property
    def above_outputs(self) -> frozenset[str]:
        """The folders that hold outputs of stages."""
        return frozenset(at for stage in self.stages for out in stage.outs for at in upwards(out.path))

    @cached_property
    def tracked_with_folders(self) -> frozenset[str]:
        """The files that Git tracks, and the folders that hold them."""
        return frozenset(at for file in self.tracked or () for at in upwards(file))

    def select(self, names: "tuple[str, ...] | list[str]") -> list[Stage]:
        """The stages of these names; a name before `@` stands for all that were expanded from it."""
        if not names:
            return self.stages
        chosen = []
        for name in names:
            found = [s for s in self.stages if name in (s.name, s.file) or s.name.rpartition("@")[0] == name]
            if not found:
                names = list(dict.fromkeys(s.name for s in self.stages))
                near = "".join(f"; did you mean '{one}'?" for one in get_close_matches(name, names, 1))
                known = ", ".join(names) or "none"
                raise BadInput(f"there is no stage '{name}'{near or ';'} the stages are: {known}")
            chosen += found
        return [stage for stage in self.stages if stage in chosen]

    def downstream(self, stages: list[Stage]) -> list[Stage]:
        """The stages that may rerun after these did, in pipeline order, without these themselves."""
        import networkx

        graph = internals.graph(self.dvc)
        after: set[Any] = set()
        for stage in stages:
            after |= networkx.ancestors(graph, stage.dvc)
        return [stage for stage in self.stages if stage.dvc in after and stage not in stages]

    def upstream(self, stages: list[Stage]) -> list[Stage]:
        """These stages and all they need, in an order in which they can run."""
        import networkx

        graph = internals.graph(self.dvc)
        needed = {stage.dvc for stage in stages}
        for stage in stages:
            needed |= networkx.descendants(graph, stage.dvc)
        order = {node: place for place, node in enumerate(networkx.dfs_postorder_nodes(graph))}
        return sorted((s for s in self.stages if s.dvc in needed), key=lambda s: order[s.dvc])


def upwards(path: str) -> Iterator[str]:
    """The path, and the folders that hold it, up to the root."""
    while path and path != ".":
        yield path
        path = path.rpartition("/")[0]
    yield "."


def within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies inside it."""
    return folder == "." or path == folder or path.startswith(folder + "/")


def load(start: str | os.PathLike[str] = ".", locks: bool = True) -> Pipeline:
    """Read the DVC project around a folder; without `locks`, quickly and without the hashes in dvc.lock.

    Raises
    ------
    BadInput : when there is none, or DVC cannot read it
    """
    project = internals.open_project(start, locks)
    with (
        internals.errors_in_one_line(),
        chdir(internals.root(project)),
    ):  # DVC tells paths relative to the current folder
        pipeline = Pipeline(project)
    if not pipeline.stages:
        raise BadInput(f"{pipeline.root.name}: no dvc.yaml with stages in this project")
    return pipeline


def root_of(start: str | os.PathLike[str]) -> Path:
    """The folder of the DVC project around a folder, whether or not DVC can read the project.

    Raises
    ------
    BadInput : when there is none
    """
    here = Path(start).resolve()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise BadInput(f"{start}: not in a DVC project")
