"""What is private in DVC and used all the same, part by part: the one that fails says what a version of DVC broke.

The versions beside the parts are those that had it another way, found by running this file on them: besides those
of `matrix.sh`, 3.12, 3.20 and 3.28, each with libraries of its day. DVC 3.20 to 3.29 pass, too, but not with
dvc-objects 5, of which they want `umask`; so 3.30 is the oldest that pip makes work today.
"""

import ast
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dvc
import pytest
from small_dvc import Project, isolate

from dvc_checks import internals, pipeline
from dvc_checks.errors import BadInput
from dvc_checks.stages import Hash

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
PACKAGE = Path(internals.__file__).parent

FILES = {
    "make.py": "import pathlib\npathlib.Path('d').mkdir()\npathlib.Path('d/a').write_text('a')\n",
    "use.py": "import pathlib, sys\npathlib.Path(sys.argv[1]).write_text('{\"n\": 1}')\n",
    "params.yaml": "make:\n  n: 3\nnames: [x, y]\nword: w\n",
    "raw.txt": "raw",
    "raw.txt.dvc": "outs:\n- md5: bc7b36fe4d2924e49800d9b3dc4a325c\n  size: 3\n  hash: md5\n  path: raw.txt\n",
    "dvc.yaml": """
stages:
  make:
    cmd: [python make.py, "echo ${word}"]
    deps: [make.py, raw.txt]
    params: [make]
    outs: [d]
  use:
    foreach: ${names}
    do:
      cmd: python use.py ${item}.json
      deps: [d, use.py]
      metrics:
        - ${item}.json: {cache: false}
  cross:
    matrix:
      name: ${names}
    frozen: true
    cmd: python use.py c-${item.name}
    outs:
      - c-${item.name}: {persist: true, push: false}
metrics:
  - x.json
""",
}
A = Hash("md5", "0cc175b9c0f1b6a831c399e269772661")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Pipeline:
    folder = tmp_path_factory.mktemp("internals")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder / "home")
        made = Project(folder / "project").write(FILES)
        made.repro("make", "use")
        made.write({".dvc/config": "[core]\n  remote = r\n['remote \"r\"']\n  url = ../store\n"})
        made.replace("params.yaml", "n: 3", "n: 4")
        (made.root / "store").mkdir()
        return pipeline.load(made.root)


def stage(project: pipeline.Pipeline, name: str) -> Any:
    return next(stage for stage in project.stages if stage.name == name)


def out(project: pipeline.Pipeline) -> Any:
    return stage(project, "make").outs[0]


def cache(project: pipeline.Pipeline) -> Any:
    return internals.cache(project.dvc, "md5")


def remote(project: pipeline.Pipeline) -> Any:
    return internals.remote(project.dvc, None, "md5")


def copied(project: pipeline.Pipeline) -> str:
    target = project.root.parent / "copied"
    internals.copy_object(cache(project), A.value, target)
    return target.read_text()


def expanded(project: pipeline.Pipeline) -> dict[str, Any]:
    found = {}
    for entry, text, whence in internals.expansions(project.stages[0]):
        if over := re.search(r"\$\{(\w+)\}", text):
            file, key = whence(over.group(1)) or ("", "")
            found[entry] = (Path(file).name, key)
    return found


PARTS: dict[str, tuple[Callable[[pipeline.Pipeline], Any], Any]] = {
    "Repo.index.stages, their names as foreach and matrix expand them": (
        lambda project: sorted(stage.name for stage in project.stages),
        ["cross@x", "cross@y", "make", "use@x", "use@y"],
    ),
    "Stage.raw_data.generated_from": (lambda project: stage(project, "use@x").entry, "use"),
    "Stage.cmd of several commands": (
        lambda project: stage(project, "make").commands,
        ("python make.py", "echo w"),
    ),
    "Stage.tracked_vars": (lambda project: stage(project, "make").interpolated, {"params.yaml": ("word",)}),
    "Stage.deps, and Stage.params among them": (  # DVC 3.12 has no Stage.params, and so reads no project here
        lambda project: (
            {dep.path for dep in stage(project, "make").deps},
            stage(project, "make").params,
        ),
        ({"make.py", "raw.txt"}, {"params.yaml": ("make",)}),
    ),
    "Stage.frozen": (lambda project: stage(project, "cross@x").frozen, True),
    "Output.use_cache, metric, persist, can_push": (
        lambda project: [
            (out.cached, out.kind, out.persist, out.pushed)
            for out in (stage(project, "use@x").outs[0], stage(project, "cross@x").outs[0])
        ],
        [(False, "metric", False, False), (True, "out", True, False)],
    ),
    "Output.hash_info, from dvc.lock": (
        lambda project: (out(project).hash.name, out(project).hash.is_folder),
        ("md5", True),
    ),
    "Repo.index.stages with those of .dvc files": (
        lambda project: [(source.file, source.outs[0].path) for source in project.sources],
        [("raw.txt.dvc", "raw.txt")],
    ),
    "Index.graph": (
        lambda project: [after.name for after in project.downstream([stage(project, "make")])],
        ["use@x", "use@y"],
    ),
    "Index._metrics": (
        lambda project: [name for _, name in internals.top_level_metrics(project.dvc)],
        ["x.json"],
    ),
    "DataResolver.definitions, foreach_data, matrix_data, Context.select": (
        expanded,
        {"use": ("params.yaml", "names"), "cross": ("params.yaml", "names")},
    ),
    "ProjectFile.lockfile_contents, and StageLoader.__getitem__": (
        lambda project: sorted(internals.locked(project.stages[0])),
        ["make", "use@x", "use@y"],
    ),
    "ParamsDependency.workspace_status and read_params": (
        lambda project: list(internals.params_moved(stage(project, "make"))),
        [("params.yaml", ("make",), {"make": "modified"}, {"make": {"n": 4}})],
    ),
    "Output.exists": (lambda project: internals.is_there(out(project)), True),
    "Output.get_hash": (lambda project: internals.hash_now(out(project)) == out(project).hash, True),
    "FileSystem.isdir and open": (
        lambda project: [
            internals.differs_in_line_ends(one) for one in (out(project), stage(project, "make").deps[0])
        ],
        [False, False],
    ),
    "Repo.config": (
        lambda project: (internals.has_remote(project.dvc), internals.has_default_remote(project.dvc)),
        (True, True),
    ),
    "Repo.cache.local, and Tree.load of a folder's list": (
        lambda project: internals.folder_list(cache(project), out(project).hash),
        {("a",): A.value},
    ),
    "Output.cache": (
        lambda project: internals.folder_list(internals.cache_of(out(project)), out(project).hash),
        {("a",): A.value},
    ),
    "ObjectDB.oid_to_path and FileSystem.get_file": (copied, "a"),
    "FileSystem.info": (
        lambda project: (
            internals.is_stored(cache(project), A.value),
            internals.is_stored(remote(project), A.value),
        ),
        (True, False),
    ),
    "ObjectDB.oids_exist": (lambda project: internals.listed(cache(project), [A.value, "0" * 32]), {A.value}),
    "DataCloud.get_remote_odb": (
        lambda project: internals.folder_of(remote(project)),
        lambda project: str(project.root / "store"),
    ),
    "serialize.load_path": (
        lambda project: internals.read_values(project.dvc, project.root / "params.yaml")["word"],
        "w",
    ),
    "serialize.DUMPERS": (lambda project: callable(internals.writer(Path("a.toml"))), True),
    "COMPILED_LOCKFILE_SCHEMA": (
        lambda _: (internals.is_lock({"schema": "2.0", "stages": {}}), internals.is_lock({"stages": []})),
        (True, False),
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_dvc_is_as_it_is_used(project: pipeline.Pipeline, part: str) -> None:
    use, expected = PARTS[part]
    if callable(expected):
        expected = expected(project)
    try:
        found = use(project)
    except (AttributeError, ImportError, TypeError, KeyError) as error:
        pytest.fail(f"DVC {dvc.__version__} has another {part}: {type(error).__name__}: {error}")
    assert found == expected, f"DVC {dvc.__version__} has another {part}"


def test_what_is_done_once_is_what_dvc_does_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of stages that read the same, and of one to which the same words mean another file."""
    isolate(monkeypatch, tmp_path / "home")
    stage = "    cmd: echo\n    deps: [x, ../y, /z, 'https://host/k']\n    params: [p]\n    outs: [{name}]\n"
    lock = "    cmd: echo\n    deps:\n    - {{path: x, hash: md5, md5: {hash}, size: 1}}\n"
    names = ("a", "b", "c")
    project = Project(tmp_path / "project").write(
        {
            "params.yaml": "p: 1\n",
            "sub/x": "x",
            "dvc.yaml": "stages:\n"
            + "".join(f"  {name}:\n{stage.format(name=name)}" for name in names)
            + "    wdir: sub\n",
            "dvc.lock": "schema: '2.0'\nstages:\n"
            + "".join(f"  {name}:\n{lock.format(hash=name * 32)}" for name in names),
        }
    )
    quick = pipeline.load(project.root).stages
    assert [stage.deps[0].path for stage in quick] == ["x", "x", "sub/x"]
    assert [str(stage.deps[0].hash) for stage in quick] == [str(Hash("md5", name * 32)) for name in names]
    monkeypatch.setattr(internals, "_quick_stages", lambda locks: nullcontext())
    assert pipeline.load(project.root).stages == quick


def test_dvcs_own_errors_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not inside"):
        internals.open_project(tmp_path)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_no_other_module_knows_dvc(path: Path) -> None:
    """Nor takes anything of the objects of DVC's that it hands on."""
    if path.name == "internals.py":
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.partition(".")[0] in ("dvc", "dvc_data", "dvc_objects")]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            assert node.value.attr != "dvc", f"line {node.lineno}: {ast.unparse(node)}"


def test_the_oldest_dvc_is_the_one_that_is_tested() -> None:
    folder = Path(__file__).parent
    floor = re.search(r'"dvc>=([\d.]+)"', (folder.parent / "pyproject.toml").read_text())
    oldest = re.search(r"dvc==([\d.]+)", (folder / "matrix.sh").read_text())
    assert floor and oldest and oldest.group(1).startswith(floor.group(1) + ".")
