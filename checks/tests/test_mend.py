"""`dvc-checks mend`: what a killed dvc leaves half-written is put right, and nothing else is touched."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from dvc_checks.__main__ import main

LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: python train.py
    outs:
    - path: model.txt
      hash: md5
      md5: d41d8cd98f00b204e9800998ecf8427e
      size: 0
"""


def mend(folder: Path):
    return CliRunner().invoke(main, ["-C", str(folder), "mend"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed project with a lock at its root and one further down."""
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "deep").mkdir()
    for name in ("dvc.lock", "deep/dvc.lock"):
        (tmp_path / name).write_text(LOCK)
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_whole_project_is_left_alone(project):
    (project / "dvc.lock").write_text(LOCK.replace("size: 0", "size: 1"))  # a run not committed yet
    (project / ".dvc/tmp/rwlock").write_text("{}")
    found = mend(project)
    assert found.exit_code == 1 and found.output == "mend: nothing here that a killed dvc leaves\n"
    assert "size: 1" in (project / "dvc.lock").read_text() and (project / ".dvc/tmp/rwlock").exists()


@pytest.mark.parametrize("name", ["dvc.lock", "deep/dvc.lock"])
@pytest.mark.parametrize("end", ["md", "path", "stages:\n  tr", ""])
def test_half_a_lock_comes_back_from_git(project, name, end):
    (project / name).write_text(LOCK[: LOCK.index(end) + len(end)])
    found = mend(project / "deep")
    assert found.exit_code == 0
    assert found.output == f"mend: {name}: half-written; the one of the last commit is back\n"
    assert (project / name).read_text() == LOCK


def test_a_lock_with_conflicts_of_a_merge_is_left_to_its_user(project):
    def git(*arguments, check=True):
        author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *author, *arguments], cwd=project, check=check, capture_output=True)

    lock = project / "dvc.lock"
    for branch, size in (("other", 1), ("mine", 2)):
        git("checkout", "-q", "-b", branch, *(["other~1"] if branch == "mine" else []))
        lock.write_text(LOCK.replace("size: 0", f"size: {size}"))
        git("commit", "-qam", branch)
    git("merge", "other", check=False)
    conflict = lock.read_text()
    assert "<<<<<<<" in conflict
    assert mend(project).exit_code == 1
    assert lock.read_text() == conflict


@pytest.mark.parametrize("content", ["", '{"/a/data": {"wri', "[]"])
def test_half_a_table_of_locks_goes(project, content):
    table = project / ".dvc/tmp/rwlock"
    table.write_text(content)
    found = mend(project)
    assert found.exit_code == 0
    assert found.output == "mend: .dvc/tmp/rwlock: half-written; removed, DVC makes it anew\n"
    assert not table.exists()


def test_a_table_that_is_being_written_stays(project):
    table = project / ".dvc/tmp/rwlock"
    table.write_text("{")

    def go_on():
        time.sleep(0.3)
        table.write_text(json.dumps({"data": {"write": {"pid": 1, "cmd": "dvc repro"}}}))

    writer = threading.Thread(target=go_on)
    writer.start()
    found = mend(project)
    writer.join()
    assert found.exit_code == 1 and table.exists()


def test_what_cannot_be_mended_is_told_in_one_line(project, tmp_path_factory):
    assert mend(tmp_path_factory.mktemp("none")).exit_code == 2
    (project / "dvc.lock").write_text("half: [")
    subprocess.run(["git", "update-ref", "-d", "HEAD"], cwd=project, check=True)
    found = mend(project)
    assert (
        found.exit_code == 2
        and found.output.startswith("dvc-checks: git checkout:")
        and found.output.count("\n") == 1
    )
