"""`dvc-checks lock`: a stale lock, a lock edited by hand, and what a remote lacks are found without any data."""

import hashlib
import re
import shutil
import time
from pathlib import Path

import pytest
from small_dvc import Project, isolate, run_checks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

FILES = {
    "make.py": "import pathlib, lib, yaml\nn = yaml.safe_load(open('params.yaml'))['make']['n']\n"
    "out = pathlib.Path('data')\nout.mkdir()\n(out / 'a').write_text(str(n))\n(out / 'b').write_text('b')\n",
    "use.py": "import json, pathlib\njson.dump({'n': int(pathlib.Path('data/a').read_text())}, open('metrics.json', 'w'))\n",
    "lib.py": "",
    "params.yaml": "make:\n  n: 3\n  name: x\n",
    "dvc.yaml": """stages:
  make:
    cmd: python make.py
    deps: [lib.py, make.py]
    params: [make]
    outs: [data]
  use:
    cmd: python use.py
    deps: [data, use.py]
    metrics:
      - metrics.json: {cache: false}
""",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has run and been committed."""
    folder = tmp_path_factory.mktemp("lock")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder / "home")
        project = Project(folder / "project").write(FILES)
        project.repro()
        project.commit()
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A clone of it, as CI has it: no data, no cache."""
    isolate(monkeypatch, tmp_path / "home")
    made.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    return Project(tmp_path / "clone")


def test_a_true_lock_takes_one_line_and_less_than_five_seconds(project: Project) -> None:
    started = time.process_time()  # on a busy machine the clock on the wall tells about others
    found = project.check("lock")
    assert time.process_time() - started < 5
    assert (found.exit_code, found.output) == (0, "lock: dvc.lock is true for 2 stages\n")
    assert not (project.root / "data").exists()


# What is done to the clone: (file, old, new), and what has to be said, by which stage.
DEFECTS = {
    "a changed parameter": ("params.yaml", "n: 3", "n: 4", "make: parameter make differs: n was 3 when the stage ran, is 4 now"),
    "a new parameter": ("params.yaml", "n: 3", "n: 3\n  m: 1", "make: parameter make differs: m is new, 1"),
    "a parameter that is gone": ("params.yaml", "  name: x\n", "", "make: parameter make differs: name was 'x' and is gone"),
    "changed code": ("lib.py", "", "x = 1", "make: dependency lib.py has changed since the stage ran"),
    "other line ends": ("make.py", "\n", "\r\n", "make: dependency make.py has other line ends than when the stage ran, and no other change; "),
    "a changed command": ("dvc.yaml", "python use.py", "python -O use.py", "use: ran `python use.py`; dvc.yaml says `python -O use.py`"),
    "a new dependency": ("dvc.yaml", "[data, use.py]", "[data, use.py, lib.py]", "use: dependency lib.py is in dvc.yaml, but not in dvc.lock"),
    "a dropped dependency": ("dvc.yaml", "[lib.py, make.py]", "[make.py]", "make: dependency lib.py is in dvc.lock, but not in dvc.yaml"),
    "a new output": ("dvc.yaml", "outs: [data]", "outs: [data, more]", "make: output more is in dvc.yaml, but not in dvc.lock"),
    "a newly declared parameter": ("dvc.yaml", "params: [make]", "params: [make, make.n]", "make: parameter make.n is not in dvc.lock"),
    "a parameter no more declared": ("dvc.yaml", "    params: [make]\n", "", "make: params.yaml: in dvc.lock, but the stage declares no parameters from it"),
    "a declared parameter that does not exist": ("dvc.yaml", "params: [make]", "params: [make, mkae]", "make: parameter mkae is declared, but not in params.yaml"),
    "a metric edited by hand": ("metrics.json", "3", "4", "use: output metrics.json has changed since the stage ran"),
    "a renamed stage": ("dvc.yaml", "  use:", "  apply:", "apply: is not in dvc.lock"),
    "a stage that is gone": ("dvc.yaml", "  use:", "  apply:", "use: is in dvc.lock, but not in dvc.yaml any more"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_stale_lock_is_found_with_the_stage_and_the_reason(project: Project, defect: str) -> None:
    file, old, new, said = DEFECTS[defect]
    if old:
        project.replace(file, old, new)
    else:
        project.write({file: new})
    found = project.check("lock")
    assert found.exit_code == 1
    assert said in found.output
    assert found.output.splitlines()[0].startswith("lock: dvc.lock is not true for ")


def test_a_lock_edited_by_hand_breaks_an_edge(project: Project) -> None:
    text = project.read("dvc.lock")
    hashes = re.findall(r"[0-9a-f]{32}\.dir", text)
    assert len(hashes) == 2 and len(set(hashes)) == 1
    (project.root / "dvc.lock").write_text(text.replace(hashes[0], "0" * 32 + ".dir", 1))
    found = project.check("lock")
    assert found.exit_code == 1
    assert f"use: dependency data was {hashes[0][:8]}, but make wrote 00000000" in found.output


def test_a_lock_that_cannot_be_read_ends_with_status_2(project: Project) -> None:
    project.write({"dvc.lock": "schema: '2.0'\nstages:\n  make: [\n"})
    found = project.check("lock")
    assert found.exit_code == 2
    assert "dvc.lock" in found.stderr


def test_no_lock_at_all_is_a_finding(project: Project) -> None:
    (project.root / "dvc.lock").unlink()
    found = project.check("lock")
    assert found.exit_code == 1
    assert "dvc.yaml: has no dvc.lock beside it: 2 stages never ran" in found.output


def test_a_file_that_neither_git_nor_dvc_keeps_is_found(project: Project) -> None:
    project.git("rm", "--quiet", "--cached", "lib.py", "metrics.json")
    found = project.check("lock")
    assert "make: dependency lib.py is kept by neither Git nor DVC" in found.output
    assert "use: output metrics.json is kept by neither Git nor DVC" in found.output
    assert found.exit_code == 1


def test_a_missing_file_is_found(project: Project) -> None:
    (project.root / "lib.py").unlink()
    found = project.check("lock")
    assert "make: dependency lib.py does not exist, and no stage makes it" in found.output


def test_a_frozen_stage_is_not_called_stale(project: Project) -> None:
    project.replace("dvc.yaml", "    cmd: python make.py", "    frozen: true\n    cmd: python make.py")
    project.replace("params.yaml", "n: 3", "n: 4")
    found = project.check("lock")
    assert found.exit_code == 0
    assert "make: is frozen" in found.output


def test_hashes_of_dvc_2_and_3_are_told_apart_but_equal_ones_agree(project: Project) -> None:
    text = project.read("dvc.lock")
    legacy = re.sub(r"(    outs:\n    - path: data\n)      hash: md5\n", r"\1", text)
    assert legacy != text
    project.write({"dvc.lock": legacy})
    assert project.check("lock").exit_code == 0  # the question of DVC's issue 9818
    value = re.search(r"[0-9a-f]{32}\.dir", legacy).group()
    project.write({"dvc.lock": legacy.replace(value, "0" * 32 + ".dir", 1)})
    assert "the way of DVC 2 on one side and of DVC 3 on the other" in project.check("lock").output


def test_a_commit_and_a_bare_repository_are_judged_by_what_they_hold(
    project: Project, tmp_path: Path
) -> None:
    project.replace("params.yaml", "n: 3", "n: 4")
    assert project.check("lock", "HEAD").exit_code == 0
    project.commit()
    assert project.check("lock", "HEAD").exit_code == 1
    assert project.check("lock", "HEAD~1").exit_code == 0
    project.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    found = run_checks("-C", str(tmp_path / "bare.git"), "lock")
    assert found.exit_code == 1
    assert "n was 3 when the stage ran, is 4 now" in found.output
    assert run_checks("-C", str(tmp_path / "bare.git"), "lock", "HEAD~1").exit_code == 0
    assert project.check("lock", "nowhere").exit_code == 2


def test_data_tracked_by_a_dvc_file_is_an_edge_as_well(project: Project) -> None:
    project.write(
        {
            "rows.csv.dvc": f"outs:\n- md5: {'a' * 32}\n  size: 1\n  hash: md5\n  path: rows.csv\n",
            "dvc.yaml": "stages:\n  use:\n    cmd: python use.py\n    deps: [rows.csv, use.py]\n"
            "    metrics:\n      - metrics.json: {cache: false}\n",
        }
    )
    lock = project.read("dvc.lock").replace("path: data", "path: rows.csv")
    lock = "schema: '2.0'\nstages:\n  use:" + lock.partition("  use:")[2]
    project.write({"dvc.lock": re.sub(r"[0-9a-f]{32}\.dir", "a" * 32, lock)})
    assert project.check("lock").exit_code == 0, project.check("lock").output
    project.write({"dvc.lock": re.sub(r"[0-9a-f]{32}\.dir", "b" * 32, lock)})
    assert (
        "use: dependency rows.csv was bbbbbbbb, but rows.csv.dvc wrote aaaaaaaa"
        in project.check("lock").output
    )


def test_the_remote_is_asked_for_every_output(
    made: Project, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = tmp_path / "remote"
    project.write({".dvc/config": f"[core]\n    remote = store\n['remote \"store\"']\n    url = {remote}\n"})
    found = project.check("lock")
    assert found.exit_code == 0
    assert f"what the remote holds is unknown: there is no folder {remote}" in found.output

    remote.mkdir()
    found = project.check("lock")
    assert found.exit_code == 1
    assert "make: output data is not in the remote" in found.output

    shutil.copytree(made.root / ".dvc" / "cache" / "files", remote / "files")
    found = project.check("lock")
    assert (found.exit_code, found.output) == (
        0,
        "lock: dvc.lock is true for 2 stages; the remote was asked for 1 output\n",
    )

    hashed = hashlib.md5(b"b", usedforsecurity=False).hexdigest()  # data/b
    (remote / "files" / "md5" / hashed[:2] / hashed[2:]).unlink()
    found = project.check("lock")
    assert found.exit_code == 1
    assert "make: output data is not in the remote (1 of its 2 files): run `dvc push`" in found.output


def test_a_project_in_a_folder_of_its_repository(project: Project, tmp_path: Path) -> None:
    inner = tmp_path / "whole" / "inner"
    shutil.copytree(project.root, inner, ignore=shutil.ignore_patterns(".git", ".dvc"))
    whole = Project(tmp_path / "new")
    shutil.move(inner, whole.root / "inner")
    shutil.move(whole.root / ".dvc", whole.root / "inner" / ".dvc")
    whole.commit()
    directory = str(whole.root / "inner")
    assert run_checks("-C", directory, "lock").exit_code == 0
    assert run_checks("-C", directory, "lock", "HEAD").exit_code == 0
    (whole.root / "inner" / "params.yaml").write_text("make:\n  n: 4\n  name: x\n")
    assert run_checks("-C", directory, "lock").exit_code == 1
