"""What this package takes from DVC beyond what DVC documents, all of it here.

DVC promises its command line and its files, and of Python `dvc.api`. The stages as
it expands them, its hashes and its remotes are to be had only from the inside.
`tests/test_internals.py` goes through these functions one by one and says which
version of DVC broke what; CI runs it on the oldest DVC, one in the middle and the
newest.
"""

import copy
import getpass
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ruamel.yaml.error import YAMLError

from dvc_checks import fastyaml
from dvc_checks.errors import BadInput
from dvc_checks.stages import Dependency, Hash, Output, Source, Stage

Project = Any  # dvc.repo.Repo
Store = Any  # dvc_data.hashfile.db.HashFileDB: a cache, or a remote
LARGE = 2**20  # bytes


def open_project(start: str | os.PathLike[str], locks: bool = True) -> Project:
    """Open the DVC project around a folder, and have DVC check its graph for cycles and overlapping outputs.

    Without `locks`, dvc.lock is not read, which saves most of the time: no output has a hash then.

    Raises
    ------
    BadInput : when there is none, or DVC cannot read it
    """
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    with errors_in_one_line(), _quick_yaml(), _quick_stages(locks):
        root = Repo.find_root(os.fspath(start))
        with chdir(root):  # DVC tells paths relative to the current folder
            project = Repo(root)
            project.index.check_graph()
            return project


@contextmanager
def _instead(*parts: tuple[Any, str, Any]) -> Iterator[None]:
    """Put something else in the place of parts of DVC: (object, name of its attribute, what it is meanwhile)."""
    before = [getattr(of, name) for of, name, _ in parts]
    for of, name, other in parts:
        setattr(of, name, other)
    try:
        yield
    finally:
        for (of, name, _), own in zip(parts, before, strict=True):
            setattr(of, name, own)


@contextmanager
def _quick_yaml(load: Callable[[str], Any] = fastyaml.load) -> Iterator[None]:
    """DVC reads YAML by `fastyaml`."""
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    slow = _yaml.parse_yaml

    def parse_yaml(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return slow(text, path, typ)
        try:
            return load(text) or {}
        except YAMLError as error:
            raise _yaml.YAMLFileCorruptedError(path) from error

    with _instead((_yaml, "parse_yaml", parse_yaml), (strictyaml, "parse_yaml", parse_yaml)):
        yield


@contextmanager
def _quick_stages(locks: bool) -> Iterator[None]:
    """DVC does once what it does for each stage anew, and reads no dvc.lock if it is not wanted.

    It compiles its schema for each stage, and makes out for each dependency of each that a path is a local one,
    and where it is. And a stage forgets the file that it was read from, with its dvc.lock.
    """
    from dvc import dependency, output
    from dvc import schema as schemas
    from dvc.dvcfile import Lockfile
    from dvc.stage.loader import StageLoader

    compile_schema, get_dependency, get_fs = schemas.vol.Schema, dependency._get, output.get_cloud_fs
    get_stage = StageLoader.__getitem__
    compiled: dict[int, tuple[Any, Any]] = {}  # by the id of what it was compiled from, which is kept with it
    known: dict[tuple[str, str], Any] = {}
    local: list[Any] = []

    def schema(of: Any) -> Any:
        if id(of) not in compiled:
            compiled[id(of)] = of, compile_schema(of)
        return compiled[id(of)][1]

    def dependency_of(stage: Any, path: str, info: Any, **more: Any) -> Any:
        if info or any(more.values()):
            return get_dependency(stage, path, info, **more)
        at = stage.wdir, path
        if at not in known:
            found = get_dependency(stage, path, info, **more)
            if type(found) is not dependency.Dependency:
                return found
            known[at] = found
        found = copy.copy(known[at])
        found.stage = stage
        return found

    def fs_of(config: Any, **settings: Any) -> Any:
        url = settings["url"]
        if len(settings) > 1 or ":" in url or os.path.isabs(url):
            return get_fs(config, **settings)
        if not local:
            found: Any = get_fs(config, url=url)
            local.append(found[0](**found[1]))
        return lambda: local[0], {}, local[0]._strip_protocol(url)

    def stage_of(loader: Any, name: str) -> Any:
        stage = get_stage(loader, name)
        stage.dvcfile = loader.dvcfile
        return stage

    with _instead(
        (schemas, "vol", SimpleNamespace(**{**vars(schemas.vol), "Schema": schema})),
        (dependency, "_get", dependency_of),
        (output, "get_cloud_fs", fs_of),
        (StageLoader, "__getitem__", stage_of),
        (Lockfile, "_load", Lockfile._load if locks else lambda *_, **__: ({}, "")),
    ):
        yield


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Whatever DVC meets while it reads a project becomes one line: what it reads may hold anything."""
    from dvc.exceptions import DvcException

    try:
        yield
    except BadInput:
        raise
    except DvcException as error:
        raise BadInput(str(error)) from None
    except RecursionError:
        raise BadInput("something in this project is nested too deeply to be read") from None
    except Exception as error:
        raise BadInput(f"DVC cannot read this project: {type(error).__name__}: {error}") from None


def root(project: Project) -> Path:
    """The folder of the project."""
    return Path(project.root_dir)


def repository(project: Project) -> Path:
    """The work tree of Git around the project; the project's own folder where there is no Git."""
    return Path(getattr(project.scm, "root_dir", project.root_dir))


def makers(project: Project) -> Iterator[Stage | Source]:
    """The stages, and the `.dvc` files, in the order in which DVC lists them."""
    relative = _relative_to(project)
    for stage in project.index.stages:
        if hasattr(stage, "name"):
            yield _stage(stage, relative)
        else:
            outs = tuple(_output(out, relative) for out in stage.outs)
            yield Source(relative(stage.path), outs)


def _relative_to(project: Project) -> Callable[[str], str]:
    return lru_cache(maxsize=None)(lambda path: Path(os.path.relpath(path, project.root_dir)).as_posix())


def _stage(stage: Any, relative: Callable[[str], str]) -> Stage:
    file = relative(stage.path)
    params: dict[str, tuple[str, ...] | None] = {}
    deps = []
    around = os.path.join(repository(stage.repo), "")
    from_params = {id(dep) for dep in stage.params}
    for dep in stage.deps:
        if id(dep) in from_params:
            keys = params.setdefault(relative(dep.fs_path), ())
            params[relative(dep.fs_path)] = (*keys, *dep.params) if dep.params and keys is not None else None
        else:
            # A project in a folder of a repository may well run the code around it.
            inside = dep.fs.protocol == "local" and os.path.join(dep.fs_path, "").startswith(around)
            path = relative(dep.fs_path) if inside else str(dep.def_path)
            deps.append(Dependency(path, str(dep.def_path), inside, _hash(dep), dep))
    return Stage(
        name=stage.name if file == "dvc.yaml" else f"{file}:{stage.name}",
        file=file,
        key=stage.name,
        entry=stage.raw_data.generated_from or stage.name,
        commands=tuple(stage.cmd if isinstance(stage.cmd, list) else [stage.cmd]),
        wdir=relative(stage.wdir),
        deps=tuple(deps),
        outs=tuple(_output(out, relative) for out in stage.outs),
        params=params,
        interpolated={
            relative(os.path.join(stage.repo.root_dir, name)): tuple(keys)
            for name, keys in stage.tracked_vars.items()
        },
        frozen=bool(stage.frozen),
        always_changed=bool(stage.always_changed),
        dvc=stage,
    )


def _output(out: Any, relative: Callable[[str], str]) -> Output:
    inside = bool(out.is_in_repo)
    return Output(
        path=relative(out.fs_path) if inside else str(out.def_path),
        written=str(out.def_path),
        inside=inside,
        cached=bool(out.use_cache),
        kind="metric" if out.metric else "plot" if out.plot else "out",
        pushed=bool(out.can_push and out.use_cache),
        remote=out.remote,
        persist=bool(out.persist),
        hash=_hash(out),
        dvc=out,
    )


def _hash(entry: Any) -> Hash | None:
    return Hash(entry.hash_info.name, str(entry.hash_info.value)) if entry.hash_info else None


def graph(project: Project) -> Any:
    """The graph of DVC's own stages (networkx; an edge leads from a stage to one it needs)."""
    return project.index.graph


def top_level_metrics(project: Project) -> Iterator[tuple[str, str]]:
    """What `metrics:` at the top of a dvc.yaml lists: (path of that dvc.yaml, name)."""
    for file, names in project.index._metrics.items():
        yield from ((file, name) for name in names)


def expansions(stage: Stage) -> Iterator[tuple[str, str, Callable[[str], tuple[str, str] | None]]]:
    """Of the dvc.yaml of this stage: each `foreach` or `matrix` with the text it goes over.

    The third value tells where a key of that text comes from: (params file, its full key).
    """
    from dvc.parsing.context import ContextError

    def whence(definition: Any, key: str) -> tuple[str, str] | None:
        try:
            meta = definition.context.select(key).meta
        except (ContextError, ValueError):
            return None
        return (os.path.abspath(meta.source), meta.path()) if meta and meta.source else None

    for entry, definition in stage.dvc.dvcfile.resolver.definitions.items():
        over = getattr(definition, "foreach_data", None) or getattr(definition, "matrix_data", None)
        yield entry, str(over or ""), lambda key, definition=definition: whence(definition, key)


def locked(stage: Stage) -> dict[str, dict[str, Any]]:
    """The stages in the dvc.lock beside this stage's dvc.yaml, by their keys."""
    return stage.dvc.dvcfile.lockfile_contents.get("stages", {})


def filled(project: Project, stage: Stage, entry: dict[str, Any]) -> Stage:
    """The stage with the hashes and parameters of another entry of dvc.lock; that of before is not to be used."""
    from dvc.stage.loader import StageLoader

    for item in (*stage.dvc.deps, *stage.dvc.outs):
        item.hash_info, item.files = type(item.hash_info)(), None
    StageLoader.fill_from_lock(stage.dvc, entry or {"cmd": ""})  # it would not look at nothing
    return _stage(stage.dvc, _relative_to(project))


def params_moved(
    stage: Stage,
) -> Iterator[tuple[str, tuple[str, ...], dict[str, str] | None, dict[str, Any]]]:
    """For each params file of a stage: its name as written, the keys declared (none for the whole file), the
    keys that differ from dvc.lock as "new", "deleted" or "modified" (None: the file does not exist), and
    the values that it has now."""
    for dep in stage.dvc.params:
        declared = tuple(dep.params or ())
        if not dep.exists:
            yield dep.def_path, declared, None, {}
        else:
            with _quick_yaml(_remembered):
                values = _values(dep)
                dep.read_params = lambda values=values: values
                status = dep.workspace_status().get(str(dep), {})
            yield dep.def_path, declared, status if isinstance(status, dict) else {}, values


# Each stage has DVC read the whole file again, for some of its keys.
_remembered = lru_cache(maxsize=1)(fastyaml.load)


def _values(dep: Any) -> dict[str, Any]:
    """What `dep.read_params()` gives, which goes through the whole file for each key."""
    whole = type(dep)(dep.stage, dep.fs_path, None, dep.repo).read_params()
    found: dict[str, Any] = {}
    for key in dep.params:
        value: Any = whole
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return dep.read_params()  # of a list, or with wildcards: for DVC to say
            value = value[part]
        found[key] = value
    return found or whole


def command(stage: Stage) -> Any:
    """What dvc.yaml says the stage runs: a text, or a list of them."""
    return stage.dvc.cmd


def is_there(entry: Output | Dependency) -> bool:
    """Whether the file or folder exists, and `.dvcignore` does not hide it."""
    return bool(entry.dvc.exists)


def hash_now(entry: Output | Dependency) -> Hash | None:
    """The hash of what is in the workspace. DVC remembers that of a large file; for a small one it does too much."""
    from dvc_data.hashfile.hash import hash_file

    item = entry.dvc
    found: Any
    status = item.fs.info(item.fs_path)
    if status["type"] == "file" and status["size"] < LARGE:
        _, found = hash_file(item.fs_path, item.fs, item.hash_name, info=status)
    else:
        found = item.get_hash()
    return Hash(found.name, str(found.value)) if found else None


def differs_in_line_ends(entry: Output | Dependency) -> bool:
    """Whether a file, which is not what dvc.lock says, would be with the line ends of another system."""
    item, locked = entry.dvc, entry.hash
    if locked is None or locked.name != "md5" or item.fs.isdir(item.fs_path):
        return False
    with item.fs.open(item.fs_path, "rb") as file:
        data = file.read()
    unix = data.replace(b"\r\n", b"\n")
    others = {unix, unix.replace(b"\n", b"\r\n")} - {data}
    return any(hashlib.md5(other, usedforsecurity=False).hexdigest() == locked.value for other in others)


def has_remote(project: Project) -> bool:
    """Whether any remote is set up."""
    return bool(project.config["remote"])


def has_default_remote(project: Project) -> bool:
    """Whether one of them is the default."""
    return bool(project.config["core"].get("remote"))


def remote(project: Project, name: str | None, hash_name: str) -> Store:
    """The remote of this name, or the default one, for hashes of this kind. It asks nobody for a password:
    the libraries would, from a thread that the end of the program waits for."""
    getpass.getpass = _no_password
    settings = project.config.read("repo").get("remote", {})
    for setting in sorted(UNTRUSTED & {key for remote in settings.values() for key in remote}):
        reason = (
            f"a remote in .dvc/config has {setting}, which may run a command: put it into .dvc/config.local"
        )
        raise PermissionError(reason)
    return project.cloud.get_remote_odb(name, "dvc-checks", hash_name=hash_name)


# Settings of remotes by which a foreign repository could have a command run: AWS's configuration names
# programs that give credentials, WebDAV's token comes from one.
UNTRUSTED = {"bearer_token_command", "configpath", "credentialpath"}


def _no_password(*_: Any, **__: Any) -> str:
    raise PermissionError("it asks for a password, and none that fits is in DVC's settings")


def cache(project: Project, hash_name: str) -> Store:
    """The cache for hashes of this kind."""
    return project.cache.legacy if hash_name == "md5-dos2unix" else project.cache.local


def folder_list(store: Store, folder: Hash) -> dict[tuple[str, ...], str]:
    """The files of a folder: its list as the store has it, parts of the path to hash. Raises whatever it meets."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree.load(store, HashInfo(folder.name, folder.value))
    return {key: str(item.value) for key, _, item in tree if item}


def is_stored(store: Store, value: str) -> bool:
    """Whether a store has the file of this hash; False only where that is certain.

    Raises whatever else it meets. File systems call much "not found" that they could
    not find out: fsspec's does so for every answer and every failure of an HTTP server.
    """
    try:
        store.fs.info(store.oid_to_path(value))
    except FileNotFoundError as error:
        cause = error.__cause__
        while cause is not None:
            if not _means_absence(cause):
                raise cause from None
            cause = cause.__cause__
        return False
    return True


def _means_absence(error: BaseException) -> bool:
    """Whether the error below a `FileNotFoundError` says that there is no such file, and not something else."""
    if isinstance(error, FileNotFoundError) or type(error).__name__ in ("SFTPNoSuchFile", "SFTPNoSuchPath"):
        return True
    answer = getattr(error, "response", None)  # of boto3
    if isinstance(answer, dict):
        status, code = (
            answer.get("ResponseMetadata", {}).get("HTTPStatusCode"),
            answer.get("Error", {}).get("Code"),
        )
        return status == 404 and code != "NoSuchBucket"
    return getattr(error, "status", getattr(error, "status_code", None)) in (404, 410)


def listed(store: Store, values: list[str]) -> set[str]:
    """Which of these files a store has, by going through its lists: fast for many. Some may be overlooked."""
    return set(store.oids_exist(values)) if store.fs.CAN_TRAVERSE else set()


def folder_of(store: Store) -> str | None:
    """The folder of a remote on this machine, above DVC's own `files/md5`; None for one elsewhere."""
    return store.path.removesuffix("/files/md5") if store.fs.protocol == "local" else None


def copy_object(store: Store, value: str, target: Path) -> None:
    """Copy the file of this hash out of a store. Raises whatever it meets."""
    target.parent.mkdir(parents=True, exist_ok=True)
    store.fs.get_file(store.oid_to_path(value), os.fspath(target))
    os.chmod(target, 0o644)


def cache_of(out: Output) -> Store:
    """The cache in which DVC keeps this output."""
    return out.dvc.cache


def read_values(project: Project, path: Path) -> Any:
    """A params file (YAML, JSON, TOML or Python) as DVC reads it.

    Raises
    ------
    ValueError : when it cannot be read
    """
    from dvc.utils.serialize import ParseError, load_path

    try:
        with _quick_yaml():
            return load_path(str(path), project.fs)
    except (ParseError, OSError, SyntaxError, MemoryError) as error:
        cause = f": {_first_line(error.__cause__)}" if error.__cause__ else ""
        raise ValueError(f"{error}{cause}") from None
    except RecursionError:
        raise ValueError("nested too deeply to be read") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def writer(path: Path) -> Callable[[str, Any], None]:
    """What writes values in the form of this params file: called with a path and the values."""
    from dvc.utils.serialize import DUMPERS

    return DUMPERS[path.suffix.lower()]


def in_form(values: Any) -> str:
    """A document in the form in which DVC writes dvc.lock."""
    from dvc.utils.serialize import dumps_yaml

    return dumps_yaml(values)


def is_lock(content: Any) -> bool:
    """Whether this is the content of a whole dvc.lock."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # slow to import
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(content)
    except Invalid:
        return False
    return True
