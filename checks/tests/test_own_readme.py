"""The README's examples: what stands there is what is printed, and the hooks run what they name."""

import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_dvc import Project, isolate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    section = README.partition("\n## What they print\n")[2].partition("\n## What you would use otherwise\n")[
        0
    ]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    isolate(monkeypatch, tmp_path / "home")
    project = Project(tmp_path / "project").write(
        {
            "dvc.yaml": blocks("yaml")[0],
            "params.yaml": "prepare:\n  drop: 3\ntrain:\n  threshold: 5\nseed: 7\n",
            "rows.csv": "".join(f"{n * 7 % 11}\n" for n in range(100)),
            "prepare.py": "open('clean.csv', 'w').write(open('rows.csv').read()[6:])\n",
            "features.py": "def is_high(value):\n    return value > 5\n",
            "train.py": "import json\n\nfrom features import is_high\n\n"
            "rows = [f'{int(v) >= 5},{is_high(int(v))}' for v in open('clean.csv')]\n"
            "open('predictions.csv', 'w').write('\\n'.join(['actual,predicted', *rows]))\n",
        }
    )
    project.repro()
    project.commit()
    return project


def test_the_examples_print_what_stands_there(project: Project) -> None:
    examples = [re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] for block in blocks("console")]
    for example in [example for block in examples for example in block]:
        command, _, expected = example.partition("\n")
        program, *arguments = shlex.split(command)
        assert program == "dvc-checks"
        assert project.check(*arguments).output == expected, command
    assert len(examples) == 3


def test_the_hooks_of_pre_commit_are_commands(project: Project) -> None:
    (hooks,) = [
        YAML(typ="safe").load(block)["repos"][0]["hooks"] for block in blocks("yaml") if "repos:" in block
    ]
    assert [project.check(*hook["entry"].split()[1:]).exit_code for hook in hooks] == [1, 0]


def test_the_job_for_github_has_six_lines() -> None:
    (job,) = [block for block in blocks("yaml") if block.startswith("dvc:")]
    assert job.count("\n") == 6 and YAML(typ="safe").load(job)["dvc"]["steps"][1]["uses"].endswith(
        "/checks@main"
    )
