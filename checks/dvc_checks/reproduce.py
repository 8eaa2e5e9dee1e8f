"""`dvc-checks reproduce`: does a clean clone, with an empty cache, give the very hashes in dvc.lock?"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc_checks import data, deps, differences, environment, processes
from dvc_checks import pipeline as pipelines
from dvc_checks.errors import BadInput
from dvc_checks.output import count
from dvc_checks.pipeline import Pipeline
from dvc_checks.report import Finding, Report
from dvc_checks.snapshot import Snapshot, clone, is_bare
from dvc_checks.stages import Output, Source, Stage


@dataclass
class Difference:
    """One output that did not come out as dvc.lock says."""

    stage: str
    path: str
    first: bool  # the stage's inputs came out right: this is where it begins
    metric: bool
    lines: list[str]  # by how much
    tolerated: bool = False


@dataclass
class Result:
    """What became of a reproduction."""

    commit: str
    stages: list[str]
    outputs: int = 0
    differences: list[Difference] = field(default_factory=list)
    failure: list[str] = field(default_factory=list)  # what DVC said, if the pipeline failed
    environment: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] | None = None  # the environment committed beside dvc.lock

    @property
    def same(self) -> bool:
        return not self.failure and all(difference.tolerated for difference in self.differences)


@dataclass(frozen=True)
class Tolerance:
    """How far the metrics whose key ends with `key` may be from the committed ones; "" is every key."""

    key: str
    size: float


def reproduce(
    directory: str,
    revision: str,
    targets: tuple[str, ...],
    tolerances: list[Tolerance],
    progress: Callable[[str], None],
) -> Result:
    """Run the pipeline of a commit in a clone, and compare what it writes with that commit's dvc.lock.

    Without targets it is the pipeline of the root's dvc.yaml, as for `dvc repro`.
    """
    with clone(directory, revision) as copy:
        project = pipelines.load(copy.root)
        home = _home(directory, project)
        if not targets and any(stage.file == "dvc.yaml" for stage in project.stages):
            targets = ("dvc.yaml",)
        stages = project.upstream(project.select(targets))
        result = Result(copy.commit, [stage.name for stage in stages])
        result.recorded = environment.read(copy.root / environment.FILE)
        runs = [stage for stage in stages if not stage.frozen]
        for stage in runs:
            for out in stage.outs:
                if not out.hash:
                    raise BadInput(
                        f"dvc.lock has no hash of {out.path}, so there is nothing to reproduce; `dvc-checks lock`"
                    )
        _bring_sources(project, home, stages, copy.root)
        kept = copy.scratch / "committed"
        for stage in runs:
            for out in stage.outs:
                if (copy.root / out.path).exists():
                    data.copy(copy.root / out.path, kept / out.path)
                    data.remove(copy.root / out.path)
        names = [stage.name for stage in project.select(targets)]
        result.failure = _repro(copy, home.repository, names, progress)
        again = pipelines.load(copy.root)
        packages = {name for verdict in deps.compare(again, again.stages) for name in verdict.packages}
        result.environment = environment.describe(packages, _observed(copy.scratch / "log"))
        if not result.failure:
            _compare(result, runs, again, home, copy, tolerances)
        return result


def _home(directory: str, project: Pipeline) -> Pipeline:
    """The project whose cache may have the original outputs; the clone itself if that cannot be read."""
    try:
        return project if is_bare(directory) else pipelines.load(directory)
    except BadInput:
        return project


def _bring_sources(project: Pipeline, home: Pipeline, stages: list[Stage], root: Path) -> None:
    """Data that no stage makes, or whose stage is frozen, has to come from somewhere."""
    for stage in stages:
        for dep in stage.deps:
            made = project.producer(dep.path) if dep.inside else None
            if made is None or not (isinstance(made[0], Source) or made[0].frozen):
                continue
            if not (root / made[1].path).exists() and not data.original(home, made[1], root / made[1].path):
                raise BadInput(
                    f"{made[1].path} is needed, and is neither in the workspace, the cache nor the remote"
                )


def _repro(copy: Snapshot, home: Path, names: list[str], progress: Callable[[str], None]) -> list[str]:
    """Run `dvc repro`; returns the last it said if it failed."""
    settings = copy.scratch / "settings.json"
    log = copy.scratch / "log"
    settings.write_text(
        json.dumps({"log": os.fspath(log), "roots": [], "params": {}, "keys": False, "environment": True})
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", *names],
        cwd=copy.root,
        env={
            **processes.environment(home, copy),
            "CHECKS_WATCH": os.fspath(settings),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    output: deque[str] = deque(maxlen=12)
    try:
        for line in process.stdout or ():
            if line.strip():
                output.append(line.rstrip())
            if line.startswith("Running stage"):
                progress(line.strip().rstrip(":"))
        status = process.wait()
    except BaseException:
        processes.stop(process)
        raise
    return list(output) or [f"dvc repro: exit status {status}"] if status else []


def _observed(log: Path) -> list[dict[str, list[str]]]:
    if not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [json.loads(text) for kind, text in lines if kind == "environment"]


def _compare(
    result: Result,
    runs: list[Stage],
    again: Pipeline,
    home: Pipeline,
    copy: Snapshot,
    tolerances: list[Tolerance],
) -> None:
    new = {out.path: out for _, out in again.outputs()}
    changed: set[str] = set()
    for stage in runs:
        first = not any(dep.path in changed or _part_of(dep.path, changed) for dep in stage.deps)
        for out in stage.outs:
            result.outputs += 1
            if _value(new[out.path]) == _value(out):
                continue
            changed.add(out.path)
            result.differences.append(_difference(stage, out, first, home, copy, tolerances))
    if tolerances and any(out.kind == "metric" for stage in runs for out in stage.outs):
        for difference in result.differences:  # the metrics decide for everything else
            if not difference.metric:
                difference.tolerated = True


def _value(out: Output) -> str:
    return out.hash.value if out.hash else ""


def _part_of(path: str, changed: set[str]) -> bool:
    return any(pipelines.within(path, other) or pipelines.within(other, path) for other in changed)


def _difference(
    stage: Stage, out: Output, first: bool, home: Pipeline, copy: Snapshot, tolerances: list[Tolerance]
) -> Difference:
    old, new = copy.scratch / "committed" / out.path, copy.root / out.path
    metric = out.kind == "metric"
    found = old.exists() or data.original(home, out, old)
    if not found:
        lines = ["only its hash is known: the original is neither in the workspace, the cache nor the remote"]
        return Difference(stage.name, out.path, first, metric, lines)
    difference = Difference(stage.name, out.path, first, metric, differences.describe(old, new))
    if metric and tolerances:
        try:
            changes = differences.deltas(differences.read_values(old), differences.read_values(new))
        except (OSError, ValueError):
            return difference
        beyond = [change for change in changes if not _tolerated(change, tolerances)]
        difference.tolerated = not beyond
    return difference


def _tolerated(change: tuple[str, Any, Any], tolerances: list[Tolerance]) -> bool:
    key, old, new = change
    own = [t for t in tolerances if not t.key or key == t.key or key.endswith(f".{t.key}")]
    if not own:
        return True  # tolerances were given for other keys: those decide
    if not (differences.is_number(old) and differences.is_number(new)):
        return False
    return all(abs(new - old) <= tolerance.size for tolerance in own)


def report(result: Result) -> Report:
    """What became of it, in words and for machines."""
    what = f"{count(result.outputs, 'output')} of {count(len(result.stages), 'stage')} at {result.commit[:7]}"
    differing = len(result.differences)
    if result.failure:
        summary = f"the pipeline of {result.commit[:7]} does not run in a clean clone"
    elif not differing:
        summary = f"{what} came out with the very hashes in dvc.lock"
    elif result.same:
        summary = f"{differing} of {what} differ in their bits; the metrics are within the tolerance"
    else:
        summary = f"{differing} of {what} differ from dvc.lock"
    found = Report("reproduce", summary)
    found.data = {"commit": result.commit, "stages": result.stages, "environment": result.environment}
    if result.failure:
        found.findings.append(Finding("dvc repro", " | ".join(result.failure[-3:])))
        found.text += [f"  {line}" for line in result.failure]
    for difference in result.differences:
        whence = "its inputs were the same" if difference.first else "its inputs differed already"
        verdict = ", within the tolerance" if difference.tolerated and difference.metric else ""
        line = f"{difference.path} ({whence}{verdict})"
        found.text += [f"  {difference.stage}: {line}", *(f"    {line}" for line in difference.lines)]
        to = found.notes if difference.tolerated else found.findings
        to.append(Finding(difference.stage, "; ".join([line, *difference.lines])))
    if differing or result.failure:
        found.text += _about_environment(result)
    return found


def _about_environment(result: Result) -> list[str]:
    if result.recorded is None:
        lines = [f"  environment: nothing recorded to compare with ({environment.FILE}); here it is"]
        here = {key: value for key, value in result.environment.items() if key != "libraries"}
        return lines + [
            f"    {key}: {', '.join(value) if isinstance(value, list) else value}"
            for key, value in here.items()
        ]
    differ = environment.differences(result.recorded, result.environment)
    same = "the same as recorded" if not differ else "differs from the recorded one"
    return [f"  environment: {same}", *(f"    {line}" for line in differ)]
