"""The pipeline as its users run it, by the real DVC, on a small copy of the project."""

import csv
import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from dvc_project import ROOT, Project, dvc_within, ran
from PIL import Image
from ruamel.yaml import YAML

pytestmark = pytest.mark.integration

FIGURES = {
    "confusion-matrix",
    "first-layer",
    "learning-curves",
    "precision-and-recall",
    "reliability",
    "worst-mistakes",
}


def metrics_of(project):
    return json.loads(project.file("reports/metrics.json").read_text())


def test_one_run_leaves_everything_it_promises(prepared):
    reports = prepared.file("reports")
    metrics = metrics_of(prepared)
    assert list(metrics) == ["train", "validation", "test"]
    for part, examples in (("train", 500), ("validation", 100), ("test", 594)):
        assert {
            "accuracy",
            "accuracy_ci95",
            "error_rate",
            "errors",
            "examples",
            "loss",
            "macro_f1",
            "expected_calibration_error",
        } <= set(metrics[part])
        assert metrics[part]["examples"] == examples
        low, high = metrics[part]["accuracy_ci95"]
        assert low < metrics[part]["accuracy"] < high
        assert metrics[part]["accuracy"] == pytest.approx(1 - metrics[part]["error_rate"], abs=1e-6)
    assert set(metrics["test"]["per_class"]["recall"]) == set("0123456789")

    with open(reports / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["actual", "predicted", "confidence"]
    assert len(rows) == 594
    assert sum(row["actual"] != row["predicted"] for row in rows) == metrics["test"]["errors"]

    assert {path.name for path in (reports / "figures").iterdir()} == {f"{name}.png" for name in FIGURES}
    for path in (reports / "figures").iterdir():
        assert Image.open(path).size > (100, 100)
    assert (reports / "index.html").stat().st_size > 0


def test_a_second_run_with_nothing_changed_runs_nothing_and_leaves_git_clean(project):
    output = project.dvc("repro")
    assert ran(output) == []
    assert "up to date" in output
    assert project.git("status", "--porcelain") == ""


def test_what_dvc_hashes_tells_neither_the_machine_nor_the_time(prepared):
    """Everything small enough to stand in Git is searched for the folder it was made in."""
    for path in prepared.file("reports").rglob("*"):
        if path.is_file():
            assert str(prepared.path).encode() not in path.read_bytes(), path
            assert b"timestamp" not in path.read_bytes(), path


def test_two_commits_are_compared_where_there_is_no_cache(project, tmp_path):
    project.change("train.epochs", 3)
    assert ran(project.dvc("repro")) == ["train", "evaluate", "plot"]
    project.commit("Train for longer")
    clone = project.clone_to(tmp_path / "clone")
    assert not clone.file(".dvc/cache").exists() and not clone.file("models/model.npz").exists()

    changed = json.loads(clone.dvc("params", "diff", "HEAD~1", "--json"))
    assert changed["params.yaml"] == {"train.epochs": {"old": 2, "new": 3, "diff": 1}}

    changed = json.loads(clone.dvc("metrics", "diff", "HEAD~1", "--json"))["reports/metrics.json"]
    assert changed["train.loss"]["diff"] < 0
    assert changed["test.loss"]["new"] == metrics_of(project)["test"]["loss"]
    assert not any("examples" in name for name in changed)

    plots = json.loads(clone.dvc("plots", "diff", "HEAD~1", "HEAD", "--json"))
    assert not plots.get("errors")
    assert {"Loss", "Accuracy", "Confusion matrix"} <= set(plots["data"])
    drawn = {Path(name).stem for name in plots["data"] if name.endswith(".png")}
    assert drawn == FIGURES
    for images in (plots["data"][name] for name in plots["data"] if name.endswith(".png")):
        assert {revision for image in images for revision in image["revisions"]} == {"HEAD", "HEAD~1"}
    points = plots["data"]["Loss"][0]["content"]["data"]["values"]
    lengths = {(point["rev"], point["filename"]): 0 for point in points}
    for point in points:
        lengths[point["rev"], point["filename"]] += 1
    assert lengths == {
        ("HEAD", "train/loss.tsv"): 3,
        ("HEAD", "validation/loss.tsv"): 3,
        ("HEAD~1", "train/loss.tsv"): 2,
        ("HEAD~1", "validation/loss.tsv"): 2,
    }
    matrix = plots["data"]["Confusion matrix"][0]["content"]
    cells = matrix["data"]["values"]
    assert len(cells) == 2 * 594 and {"actual", "predicted"} <= set(cells[0])
    coloured = next(layer for layer in matrix["spec"]["layer"] if layer["mark"] == "rect")
    assert coloured["transform"] == [{"filter": "!datum.right"}]  # a template of our own: errors alone


def test_no_figure_is_shown_twice():
    """`dvc plots show` draws what a stage has under `plots:`, and once more what stands at the top level."""
    pipeline = YAML().load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    of_stages = [
        path for stage in pipeline["stages"].values() for one in stage.get("plots", []) for path in one
    ]
    at_the_top = [one if isinstance(one, str) else next(iter(one)) for one in pipeline["plots"]]
    assert of_stages and not set(of_stages) & set(at_the_top)


def test_experiments_run_at_once_or_from_the_queue_and_are_compared(project):
    """Up to evaluate: the figures have nothing to add here, and take most of the time."""
    project.dvc("exp", "run", "--name", "longer", "--set-param", "train.epochs=3", "evaluate")
    before = json.loads(project.git("show", "HEAD:reports/metrics.json"))
    assert metrics_of(project)["train"]["loss"] < before["train"]["loss"]
    project.git("reset", "--quiet", "--hard")

    for epochs in (4, 5):
        changed = f"train.epochs={epochs}"
        project.dvc("exp", "run", "--queue", "--name", f"queued-{epochs}", "--set-param", changed, "evaluate")
    project.dvc("exp", "run", "--run-all")
    table = list(csv.DictReader(project.dvc("exp", "show", "--csv", "--hide-workspace").splitlines()))
    found = {row["Experiment"]: row for row in table if row["Experiment"]}
    epochs = {name: row["train.epochs"] for name, row in found.items()}
    assert epochs == {"longer": "3", "queued-4": "4", "queued-5": "5"}
    loss = "reports/metrics.json:train.loss"  # a parameter has the name train.loss, too
    losses = [float(row[loss]) for row in (table[0], *(found[name] for name in sorted(found)))]
    assert losses == sorted(losses, reverse=True)

    project.dvc("exp", "apply", "queued-4")
    assert "epochs: 4" in project.file("params.yaml").read_text()
    assert metrics_of(project)["train"]["loss"] == float(found["queued-4"][loss])
    with dvc_within(project) as repo:
        assert list(repo.status()) == ["plot"]


def test_another_clone_pulls_what_was_pushed_and_has_nothing_to_run(prepared, tmp_path):
    """Beside recipes that nobody has run here: a project of their own."""
    project = prepared.copy_to(tmp_path / "project")
    made = shutil.ignore_patterns("data", "models", "reports", "cache", "tmp")
    shutil.copytree(ROOT / "recipes", project.file("recipes"), ignore=made)
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "remote"))
    project.commit("Name a remote")
    project.dvc("push")
    clone = project.clone_to(tmp_path / "clone")
    clone.dvc("pull")
    for name in ("models/model.npz", "data/raw", "data/processed", "data/batches"):
        assert _contents(clone.file(name)) == _contents(project.file(name)), name
    assert ran(clone.dvc("repro")) == []


def _contents(path):
    if path.is_file():
        return path.read_bytes()
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_data_takes_its_space_once(project):
    """What a run has made, and what a checkout brings back, is the very file in the cache."""
    images = project.file("data/processed/train/images.npy")
    project.dvc("repro", "--force", "--single-item", "preprocess")
    assert images.stat().st_nlink == 2
    shutil.rmtree(project.file("data/processed"))
    project.dvc("checkout", "data/processed")
    assert images.stat().st_nlink == 2


def test_the_model_is_an_artifact_of_its_own_name(prepared):
    artifacts = YAML(typ="safe").load(prepared.file("dvc.yaml"))["artifacts"]
    (artifact,) = artifacts.values()
    assert artifact["type"] == "model" and artifact["desc"] and artifact["labels"]
    assert prepared.file(artifact["path"]).is_file()


def test_the_summary_tells_the_result_in_three_lines_at_once(prepared):
    started = time.monotonic()
    output = prepared.run(sys.executable, "-m", "commands.summary")
    assert time.monotonic() - started < 1.0  # 0.1 s on a quiet machine: it imports nothing that computes
    accuracy, errors, report = output.splitlines()
    test = metrics_of(prepared)["test"]
    low, high = (f"{100 * bound:.2f}" for bound in test["accuracy_ci95"])
    expected = f"{100 * test['accuracy']:.2f} % (95 % interval {low} to {high} %)"
    assert accuracy.split(maxsplit=2)[2] == expected
    assert errors.split(maxsplit=1)[1] == f"{test['errors']} of 594"
    assert prepared.file(report.split()[1]).is_file()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"test": {}}'])
def test_the_summary_of_nothing_is_one_line(prepared, tmp_path, text):
    if text is not None:
        (tmp_path / "reports").mkdir()
        (tmp_path / "reports" / "metrics.json").write_text(text)
    here = Project(tmp_path)
    here.environment["PYTHONPATH"] = str(prepared.path)
    output = here.run(sys.executable, "-m", "commands.summary", status=2)
    assert output.count("\n") == 1 and "metrics.json" in output and "run evaluate" in output


def test_the_same_bytes_wherever_and_however_evaluate_and_plot_run(prepared, tmp_path):
    """Another folder, time zone, language, hash seed, umask and Matplotlib style."""
    here = prepared.copy_to(tmp_path / "elsewhere" / "under another näme")
    shutil.rmtree(here.file("reports/figures"))
    for name in ("metrics.json", "predictions.csv", "index.html"):
        here.file(f"reports/{name}").unlink()
    style = tmp_path / "style"
    style.mkdir()
    (style / "matplotlibrc").write_text("font.size: 30\nfigure.facecolor: red\ntext.hinting: none\n")
    for cache in Path(prepared.environment["MPLCONFIGDIR"]).glob("fontlist*.json"):
        shutil.copy(cache, style)  # building it anew takes seconds and is not what is tested
    other = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "MPLCONFIGDIR": str(style)}
    for stage in ("evaluate", "plot"):
        here.run(sys.executable, f"stages/{stage}.py", **other)
    for name in ("metrics.json", "predictions.csv", "figures", "index.html"):
        assert _contents(here.file(f"reports/{name}")) == _contents(prepared.file(f"reports/{name}")), name


def test_no_validation_images_and_several_seeds(project):
    project.change("batch.validation_examples", 0)
    project.change("train.seeds", [3, 1])
    assert ran(project.dvc("repro")) == ["batch", "train", "evaluate", "plot"]
    metrics = metrics_of(project)
    assert list(metrics) == ["train", "test", "seeds"]
    assert metrics["seeds"]["list"] == [3, 1]
    accuracy = metrics["seeds"]["test"]["accuracy"]
    assert accuracy["each"][0] == metrics["test"]["accuracy"] != accuracy["each"][1]
    assert accuracy["mean"] == pytest.approx(sum(accuracy["each"]) / 2, abs=1e-6)
    output = project.dvc("plots", "show", "--json")  # says on a line before that some files are not there
    plots = json.loads(output[output.index("{") :])["data"]
    assert plots["Loss"] and plots["Accuracy"] and plots["Confusion matrix"]
