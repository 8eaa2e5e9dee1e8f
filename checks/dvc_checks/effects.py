"""`dvc-checks effects`: which stages does each parameter rerun? And, by running them: is that declared truly?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from dvc_checks import internals
from dvc_checks.errors import BadInput
from dvc_checks.pipeline import Pipeline
from dvc_checks.report import Finding, Location
from dvc_checks.stages import Stage


@dataclass(frozen=True)
class Effect:
    """What changing one leaf of a params file does."""

    file: str
    key: str
    value: Any
    direct: tuple[str, ...]  # stages that rerun
    after: tuple[str, ...]  # stages that rerun after those, if their outputs change
    shapes: tuple[str, ...]  # groups of stages of which it decides the members


def leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted keys; a list is one leaf, as it is to DVC."""
    if isinstance(values, dict) and (values or not prefix):
        for key, value in values.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values


def covers(declared: str, key: str) -> bool:
    """Whether a declared key holds `key`, or is a part of it."""
    return declared == key or key.startswith(declared + ".") or declared.startswith(key + ".")


def read_params(pipeline: Pipeline, file: str) -> dict[str, Any] | None:
    """A params file as DVC reads it; None if it does not exist."""
    if file not in pipeline.params:
        pipeline.params[file] = _parse(pipeline, file)
    return pipeline.params[file]


def _parse(pipeline: Pipeline, file: str) -> dict[str, Any] | None:
    path = pipeline.root / file
    if not path.is_file():
        return None
    try:
        values = internals.read_values(pipeline.dvc, path)
    except ValueError as error:
        raise BadInput(f"{file}: {error}") from None
    if not isinstance(values, dict):
        raise BadInput(f"{file}: should be keys and values")
    return values


def params_files(pipeline: Pipeline) -> list[str]:
    """Every params file of the project: those that stages declare or interpolate, and DVC's default one.

    What a top-level `params:` lists is for display alone, and often an output.
    """
    files = {file for stage in pipeline.stages for file in (*stage.params, *stage.interpolated)}
    files |= set(pipeline.expansions())
    if (pipeline.root / "params.yaml").is_file():
        files.add("params.yaml")
    return sorted(files, key=lambda file: (file.count("/"), file))


def table(pipeline: Pipeline, stages: list[Stage]) -> list[Effect]:
    """The effect of every leaf, in file order; with fewer than all stages, of the leaves that reach those."""
    shaped = pipeline.expansions()
    afterwards: dict[tuple[str, ...], tuple[str, ...]] = {}
    effects = []
    for file in params_files(pipeline):
        index = _Index(pipeline.stages, file)
        for key, value in leaves(read_params(pipeline, file) or {}):
            direct = index.of(key)
            names = tuple(stage.name for stage in direct)
            if names not in afterwards:
                afterwards[names] = tuple(stage.name for stage in pipeline.downstream(direct))
            groups = sorted(
                group for name, found in shaped.get(file, {}).items() if covers(name, key) for group in found
            )
            if stages == pipeline.stages or any(s.name in (*names, *afterwards[names]) for s in stages):
                effects.append(Effect(file, key, value, names, afterwards[names], tuple(groups)))
    return effects


def _upwards(key: str) -> Iterator[str]:
    """A dotted key, and those that hold it."""
    while key:
        yield key
        key = key.rpartition(".")[0]


class _Index:
    """Which stages a change of a key of one params file makes rerun."""

    def __init__(self, stages: list[Stage], file: str) -> None:
        self.stages = stages
        self.always: set[int] = set()
        self.at: dict[str, set[int]] = {}  # a declared key
        self.above: dict[str, set[int]] = {}  # a key that holds declared ones
        for number, stage in enumerate(stages):
            declared = stage.params.get(file, ())
            if stage.frozen:
                continue
            if declared is None or any(dep.path == file for dep in stage.deps):
                self.always.add(number)
            for key in (*(declared or ()), *stage.interpolated.get(file, ())):
                self.at.setdefault(key, set()).add(number)
                for holder in _upwards(key):
                    self.above.setdefault(holder, set()).add(number)

    def of(self, key: str) -> list[Stage]:
        """The stages that rerun, in the order of the pipeline."""
        found = self.always | self.above.get(key, set())
        for holder in _upwards(key):
            found |= self.at.get(holder, set())
        return [self.stages[number] for number in sorted(found)]


class _Leaves:
    """The leaves of one params file, found by what holds them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.all = list(leaves(values))
        self.keys = {key for key, _ in self.all}
        self.held: dict[str, list[tuple[str, Any]]] = {}
        for key, value in self.all:
            for holder in _upwards(key):
                self.held.setdefault(holder, []).append((key, value))

    def has(self, key: str) -> bool:
        """Whether there is such a key, or a leaf that may hold it."""
        return key in self.held or any(holder in self.keys for holder in _upwards(key))

    def below(self, declared: tuple[str, ...] | None) -> list[tuple[str, Any]]:
        """The leaves at these keys and below them; all, for a file declared whole."""
        if not declared:
            return self.all
        return list({leaf[0]: leaf for key in declared for leaf in self.held.get(key, ())}.values())


def declared_wrongly(pipeline: Pipeline, stages: list[Stage], effects: list[Effect]) -> list[Finding]:
    """What can be told without a run: keys that no stage declares, declared keys that do not exist, and keys
    with a name that DVC's run cache overlooks."""
    there = cache(lambda file: _Leaves(read_params(pipeline, file) or {}))
    found = []
    for stage in stages:
        at = "stages", stage.entry, "params"
        for file, keys in stage.params.items():
            values = read_params(pipeline, file)
            if values is None:
                what = f"declares parameters in {file}, which does not exist"
                found.append(Finding(stage.name, what, Location(stage.file, (*at, file))))
                continue
            found += [
                Finding(
                    stage.name,
                    f"declares {key}, which {file} does not have",
                    Location(stage.file, (*at, key)),
                )
                for key in keys or ()
                if not there(file).has(key)
            ]
            for leaf, value in there(file).below(keys):
                if (name := _overlooked(leaf, value, keys or [*_upwards(leaf)][-1:])) is not None:
                    what = (
                        f"{leaf}: DVC's run cache overlooks a key called '{name}': a new value may bring back the "
                        "outputs of another; give it another name"
                    )
                    found.append(Finding(stage.name, what, Location(file, tuple(leaf.split(".")))))
    found += [
        Finding(
            effect.file,
            f"{effect.key} reruns no stage: it is not used, or not declared",
            Location(effect.file, tuple(effect.key.split("."))),
        )
        for effect in effects
        if not effect.direct and not effect.shapes
    ]
    return found


OVERLOOKED = ("size", "nfiles")


def _overlooked(leaf: str, value: Any, declared: Iterable[str]) -> str | None:
    """A name in a leaf, as dvc.lock nests it under a declared key, that the run cache leaves out of its hash.

    These are names of what dvc.lock says of files; they are left out wherever they stand (treeverse/dvc,
    issue 10296).
    """
    for key in declared:
        if leaf == key or leaf.startswith(f"{key}."):
            names = [key, *leaf[len(key) :].split("."), *_inner_names(value)]
            return next((name for name in names if name in OVERLOOKED), None)
    return None


def _inner_names(value: Any) -> Iterator[str]:
    """The keys of the mappings in a list, at any depth."""
    if isinstance(value, dict):
        yield from map(str, value)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _inner_names(item)


def collapsed(effects: list[Effect]) -> list[tuple[str, str, Effect]]:
    """Rows (file, key, effect) in which `section.*` stands for a section whose leaves all do the same."""
    rows: list[tuple[str, str, Effect]] = []
    for file in dict.fromkeys(effect.file for effect in effects):
        mine = [effect for effect in effects if effect.file == file]
        rows += [(file, key, effect) for key, effect in _collapse(mine, 0)]
    return rows


def _collapse(effects: list[Effect], depth: int) -> Iterator[tuple[str, Effect]]:
    same = len({(effect.direct, effect.after, effect.shapes) for effect in effects}) == 1
    if same and (depth or len(effects) == 1):
        prefix = ".".join(effects[0].key.split(".")[:depth])
        yield (f"{prefix}.* ({len(effects)})" if len(effects) > 1 else effects[0].key), effects[0]
        return
    groups: dict[str, list[Effect]] = {}
    for effect in effects:
        groups.setdefault(".".join(effect.key.split(".")[: depth + 1]), []).append(effect)
    for group in groups.values():
        yield from _collapse(group, depth + 1)


def in_words(effect: Effect) -> tuple[str, str]:
    """The stages that rerun, and those that follow; many expanded from one entry are named as one."""
    direct = [*_grouped(effect.direct), *(f"the members of {group}" for group in effect.shapes)]
    file = effect.direct[0].rpartition(":")[0] if effect.direct else ""
    after = [name.removeprefix(f"{file}:") if file else name for name in _grouped(effect.after)]
    return ", ".join(direct), ", ".join(after)


def _grouped(names: tuple[str, ...]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name in names:
        group, _, member = name.rpartition("@")
        groups.setdefault(group or member, []).append(name)
    return [
        f"{group}@* ({len(members)})" if len(members) > 2 else name
        for group, members in groups.items()
        for name in (members[:1] if len(members) > 2 else members)
    ]
