"""What runs in CI: GitHub's action, its annotations and its one comment; GitLab's job; the JSON of every command."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from small_dvc import Project, isolate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
HERE = Path(__file__).parent.parent

FILES = {
    "lib.py": "",
    "make.py": "import lib, pathlib\npathlib.Path('out').write_text('x')\n",
    "params.yaml": "make:\n  n: 3\n\n  unused_by_all: 1\nother:\n  x: 1\n",
    "dvc.yaml": "stages:\n  make:\n    cmd: python make.py\n    deps:\n      - make.py\n    params:\n      - make.n\n"
    "    outs:\n      - out: {cache: false}\n",
}
# A `gh` that keeps the comments of one pull request in a file.
GH = """#!/usr/bin/env python3
import json, os, sys
path = os.environ["COMMENTS"]
comments = json.load(open(path)) if os.path.exists(path) else []
words = sys.argv[1:]
assert words[0] == "api" and os.environ["GH_TOKEN"] == "token"
body = next((open(w.partition("@")[2]).read() for w in words if w.startswith("body=@")), None)
if "PATCH" in words:
    where = next(w for w in words if w.startswith("repos/me/mine/issues/comments/"))
    comments[int(where.rpartition("/")[2])] = body
elif "POST" in words:
    assert "repos/me/mine/issues/7/comments" in words
    comments.append(body)
else:
    assert "--paginate" in words and 'startswith("<!-- dvc-checks -->")' in words[words.index("--jq") + 1]
    print(*[number for number, text in enumerate(comments) if text.startswith("<!-- dvc-checks -->")], sep="\\n")
json.dump(comments, open(path, "w"))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    isolate(monkeypatch, tmp_path / "home")
    project = Project(tmp_path / "repository").write(FILES)
    project.repro()
    project.commit()
    return project


def test_annotations_name_the_very_line(project: Project) -> None:
    project.replace("params.yaml", "n: 3", "n: 4")
    found = project.check("lock", "--github")
    assert found.exit_code == 1
    line = "::error file=params.yaml,line=2,title=dvc-checks lock::make: parameter make.n was 3 when the stage ran, is 4 now"
    assert line in found.output.splitlines()
    found = project.check("effects", "--github")
    lines = [text.partition("::make")[0] for text in found.output.splitlines() if text.startswith("::error")]
    assert [text.partition("title")[0] for text in lines] == [
        "::error file=params.yaml,line=4,",
        "::error file=params.yaml,line=6,",
    ]
    found = project.check("deps", "--github")
    assert (
        "::error file=dvc.yaml,line=4,title=dvc-checks deps::make: lib.py is missing in deps" in found.output
    )
    project.replace("dvc.yaml", "      - make.py\n", "      - make.py\n      - lib.py\n      - other.py\n")
    project.write({"other.py": ""})
    found = project.check("deps", "--github")
    assert "::error file=dvc.yaml,line=7,title=dvc-checks deps::make: other.py is needless" in found.output


def test_a_project_in_a_folder_is_annotated_from_the_top(project: Project, tmp_path: Path) -> None:
    project.git("init", "--quiet", str(tmp_path))  # the project's folder lies in another repository now
    (project.root / ".git").rename(tmp_path / "unused.git")
    found = project.check("deps", "--github")
    assert "::error file=repository/dvc.yaml,line=4," in found.output


def test_a_foreign_name_is_no_command_and_no_markup(
    project: Project, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    name = "x\\n::set-output name=a::b <img src=x> @everybody"
    project.replace("params.yaml", "other:", f'"{name}":')
    found = project.check("effects", "--github")
    assert not [line for line in found.output.splitlines() if line.startswith("::set-output")]
    assert (
        "\\n"
        not in [line for line in found.output.splitlines() if line.startswith("::error")][-1].partition("::")[
            0
        ]
    )
    summary = (tmp_path / "summary.md").read_text()
    assert "<img" not in summary and "@everybody" not in summary


SHAPES = {
    "deps": ["deps"],
    "effects": ["effects"],
    "lock": ["lock"],
    "all": ["all"],
    "compare": ["compare", "HEAD"],
    "merge": ["merge"],
    "mend": ["mend"],
    "reproduce": ["reproduce"],
}


@pytest.mark.parametrize("command", SHAPES)
def test_every_command_speaks_json_of_one_schema(project: Project, command: str) -> None:
    found = project.check(*SHAPES[command], "--json")
    data = json.loads(found.stdout)
    assert list(data)[:4] == ["schema", "command", "status", "summary"]
    assert (data["schema"], data["command"], data["status"]) == ("dvc-checks/1", command, found.exit_code)
    for finding in data["findings"]:
        assert list(finding) == ["where", "what", "file", "line"]
    if command == "deps":
        assert data["findings"][0] == {
            "where": "make",
            "what": "lib.py is missing in deps: imported at make.py:1",
            "file": "dvc.yaml",
            "line": 4,
        }


def test_what_cannot_be_judged_is_json_as_well(project: Project) -> None:
    project.write({"dvc.yaml": "stages: ["})
    found = project.check("deps", "--json")
    data = json.loads(found.stdout)
    assert (data["schema"], data["status"], found.exit_code) == ("dvc-checks/1", 2, 2)
    assert "dvc.yaml" in data["error"]


class Action:
    """Runs the steps of action.yml as GitHub does: its own text, in bash, with a `gh` that keeps comments."""

    def __init__(self, project: Project, tmp_path: Path) -> None:
        self.steps = {
            step["id"]: step for step in YAML(typ="safe").load(HERE / "action.yml")["runs"]["steps"]
        }
        self.project, self.folder = project, tmp_path
        (tmp_path / "bin").mkdir()
        gh = tmp_path / "bin" / "gh"
        gh.write_text(GH)
        gh.chmod(0o755)

    def run(self, step: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        known = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "DVC_CHECKS_COMMENT": str(self.folder / "comment.md"),
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_REPOSITORY": "me/mine",
            "COMMENTS": str(self.folder / "comments.json"),
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", self.steps[step]["run"]],
            cwd=self.project.root,
            env=os.environ | known | environment,
            capture_output=True,
            text=True,
        )

    def comments(self) -> list[str]:
        return json.loads((self.folder / "comments.json").read_text())


def test_the_action_keeps_one_comment_up_to_date(project: Project, tmp_path: Path) -> None:
    action = Action(project, tmp_path)
    (tmp_path / "comments.json").write_text('["a comment of somebody\'s"]')
    for number, (n, said) in enumerate([("4", "❌ **lock**"), ("3", "✅ **lock**")]):
        project.write({"params.yaml": FILES["params.yaml"].replace("n: 3", f"n: {n}")})
        (tmp_path / "output").unlink(missing_ok=True)
        ran = action.run("run", RUN="lock\n\n  lock --stage make\n", DIRECTORY=".")
        assert ran.returncode == 0, ran.stderr
        status = (tmp_path / "output").read_text().strip()
        assert status == f"status={1 - number}"
        assert action.run("end", STATUS=status[-1]).returncode == 1 - number
        posted = action.run("comment", GH_TOKEN="token", NUMBER="7")
        assert posted.returncode == 0, posted.stderr
        first, mine = action.comments()
        assert first == "a comment of somebody's"
        assert mine.startswith("<!-- dvc-checks -->\n") and mine.count(said) == 2


def test_gitlabs_job_runs_each_command(project: Project, tmp_path: Path) -> None:
    job = YAML(typ="safe").load(HERE / "gitlab.yml")["dvc-checks"]
    ran = subprocess.run(
        ["bash", "-e", "-c", job["script"][1]],
        cwd=project.root,
        env=os.environ | {"DVC_CHECKS_RUN": "lock; deps --stage make"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("lock: dvc.lock is true") and "\ndeps: the wrong code" in ran.stdout
    reports = sorted((project.root / "dvc-checks-reports").iterdir())
    assert [json.loads(path.read_text())["command"] for path in reports] == ["deps", "lock"]
