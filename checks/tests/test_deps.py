"""`dvc-checks deps`: a forgotten import and a needless dependency are found, and --fix writes what is right."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_dvc import Project, isolate, run_checks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

CODE = {
    "train.py": "from lib import model\n",
    "lib/__init__.py": "",
    "lib/model.py": "from lib.loss import loss\n",
    "lib/loss.py": "loss = 1\n",
    "lib/plot.py": "",
}
RIGHT = ["lib/__init__.py", "lib/loss.py", "lib/model.py", "train.py"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    isolate(monkeypatch, tmp_path / "home")
    return Project(tmp_path / "project").write(CODE)


def stage(*deps: str, extra: str = "") -> str:
    listed = "".join(f"      - {dep}\n" for dep in deps)
    return f"stages:\n  train:\n    cmd: python train.py\n    deps:\n{listed}    outs:\n      - out\n{extra}"


def test_exact_code_dependencies_take_one_line(project: Project) -> None:
    project.write({"dvc.yaml": stage(*RIGHT)})
    found = project.check("deps")
    assert (found.exit_code, found.output) == (
        0,
        "deps: every stage lists exactly the code it imports (1 stage)\n",
    )


def test_a_forgotten_import_is_found_with_the_line_that_imports_it(project: Project) -> None:
    project.write({"dvc.yaml": stage(*(dep for dep in RIGHT if dep != "lib/loss.py"))})
    found = project.check("deps")
    assert found.exit_code == 1
    assert "missing   lib/loss.py   imported at lib/model.py:1" in found.output
    assert found.output.splitlines()[0].startswith(
        "deps: the wrong code is listed by 1 of 1 stage: 1 missing, 0 needless"
    )


def test_a_needless_dependency_is_found(project: Project) -> None:
    project.write({"dvc.yaml": stage(*RIGHT, "lib/plot.py")})
    found = project.check("deps")
    assert found.exit_code == 1
    assert "needless  lib/plot.py" in found.output


def test_a_script_that_does_not_exist_is_found(project: Project) -> None:
    project.write({"dvc.yaml": stage(*RIGHT).replace("python train.py", "python trian.py")})
    found = project.check("deps")
    assert found.exit_code == 1
    assert "absent    trian.py" in found.output


def test_data_is_left_alone_and_a_file_named_in_the_command_is_needed(project: Project) -> None:
    project.write({"dvc.yaml": stage(*RIGHT, "rows.csv", "settings.py"), "rows.csv": "", "settings.py": ""})
    project.replace("dvc.yaml", "python train.py", "python train.py --settings=settings.py")
    assert project.check("deps").exit_code == 0


def test_a_folder_covers_what_it_holds_and_idle_files_in_it_are_told(project: Project) -> None:
    project.write({"dvc.yaml": stage("lib", "train.py")})
    project.commit()
    found = project.check("deps")
    assert found.exit_code == 0
    assert "lib/ is listed as a whole: 3 of its 4 Python files are imported" in found.output


def test_nothing_is_called_needless_where_a_dynamic_import_may_need_it(project: Project) -> None:
    project.write({"dvc.yaml": stage(*RIGHT, "lib/plot.py")})
    project.write(
        {"train.py": CODE["train.py"] + "import importlib, sys\nimportlib.import_module(sys.argv[0])\n"}
    )
    found = project.check("deps")
    assert found.exit_code == 0
    assert "train.py:3: importlib.import_module(sys.argv[0])" in found.output
    assert "lib/plot.py: no import of it is seen" in found.output


def test_a_shell_script_is_named_as_not_judged(project: Project) -> None:
    project.write(
        {
            "dvc.yaml": stage("train.py", "lib/plot.py", "run.sh").replace("python train.py", "sh run.sh"),
            "run.sh": "if true; then python train.py; fi\n",
        }
    )
    found = project.check("deps")
    assert found.exit_code == 0
    assert "`sh run.sh`: which project files this runs is not judged" in found.output


LAYOUTS = {
    "one item a line, sorted": (
        "    deps:\n      - lib/__init__.py\n      - lib/plot.py  # old\n      - train.py  # the script\n",
        "    deps:\n      - lib/__init__.py\n      - lib/loss.py\n      - lib/model.py\n      - train.py  # the script\n",
    ),
    "unsorted, with comments around and between": (
        "    deps: # code\n    # first\n    - train.py\n    # second\n    - lib/plot.py\n    # third\n    - a.csv\n",
        "    deps: # code\n    # first\n    - train.py\n    # second\n    - lib/__init__.py\n    - lib/loss.py\n"
        "    - lib/model.py\n    - a.csv\n    # third\n",
    ),
    "in brackets": (
        '    deps: [train.py, "lib/plot.py"]  # why\n',
        "    deps: [train.py, lib/__init__.py, lib/loss.py, lib/model.py]  # why\n",
    ),
    "no list at all": (
        "",
        "    deps:\n      - lib/__init__.py\n      - lib/loss.py\n      - lib/model.py\n      - train.py\n",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fix_rewrites_the_list_and_no_other_byte(project: Project, layout: str) -> None:
    before, after = LAYOUTS[layout]
    head = "# a pipeline\nvars:\n  - lr: 0.10  # kept as written\n\nstages:\n  train:   # the model\n    cmd: python train.py\n"
    tail = "\n    # what it makes\n    outs: [out]\n\n  # the end\n  other: {cmd: echo, outs: [b]}\n"
    project.write({"dvc.yaml": head + before + tail, "a.csv": ""})
    assert project.check("deps").exit_code == 1
    fixed = project.check("deps", "--fix")
    assert fixed.exit_code == 0, fixed.output
    assert project.read("dvc.yaml") == head + after + tail
    assert project.check("deps").exit_code == 0


def test_fix_keeps_windows_line_ends_and_a_file_without_a_last_one(project: Project) -> None:
    text = stage("train.py").replace("    outs:\n      - out\n", "").rstrip("\n").replace("\n", "\r\n")
    (project.root / "dvc.yaml").write_bytes(text.encode())
    assert project.check("deps", "--fix").exit_code == 0
    raw = (project.root / "dvc.yaml").read_bytes()
    assert raw.count(b"\r\n") == raw.count(b"\n") == 8
    assert YAML(typ="safe").load(raw)["stages"]["train"]["deps"] == RIGHT


def test_fix_edits_the_template_of_a_matrix_with_wdir(project: Project) -> None:
    project.write(
        {
            "runs/dvc.yaml": "stages:\n  train:\n    matrix:\n      run: [a, b]\n    wdir: ${item.run}\n"
            "    cmd: python ../../train.py\n    deps:\n      - ../../train.py\n    outs:\n      - out\n",
            "runs/a/x": "",
            "runs/b/x": "",
        }
    )
    found = project.check("deps")
    assert found.exit_code == 1
    assert "runs/dvc.yaml:train@a" in found.output and "runs/dvc.yaml:train@b" in found.output
    assert project.check("deps", "--fix").exit_code == 0
    assert "      - ../../lib/model.py\n" in project.read("runs/dvc.yaml")
    assert "${item.run}" in project.read("runs/dvc.yaml")
    assert project.check("deps").exit_code == 0


def test_fix_leaves_to_a_person_what_one_template_cannot_say(project: Project) -> None:
    project.write(
        {
            "one.py": "import lib.loss",
            "two.py": "import lib.plot",
            "dvc.yaml": "stages:\n  s:\n    foreach: [one, two]\n    do:\n      cmd: python ${item}.py\n"
            "      deps:\n        - ${item}.py\n      outs:\n        - ${item}.out\n",
        }
    )
    fixed = project.check("deps", "--fix")
    assert fixed.exit_code == 1
    assert "by hand   dvc.yaml: s: lib/loss.py is missing for s@one alone" in fixed.output
    assert "- lib/__init__.py" in project.read("dvc.yaml")  # what both need is written
    assert "- ${item}.py" in project.read("dvc.yaml")


def test_fix_does_not_touch_a_list_shared_by_an_alias(project: Project) -> None:
    text = stage("train.py").replace("deps:\n", "deps: &code\n")
    text += "  other:\n    cmd: python train.py\n    deps: *code\n    outs: [b]\n"
    project.write({"dvc.yaml": text})
    fixed = project.check("deps", "--fix")
    assert fixed.exit_code == 1
    assert project.read("dvc.yaml") == text
    assert "by hand" in fixed.output


def test_a_dependency_made_by_another_stage_is_data(project: Project) -> None:
    extra = "  write:\n    cmd: echo > made.py\n    outs: [made.py]\n"
    project.write({"dvc.yaml": stage(*RIGHT, "made.py", extra=extra), "made.py": ""})
    found = project.check("deps", "--stage", "train")
    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: [", "dvc.yaml"),
        ("stages:\n  a:\n    cmd: x\n    dpes: [y]\n", "dvc.yaml"),
        ("stages:\n  a:\n    cmd: x ${nothing}\n", "nothing"),
        ("", "no dvc.yaml with stages"),
        (
            "stages:\n  a: {cmd: x, deps: [b], outs: [a]}\n  b: {cmd: x, deps: [a], outs: [b]}\n",
            "same item(s)",
        ),
    ],
)
def test_a_project_that_cannot_be_read_ends_with_one_line_and_status_2(
    project: Project, text: str, said: str
) -> None:
    project.write({"dvc.yaml": text})
    for command in ("deps", "effects", "lock"):
        found = project.check(command)
        assert found.exit_code == 2
        assert len(found.stderr.splitlines()) == 1 and said in found.stderr.lower()


def test_no_project_and_an_unknown_stage_end_with_status_2(project: Project, tmp_path: Path) -> None:
    project.write({"dvc.yaml": stage(*RIGHT)})
    unknown = project.check("deps", "--stage", "tarin")
    assert unknown.exit_code == 2
    assert "no stage 'tarin'; did you mean 'train'? the stages are: train" in unknown.stderr
    assert "no stage 'x'; the stages are: train" in project.check("deps", "--stage", "x").stderr
    assert run_checks("-C", str(tmp_path), "deps").exit_code == 2
