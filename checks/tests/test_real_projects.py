"""What `deps` says of the structure of public DVC projects, each rebuilt in layouts/ with what is right for it.

Only dvc.yaml and the import statements are rebuilt, in words of our own. Nothing else than what is written there may
be found, and --fix has to put right all that was.
"""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_dvc import Project, isolate

from dvc_checks import deps, pipeline

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
LAYOUTS = sorted(Path(__file__).with_name("layouts").glob("*.yaml"))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda path: path.stem)
def test_deps_finds_what_is_right_for_the_project(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path / "home")
    described = YAML(typ="safe").load(layout)
    project = Project(tmp_path / "project").write(described["files"])
    for script in project.root.glob("**/*.sh"):
        script.chmod(0o755)
    project.commit()
    loaded = pipeline.load(project.root)
    verdicts = deps.compare(loaded, loaded.stages)
    found = {
        verdict.stage.name: {
            key: values for key in ("missing", "needless") if (values := getattr(verdict, key))
        }
        for verdict in verdicts
    }
    assert found == described["stages"]
    assert not any(verdict.absent for verdict in verdicts)
    notes = [note for verdict in verdicts for note in verdict.notes if "is listed as a whole" not in note]
    expected = described.get("notes", [])
    for part in expected:
        assert any(part in note for note in notes), (part, notes)
    assert all(any(part in note for part in expected) for note in notes), notes

    assert project.check("deps", "--fix").exit_code == 0
    assert project.check("deps").exit_code == 0


def test_enough_projects_are_here() -> None:
    assert len(LAYOUTS) >= 8
