"""The model of a tagged commit comes to whoever asks for it, from an empty folder; `make release` sets the tag."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from dvc_project import ROOT, Project

from mnistcore.network import model

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def released(prepared: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, bytes]:
    """A project whose model of version v1.0.0 is in a folder remote alone, and that model; a later one is not."""
    folder = tmp_path_factory.mktemp("released")
    project = prepared.copy_to(folder / "project")
    project.dvc("remote", "add", "--default", "storage", str(folder / "storage"))
    project.commit("Where the data are shared")
    project.dvc("push", "--quiet")
    said = release(project, "v1.0.0")
    assert "digits" in said and project.git("tag").split() == ["digits@v1.0.0"]
    first = project.file("models/model.npz").read_bytes()
    project.change("train.epochs", 1)
    project.dvc("repro", "--quiet")
    project.commit("Another model")
    assert project.file("models/model.npz").read_bytes() != first
    shutil.rmtree(project.file(".dvc/cache"))
    return project, first


def release(project: Project, version: str = "", status: int = 0) -> str:
    shutil.copy(ROOT / "Makefile", project.path)
    local = project.file(".git/info/exclude")
    local.write_text("Makefile\n", encoding="utf-8")
    here = os.path.relpath(Path(sys.executable).parent, project.path)
    asked = [f"VERSION={version}"] if version else []
    command = ["make", "--silent", "-o", ".venv/.ready", "release", f"BIN={here}", *asked]
    return project.run(*command, status=status)


def elsewhere(project: Project, folder: Path) -> Project:
    """An empty folder, with an environment that knows nothing of the project."""
    folder.mkdir()
    return Project(folder)


def test_dvc_get(released, tmp_path):
    project, first = released
    here = elsewhere(project, tmp_path / "empty")
    here.dvc("get", str(project.path), "models/model.npz", "--rev", "digits@v1.0.0")
    assert here.file("model.npz").read_bytes() == first
    assert model.load(here.file("model.npz"))[1][0].classes == 10


def test_dvc_artifacts_get_finds_the_last_version(released, tmp_path):
    project, first = released
    here = elsewhere(project, tmp_path / "empty")
    here.dvc("artifacts", "get", str(project.path), "digits")
    assert here.file("model.npz").read_bytes() == first


def test_dvc_import_and_its_update(released, tmp_path):
    project, first = released
    here = elsewhere(project, tmp_path / "other")
    here.git("init", "--quiet")
    here.dvc("init", "--quiet")
    here.dvc("import", str(project.path), "models/model.npz", "--rev", "digits@v1.0.0")
    assert here.file("model.npz").read_bytes() == first
    assert "digits@v1.0.0" in here.file("model.npz.dvc").read_text(encoding="utf-8")
    assert "up to date" in here.dvc("status")


def test_dvc_api_open(released, tmp_path):
    project, first = released
    here = elsewhere(project, tmp_path / "empty")
    code = (
        "import sys, dvc.api\n"
        "with dvc.api.open('models/model.npz', repo=sys.argv[1], rev='digits@v1.0.0', mode='rb') as file:\n"
        "    open('got.npz', 'wb').write(file.read())\n"
    )
    here.run(sys.executable, "-c", code, str(project.path))
    assert here.file("got.npz").read_bytes() == first


def test_a_release_wants_a_true_lock_and_a_commit(prepared, tmp_path):
    project = prepared.copy_to(tmp_path / "project")
    project.change("train.epochs", 1)
    assert "in no commit" in release(project, "v1.0.0", status=2)
    project.commit("A change that nobody has run")
    assert "train" in release(project, "v1.0.0", status=2)
    assert project.git("tag") == ""
