"""What evaluate and plot refuse: files that are missing, damaged, or of another run, in one line each."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from mnistcore.errors import InputError
from mnistcore.evaluation.predictions import Predictions, read_predictions, write_predictions
from mnistcore.network import model
from mnistcore.network.network import Dense, Network
from stages import evaluate, plot
from stages.curves import read_curves


@pytest.fixture
def here(prepared, tmp_path, monkeypatch):
    """What the two stages read and write, in a folder of its own."""
    for name in ("data", "models", "reports", "params.yaml"):
        source = prepared.file(name)
        (shutil.copy if source.is_file() else shutil.copytree)(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # DVC protects what it links to its cache
    return tmp_path


def run(stage, status=2):
    """The line that the stage ends with."""
    done = CliRunner().invoke(stage.main, [], prog_name=stage.__name__.split(".")[1])
    assert done.exit_code == status, done.output
    assert done.output.count("\n") == 1, done.output
    return done.output


def replace_array(path, change):
    array = np.array(np.load(path))
    np.save(path, change(array))


def test_run_by_hand_they_say_what_they_wrote(here):
    assert "errors in 594 test images" in run(evaluate, status=0)
    (here / "reports/figures/of-an-earlier-version.png").touch()
    assert "6 figures" in run(plot, status=0)
    assert not (here / "reports/figures/of-an-earlier-version.png").exists()


@pytest.mark.parametrize("stage", [evaluate, plot])
@pytest.mark.parametrize(
    "name",
    ["params.yaml", "models/model.npz", "data/processed/dataset.json", "data/processed/test/images.npy"],
)
def test_a_missing_or_damaged_file_is_named(here, stage, name):
    before = {path: path.read_bytes() for path in (here / "reports").rglob("*") if path.is_file()}
    path = here / name
    content = path.read_bytes()
    path.unlink()
    assert name in run(stage)
    path.write_bytes(content[: len(content) // 2])
    assert name in run(stage)
    path.write_bytes(b"\x00" * len(content))
    assert name in run(stage)
    assert before == {path: path.read_bytes() for path in (here / "reports").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["reports/metrics.json", "reports/predictions.csv", "reports/curves/plots/metrics/train/loss.tsv"]
)
def test_plot_names_a_missing_or_damaged_result(here, name):
    path = here / name
    for content in (
        b"\x00\xff",
        b"",
        b"[]",
        b"{}",
        b"step\tloss\n1\t0.5\t7\n",
        b"actual,predicted,confidence\n1,2\n",
    ):
        path.write_bytes(content)
        assert name in run(plot)
    path.unlink()
    assert name in run(plot)


@pytest.mark.fault(
    "Between the stages",
    "a model for images of another size",
    "`evaluate: models/model.npz: takes images of 49 pixels, those in … have 64; run train again`",
)
@pytest.mark.parametrize("stage", [evaluate, plot])
def test_a_model_for_other_images_is_refused(here, stage):
    layers = [Dense(10, "softmax")]
    model.save(here / "models/model.npz", [0], [Network(49, layers)])
    assert "49 pixels" in run(stage)


@pytest.mark.fault(
    "Between the stages",
    "a model for other classes",
    "`evaluate: models/model.npz: tells 7 classes apart, … names 10, …; run the stages before again`",
)
def test_a_model_for_other_classes_is_refused(here):
    model.save(here / "models/model.npz", [0], [Network(64, [Dense(7, "softmax")])])
    assert "7 classes" in run(evaluate)


@pytest.mark.fault(
    "Between the stages",
    "no test images",
    "`evaluate: data/processed/test: has no images; run the stage that makes it`",
)
def test_no_images_to_test_is_refused(here):
    for name in ("images", "labels", "targets"):
        replace_array(here / f"data/processed/test/{name}.npy", lambda array: array[:0])
    assert "has no images" in run(evaluate)


@pytest.mark.fault(
    "Between the stages",
    "a model of NaN",
    "`evaluate: models/model.npz: its outputs are not finite; the training diverged: try a lower learning rate`",
)
def test_a_model_that_diverged_is_told_and_not_written_as_metrics(here):
    network = Network(64, [Dense(10, "softmax")])
    network.parameters[:] = np.nan
    model.save(here / "models/model.npz", [0], [network])
    assert "not finite" in run(evaluate)


@pytest.mark.fault(
    "Between the stages",
    "predictions of other images",
    "`plot: reports/predictions.csv: 593 predictions for 594 test images; run evaluate again`, or the line that differs",
)
def test_predictions_of_other_images_are_refused(here):
    path = here / "reports/predictions.csv"
    header, first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, *rest]))
    assert "593 predictions for 594" in run(plot)
    other = str((int(first[0]) + 1) % 10)
    path.write_text("".join([header, other + first[1:], *rest]))
    assert "line 2 says class" in run(plot)


@pytest.mark.fault(
    "Between the stages",
    "metrics of another run",
    "`plot: reports/metrics.json: tells of … errors in …, reports/predictions.csv of …; they are of different runs, run evaluate again`",
)
def test_metrics_of_another_run_are_refused(here):
    path = here / "reports/metrics.json"
    metrics = json.loads(path.read_text())
    scores = metrics["test"]
    scores["errors"] += 1
    scores["error_rate"] = scores["errors"] / scores["examples"]
    scores["accuracy"] = 1 - scores["error_rate"]
    path.write_text(json.dumps(metrics))
    assert "different runs" in run(plot)


def test_predictions_come_back_as_they_were_written(tmp_path):
    written = Predictions(np.array([3, 0]), np.array([3, 1]), np.array([0.1234567, 1.0]))
    write_predictions(tmp_path / "predictions.csv", written)
    assert (
        tmp_path / "predictions.csv"
    ).read_text() == "actual,predicted,confidence\n3,3,0.123457\n0,1,1.000000\n"
    read = read_predictions(tmp_path / "predictions.csv", np.array([3, 0], np.uint8), 4)
    assert read.actual.tolist() == [3, 0] and read.predicted.tolist() == [3, 1]
    assert read.confidence == pytest.approx(written.confidence, abs=1e-6)


@pytest.mark.parametrize("line", ["3,4,0.5", "3,-1,0.5", "3,1,1.5", "3,1,nan", "3,0.5,0.5"])
def test_predictions_that_cannot_be_are_refused(tmp_path, line):
    (tmp_path / "predictions.csv").write_text(f"actual,predicted,confidence\n{line}\n")
    with pytest.raises(InputError, match="outside 0 to 3"):
        read_predictions(tmp_path / "predictions.csv", np.array([3], np.uint8), 4)


def test_curves_are_read_by_the_names_of_their_columns(tmp_path):
    for name in ("loss", "accuracy"):
        path = tmp_path / "plots/metrics/train" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\tstep\n0.5\t1\n0.25\t2\n")
    curves = read_curves(tmp_path)
    assert set(curves) == {"train/loss", "train/accuracy"}
    assert curves["train/loss"].tolist() == [[1, 0.5], [2, 0.25]]


def test_half_of_a_validation_is_missed(tmp_path):
    for name in ("train/loss", "train/accuracy", "validation/loss"):
        path = tmp_path / "plots/metrics" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"step\t{path.stem}\n1\t0.5\n")
    with pytest.raises(InputError, match=r"validation/accuracy\.tsv: not found"):
        read_curves(tmp_path)
