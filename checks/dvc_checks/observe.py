"""Runs stages for real, in a scratch clone, and compares what they open and read with what they declare.

How it sees: `watch` sits in every Python process of the stage as an audit hook,
and hands it params files as mappings that note the keys taken from them. A
declared file that Python never opens, but whose access time moved, was read by
something else (a library in C, a shell command), and counts as used.

Where the keys cannot be seen (the file was read whole, or parsed by something
unknown), the stage runs once more on a params file that holds nothing but the
keys it declares: if it ends well with the same outputs, it needs no others.

What it cannot see: files outside the project, reads by other programs of files
that are not declared, Python processes started with -I or -S, and which keys of
a mapping are taken in C once the mapping was asked for by name.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc_checks import commands, data, effects, imports, internals, libraries, processes, watch
from dvc_checks.pipeline import Pipeline, within
from dvc_checks.snapshot import Snapshot, clone, git
from dvc_checks.stages import Stage

DVC_FILES = ("dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore", ".gitattributes")


@dataclass
class Observation:
    """What one stage did."""

    stage: Stage
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False


@dataclass
class _Record:
    """What `watch` wrote down, paths relative to the root of the scratch clone."""

    opened: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    workspace: set[str] = field(default_factory=set)  # files of the real project, reached by absolute path
    keys: dict[str, set[str]] = field(default_factory=dict)  # params file: keys asked for by name
    swept: dict[str, set[str]] = field(default_factory=dict)  # params file: keys met while looking at all
    parsed: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)


def observe(pipeline: Pipeline, stages: list[Stage]) -> Iterator[Observation]:
    """Run the stages, in order, on the files of the workspace as they are; yields each as it ends."""
    with clone(pipeline.root, "HEAD") as copy:
        _overlay(pipeline, copy)
        scratch = _Scratch(pipeline, copy)
        done: list[Stage] = []
        for stage in pipeline.upstream(stages):
            if stage in stages:
                absent = scratch.provide(stage, done)
                if absent:
                    observation = Observation(stage, failed=True)
                    observation.notes.append(
                        f"not run: {absent} is neither in the workspace nor in the cache or remote"
                    )
                    yield observation
                    continue
                observation = scratch.run(stage)
                if not observation.failed:
                    done.append(stage)
                yield observation


def _overlay(pipeline: Pipeline, clone: Snapshot) -> None:
    """Bring uncommitted work into the clone: what is to be judged is the workspace."""
    home = pipeline.repository
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=home).split("\0")
    here = {name for name in listed if name and (home / name).is_file()}
    for name in set(listed) - here - {""}:
        data.remove(clone.repository / name)
    for name in here:
        data.copy(home / name, clone.repository / name)


class _Scratch:
    def __init__(self, pipeline: Pipeline, copy: Snapshot) -> None:
        self.pipeline, self.copy = pipeline, copy
        self.root, self.folder = copy.root, copy.scratch
        self.params = {
            file: values
            for file in effects.params_files(pipeline)
            if (values := effects.read_params(pipeline, file)) is not None
        }
        self.records_access = self._records_access()

    def _records_access(self) -> bool:
        probe = self.folder / "probe"
        probe.write_text("x")
        os.utime(probe, ns=(0, probe.stat().st_mtime_ns))
        probe.read_text()
        return probe.stat().st_atime_ns > 0

    def provide(self, stage: Stage, done: list[Stage]) -> str:
        """Bring the data a stage reads and no run here made; returns the path of what is not to be had."""
        for dep in stage.deps:
            made = self.pipeline.producer(dep.path) if dep.inside else None
            if made is None or made[0] in done or (self.root / made[1].path).exists():
                continue
            if not data.original(self.pipeline, made[1], self.root / made[1].path):
                workspace = self.pipeline.root / made[1].path  # not what dvc.lock says, but what there is
                if not workspace.exists():
                    return dep.path
                data.copy(workspace, self.root / made[1].path)
        return ""

    def run(self, stage: Stage) -> Observation:
        """Run a stage under watch, and compare."""
        observation = Observation(stage)
        self._clear_outputs(stage)
        before = self._files()
        for name in before:
            path = self.root / name
            os.utime(path, ns=(0, path.stat().st_mtime_ns))
        record, error = self._execute(stage, keys=True)
        if error is not None and any(record.parsed):  # perhaps it was our mapping that it did not like
            self._clear_outputs(stage)
            again, error = self._execute(stage, keys=False)
            record.unseen |= record.parsed
            record.opened |= again.opened
            record.listed |= again.listed
        touched = {name for name in before if self._touched(name)}
        self._check_reads(stage, record, before, observation)
        if error is not None:
            observation.failed = True
            observation.findings.insert(0, f"fails in a clean copy of the project: {error}")
            return observation
        self._check_writes(stage, before, observation)
        self._check_unused(stage, record, touched, observation)
        for file in stage.params:
            if file in self.params and file != libraries.FILE:  # which is declared, and read by DVC alone
                self._check_keys(stage, file, record, observation)
        for file in sorted((record.opened & self.params.keys()) - stage.params.keys()):
            self._check_keys(stage, file, record, observation)
        return observation

    def _clear_outputs(self, stage: Stage) -> None:
        for out in stage.outs:
            if not out.persist:
                data.remove(self.root / out.path)
            (self.root / out.path).parent.mkdir(parents=True, exist_ok=True)

    def _files(self) -> dict[str, tuple[int, int]]:
        found = {}
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in (".git", ".dvc", "__pycache__")]
            for name in names:
                path = Path(folder) / name
                state = path.lstat()
                found[path.relative_to(self.root).as_posix()] = (state.st_mtime_ns, state.st_size)
        return found

    def _touched(self, name: str) -> bool:
        try:
            return self.records_access and (self.root / name).stat().st_atime_ns > 0
        except OSError:
            return True

    def _execute(self, stage: Stage, keys: bool) -> tuple[_Record, str | None]:
        """Run the commands as DVC does; the second value is what was said when they failed."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        settings = self.folder / "settings.json"
        settings.write_text(
            json.dumps(
                {
                    "log": os.fspath(log),
                    "roots": [f"{self.copy.repository}{os.sep}", f"{self.pipeline.repository}{os.sep}"],
                    "params": {
                        f"{self.root / file}": watch.canonical(values) for file, values in self.params.items()
                    },
                    "keys": keys,
                    "environment": False,
                }
            )
        )
        error = None
        for command in stage.commands:
            for line in command.splitlines():
                error = error or self._run_line(stage, line, settings)
        return self._read(log), error

    def _run_line(self, stage: Stage, line: str, settings: Path) -> str | None:
        shell = os.environ.get("SHELL") or "/bin/sh"
        with tempfile.TemporaryFile(dir=self.folder) as output:
            process = subprocess.Popen(
                [shell, "-c", line],
                cwd=self.root / stage.wdir,
                env={
                    **processes.environment(self.pipeline.repository, self.copy),
                    "CHECKS_WATCH": os.fspath(settings),
                    "DVC_ROOT": os.fspath(self.root),
                    "DVC_STAGE": stage.name,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait()
            except BaseException:
                processes.stop(process)
                raise
            if status == 0:
                return None
            output.seek(0)
            words = output.read().decode("utf-8", "replace").strip().splitlines()
            return words[-1] if words else f"exit status {status}"

    def _read(self, log: Path) -> _Record:
        record = _Record()
        if not log.exists():
            return record
        for line in log.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            kind, path, *rest = json.loads(line)
            if not within(path, os.fspath(self.copy.repository)):
                if within(path, os.fspath(self.pipeline.repository)) and os.path.isfile(path):
                    record.workspace.add(self.pipeline.relative(path))
                continue
            name = os.path.relpath(path, self.root).replace(os.sep, "/")
            if kind in ("open", "list"):
                (record.opened if kind == "open" else record.listed).add(name)
            elif kind in ("key", "swept"):
                (record.keys if kind == "key" else record.swept).setdefault(name, set()).add(rest[0])
            else:
                (record.parsed if kind == "parsed" else record.unseen).add(name)
        return record

    def _check_reads(self, stage: Stage, record: _Record, before: Any, observation: Observation) -> None:
        declared = [dep.path for dep in stage.deps] + [out.path for out in stage.outs] + [*stage.params]
        for name in sorted(record.opened):
            base = name.rpartition("/")[2]
            if name.startswith((".git/", ".dvc/")) or base in DVC_FILES or base.endswith((".dvc", ".pyc")):
                continue
            if any(within(name, path) for path in declared) or name in self.params:
                continue
            if name in before or name.startswith("../"):
                observation.findings.append(f"opens {name}, which it declares nowhere")
            elif (self.pipeline.root / name).is_file() and not (self.root / name).exists():
                observation.findings.append(
                    f"looks for {name}, which it declares nowhere and Git does not keep"
                )
        for name in sorted(record.workspace):
            if name.startswith((".git/", ".dvc/")) or _is_environment(name):
                continue
            observation.findings.append(f"opens {name} by its absolute path: no clone will have it there")

    def _check_writes(self, stage: Stage, before: Any, observation: Observation) -> None:
        outs = [out.path for out in stage.outs]
        after = self._files()
        changed = sorted(
            name
            for name, state in after.items()
            if before.get(name) != state and not any(within(name, path) for path in outs)
        )
        ignored = subprocess.run(
            ["git", "check-ignore", "--stdin", "-z"],
            input="\0".join(changed),
            cwd=self.root,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        for name in changed:
            if name not in ignored:
                verb = "changes" if name in before else "leaves behind"
                observation.findings.append(f"{verb} {name}, which it declares nowhere")
        for name in sorted(before.keys() - after.keys()):
            if not any(within(name, path) for path in outs):
                observation.findings.append(f"deletes {name}, which it declares nowhere")
        absent = [path for path in outs if not (self.root / path).exists()]
        observation.findings += [f"does not make its output {path}" for path in absent]

    def _check_unused(
        self, stage: Stage, record: _Record, touched: set[str], observation: Observation
    ) -> None:
        code = _imported(self.pipeline, stage)
        used = record.opened | record.listed | touched
        started = commands.read(stage.commands, stage.wdir, self.pipeline.root, self.pipeline.repository)
        for dep in stage.deps:
            if not dep.inside or any(within(file, dep.path) for file in code):
                continue
            if dep.path.endswith(".py") and dep.path not in started.named:
                continue  # whether code is imported is told by `deps`, from the source
            if not any(within(name, dep.path) for name in used):
                observation.findings.append(f"never opens {dep.path}, which it declares")

    def _check_keys(self, stage: Stage, file: str, record: _Record, observation: Observation) -> None:
        declared = stage.params.get(file, ())
        interpolated = stage.interpolated.get(file, ())
        if file not in record.opened:
            unused = [
                key for key in declared or () if not any(effects.covers(name, key) for name in interpolated)
            ]
            if unused or (declared is None and not interpolated):
                what = (
                    f"parameters of which it declares: {', '.join(unused)}" if unused else "which it declares"
                )
                observation.findings.append(f"never opens {file}, {what}")
            return
        if declared is None:
            return
        keys, swept = record.keys.get(file, set()), record.swept.get(file, set())
        leaf_names = [key for key, _ in effects.leaves(self.params[file])]
        taken = {key for key in keys if not any(other.startswith(key + ".") for other in keys | swept)}
        allowed = (*declared, *interpolated)
        if file not in record.unseen and file in record.parsed and (taken or swept):
            undeclared = {key for key in taken | swept if not _known(key, allowed)}
            in_bulk = {
                key for key in undeclared if key in swept or any(effects.covers(key, a) for a in allowed)
            }
            strange = sorted(undeclared - in_bulk)
            for key in strange:
                observation.findings.append(f"reads {key} of {file}, which it does not declare")
            for key in declared:
                if not any(effects.covers(key, name) for name in (*taken, *swept, *interpolated)):
                    observation.findings.append(f"never reads {key} of {file}, which it declares")
            if not in_bulk:
                return
        undeclared = [key for key in leaf_names if not _known(key, allowed)]
        if undeclared:
            self._run_without(stage, file, allowed, observation)
        else:
            observation.notes.append(
                f"{file} is read in a way in which the keys are not seen; all are declared"
            )

    def _run_without(
        self, stage: Stage, file: str, allowed: tuple[str, ...], observation: Observation
    ) -> None:
        """Run on a params file of nothing but the declared keys; the outputs must stay what they are."""
        path = self.root / file
        if path.suffix == ".py":
            observation.notes.append(f"{file}: which of its keys are read cannot be told")
            return
        kept = self.folder / "kept"
        for out in stage.outs:
            (kept / out.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.root / out.path, kept / out.path)
        text = path.read_bytes()
        internals.writer(path)(os.fspath(path), _only(self.params[file], allowed))
        saved, self.params = self.params, {}
        try:
            self._clear_outputs(stage)
            _, error = self._execute(stage, keys=False)
        finally:
            self.params = saved
            path.write_bytes(text)
        if error is not None:
            observation.findings.append(
                f"needs keys of {file} that it does not declare; without them: {error}"
            )
        else:
            differ = [
                o.path for o in stage.outs if data.digest(self.root / o.path) != data.digest(kept / o.path)
            ]
            if differ:
                observation.findings.append(
                    f"writes a different {differ[0]} when the keys of {file} that it does not declare are "
                    "taken away: it reads them, or is not deterministic"
                )
        for out in stage.outs:
            data.remove(self.root / out.path)
            shutil.move(kept / out.path, self.root / out.path)
        shutil.rmtree(kept, ignore_errors=True)


def _is_environment(name: str) -> bool:
    """Whether a file of the workspace belongs to an environment, or an installed package, inside it."""
    parts = name.split("/")
    return bool({"site-packages", "dist-packages", "__pycache__"} & {*parts}) or any(
        part.endswith(("venv", ".egg-info", ".dist-info")) for part in parts
    )


def _known(key: str, allowed: tuple[str, ...]) -> bool:
    """Whether reading this key is covered by a declared one: the key itself, or what holds it."""
    return any(name == key or key.startswith(name + ".") for name in allowed)


def _only(values: dict[str, Any], allowed: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if _known(name, allowed):
            kept[key] = value
        elif isinstance(value, dict) and any(declared.startswith(name + ".") for declared in allowed):
            kept[key] = _only(value, allowed, name)
    return kept


def _imported(pipeline: Pipeline, stage: Stage) -> set[str]:
    code = imports.Code(pipeline.root, pipeline.repository)
    started = commands.read(stage.commands, stage.wdir, pipeline.root, pipeline.repository)
    walks = [imports.walk(program, code) for program in started.programs]
    return {file for walked in walks for file in walked.files}
