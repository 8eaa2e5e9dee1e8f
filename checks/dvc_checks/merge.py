"""`dvc-checks merge`: two branches changed dvc.lock; what is true of both?

A text merge of dvc.lock joins lines. This one asks, stage by stage and from the
sources on, which of the recorded runs (ours, theirs, the base's) is a run of the
*merged* project: the command, parameters, code and data that it read are those of
the merge. Such an entry stays. A stage without one is dropped, so that `dvc repro`
runs exactly the dropped stages. `lock` checks both.
"""

import os
import posixpath
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc_checks import effects, internals, lock, snapshot
from dvc_checks.errors import BadInput
from dvc_checks.output import count
from dvc_checks.pipeline import Pipeline, load, root_of, within
from dvc_checks.stages import Stage

DRIVER = "dvc-lock"  # its name in Git's configuration
ATTRIBUTE = f"dvc.lock merge={DRIVER}"
SIDES = {"base": 1, "ours": 2, "theirs": 3}  # with Git's numbers for the stages of its index


@dataclass
class Versions:
    """The three versions of one dvc.lock, as documents; an empty one for a file that is not there."""

    base: Any
    ours: Any
    theirs: Any

    def entry(self, side: str, stage: str) -> Any:
        return (getattr(self, side).get("stages") or {}).get(stage)

    def sides(self, stage: str) -> list[str]:
        """Where to look for an entry: the side that alone changed it first, then ours, theirs, the base."""
        base, ours, theirs = (self.entry(side, stage) for side in SIDES)
        return ["theirs", "ours", "base"] if ours == base != theirs else ["ours", "theirs", "base"]


@dataclass
class Merged:
    """One merged dvc.lock."""

    file: str
    text: str = ""
    taken: dict[str, str] = field(default_factory=dict)  # stage: "both", "ours", "theirs" or "base"
    dropped: dict[str, str] = field(default_factory=dict)  # stage: why no entry is true of it


class NotYet(BadInput):
    """The merge of dvc.lock has to wait for something else."""

    exit_code = 1


def parse(text: str, name: str) -> Any:
    """A dvc.lock as a document that keeps the form of its numbers.

    Raises
    ------
    BadInput : for anything else, such as a file with conflict markers
    """
    from ruamel.yaml import YAML, YAMLError

    try:
        document = YAML(typ="rt").load(text) or {}
    except (YAMLError, ValueError):
        document = None
    if document is None or (document and not internals.is_lock(document)):
        raise BadInput(f"{name} is not a whole dvc.lock")
    return document


def merge(
    pipeline: Pipeline,
    versions: dict[str, Versions],
    conflicts: dict[str, dict[int, str]] | None = None,
) -> list[Merged]:
    """Merge some dvc.lock files of a project whose other files are merged already.

    Parameters
    ----------
    pipeline : the merged project; what it says of hashes is overwritten
    versions : for each dvc.lock to be merged, relative to the root, its versions
    conflicts : outputs that Git keeps and could not merge: blobs by their stage in Git's index.
        They are set to the version that belongs to the entry taken, ours where there is none.
    """
    found = {file: Merged(file) for file in versions}
    for stage in pipeline.upstream(pipeline.stages):
        file = _lock_file(stage)
        if file in versions:
            _choose(pipeline, stage, versions, found[file], conflicts or {})
    for file, merged in found.items():
        merged.text = _written(versions[file], merged, [s for s in pipeline.stages if _lock_file(s) == file])
    return list(found.values())


def _lock_file(stage: Stage) -> str:
    return posixpath.join(posixpath.dirname(stage.file), "dvc.lock")


def _choose(
    pipeline: Pipeline,
    stage: Stage,
    versions: dict[str, Versions],
    merged: Merged,
    conflicts: dict[str, dict[int, str]],
) -> None:
    """Leave `stage` filled with the first entry that is true; the stages it reads from are settled."""
    mine = versions[merged.file]
    disputed = {
        path: blobs for path, blobs in conflicts.items() if any(within(path, o.path) for o in stage.outs)
    }
    reason = "no version of dvc.lock has it"
    tried: list[Any] = []
    for side in mine.sides(stage.key):
        entry = mine.entry(side, stage.key)
        if entry is None or (entry in tried and not disputed):
            continue
        stage = _fill(pipeline, stage, entry)
        _put(pipeline.root, disputed, SIDES[side])
        verdict = lock.Verdict()
        lock.check_stage(pipeline, stage, entry, verdict)
        whys = sorted((found.what for found in verdict.findings), key=lambda why: why.startswith("output "))
        why = whys[0] if whys else _in_doubt(pipeline, stage, side, versions)
        if not why:
            ours, theirs = mine.entry("ours", stage.key), mine.entry("theirs", stage.key)
            merged.taken[stage.key] = "both" if ours == theirs else side
            return
        if not tried:
            reason = why
        tried.append(entry)
    if tried:
        merged.dropped[stage.key] = reason
    _fill(pipeline, stage, {})
    _put(pipeline.root, disputed, SIDES["ours"])


def _fill(pipeline: Pipeline, stage: Stage, entry: Any) -> Stage:
    place = pipeline.stages.index(stage)
    pipeline.stages[place] = internals.filled(pipeline.dvc, stage, entry)
    return pipeline.stages[place]


def _put(root: Path, disputed: dict[str, dict[int, str]], side: int) -> None:
    for path, blobs in disputed.items():
        target = root / path
        if side in blobs:
            content = subprocess.run(["git", "cat-file", "blob", blobs[side]], cwd=root, capture_output=True)
            _write(target, content.stdout)
        else:
            target.unlink(missing_ok=True)


def _in_doubt(pipeline: Pipeline, stage: Stage, side: str, versions: dict[str, Versions]) -> str:
    """Why an entry that nothing contradicts is still not known to be true.

    A folder that holds several outputs, or is a part of one, has a hash that cannot be compared with
    theirs. It is the one of this entry's version if those outputs are.
    """
    for dep in () if stage.frozen else stage.deps:
        for maker, out in pipeline.outputs() if dep.inside else ():
            if not (within(dep.path, out.path) or within(out.path, dep.path)):
                continue
            if dep.path == out.path and dep.hash and out.hash and dep.hash.value == out.hash.value:
                continue
            if within(dep.path, out.path) and lock.inside(out, dep.path) is not None:
                continue  # `lock` has compared it
            known = None
            if isinstance(maker, Stage) and _lock_file(maker) in versions:
                entry = versions[_lock_file(maker)].entry(side, maker.key) or {}
                known = next((o for o in entry.get("outs", ()) if o["path"] == out.written), None)
            if not out.hash or known is None or out.hash.value not in known.values():
                name = maker.name if isinstance(maker, Stage) else maker.file
                return f"dependency {dep.path} cannot be compared with what {name} wrote"
    return ""


def _written(versions: Versions, merged: Merged, stages: list[Stage]) -> str:
    """The merged file, in the order of ours; what only theirs has comes after."""
    document: dict[str, Any] = {"schema": "2.0"}
    if datasets := _datasets(versions):
        document["datasets"] = datasets
    names = [
        name for side in ("ours", "theirs", "base") for name in getattr(versions, side).get("stages") or {}
    ]
    document["stages"] = {
        name: versions.entry("ours" if merged.taken[name] == "both" else merged.taken[name], name)
        for name in dict.fromkeys(names)
        if name in merged.taken
    }
    return internals.in_form(document)


def _datasets(versions: Versions) -> list[Any]:
    """What `dvc ds` keeps in dvc.lock: the side that changed it; ours where both did."""
    base, ours, theirs = ({d["name"]: d for d in getattr(versions, s).get("datasets") or ()} for s in SIDES)
    chosen = {
        name: theirs.get(name) if ours.get(name) == base.get(name) else ours.get(name)
        for name in dict.fromkeys([*ours, *theirs])
    }
    return [dataset for dataset in chosen.values() if dataset]


def shown(merged: Merged) -> list[str]:
    """What was merged, as lines for a terminal."""
    sides = {
        side: [name for name, whence in merged.taken.items() if whence == side]
        for side in ("both", "ours", "theirs", "base")
    }
    parts = [f"{len(names)} from {side}" for side, names in sides.items() if names]
    summary = f"merge: {merged.file}: {', '.join(parts) or 'no stage is true of the merge'}"
    if not merged.dropped:
        return [summary]
    lines = [f"  dropped   {name}   {reason}" for name, reason in merged.dropped.items()]
    return [f"{summary}; `dvc repro` reruns {count(len(merged.dropped), 'stage')}", *lines]


def files(directory: str, base: str, ours: str, theirs: str, path: str) -> Merged:
    """Merge three versions of the dvc.lock at `path` into `ours`, for the project as it stands."""
    project = load(directory)
    versions = Versions(*(parse(_read(name), name) for name in (base, ours, theirs)))
    (merged,) = merge(project, {path: versions})
    _write(Path(ours), merged.text.encode())
    return merged


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{name} is not a dvc.lock: it is not text") from None


def _write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(name, path.stat().st_mode if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def settle(directory: str) -> tuple[list[Merged], list[str]]:
    """Merge every dvc.lock that a merge of Git's has left in conflict, and `git add` it.

    Conflicts in outputs that Git keeps (metrics, plots) are settled along with the stage that
    writes them.

    Returns
    -------
    the merged files, and the outputs that were settled

    Raises
    ------
    NotYet : when what the stages depend on is in conflict too
    """
    root = root_of(directory)
    unmerged: dict[str, dict[int, str]] = {}
    for line in filter(None, snapshot.git("ls-files", "--unmerged", "-z", cwd=root).split("\0")):
        state, _, path = line.partition("\t")
        _, blob, number = state.split()
        unmerged.setdefault(path, {})[int(number)] = blob
    locks = [path for path in unmerged if posixpath.basename(path) == "dvc.lock"]
    if not unmerged:
        return [], []
    before = {path: (root / path).read_bytes() for path in locks if (root / path).exists()}
    versions = {path: _versions(root, path, unmerged[path]) for path in locks}
    try:
        for path in locks:  # DVC cannot read the project while it holds conflict markers
            _put(root, {path: unmerged[path]}, SIDES["ours"])
        try:
            project = load(root)
        except BadInput as error:
            raise NotYet(_settle_first([p for p in unmerged if p not in locks]) or str(error)) from None
        disputed = {path: blobs for path, blobs in unmerged.items() if path not in locks}
        if waiting := _waiting(project, disputed):
            raise NotYet(_settle_first(waiting))
        disputed = {p: blobs for p, blobs in disputed.items() if any(_makes(s, p) for s in project.stages)}
        for stage in project.stages:
            file = _lock_file(stage)
            if file not in versions and any(_makes(stage, path) for path in disputed):
                document = parse(_read(os.fspath(root / file)), file) if (root / file).exists() else {}
                versions[file] = Versions(document, document, document)
        merged = merge(project, versions, disputed)
        for result in merged:
            _write(root / result.file, result.text.encode())
    except BaseException:
        for path, content in before.items():
            _write(root / path, content)
        raise
    snapshot.git("add", "--", *versions, *disputed, cwd=root)
    return merged, list(disputed)


def _versions(root: Path, path: str, blobs: dict[int, str]) -> Versions:
    texts = (
        snapshot.git("cat-file", "blob", blobs[number], cwd=root) if number in blobs else ""
        for number in SIDES.values()
    )
    return Versions(*(parse(text, f"{path} ({side})") for side, text in zip(SIDES, texts, strict=True)))


def _makes(stage: Stage, path: str) -> bool:
    return any(within(path, out.path) for out in stage.outs)


def _settle_first(paths: list[str]) -> str:
    if not paths:
        return ""
    return f"{', '.join(paths)}: in conflict; settle that first, `git add` it, and run `dvc-checks merge`"


def _waiting(project: Pipeline, paths: "list[str] | dict[str, Any]") -> list[str]:
    """Those of the paths that decide what is true of the stages."""
    used = {*effects.params_files(project)}
    for stage in project.stages:
        used |= {stage.file, *(dep.path for dep in stage.deps if dep.inside)}
    return [
        path
        for path in paths
        if (path.endswith((".dvc", "dvc.yaml")) or any(within(path, name) for name in used))
        and not any(_makes(stage, path) for stage in project.stages)
    ]


def drive(path: str, base: str, ours: str, theirs: str) -> Merged:
    """Git's merge driver: merge three files into `ours`, for the project as this merge will make it.

    Git calls it in the top folder of the work tree, in the middle of a merge: the workspace does not
    hold the other files' merge yet. So Git is asked to merge the same commits once more, into objects.

    Raises
    ------
    NotYet : when the merged project cannot be told or is not whole; `ours` is left as it was
    """
    for name in snapshot.git("rev-parse", "--local-env-vars", cwd=".").split():
        os.environ.pop(name, None)
    found = _merged_tree(path, base, ours, theirs)
    if found is None:
        raise NotYet("which commits are being merged cannot be told; finish it with `dvc-checks merge`")
    tree, conflicts, sides = found
    identity = ("-c", "user.name=dvc-checks", "-c", "user.email=dvc-checks@localhost")
    commit = snapshot.git(*identity, "commit-tree", tree, "-m", "merged", cwd=".").strip()
    start = _existing(Path(path).parent)
    with snapshot.clone(start, commit, cache=True) as copy:
        prefix = os.path.relpath(root_of(start), ".")
        inside = {posixpath.relpath(name, prefix) for name in conflicts if within(name, prefix)}
        try:
            project = load(copy.root)
        except BadInput as error:
            raise NotYet(_settle_first(sorted(inside)) or f"the merged project: {error}") from None
        if waiting := _waiting(project, sorted(inside)):
            raise NotYet(_settle_first(waiting))
        versions = dict(_locks_of(project, prefix, sides))
        mine = posixpath.relpath(path, prefix)
        versions[mine] = Versions(*(parse(_read(name), path) for name in (base, ours, theirs)))
        (merged,) = [result for result in merge(project, versions) if result.file == mine]
    _write(Path(ours), merged.text.encode())
    return merged


def _existing(folder: Path) -> Path:
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _locks_of(project: Pipeline, prefix: str, sides: tuple[str, str, str]) -> Iterator[tuple[str, Versions]]:
    """The project's dvc.lock files that changed on both sides: they are merged together."""
    for file in dict.fromkeys(_lock_file(stage) for stage in project.stages):
        name = posixpath.normpath(posixpath.join(prefix, file))
        blobs = [_blob(f"{side}:{name}") for side in sides]
        if len(set(blobs)) == len(blobs):
            numbered = {number: blob for number, blob in zip(SIDES.values(), blobs, strict=True) if blob}
            yield file, _versions(Path.cwd(), file, numbered)


def _blob(name: str) -> str:
    run = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", name], capture_output=True, text=True
    )
    return run.stdout.strip() if run.returncode == 0 else ""


def _merged_tree(
    path: str, base: str, ours: str, theirs: str
) -> tuple[str, list[str], tuple[str, str, str]] | None:
    """What Git makes of the merge that is under way: its tree, its conflicts, and the three sides.

    Git does not tell a driver which commits it merges, except in `git merge`. They are known by the
    dvc.lock that they hold.
    """
    base_blob, ours_blob, theirs_blob = snapshot.git("hash-object", base, ours, theirs, cwd=".").split()
    base_blob = base_blob if Path(base).stat().st_size else ""
    if _blob(f"HEAD:{path}") != ours_blob:
        return None
    heads = [name.removeprefix("GITHEAD_") for name in os.environ if name.startswith("GITHEAD_")]
    heads = [head for head in heads if _blob(f"{head}:{path}") == theirs_blob]
    if len(heads) == 1:
        bases = snapshot.git("merge-base", "HEAD", heads[0], cwd=".").split()
        merged = _merge_tree("HEAD", heads[0])
        return (*merged, (bases[0], "HEAD", heads[0])) if merged else None
    changes = list(_changes(path, base_blob, theirs_blob))
    if len(changes) != 1:
        return None
    before, after = changes[0]
    commits = [_commit(before), _commit("HEAD"), _commit(after)]
    identity = ("-c", "user.name=dvc-checks", "-c", "user.email=dvc-checks@localhost")
    parents = commits[0]
    two = [
        snapshot.git(*identity, "commit-tree", f"{c}^{{tree}}", "-p", parents, "-m", "side", cwd=".").strip()
        for c in commits[1:]
    ]
    merged = _merge_tree(*two)
    return (*merged, (commits[0], commits[1], commits[2])) if merged else None


def _commit(name: str) -> str:
    return snapshot.git("rev-parse", "--verify", f"{name}^{{commit}}", cwd=".").strip()


def _changes(path: str, base: str, theirs: str) -> Iterator[tuple[str, str]]:
    """The changes (before, after) that a rebase, a cherry-pick or a revert may be applying."""
    done = Path(snapshot.git("rev-parse", "--git-path", "rebase-merge/done", cwd=".").strip())
    if done.exists() and (words := (done.read_text().splitlines() or [""])[-1].split()[1:2]):
        commits = words
    else:
        listed = snapshot.git(
            *("log", "--all", "--reflog", "--format=%H", f"--find-object={theirs}", "--", path), cwd="."
        )
        commits = listed.split()
    seen = set()
    for commit in commits:
        for parent in snapshot.git("rev-parse", f"{commit}^@", cwd=".").split():
            for before, after in ((parent, commit), (commit, parent)):
                if (_blob(f"{before}:{path}"), _blob(f"{after}:{path}")) == (base, theirs):
                    trees = _blob(f"{before}^{{tree}}"), _blob(f"{after}^{{tree}}")
                    if trees not in seen:
                        seen.add(trees)
                        yield before, after


def _merge_tree(ours: str, theirs: str) -> tuple[str, list[str]] | None:
    """The tree that Git makes of two commits, and the files in conflict; dvc.lock is left as ours."""
    run = subprocess.run(
        ["git", "-c", f"merge.{DRIVER}.driver=true", "merge-tree", "--write-tree", "--name-only"]  # noqa: RUF005
        + ["--no-messages", "-z", ours, theirs],
        capture_output=True,
        text=True,
    )
    if run.returncode not in (0, 1):  # Git older than 2.38
        return None
    tree, *names = run.stdout.split("\0")
    return tree, [name for name in names if name]


def install(directory: str) -> list[str]:
    """Make Git call this for every dvc.lock of the project; a line for each thing that was written."""
    root = root_of(directory)
    lines = []
    attributes = root / ".gitattributes"
    text = attributes.read_text(encoding="utf-8") if attributes.exists() else ""
    if not re.search(rf"^dvc\.lock\s.*\bmerge={DRIVER}\b", text, re.MULTILINE):
        start = text if not text or text.endswith("\n") else f"{text}\n"
        _write(attributes, f"{start}{ATTRIBUTE}\n".encode())
        lines.append(f".gitattributes: {ATTRIBUTE} (commit it: it is for everybody)")
    command = f"{shlex.quote(sys.executable)} -P -m dvc_checks merge --driver %P %O %A %B"
    wanted = {
        "name": "dvc.lock by what is true of the merged project (dvc-checks)",
        "driver": command,
        "recursive": "binary",  # of several merge bases, any one will do: it decides no more than an order
    }
    for key, value in wanted.items():
        snapshot.git("config", f"merge.{DRIVER}.{key}", value, cwd=root)
    lines.append(f".git/config: merge.{DRIVER} (each clone runs `dvc-checks merge --install` once)")
    return lines
