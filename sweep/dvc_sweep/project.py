"""The DVC project that a sweep is of: what its pipeline reads and writes, and whether the sweep fits it.

DVC itself is asked, in this process, about the files as they are in the workspace; which are those of the commit
that the trials start from, because anything else is refused.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from configobj import ConfigObj
from dvc.config import NoRemoteError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.refs import ExpRefInfo
from dvc.stage import PipelineStage
from dvc.utils.hydra import apply_overrides

from dvc_sweep.errors import BadInput
from dvc_sweep.git import GitError, git
from dvc_sweep.space import Sweep, nearest, shown, split
from dvc_sweep.trial import load, metric


@dataclass(frozen=True)
class Project:
    """A DVC project in a Git repository, at a commit."""

    root: Path  # of the DVC project
    repository: Path  # of the Git repository around it
    commit: str

    @property
    def subfolder(self) -> str:
        return os.path.relpath(self.root, self.repository)

    @property
    def sweeps(self) -> Path:
        """Where the state of all sweeps is kept; Git ignores it."""
        return self.root / ".dvc" / "tmp" / "sweeps"

    def experiment(self, name: str) -> str:
        """The ref that DVC has for an experiment from this commit."""
        return str(ExpRefInfo(self.commit, name))


def find(directory: str) -> Project:
    """The project in or above `directory`, at its last commit."""
    try:
        root = Path(Repo.find_root(directory)).resolve()
    except DvcException:
        raise BadInput(f"{directory}: is not in a DVC project; `dvc init` makes one") from None
    try:
        repository = Path(git("rev-parse", "--show-toplevel", cwd=root)).resolve()
        commit = git("rev-parse", "--verify", "HEAD^{commit}", cwd=root)
    except FileNotFoundError:
        raise BadInput("git is not installed") from None
    except GitError as error:
        raise BadInput(f"{root}: needs Git and a commit to start from ({error})") from None
    return Project(root, repository, commit)


def require_commit(project: Project) -> None:
    """Refuse changes that the trials would not see, and histories that cannot be cloned."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules", cwd=project.root)
    if changed:
        files = [line.split(maxsplit=1)[1] for line in changed.splitlines()]
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        raise BadInput(f"trials start from a commit, and not committed yet: {', '.join(files[:3])}{more}")
    if git("rev-parse", "--is-shallow-repository", cwd=project.root) == "true":
        raise BadInput("this clone is shallow, and DVC's experiments need it whole: `git fetch --unshallow`")


def _require_committed(project: Project, files: Iterable[str]) -> None:
    """Refuse files that Git does not know; changes of those that it knows are refused already."""
    for file in sorted(files):
        if not git("ls-files", "--", f":(literal){file}", cwd=project.root):
            raise BadInput(
                f"{file} is not committed, and trials run from the commit; `git add {file}`, and commit"
            )


def taken(project: Project, prefix: str) -> list[str]:
    """Names of experiments, of any commit, that trials of a sweep called `prefix` would have."""
    refs = git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps/*/*/*", cwd=project.repository)
    return [name for name in refs.splitlines() if re.fullmatch(re.escape(prefix) + r"-\d+", name)]


def cache(project: Project) -> str:
    """The absolute path of DVC's cache."""
    with Repo(str(project.root)) as repo:
        return os.path.abspath(repo.cache.local_cache_dir)


def require_remote(project: Project) -> None:
    """Refuse a project whose outputs have no way from one machine to another."""
    with Repo(str(project.root)) as repo:
        try:
            repo.cloud.get_remote(name=None)
        except NoRemoteError:
            raise BadInput(
                "machines that share no folder need a DVC remote: `dvc remote add --default …`"
            ) from None


def write_config(project: Project, path: Path) -> None:
    """Write the project's own settings for its clones, with the paths of local remotes made absolute."""
    merged: dict[str, dict[str, Any]] = {}
    with Repo(str(project.root)) as repo:
        for level in ("repo", "local"):
            found = cast("dict[str, dict[str, Any]]", repo.config.load_one(level))
            for section, values in found.items():
                if section == "remote":
                    for name, options in values.items():
                        merged.setdefault(f'remote "{name}"', {}).update(options)
                else:
                    merged.setdefault(section, {}).update(values)
    config = ConfigObj(encoding="utf-8")  # as DVC does: it quotes what has a # or a comma in it
    for section, values in merged.items():
        plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
        if plain:
            config[section] = plain
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        config.write(file)


def check(project: Project, sweep: Sweep) -> None:
    """Refuse a sweep that does not fit the pipeline: every line of it, before anything runs.

    Raises
    ------
    BadInput : naming the key of the sweep, and what is known instead
    """
    with contextlib.chdir(project.root), Repo(str(project.root)) as repo:
        if repo.config["core"].get("no_scm"):
            raise BadInput(
                "the project has core.no_scm, and DVC's experiments need Git; take that setting out"
            )
        stages = _stages(repo, sweep.target)
        _require_committed(project, {os.path.relpath(stage.dvcfile.path, project.root) for stage in stages})
        read = _read_by(stages, project.root)
        frozen = any(stage.frozen for stage in stages if isinstance(stage, PipelineStage))
        aside = ", frozen ones aside" if frozen else ""
        unread = f"no stage of {sweep.target or 'the pipeline'} depends on it{aside}"
        for where, keys in (("space", sweep.space), ("constants", sweep.constants)):
            for key in keys:
                _check_file(project, where, key)
                _check_key(project.root, where, key, read, unread)
        _require_committed(project, {split(key)[0] for key in (*sweep.space, *sweep.constants)})
        outputs = [Path(out.fs_path) for stage in stages for out in stage.outs]
        _check_output(project.root, outputs, "objective: file", sweep.objective.file)
        # A curve may be there as long as training runs, in a folder that Git ignores.
        if sweep.pruning and not repo.scm.is_ignored(str(project.root / sweep.pruning.curve)):
            _check_output(project.root, outputs, "pruning: curve", sweep.pruning.curve)
    metrics = project.root / sweep.objective.file
    if metrics.exists():
        value = metric(metrics, sweep.objective.key)
        if isinstance(value, str):
            document = load(metrics)
            hint = nearest(sweep.objective.key, _leaves(document)) if value.startswith("has no") else ""
            raise BadInput(f"objective: key: {sweep.objective.file} {value}{hint}")
    for point in sweep.corners():
        _check_values(project, point)


def _stages(repo: Repo, target: str | None) -> list[Any]:
    try:
        found = list(repo.stage.collect(target or "dvc.yaml", with_deps=True))
    except DvcException as error:
        hint = ""
        if target and Path("dvc.yaml").exists():
            with contextlib.suppress(DvcException):  # of a pipeline that cannot be read at all
                stages = repo.index.stages
                writers = [
                    one for one in stages for out in one.outs if out.fs_path == os.path.abspath(target)
                ]
                hint = nearest(target, [stage.addressing for stage in stages])
                hint = f"; it is an output of '{writers[0].addressing}'" if writers else hint
        reason = " ".join(str(error).split())
        raise BadInput(f"target: {target or 'dvc.yaml'}: {reason}{hint}") from None
    return found


def _read_by(stages: list[Any], root: Path) -> dict[str, set[str]]:
    """The parameters that the stages depend on, by file; '' stands for all of a file. Frozen stages never run."""
    read: dict[str, set[str]] = {}
    for stage in stages:
        if stage.frozen:
            continue
        for dependency in stage.deps:
            keys = getattr(dependency, "params", None)
            read.setdefault(os.path.relpath(dependency.fs_path, root), set()).update(keys or [""])
        if isinstance(stage, PipelineStage):
            names, files = _template(stage)
            for file in files:
                read.setdefault(os.path.relpath(file, root), set()).update(names)
    return read


def _template(stage: Any) -> tuple[list[str], list[str]]:
    """What a stage takes into its definition by `${…}`, without declaring it, and the files it may come from."""
    stages = stage.dvcfile.contents["stages"]
    definition = stages.get(stage.name) or stages[stage.name.rpartition("@")[0]]
    variables = definition.get("vars") or definition.get("do", {}).get("vars") or []
    own = [os.path.join(stage.wdir, one.partition(":")[0]) for one in variables if isinstance(one, str)]
    return re.findall(r"\$\{\s*([\w.-]+)", str(definition)), [*stage.dvcfile.resolver.context.imports, *own]


def _check_file(project: Project, where: str, key: str) -> None:
    """Refuse a parameter file that is not the clone's own in a clone: a trial would write into it."""
    file, _ = split(key)
    path = project.root / file
    if not path.resolve().is_relative_to(project.repository):
        raise BadInput(
            f"{where}: {key}: {file} is outside of the Git repository, and trials have clones of that"
        )
    if os.path.isabs(file) or (path.is_symlink() and os.path.isabs(path.readlink())):
        raise BadInput(f"{where}: {key}: {file} has an absolute path; give it relative to the project")


def _check_key(root: Path, where: str, key: str, read: dict[str, set[str]], unread: str) -> None:
    file, name = split(key)
    path = root / file
    try:
        document = load(path)
    except (DvcException, OSError) as error:
        raise BadInput(f"{where}: {key}: {file} cannot be read: {error}") from None
    keys = list(_leaves(document))
    if name not in keys:
        raise BadInput(f"{where}: {key}: {file} has no such key{nearest(name, keys)}")
    declared = read.get(file, set())
    if not any(
        one in ("", name) or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in declared
    ):
        raise BadInput(f"{where}: {key}: {unread}")


def _leaves(document: Any, prefix: str = "") -> list[str]:
    """The dotted keys of a document, of branches and of leaves."""
    found = []
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in items:
        found.append(f"{prefix}{key}")
        found += _leaves(value, f"{prefix}{key}.")
    return found


def _check_output(root: Path, outputs: list[Path], where: str, file: str) -> None:
    path = Path(os.path.normpath(root / file))
    if not any(path == output or output in path.parents for output in outputs):
        names = [os.path.relpath(output, root) for output in outputs]
        raise BadInput(f"{where}: {file}: no stage of the target writes it{nearest(file, names)}")


def override(key: str, value: Any) -> str:
    """The argument of `dvc exp run --set-param` that sets `key` to `value`, in Hydra's grammar."""
    return f"{key}={_literal(value)}"


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # A backslash stands for itself unless a quote follows the run of them.
        text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", value)
        return "'" + re.sub(r"(\\+)$", lambda found: found[1] * 2, text) + "'"
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_literal(one)}" for key, one in value.items()) + "}"
    return repr(value)


def apply(root: Path, point: dict[str, Any], where: Path) -> None:
    """Write the values of `point` into copies, under `where`, of the parameter files under `root`, as DVC would."""
    for key, value in point.items():
        file, name = split(key)
        copy = Path(os.path.normpath(where / file))
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, copy)
        try:
            apply_overrides(str(copy), [override(name, value)])
        except DvcException as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise BadInput(f"{key}: dvc refuses {shown(value)}: {reason}") from None
        found = load(copy)
        for part in name.split("."):
            found = found[int(part)] if isinstance(found, list) else found[part]
        if found != value and not (isinstance(value, dict) and found.items() >= value.items()):
            raise BadInput(f"{key}: {shown(value)} would arrive as {shown(found)}")


def _check_values(project: Project, point: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Laid out as the repository is: a parameter file may be above the project.
        apply(project.root, point, Path(folder) / project.subfolder)


def ask_pipeline(project: Project, sweep: Sweep) -> None:
    """Run the sweep's own `check` on parameter files with every choice, and both ends of every range."""
    if sweep.check is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        git("clone", "--quiet", "--no-tags", str(project.repository), str(clone), cwd=folder)
        root = clone / project.subfolder
        for point in sweep.corners():
            git("reset", "--quiet", "--hard", project.commit, cwd=clone)
            apply(root, point, root)
            finished = subprocess.run(  # noqa: S602  (a line of its user's own file, as a stage's cmd is)
                sweep.check,
                shell=True,
                cwd=root,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
            if finished.returncode:
                lines = [line for line in (finished.stdout + finished.stderr).splitlines() if line.strip()]
                raise BadInput(
                    f"space: the check refuses it: {lines[-1] if lines else f'exit status {finished.returncode}'}"
                )
