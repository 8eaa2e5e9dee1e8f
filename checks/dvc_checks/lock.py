"""`dvc-checks lock`: is dvc.lock true for this commit, with no data at hand?

Compares dvc.lock with dvc.yaml, with the parameters and files that Git keeps,
and with itself along every edge of the pipeline. Data that only DVC keeps is
not read: what a stage consumed has to be, hash for hash, what another produced.
"""

import posixpath
from dataclasses import dataclass, field
from typing import Any

from dvc_checks import internals, libraries
from dvc_checks.output import count
from dvc_checks.pipeline import Pipeline
from dvc_checks.remote import Answer
from dvc_checks.report import Finding, Location
from dvc_checks.stages import Dependency, Hash, Output, Source, Stage


@dataclass
class Verdict:
    """What `lock` found, and what could not be told."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    remote: Answer = field(default_factory=Answer)

    def find(self, stage: Stage, reason: str, *keys: str, params: str = "") -> None:
        """Note a finding at these keys of the stage's definition, or of a params file."""
        place = Location(params, keys) if params else Location(stage.file, ("stages", stage.entry, *keys))
        self.findings.append(Finding(stage.name, reason, place))

    def note(self, stage: Stage, what: str) -> None:
        self.notes.append(Finding(stage.name, what))


def check(pipeline: Pipeline, stages: list[Stage]) -> Verdict:
    """Judge dvc.lock without the data; `remote.ask` asks for the outputs themselves."""
    verdict = Verdict()
    locks = {file: internals.locked(stage) for file, stage in {stage.file: stage for stage in stages}.items()}
    for file in [file for file, entries in locks.items() if not entries]:
        number = sum(stage.file == file for stage in stages)
        reason = (
            f"has no dvc.lock beside it: {count(number, 'stage')} never ran, or the run was not committed"
        )
        verdict.findings.append(Finding(file, reason, Location(file)))
    for stage in stages:
        entry = locks[stage.file].get(stage.key)
        if entry is None and not locks[stage.file]:
            continue
        if entry is None:
            verdict.find(stage, "is not in dvc.lock: it has never run, or its run was not committed")
            continue
        check_stage(pipeline, stage, entry, verdict)
    known = {(stage.file, stage.key) for stage in pipeline.stages}
    for file, entries in locks.items():
        for key in entries:
            if (file, key) not in known:
                name = key if file == "dvc.yaml" else f"{file}:{key}"
                verdict.findings.append(
                    Finding(name, f"is in dvc.lock, but not in {file} any more", Location(file, ("stages",)))
                )
    return verdict


def check_stage(pipeline: Pipeline, stage: Stage, entry: dict[str, Any], verdict: Verdict) -> None:
    """Judge one stage's entry; the hashes of the stage and of the makers of what it reads are those of dvc.lock."""
    _check_outputs(pipeline, stage, entry, verdict)
    if stage.frozen:
        verdict.note(stage, "is frozen: what it depends on is not judged")
        return
    ran, written = _words(entry.get("cmd")), _words(internals.command(stage))
    if ran != written:
        verdict.find(stage, f"ran `{ran}`; dvc.yaml says `{written}`", "cmd")
    _check_params(stage, entry, verdict)
    _check_deps(pipeline, stage, entry, verdict)


def _words(command: Any) -> str:
    return " && ".join(map(str, command)) if isinstance(command, list) else str(command)


def _check_params(stage: Stage, entry: dict[str, Any], verdict: Verdict) -> None:
    locked = entry.get("params", {})
    seen = set()

    def kind(path: str) -> str:
        return "library" if posixpath.basename(path) == libraries.FILE else "parameter"

    for path, declared, moved, actual in internals.params_moved(stage):
        seen.add(path)
        values = locked.get(path, {})
        file = posixpath.normpath(posixpath.join(stage.wdir, path))
        if moved is None:
            verdict.find(stage, f"{path}: this params file does not exist", "params")
            continue
        for key, status in moved.items():
            if status == "deleted":
                verdict.find(stage, f"{kind(path)} {key} is declared, but not in {path}", "params", key)
                continue
            reason, changed = "is not in dvc.lock", key
            if status != "new":
                reason, below = _difference(values.get(key), actual.get(key))
                changed = f"{key}.{below}" if below else key
            verdict.find(stage, f"{kind(path)} {key} {reason}", *changed.split("."), params=file)
        for key in values:
            if declared and key not in declared:
                reason = f"{kind(path)} {key} is in dvc.lock, but the stage does not declare it"
                verdict.find(stage, reason, "params")
    for path in locked.keys() - seen:
        verdict.find(stage, f"{path}: in dvc.lock, but the stage declares no parameters from it", "params")


def _difference(locked: Any, actual: Any, key: str = "") -> tuple[str, str]:
    """The first value that differs, in words, and its key below the parameter."""
    if isinstance(locked, dict) and isinstance(actual, dict):
        for name in [*locked, *(name for name in actual if name not in locked)]:
            place = f"{key}.{name}" if key else str(name)
            if name not in actual:
                return f"differs: {place} was {locked[name]!r} and is gone", key
            if name not in locked:
                return f"differs: {place} is new, {actual[name]!r}", place
            if locked[name] != actual[name]:
                return _difference(locked[name], actual[name], place)
    where = f"differs: {key} was" if key else "was"
    return f"{where} {locked!r} when the stage ran, is {actual!r} now", key


def _check_deps(pipeline: Pipeline, stage: Stage, entry: dict[str, Any], verdict: Verdict) -> None:
    locked = {item["path"] for item in entry.get("deps", [])}
    for path in sorted(locked - {dep.written for dep in stage.deps}):
        verdict.find(stage, f"dependency {path} is in dvc.lock, but not in dvc.yaml", "deps")
    for dep in stage.deps:
        if dep.written not in locked:
            verdict.find(
                stage, f"dependency {dep.path} is in dvc.yaml, but not in dvc.lock", "deps", dep.written
            )
        elif not dep.inside:
            verdict.note(stage, f"{dep.path} lies outside the project and is not judged")
        elif made := pipeline.producer(dep.path):
            _check_edge(stage, dep, *made, verdict)
        elif dep.path in pipeline.above_outputs:
            verdict.note(stage, f"{dep.path}/ holds outputs of several stages; only the data can tell")
        else:
            _check_file(pipeline, stage, dep, "dependency", verdict)


def _check_edge(stage: Stage, dep: Dependency, maker: Stage | Source, out: Output, verdict: Verdict) -> None:
    """What a stage read has to be what the stage before it wrote."""
    maker_name = maker.name if isinstance(maker, Stage) else maker.file
    read, wrote = dep.hash, out.hash
    if not wrote:
        verdict.find(stage, f"dependency {dep.path}: {maker_name} has no hash for it", "deps", dep.written)
    elif dep.path != out.path:
        part = inside(out, dep.path)
        if part is None:
            verdict.note(stage, f"{dep.path} is a part of {out.path}; only the data can tell")
        elif read is None or part != read.value:
            reason = f"dependency {dep.path} is not what {maker_name} wrote into {out.path}"
            verdict.find(stage, reason, "deps", dep.written)
    elif read is None or read.value != wrote.value:
        if read and read.name != wrote.name:
            verdict.note(
                stage,
                f"{dep.path} is hashed the way of DVC 2 on one side and of DVC 3 on the other; "
                "`dvc cache migrate --dvc-files` makes them comparable",
            )
        else:
            verdict.find(
                stage,
                f"dependency {dep.path} was {_short(read)}, but {maker_name} wrote {_short(wrote)}",
                "deps",
                dep.written,
            )


def inside(out: Output, path: str) -> str | None:
    """The hash of a part of an output folder, if the cache has the folder's list of files."""
    if out.hash is None:
        return None
    try:
        files = internals.folder_list(internals.cache_of(out), out.hash)
    except Exception:  # nothing in the cache: the usual case in CI
        return None
    return files.get(tuple(path[len(out.path) + 1 :].split("/")), "not there")


def _check_file(
    pipeline: Pipeline, stage: Stage, entry: Output | Dependency, what: str, verdict: Verdict
) -> None:
    """A file or folder that Git keeps has to hash to what dvc.lock says."""
    path = entry.path
    at = "deps" if isinstance(entry, Dependency) else f"{entry.kind}s", entry.written
    if not internals.is_there(entry):
        verdict.find(stage, f"{what} {path} does not exist, and no stage makes it", *at)
    elif pipeline.tracked is not None and path not in pipeline.tracked_with_folders:
        verdict.find(stage, f"{what} {path} is kept by neither Git nor DVC: a clone does not have it", *at)
    elif internals.hash_now(entry) != entry.hash:
        reason = "has changed since the stage ran"
        if internals.differs_in_line_ends(entry):
            reason = "has other line ends than when the stage ran, and no other change; a .gitattributes can fix them"
        verdict.find(stage, f"{what} {path} {reason}", *at)


def _check_outputs(pipeline: Pipeline, stage: Stage, entry: dict[str, Any], verdict: Verdict) -> None:
    locked = {item["path"]: item for item in entry.get("outs", [])}
    for path in sorted(locked.keys() - {out.written for out in stage.outs}):
        verdict.find(stage, f"output {path} is in dvc.lock, but not in dvc.yaml", "outs")
    for out in stage.outs:
        at = f"{out.kind}s", out.written
        if out.written not in locked:
            verdict.find(stage, f"output {out.path} is in dvc.yaml, but not in dvc.lock", *at)
        elif not out.hash:
            verdict.find(stage, f"output {out.path} has no hash in dvc.lock", *at)
        elif not out.cached and out.inside:
            if internals.is_there(out):
                _check_file(pipeline, stage, out, "output", verdict)
            else:
                reason = f"output {out.path} is kept by neither Git nor DVC: a clone does not have it"
                verdict.find(stage, reason, *at)


def _short(of: Hash | None) -> str:
    return of.value[:8] if of else "not recorded"
