"""dvc-checks compare on what projects have: experiments, tags, regression, seeds, columns of any name."""

import csv
import io
import json
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from dvc.repo import Repo
from small_dvc import Project, isolate

from dvc_checks import compare, seeds
from dvc_checks.compare import Columns, read_predictions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

PIPELINE = """stages:
  evaluate:
    cmd: python evaluate.py
    deps: [evaluate.py]
    params: [wrong, name]
    outs:
      - predictions.csv: {cache: false}
"""
EVALUATE = """
from ruamel.yaml import YAML
wrong = YAML(typ="safe").load(open("params.yaml").read())["wrong"]
rows = [f"{i % 10},{(i + (i < wrong)) % 10}" for i in range(200)]
open("predictions.csv", "w").write("actual,predicted\\n" + "\\n".join(rows) + "\\n")
"""


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path / "home")
    return tmp_path


def table(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def compared(project: Project, *arguments: str) -> dict[str, Any]:
    return json.loads(project.check("compare", *arguments, "--json").output)


def test_experiments_are_revisions_and_are_ranked(isolated: Path) -> None:
    project = Project(isolated / "project").write(
        {"dvc.yaml": PIPELINE, "evaluate.py": EVALUATE, "params.yaml": "wrong: 30\nname: a\n"}
    )
    project.repro()
    start = project.commit()
    project.git("tag", "v1")
    before = os.getcwd()
    os.chdir(project.root)
    try:
        for name, wrong in (("better", 10), ("equal", 29), ("worse", 60)):
            with Repo(str(project.root)) as repo:
                repo.experiments.run(name=name, params=[f"wrong={wrong}"])
    finally:
        os.chdir(before)
    project.git("checkout", "-q", "--", ".")

    found = project.check("compare", "v1", "better")
    assert "accuracy 85.00 % → 95.00 % (+10.00 points)" in found.output.splitlines()[0]
    assert f"from {start[:7]} to better" in found.output.splitlines()[0]
    ref = next(
        line
        for line in project.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
        if "worse" in line
    )
    assert compared(project, "better", ref)["predictions"][0]["lost"] == list(range(10, 60))
    assert "nothing moved" in project.check("compare", "v1", "workspace").output
    assert "no test" not in project.check("compare", "workspace", "worse").output
    found = project.check("compare", "nobody")
    assert found.exit_code == 2
    assert "'nobody' is not a commit of this repository, and not one of its experiments" in found.stderr

    found = project.check("compare", "--all-experiments", "--fail-if-worse", "0.05")
    assert found.exit_code == 1
    lines = found.output.splitlines()
    assert lines[0].startswith(
        f"compare: 3 experiments against {start[:7]}; best by accuracy: better, more than chance"
    )
    ranked = [line.split()[1] for line in lines if line[:4].strip().isdigit()]
    assert ranked == ["better", "equal", "worse"]
    assert "wrong 30 → 10" in found.output
    assert "worse: predictions.csv got worse by more than chance" in found.stderr
    data = compared(project, "--all-experiments")["experiments"]
    alone = [scipy.stats.binomtest(0, moved).pvalue for moved in (20, 1, 30)]
    assert [entry["p"] for entry in data] == pytest.approx(alone)
    assert [entry["p Holm"] for entry in data] == pytest.approx(
        [2 * alone[0], 1, 3 * alone[2]]
    )  # Holm by hand

    project.commit("onward")
    assert project.check("compare", "--all-experiments").exit_code == 2
    assert project.check("compare", "--all-experiments", "v1").exit_code == 0
    assert project.check("compare", "worse").exit_code == 0


OUTPUTS = """stages:
  evaluate:
    cmd: python evaluate.py
    outs: [{name}: {{cache: false}}]
"""


def versions(folder: Path, name: str, before: str, after: str) -> Project:
    """A project in which one output has gone from one text to another since the last commit."""
    project = Project(folder / "project").write({"dvc.yaml": OUTPUTS.format(name=name), name: before})
    project.commit()
    return project.write({name: after})


def test_numbers_are_compared_as_a_regression(isolated: Path) -> None:
    draw = random.Random(1)
    truth = [draw.gauss(10, 3) for _ in range(300)]
    noise = [draw.gauss(0, 1) for _ in truth]
    old = table(
        ["y_true", "id", "y_pred"], [[y, i, y + e] for i, (y, e) in enumerate(zip(truth, noise, strict=True))]
    )
    new = table(
        ["y_true", "id", "y_pred"],
        [[y, i, y + 0.7 * e + draw.gauss(0, 0.1)] for i, (y, e) in enumerate(zip(truth, noise, strict=True))],
    )
    project = versions(isolated, "out.csv", old, new)
    found = project.check("compare", "HEAD")
    first = found.output.splitlines()[0]
    assert first.startswith("compare: mean absolute error 0.78945 → 0.57117 (−0.2183) since ")
    assert first.endswith(": more than chance (p < 0.0001)")
    (test,) = compared(project, "HEAD")["predictions"]
    absolute, squared = test["measures"]
    assert absolute["before"] == pytest.approx(sum(map(abs, noise)) / 300)
    assert squared["before"] == pytest.approx(sum(e * e for e in noise) / 300)
    low, high = absolute["interval 95 %"]
    assert low < absolute["change"] < high < 0
    losses = [
        abs(float(row[2]) - y) - abs(e)
        for row, y, e in zip(csv.reader(new.splitlines()[1:]), truth, noise, strict=True)
    ]
    reference = scipy.stats.ttest_1samp(losses, 0).confidence_interval()
    assert (low, high) == pytest.approx((reference.low, reference.high), rel=0.1)
    assert compared(project, "HEAD") == compared(project, "HEAD")  # seeded
    assert project.check("compare", "HEAD", "--fail-if-worse", "0.05").exit_code == 0
    assert "lost" in compared(project, "HEAD", "--classification")["predictions"][0]
    project.write({"out.csv": old})
    project.commit()
    project.git("checkout", "-q", "HEAD~1", "--", ".")
    project.write({"out.csv": new.replace("y_true", "actual_number").replace("y_pred", "guess")})
    project.commit("other names")
    assert compared(project, "HEAD")["predictions"] == []
    project.write({"out.csv": old.replace("y_true", "actual_number").replace("y_pred", "guess")})
    found = project.check(
        "compare", "HEAD", "--actual", "actual_number", "--predicted", "guess", "--fail-if-worse", "0.05"
    )
    assert found.exit_code == 1
    assert "out.csv got worse in its mean absolute error by more than chance" in found.stderr


def test_labels_are_classes_whatever_their_names_and_form(tmp_path: Path) -> None:
    for name, text in {
        "a.csv": "Label,Prediction\ncat,dog\ncat,cat\n",
        "b.tsv": "target\tscore\tpred\n1\t0.4\t0\n0\t0.2\t0\n",
        "c.json": '[{"actual": 1, "predicted": 0}, {"actual": 0, "predicted": 0}]',
        "d.jsonl": '{"y": 1, "yhat": 1}\n{"y": 2, "yhat": 1}\n',
    }.items():
        (tmp_path / name).write_text(text)
        found = read_predictions(tmp_path / name)
        assert found is not None and len(found.actual) == 2, name
        assert not compare._of_numbers(found)
    for name, text in {
        "e.csv": "step,loss\n1,2\n",
        "f.json": '{"actual": 1}',
        "g.csv": "actual,predicted\n1\n",
        "h.json": '[{"actual": 1, "predicted": 1}, {"actual": 2}]',
        "i.csv": "actual,predicted\n\xff",
    }.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
        assert read_predictions(tmp_path / name) is None, name
    (tmp_path / "j.csv").write_text("x,y,z\n1,2,3\n")
    found = read_predictions(tmp_path / "j.csv", Columns("x", "z"))
    assert found is not None and (found.actual, found.predicted) == (("1",), ("3",))


@pytest.mark.parametrize(
    ("predicted", "regression"),
    [
        ("0 1 2", False),
        ("0 1 3", False),
        ("0 1.0 2.0", False),
        ("0 1.5 2", True),
        ("0 1 x", False),
        ("0 nan 2", False),
    ],
)
def test_what_makes_a_regression(predicted: str, regression: bool) -> None:
    table = compare.Predictions(("0", "1", "2"), tuple(predicted.split()), ())
    assert compare._of_numbers(table) == regression


def test_a_label_written_as_a_number_is_the_same_label(isolated: Path) -> None:
    project = versions(
        isolated, "out.csv", "actual,predicted\n1,1\n2,1\n", "actual,predicted\n1,1.0\n2,2.0\n"
    )
    assert compared(project, "HEAD")["predictions"][0]["gained"] == [1]


def test_a_table_that_cannot_be_tested_says_why(isolated: Path) -> None:
    project = versions(isolated, "out.csv", "actual,predicted\n1,1.5\n2,1\n", "actual,predicted\n1,x\n2,1\n")
    found = project.check("compare", "HEAD")
    assert "out.csv holds something else than numbers, so it is not compared as a regression" in found.output
    project.write({"out.csv": "actual,predicted\n1,1.5\n3,1\n"})
    assert "the actual values differ, so it is not tested" in project.check("compare", "HEAD").output


METRICS = "stages:\n  evaluate:\n    cmd: python evaluate.py\n    metrics: [m.json: {cache: false}]\n"
BEFORE = {"1": 0.90, "2": 0.92, "3": 0.91, "4": 0.93}
AFTER = {"1": 0.92, "2": 0.95, "3": 0.93, "4": 0.96}


def seeded(folder: Path, before: Any, after: Any) -> Project:
    project = Project(folder / "project").write({"dvc.yaml": METRICS, "m.json": json.dumps(before)})
    project.commit()
    return project.write({"m.json": json.dumps(after)})


def test_the_same_seeds_are_pairs(isolated: Path) -> None:
    project = seeded(isolated, {"seeds": {"accuracy": BEFORE}}, {"seeds": {"accuracy": AFTER}})
    found = project.check("compare", "HEAD")
    reference = scipy.stats.ttest_rel(list(AFTER.values()), list(BEFORE.values()))
    assert "seeds.accuracy 0.915 → 0.94 (+0.025)" in found.output.splitlines()[0]
    assert "4 seeds, paired" in found.output
    (test,) = compared(project, "HEAD")["seeds"]
    (measure,) = test["measures"]
    assert measure["p"] == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval()
    assert measure["interval 95 %"] == pytest.approx([interval.low, interval.high])


def test_other_seeds_are_two_samples(isolated: Path) -> None:
    lists = {"seeds": [1, 2, 3, 4], "loss": list(BEFORE.values())}
    other = [0.97, 0.98, 0.97, 0.99, 0.98]
    project = seeded(isolated, lists, {"seeds": [5, 6, 7, 8, 9], "loss": other})
    found = project.check("compare", "HEAD", "--fail-if-worse", "0.05")
    assert "4 and 5 seeds" in found.output
    assert found.exit_code == 1  # of a loss, more is worse
    (test,) = compared(project, "HEAD")["seeds"]
    (measure,) = test["measures"]
    welch = scipy.stats.ttest_ind(other, list(BEFORE.values()), equal_var=False)
    assert measure["p"] == pytest.approx(2 * scipy.stats.t.sf(welch[0], 3))


def test_what_is_taken_for_seeds() -> None:
    def found(values: Any, *keys: str) -> dict[str, dict[str, float]]:
        return dict(seeds.samples(values, keys))

    each = {"mean": 1, "each": [1, 2, 3]}
    assert found({"seeds": {"list": [7, 8, 9], "test": {"loss": each}}}) == {
        "seeds.test.loss": {"7": 1, "8": 2, "9": 3}
    }
    assert found({"by_seed": {"1": {"a": 1, "b": {"c": 2}}, "2": {"a": 3, "b": {"c": 4}}}}) == {
        "by_seed.a": {"1": 1, "2": 3},
        "by_seed.b.c": {"1": 2, "2": 4},
    }
    classes = {"precision": {"0": 0.9, "1": 0.8}, "interval": [0.1, 0.2]}
    assert found(classes) == {}
    assert found(classes, "precision") == {"precision": {"0": 0.9, "1": 0.8}}
    assert found({"seed": 1, "loss": [1, 2, 3]}) == {}


def test_stages_of_a_matrix_over_seeds_are_one_sample(isolated: Path) -> None:
    pipeline = """stages:
  train:
    matrix: {kind: [a, b], seed: [1, 2, 3]}
    cmd: python evaluate.py ${item.kind} ${item.seed}
    metrics: ['m/${item.kind}-${item.seed}.json': {cache: false}]
  other:
    foreach: [x, y]
    do: {cmd: python evaluate.py, metrics: ['m/${item}.json': {cache: false}]}
"""
    files = {f"m/{kind}-{seed}.json": f'{{"f1": 0.{seed}}}' for kind in "ab" for seed in (1, 2, 3)}
    project = Project(isolated / "project").write({"dvc.yaml": pipeline, **files, "m/x.json": '{"f1": 0.5}'})
    project.commit()
    project.write({f"m/a-{seed}.json": f'{{"f1": 0.{seed}{seed}}}' for seed in (1, 2, 3)})
    tests = {test["metric"]: test for test in compared(project, "HEAD")["seeds"]}
    assert set(tests) == {"train@a-*: f1", "train@b-*: f1"}
    (measure,) = tests["train@a-*: f1"]["measures"]
    assert (measure["before"], measure["after"]) == pytest.approx((0.2, 0.22))
    assert tests["train@a-*: f1"]["sample"] == "3 seeds, paired"


def test_which_way_is_better() -> None:
    assert [
        seeds.sign(f"m.json: {name}") for name in ("test.accuracy", "val_loss", "RMSE", "epochs", "f1.macro")
    ] == [*(1, -1, -1, 0, 1)]
    assert math.isclose(compare.Measure("mean", 1, 2, compare.Estimate(1, (0, 2), 0.1), -1).improved, -1)
