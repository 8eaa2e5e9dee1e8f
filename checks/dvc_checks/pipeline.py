"""A DVC project as the checks see it: its stages, expanded by DVC itself.

`foreach`, `matrix`, `vars`, `wdir` and interpolation mean what DVC says they
mean, because DVC does the expanding; this module only gathers the result with
every path made relative to the project's root.
"""

import logging
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_checks.errors import BadInput

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True)
class Output:
    """Something a stage writes."""

    path: str
    cached: bool  # kept by DVC; otherwise Git has to keep it
    kind: str  # "out", "metric" or "plot"
    pushed: bool  # should be in the remote
    persist: bool
    dvc: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Dependency:
    """Something a stage reads. `path` is relative to the root, or an URL for what lies outside."""

    path: str
    written: str  # as DVC resolves it from dvc.yaml, relative to the stage's wdir
    inside: bool  # inside the project
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
    dvc: Any = field(repr=False, compare=False)


class Pipeline:
    """All stages of a DVC project, in the order in which DVC lists them."""

    def __init__(self, repo: "Repo") -> None:
        self.repo = repo
        self.root = Path(repo.root_dir)
        self.stages: list[Stage] = []
        self.sources: list[Source] = []
        self.params: dict[
            str, dict[str, Any] | None
        ] = {}  # params files read so far; see `effects.read_params`
        for dvc_stage in repo.index.stages:
            if hasattr(dvc_stage, "name"):
                self.stages.append(self._stage(dvc_stage))
            else:
                outs = tuple(self._output(out) for out in dvc_stage.outs)
                self.sources.append(Source(self.relative(dvc_stage.path), outs, dvc_stage))

    def relative(self, path: str | os.PathLike[str]) -> str:
        """The path relative to the root, with forward slashes."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def _stage(self, stage: Any) -> Stage:
        file = self.relative(stage.path)
        params: dict[str, tuple[str, ...] | None] = {}
        deps = []
        for dep in stage.deps:
            if dep in stage.params:
                keys = params.setdefault(self.relative(dep.fs_path), ())
                params[self.relative(dep.fs_path)] = (
                    (*keys, *dep.params) if dep.params and keys is not None else None
                )
            else:
                inside = bool(dep.is_in_repo)
                path = self.relative(dep.fs_path) if inside else str(dep.def_path)
                deps.append(Dependency(path, str(dep.def_path), inside, dep))
        command = stage.cmd if isinstance(stage.cmd, list) else [stage.cmd]
        return Stage(
            name=stage.name if file == "dvc.yaml" else f"{file}:{stage.name}",
            file=file,
            key=stage.name,
            entry=stage.raw_data.generated_from or stage.name,
            commands=tuple(command),
            wdir=self.relative(stage.wdir),
            deps=tuple(deps),
            outs=tuple(self._output(out) for out in stage.outs),
            params=params,
            interpolated={
                self.relative(self.root / name): tuple(keys) for name, keys in stage.tracked_vars.items()
            },
            frozen=bool(stage.frozen),
            always_changed=bool(stage.always_changed),
            dvc=stage,
        )

    def _output(self, out: Any) -> Output:
        inside = bool(out.is_in_repo)
        return Output(
            path=self.relative(out.fs_path) if inside else str(out.def_path),
            cached=bool(out.use_cache),
            kind="metric" if out.metric else "plot" if out.plot else "out",
            pushed=bool(out.can_push and out.use_cache),
            persist=bool(out.persist),
            dvc=out,
        )

    def expansions(self) -> dict[str, dict[str, set[str]]]:
        """For each file that `foreach` and `matrix` take values from: its keys, and the groups they shape."""
        with chdir(self.root):  # DVC tells paths relative to the current folder
            return self._expansions()

    def _expansions(self) -> dict[str, dict[str, set[str]]]:
        from dvc.parsing.context import ContextError

        shaped: dict[str, dict[str, set[str]]] = {}
        for file, stage in {stage.file: stage for stage in self.stages}.items():
            for entry, definition in stage.dvc.dvcfile.resolver.definitions.items():
                over = getattr(definition, "foreach_data", None) or getattr(definition, "matrix_data", None)
                for key in re.findall(r"\$\{\s*([^}\s]+)\s*\}", str(over or "")):
                    try:
                        meta = definition.context.select(key).meta
                    except (ContextError, ValueError):
                        continue
                    if meta and meta.source:
                        group = f"{entry}@*" if file == "dvc.yaml" else f"{file}:{entry}@*"
                        source = self.relative(os.path.abspath(meta.source))
                        shaped.setdefault(source, {}).setdefault(meta.path(), set()).add(group)
        return shaped

    @cached_property
    def tracked(self) -> frozenset[str] | None:
        """The files that Git tracks, relative to the root; None where there is no Git."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=self.root, capture_output=True, text=True)
        return frozenset(listed.stdout.split("\0")) - {""} if listed.returncode == 0 else None

    def outputs(self) -> "Iterator[tuple[Stage | Source, Output]]":
        """Everything that stages make or `.dvc` files track, with who does."""
        for maker in (*self.stages, *self.sources):
            for out in maker.outs:
                yield maker, out

    def producer(self, path: str) -> "tuple[Stage | Source, Output] | None":
        """The stage or `.dvc` file whose output is `path`, or holds it."""
        return next(((maker, out) for maker, out in self.outputs() if within(path, out.path)), None)

    def select(self, names: "tuple[str, ...] | list[str]") -> list[Stage]:
        """The stages of these names; a name before `@` stands for all that were expanded from it."""
        if not names:
            return self.stages
        chosen = []
        for name in names:
            found = [s for s in self.stages if name in (s.name, s.file) or s.name.rpartition("@")[0] == name]
            if not found:
                known = ", ".join(dict.fromkeys(s.name for s in self.stages)) or "none"
                raise BadInput(f"there is no stage '{name}'; the stages are: {known}")
            chosen += found
        return [stage for stage in self.stages if stage in chosen]

    def downstream(self, stages: list[Stage]) -> list[Stage]:
        """The stages that may rerun after these did, in pipeline order, without these themselves."""
        import networkx

        graph = self.repo.index.graph
        after: set[Any] = set()
        for stage in stages:
            after |= networkx.ancestors(graph, stage.dvc)
        return [stage for stage in self.stages if stage.dvc in after and stage not in stages]

    def upstream(self, stages: list[Stage]) -> list[Stage]:
        """These stages and all they need, in an order in which they can run."""
        import networkx

        graph = self.repo.index.graph
        needed = {stage.dvc for stage in stages}
        for stage in stages:
            needed |= networkx.descendants(graph, stage.dvc)
        order = {node: place for place, node in enumerate(networkx.dfs_postorder_nodes(graph))}
        return sorted((s for s in self.stages if s.dvc in needed), key=lambda s: order[s.dvc])


def within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies inside it."""
    return folder == "." or path == folder or path.startswith(folder + "/")


def load(start: str | os.PathLike[str] = ".") -> Pipeline:
    """Read the DVC project around a folder.

    Raises
    ------
    BadInput : when there is none, or DVC cannot read it
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        root = Repo.find_root(os.fspath(start))
        with chdir(root):  # DVC tells paths relative to the current folder
            repo = Repo(root)
            pipeline = Pipeline(repo)
            repo.check_graph(stages=[])  # cycles, overlapping outputs
    except DvcException as error:
        raise BadInput(str(error)) from None
    except Exception as error:  # DVC trusts what it reads: a dvc.lock edited by hand may hold anything
        raise BadInput(f"DVC cannot read this project: {type(error).__name__}: {error}") from None
    if not pipeline.stages:
        raise BadInput(f"{pipeline.root.name}: no dvc.yaml with stages in this project")
    return pipeline
