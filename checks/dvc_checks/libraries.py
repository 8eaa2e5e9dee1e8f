"""`dvc-checks deps --libraries`: an upgrade of a library reruns the stages that import it, and no others.

DVC knows files and parameters, not libraries. So their versions are written down as
parameters: `libraries.yaml` has the installed version of every distribution that some
stage imports, and each stage declares those it imports itself. Which distribution an
import comes from is told by the metadata of the environment this runs in.
"""

import os
import posixpath
import re
import shlex
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from dvc_checks import effects, fastyaml
from dvc_checks.deps import Verdict as CodeVerdict
from dvc_checks.errors import BadInput
from dvc_checks.imports import Place
from dvc_checks.pipeline import Pipeline
from dvc_checks.report import Finding, Location
from dvc_checks.stages import Stage

FILE = "libraries.yaml"  # at the root of the project
MODULE = (".py", ".so", ".pyd")


@dataclass
class Verdict:
    """What is said of one stage."""

    stage: Stage
    needed: dict[str, Place | None] = field(default_factory=dict)  # distribution: where it is imported
    declared: tuple[str, ...] = ()
    missing: list[str] = field(default_factory=list)
    needless: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return not self.missing and not self.needless


@dataclass
class Comparison:
    """What is said of a project: of its stages, and of the file."""

    stages: list[Verdict]
    file: list[str] = field(default_factory=list)
    wanted: dict[str, str] = field(default_factory=dict)  # what the file should hold

    @property
    def wrong(self) -> list[Verdict]:
        return [verdict for verdict in self.stages if not verdict.right]


class Environment:
    """The distributions that are installed where this program runs, by the modules they bring."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.modules: dict[
            str, dict[str, set[str]]
        ] = {}  # top-level name: distribution: paths of its modules
        self.commands: dict[str, str] = {}  # console script: distribution
        for found in metadata.distributions():
            head = (found.read_text("METADATA") or found.read_text("PKG-INFO") or "").partition("\n\n")[0]
            fields = dict(
                re.findall(r"^(Name|Version):\s*(\S+)", head, re.MULTILINE)
            )  # the rest is long to parse
            name = normal(fields.get("Name", ""))
            if not fields.get("Version") or name in self.versions:  # the first on sys.path is imported
                continue
            self.versions[name] = fields["Version"]
            for path in _files(found):
                if path.endswith(MODULE) and not path.startswith((".", "/")):
                    module = path.split(".", 1)[0]
                    self._of(module.partition("/")[0], name).add(module.removesuffix("/__init__"))
            for top in (found.read_text("top_level.txt") or "").split():
                self._of(top.partition("/")[0], name)
            for script in found.entry_points.select(group="console_scripts"):
                self.commands.setdefault(script.name, name)

    def _of(self, top: str, name: str) -> set[str]:
        return self.modules.setdefault(top, {}).setdefault(name, set())

    def owners(self, dotted: str) -> set[str]:
        """The distributions that bring `a.b.c`, which may be a module or a name in one; none if nobody does.

        Several share a namespace package; then those have it that bring the deepest module on the way.
        """
        parts = dotted.split(".")
        shared = self.modules.get(parts[0], {})
        if len(shared) <= 1:
            return set(shared)
        for depth in range(len(parts), 0, -1):
            path = "/".join(parts[:depth])
            if found := {name for name, modules in shared.items() if path in modules}:
                return found
        return set()


def normal(name: str) -> str:
    """The normalised name of a distribution (PEP 503), which has no dot: to DVC a dot leads into a section."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _files(distribution: metadata.Distribution) -> list[str]:
    record = distribution.read_text("RECORD")
    if record is None:
        return [str(path) for path in distribution.files or ()]
    return [line.lstrip('"').partition(",")[0] for line in record.splitlines()]


def compare(pipeline: Pipeline, code: list[CodeVerdict]) -> Comparison:
    """Compare what stages import from outside with what they declare, and the file with the environment."""
    environment = Environment()
    compared = Comparison([_compare(pipeline, verdict, environment) for verdict in code])
    written = read(pipeline.root)
    used = {name: None for verdict in compared.stages for name in verdict.needed}
    elsewhere = {
        name
        for stage in pipeline.stages
        if stage.name not in {verdict.stage.name for verdict in compared.stages}
        for name in stage.params.get(FILE) or ()
    }
    kept = {name for verdict in compared.stages for name in verdict.declared if name not in verdict.needless}
    for name in sorted({*used, *elsewhere, *kept}):
        if version := environment.versions.get(name) or written.get(name):
            compared.wanted[name] = str(version)
    for name, version in written.items():
        here = environment.versions.get(name)
        if name not in compared.wanted:
            compared.file.append(f"{name} is listed, and no stage imports it")
        elif here is None:
            compared.file.append(f"{name} {version} is listed, and not installed here")
        elif not isinstance(version, str):
            compared.file.append(f"{name} is {version} there, as a number: write '{here}'")
        elif version != here:
            compared.file.append(f"{name} is {version} there, {here} here")
    compared.file += [
        f"{name} {compared.wanted[name]} is not listed" for name in compared.wanted if name not in written
    ]
    return compared


def read(root: Path) -> dict[str, Any]:
    """What libraries.yaml holds; nothing if there is none."""
    from ruamel.yaml.error import YAMLError

    path = root / FILE
    if not path.exists():
        return {}
    try:
        values = fastyaml.load(path.read_text(encoding="utf-8")) or {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{FILE}: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict) or any(isinstance(value, (dict, list)) for value in values.values()):
        raise BadInput(f"{FILE}: should be lines of `distribution: version`")
    return {str(name): value for name, value in values.items()}


def _compare(pipeline: Pipeline, code: CodeVerdict, environment: Environment) -> Verdict:
    verdict = Verdict(code.stage)
    unknown = False
    for dotted, foreign in code.foreign.items():
        owners = environment.owners(dotted)
        for name in sorted(owners):
            verdict.needed.setdefault(name, foreign.place)
        if not owners and not foreign.optional and not foreign.perhaps:
            unknown = True
            where = f"{foreign.place}: imports" if foreign.place else "cmd runs"
            verdict.notes.append(f"{where} {dotted}, which nothing installed here brings")
    for command in code.started:
        words = [word for word in shlex.split(command, posix=False) if not re.match(r"\w+=", word)]
        name = environment.commands.get(posixpath.basename(words[0])) if words else None
        if name:
            verdict.needed.setdefault(name, None)
    declared = code.stage.params.get(FILE, ())
    verdict.declared = tuple(effects.read_params(pipeline, FILE) or ()) if declared is None else declared
    verdict.missing = sorted(name for name in verdict.needed if name not in verdict.declared)
    extra = sorted(name for name in verdict.declared if name not in verdict.needed)
    if code.certain and not unknown:
        verdict.needless = extra
    else:
        verdict.notes += [
            f"{name}: no import of it is seen, but what is not judged may need it" for name in extra
        ]
    return verdict


def headline(compared: Comparison) -> str:
    """What was found, in one line."""
    wrong = compared.wrong
    if not wrong and not compared.file:
        number = f"{len(compared.wanted)} version{'s' if len(compared.wanted) != 1 else ''}"
        return f"every stage declares exactly what it imports, {FILE} is what is installed ({number})"
    missing = sum(len(verdict.missing) for verdict in wrong)
    needless = sum(len(verdict.needless) for verdict in wrong)
    parts = []
    if wrong:
        parts.append(
            f"the wrong ones are declared by {len(wrong)} of {len(compared.stages)} stages: "
            f"{missing} missing, {needless} needless"
        )
    if compared.file:
        parts.append(f"{FILE} is wrong in {len(compared.file)} line{'s' if len(compared.file) != 1 else ''}")
    return f"{'; '.join(parts)} (--fix rewrites them)"


def findings(compared: Comparison) -> list[Finding]:
    """What is wrong, and where."""
    found = [Finding(FILE, line, Location(FILE, (line.partition(" ")[0],))) for line in compared.file]
    for verdict in compared.stages:
        stage = verdict.stage
        keys = "stages", stage.entry, "params"
        for name in verdict.missing:
            where = verdict.needed[name]
            why = f"imported at {where}" if where else "cmd runs it"
            what = f"{name} is missing in params: {why}"
            found.append(Finding(stage.name, what, Location(stage.file, (*keys, FILE))))
        for name in verdict.needless:
            what = f"{name} is needless in params: nothing the stage runs imports it"
            found.append(Finding(stage.name, what, Location(stage.file, (*keys, FILE, name))))
    return found


def shown(compared: Comparison) -> list[str]:
    """The findings, as lines for a terminal."""
    lines = [f"{FILE}", *(f"  {line}" for line in compared.file)] if compared.file else []
    for verdict in compared.stages:
        mine = []
        for name in verdict.missing:
            where = verdict.needed[name]
            mine.append(f"  missing   {name}   " + (f"imported at {where}" if where else "cmd runs it"))
        mine += [f"  needless  {name}   nothing the stage runs imports it" for name in verdict.needless]
        mine += [f"  note      {note}" for note in verdict.notes]
        if mine:
            lines += [f"{verdict.stage.name} ({verdict.stage.file})", *mine]
    return lines


def write(root: Path, versions: dict[str, str]) -> bool:
    """Write libraries.yaml, if it does not hold just these already; every version is text, `1.10` too."""
    path = root / FILE
    if read(root) == versions:
        return False
    lines = [
        "# Versions of the libraries that stages import: an upgrade reruns those stages.\n",
        "# Written by `dvc-checks deps --libraries --fix`.\n",
        *(f"{name}: '{version}'\n" for name, version in sorted(versions.items())),
    ]
    scratch = path.with_name(f".{FILE}.{os.getpid()}")
    scratch.write_text("".join(lines), encoding="utf-8")
    os.replace(scratch, path)
    return True


def fix(root: Path, compared: Comparison) -> list[str]:
    """Write libraries.yaml and declare it in every dvc.yaml; returns what has to be done by hand."""
    from dvc_checks import edit

    write(root, compared.wanted)
    by_hand = []
    for file in dict.fromkeys(verdict.stage.file for verdict in compared.stages):
        wanted: dict[str, list[tuple[Stage, list[str]]]] = {}
        changed = set()
        for verdict in compared.stages:
            if verdict.stage.file == file:
                kept = [name for name in verdict.declared if name not in verdict.needless]
                keys = sorted({*verdict.needed, *kept})
                wanted.setdefault(verdict.stage.entry, []).append((verdict.stage, keys))
                if not verdict.right:
                    changed.add(verdict.stage.entry)
        edited = edit.declare(
            root / file, {entry: wanted[entry] for entry in wanted if entry in changed}, FILE
        )
        by_hand += [f"{file}: {line}" for line in edited.by_hand]
    return by_hand
