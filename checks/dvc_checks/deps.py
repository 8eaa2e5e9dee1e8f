"""`dvc-checks deps`: does every stage list exactly the project files that its programs import?"""

from dataclasses import dataclass, field

from dvc_checks import commands, imports
from dvc_checks.imports import Foreign, Place
from dvc_checks.pipeline import Pipeline, upwards, within
from dvc_checks.report import Finding, Location
from dvc_checks.stages import Stage


@dataclass
class Verdict:
    """What `deps` says of one stage."""

    stage: Stage
    needed: dict[str, Place | None] = field(default_factory=dict)  # file: where it is imported
    missing: list[str] = field(default_factory=list)
    needless: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # scripts that cmd names and nobody wrote
    notes: list[str] = field(default_factory=list)  # what the walk cannot tell
    packages: set[str] = field(default_factory=set)
    foreign: dict[str, Foreign] = field(default_factory=dict)  # what is imported from outside the project
    started: list[str] = field(default_factory=list)  # commands that are no program of the project
    certain: bool = True  # whether nothing else can be imported

    @property
    def right(self) -> bool:
        return not self.missing and not self.needless and not self.absent


def compare(pipeline: Pipeline, stages: list[Stage]) -> list[Verdict]:
    """Compare the imports of every stage with its `deps`."""
    code = imports.Code(pipeline.root, pipeline.repository)
    return [_compare(pipeline, stage, code) for stage in stages]


def _compare(pipeline: Pipeline, stage: Stage, code: imports.Code) -> Verdict:
    verdict = Verdict(stage)
    started = commands.read(stage.commands, stage.wdir, pipeline.root, pipeline.repository)
    unseen = list(started.unseen)
    dynamic: dict[Place, str] = {}
    for program in started.programs:
        walked = imports.walk(program, code)
        if not walked.found:
            unseen.append(f"python -m {program.target}")
        for file, why in walked.files.items():
            verdict.needed.setdefault(file, why)
        dynamic |= walked.dynamic
        verdict.packages |= walked.packages
        verdict.foreign |= walked.foreign
        verdict.notes += [
            f"{place}: {what}; its imports are not known" for place, what in walked.broken.items()
        ]
    for script in started.scripts:
        verdict.needed.setdefault(script, None)
    verdict.notes += [f"{place}: {what}; what it imports is not judged" for place, what in dynamic.items()]
    verdict.notes += [f"`{text}`: which project files this runs is not judged" for text in unseen]

    declared = [dep.path for dep in stage.deps if dep.inside]
    declared += stage.params  # a params.py is a parameter file, imported or not
    covered = {*declared, *(out.path for out in stage.outs)}
    verdict.missing = sorted(file for file in verdict.needed if covered.isdisjoint(upwards(file)))
    verdict.absent = [script for script in started.absent if not pipeline.producer(script)]

    verdict.started = [*started.unseen, *started.tools]
    verdict.certain = bool(not dynamic and not unseen and not started.absent and started.programs)
    known = {*verdict.needed, *started.named}
    for dep in stage.deps:
        if not dep.inside or dep.path in known or pipeline.producer(dep.path):
            continue
        if dep.path.endswith(".py"):  # there, or removed
            if verdict.certain:
                verdict.needless.append(dep.path)
            else:
                verdict.notes.append(
                    f"{dep.path}: no import of it is seen, but what is not judged may need it"
                )
        elif (pipeline.root / dep.path).is_dir():
            _check_folder(pipeline, dep.path, verdict)
    return verdict


def _check_folder(pipeline: Pipeline, folder: str, verdict: Verdict) -> None:
    """A folder of code covers what it holds; that it reruns the stage for nothing is said, not punished."""
    files = [path for path in pipeline.tracked or () if within(path, folder) and path.endswith(".py")]
    idle = [path for path in files if path not in verdict.needed]
    if files and idle:
        share = "none" if len(idle) == len(files) else f"{len(files) - len(idle)}"
        verdict.notes.append(
            f"{folder}/ is listed as a whole: {share} of its {len(files)} Python files are imported, "
            "a change to any other reruns the stage for nothing"
        )


def findings(verdict: Verdict) -> list[Finding]:
    """The findings of one stage."""
    stage = verdict.stage

    def at(*keys: str) -> Location:
        return Location(stage.file, ("stages", stage.entry, *keys))

    written = {dep.path: dep.written for dep in stage.deps}
    found: list[Finding] = []
    for file in verdict.missing:
        why = verdict.needed[file]
        what = f"imported at {why}" if why else "the program of cmd"
        found.append(Finding(stage.name, f"{file} is missing in deps: {what}", at("deps")))
    found += [
        Finding(stage.name, f"cmd runs {file}, and there is no such file", at("cmd"))
        for file in verdict.absent
    ]
    for file in verdict.needless:
        what = f"{file} is needless in deps: nothing the stage runs imports it"
        found.append(Finding(stage.name, what, at("deps", written[file])))
    return found


def shown(verdict: Verdict) -> list[str]:
    """The findings of one stage, as lines for a terminal."""
    lines = []
    for file in verdict.missing:
        why = verdict.needed[file]
        lines.append(f"  missing   {file}   " + (f"imported at {why}" if why else "the program of cmd"))
    lines += [f"  absent    {file}   cmd runs it, and there is no such file" for file in verdict.absent]
    lines += [f"  needless  {file}   nothing the stage runs imports it" for file in verdict.needless]
    lines += [f"  note      {note}" for note in verdict.notes]
    return [f"{verdict.stage.name} ({verdict.stage.file})", *lines] if lines else []
