"""`dvc-checks compare`: a worse model and an equal one are told apart, in every form of output."""

import csv
import io
import json
from pathlib import Path

import numpy
import pytest
import scipy.stats
from small_dvc import Project, isolate

from dvc_checks import pictures

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

PIPELINE = """stages:
  evaluate:
    cmd: python evaluate.py
    deps: [images.npy, evaluate.py]
    params: [evaluate]
    metrics:
      - reports/metrics.json: {cache: false}
    outs:
      - reports/predictions.csv: {cache: false}
      - reports/figure.png: {cache: false}
"""
EXAMPLES = 500


def table(wrong: list[int], actual: list[int] | None = None) -> str:
    """Predictions of 500 examples; those listed are wrong."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["actual", "predicted", "confidence"])
    for index in range(EXAMPLES):
        truth = (actual or [i % 10 for i in range(EXAMPLES)])[index]
        rows.writerow([truth, (truth + 1) % 10 if index in wrong else truth, f"{0.5 + index % 50 / 100:.6f}"])
    return text.getvalue()


def metrics(wrong: list[int]) -> str:
    return json.dumps(
        {"test": {"accuracy": 1 - len(wrong) / EXAMPLES, "errors": len(wrong)}, "train": {"loss": 0.5}}
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A commit with 20 wrong predictions of 500; the pipeline need not run to be compared."""
    isolate(monkeypatch, tmp_path / "home")
    project = Project(tmp_path / "project").write(
        {"dvc.yaml": PIPELINE, "evaluate.py": "", "params.yaml": "evaluate:\n  epochs: 5\n  name: a\n"}
    )
    numpy.save(project.root / "images.npy", numpy.tile(numpy.eye(8, dtype="uint8"), (EXAMPLES, 1, 1)))
    return evaluated(project, list(range(20)))


def evaluated(project: Project, wrong: list[int], **options: list[int]) -> Project:
    project.write(
        {
            "reports/predictions.csv": table(wrong, **options),
            "reports/metrics.json": metrics(wrong),
            "reports/figure.png": f"a picture of {wrong}",
        }
    )
    project.commit()
    return project


def test_nothing_moved_takes_one_line(project: Project) -> None:
    found = project.check("compare", "HEAD")
    commit = project.git("rev-parse", "--short=7", "HEAD")
    assert (found.exit_code, found.output) == (0, f"compare: nothing moved since {commit}\n")


def test_a_commit_from_before_there_was_a_project_is_compared_as_nothing(project: Project) -> None:
    nothing = project.git("hash-object", "-t", "tree", "-w", "/dev/null")
    before = project.git("commit-tree", nothing, "-m", "the first")
    found = project.check("compare", before)
    assert found.exit_code == 0
    assert found.output.startswith(f"compare: 2 parameters and 3 metric values moved since {before[:7]}; ")
    assert "params.yaml  evaluate.epochs       –      5" in found.output


def test_a_worse_model_is_found_and_fails_when_asked_to(project: Project) -> None:
    evaluated(project, list(range(5, 45)))  # 5 gained, 25 lost
    expected = scipy.stats.binomtest(5, 30).pvalue
    assert expected < 0.001
    found = project.check("compare", "HEAD~1", "--fail-if-worse", "0.01")
    assert found.exit_code == 1
    first = found.output.splitlines()[0]
    assert "accuracy 96.00 % → 92.00 % (−4.00 points)" in first and "more than chance (p = 0.00032)" in first
    assert "got worse by more than chance" in found.stderr
    assert project.check("compare", "HEAD~1").exit_code == 0  # to look is not to evaluate
    data = json.loads(project.check("compare", "HEAD~1", "--json").output)
    (test,) = data["predictions"]
    (measure,) = test["measures"]
    assert measure["p"] == pytest.approx(expected)
    assert (test["lost"], test["gained"]) == (list(range(20, 45)), list(range(5)))
    low, high = measure["interval 95 %"]
    assert low < -0.04 < high < 0
    assert measure["before"] == 0.96


def test_an_equal_model_is_not_called_worse(project: Project) -> None:
    evaluated(project, list(range(8, 30)))  # 8 gained, 10 lost
    found = project.check("compare", "HEAD~1", "--fail-if-worse", "0.05")
    assert found.exit_code == 0
    assert "no more than chance (p = 0.81)" in found.output.splitlines()[0]


def test_a_better_model_never_fails(project: Project) -> None:
    evaluated(project, [])
    found = project.check("compare", "HEAD~1", "--fail-if-worse", "0.05")
    assert found.exit_code == 0
    assert "more than chance (p < 0.0001)" in found.output.splitlines()[0]


def test_parameters_and_metrics_are_set_side_by_side(project: Project) -> None:
    project.write({"params.yaml": "evaluate:\n  epochs: 6\n  rate: 0.1\n"})
    evaluated(project, list(range(19)))
    output = project.check("compare", "HEAD~1").output
    rows = [line.split() for line in output.splitlines()]
    assert ["params.yaml", "evaluate.epochs", "5", "6", "+1"] in rows
    assert ["params.yaml", "evaluate.rate", "–", "0.1"] in rows
    assert ["params.yaml", "evaluate.name", "a", "–"] in rows
    assert ["reports/metrics.json", "test.errors", "20", "19", "−1"] in rows
    assert "train.loss" not in output


def test_two_commits_are_compared_whatever_the_workspace_holds(project: Project) -> None:
    evaluated(project, list(range(25)))
    project.write({"reports/predictions.csv": "broken"})
    found = project.check("compare", "HEAD~1", "HEAD")
    assert "5  " in found.output and "from " in found.output.splitlines()[0]
    assert project.check("compare", "nowhere").exit_code == 2


def test_another_test_set_is_said_and_not_tested(project: Project) -> None:
    evaluated(project, list(range(100)), actual=[(i + 1) % 10 for i in range(EXAMPLES)])
    found = project.check("compare", "HEAD~1", "--fail-if-worse", "0.05")
    assert found.exit_code == 0
    assert "the actual labels differ, so it is not tested" in found.output
    assert "1 prediction file not tested" in found.output.splitlines()[0]


def test_predictions_that_are_gone_fail_when_asked_to(project: Project) -> None:
    (project.root / "reports" / "predictions.csv").unlink()
    found = project.check("compare", "HEAD", "--fail-if-worse", "0.05")
    assert found.exit_code == 1
    assert "reports/predictions.csv is gone" in found.output


def test_markdown_shows_tables_pictures_and_figures(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(project, list(range(2, 21)))
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/something")
    found = project.check("compare", "HEAD~1", "HEAD", "--markdown")
    text = found.output
    assert text.startswith("**Accuracy 96.00 % → 96.20 % (+0.20 points)")
    assert "| reports/predictions.csv | 96.00 % | 96.20 % | +0.20 |" in text
    assert "<summary>1 example lost in reports/predictions.csv</summary>" in text
    assert "<summary>2 examples gained in reports/predictions.csv</summary>" in text
    assert "```text\n▀▄\n  ▀▄\n    ▀▄\n      ▀▄\n#20 0: 0→1\n```" in text  # the unit matrix of eight rows
    assert "#20 0: 0→1" in text
    assert "| 20 | 0 | 0 | 1 | 0.700000 | 0.700000 |" in text
    old, new = project.git("rev-parse", "HEAD~1"), project.git("rev-parse", "HEAD")
    assert f"(https://github.com/someone/something/raw/{old}/reports/figure.png)" in text
    assert f"(https://github.com/someone/something/raw/{new}/reports/figure.png)" in text
    assert text.count("<details>") == text.count("</details>") == 3


def test_several_models_are_corrected_for_each_other(project: Project) -> None:
    body = PIPELINE.partition("stages:\n")[2].replace(
        "cmd: python evaluate.py", "wdir: ${item.run}\n    cmd: python ../evaluate.py"
    )
    body = body.replace("[images.npy, evaluate.py]", "[../evaluate.py]").replace(
        "    params: [evaluate]\n", ""
    )
    pipeline = "stages:\n" + body.replace("  evaluate:\n", "  evaluate:\n    matrix: {run: [a, b, c]}\n")
    project.write({"runs/dvc.yaml": pipeline})
    for run in "abc":
        project.write({f"runs/{run}/reports/predictions.csv": table(list(range(20)))})
    project.commit()
    project.write({"runs/a/reports/predictions.csv": table(list(range(26)))})  # 6 lost: p = 0.031
    project.write({"runs/b/reports/predictions.csv": table(list(range(21)))})  # c stays as it is
    data = json.loads(project.check("compare", "HEAD", "--json").output)
    by_file = {test["file"]: test for test in data["predictions"]}
    assert len(by_file) == 4
    first = by_file["runs/a/reports/predictions.csv"]
    (measure,) = first["measures"]
    assert measure["p"] == 2 / 2**6
    assert measure["p Holm"] == 2 * measure["p"]
    found = project.check("compare", "HEAD", "--fail-if-worse", "0.05")
    assert found.exit_code == 0  # alone it would have been called worse
    assert found.output.startswith("compare: of 2 models whose predictions changed, 0 got better and 0 worse")


def test_predictions_kept_by_dvc_are_taken_from_its_cache(project: Project) -> None:
    project.replace(
        "dvc.yaml", "      - reports/predictions.csv: {cache: false}\n", "      - reports/predictions.csv\n"
    )
    project.git("rm", "--quiet", "--cached", "reports/predictions.csv")
    project.write(
        {
            "evaluate.py": "import pathlib\nfor n in ('predictions.csv', 'metrics.json', 'figure.png'):\n"
            "  pathlib.Path('reports', n).write_text(pathlib.Path('made', n).read_text())\n"
        }
    )
    for wrong in (list(range(20)), list(range(60))):
        project.write(
            {"made/predictions.csv": table(wrong), "made/metrics.json": "{}", "made/figure.png": ""}
        )
        project.write({"params.yaml": f"evaluate: {len(wrong)}\n"})
        project.repro()
        project.commit()
    for path in (project.root / "reports").iterdir():
        path.unlink()
    found = project.check("compare", "HEAD~1", "HEAD")
    assert "accuracy 96.00 % → 88.00 % (−8.00 points)" in found.output.splitlines()[0]


def test_larger_pictures_are_drawn_in_braille(tmp_path: Path) -> None:
    images = numpy.zeros((3, 20, 20))
    images[1, :4, :2] = images[1, 19, 19] = 1
    numpy.save(tmp_path / "images.npy", images.reshape(3, 400))
    assert pictures.holds(tmp_path / "images.npy", 3)
    assert not pictures.holds(tmp_path / "images.npy", 4)
    drawn = pictures.draw(tmp_path / "images.npy", [1])
    assert drawn == {1: ["\u28ff" + "\u2800" * 9, *["\u2800" * 10] * 3, "\u2800" * 9 + "\u2880"]}
