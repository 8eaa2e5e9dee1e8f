"""Sections of params.yaml are the core's own dataclasses: their fields, their defaults, and what they say of a value."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from ruamel.yaml import YAML
from small import PARAMETERS, line_of, run, works, write_tiny_raw

from mnistcore.arguments import Bounds, Checked
from mnistcore.errors import InputError
from mnistcore.network.initializers import Uniform
from mnistcore.network.network import Dense
from mnistcore.training.optimizers import OPTIMIZERS, SGD, Momentum
from mnistcore.training.schedules import Steps
from mnistcore.training.settings import Averaging, Settings
from mnistcore.training.stopping import Patience
from stages.parameters import read_section
from stages.schema import build, written
from stages.train_section import Train

ROOT = Path(__file__).resolve().parents[2]
OLD = "optimizer: {name: sgd, learning_rate: 0.1}"


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Train]:
    """Reads the section `train` with one place changed."""
    monkeypatch.chdir(tmp_path)

    def read(old: str, new: str) -> Train:
        assert PARAMETERS.count(old) == 1, old
        Path("params.yaml").write_text(PARAMETERS.replace(old, new))
        return read_section("train", Train)

    return read


def test_a_field_added_to_the_core_is_a_key_of_params_yaml(tmp_path: Path) -> None:
    """In a copy of the code, whose Settings and Momentum get a field each: no other line is changed."""
    for package in ("stages", "mnistcore"):
        shutil.copytree(ROOT / package, tmp_path / package)
    for name, before, after in (
        ("settings", "    l2: NotNegative = 0.0\n", "    l2: NotNegative = 0.0\n    jitter: Part = 0.25\n"),
        (
            "optimizers",
            "    momentum: Part = 0.9\n",
            "    momentum: Part = 0.9\n    floor: NotNegative = 0.5\n",
        ),
    ):
        module = tmp_path / f"mnistcore/training/{name}.py"
        text = module.read_text()
        assert before in text
        module.write_text(text.replace(before, after, 1))
    work = tmp_path / "work"
    work.mkdir()
    os.chdir(work)
    Path("params.yaml").write_text(PARAMETERS)
    write_tiny_raw()
    works("preprocess")
    works("batch")

    def train(optimizer: str) -> subprocess.CompletedProcess[str]:
        Path("params.yaml").write_text(PARAMETERS.replace(OLD, optimizer))
        script = tmp_path / "stages/train.py"
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    momentum = "optimizer: {name: momentum, learning_rate: 0.1, momentum: 0.5"
    done = train(f"{momentum}, floor: 0.125}}\n  jitter: 0.75")
    assert done.returncode == 0, done.stderr
    logged = YAML(typ="safe").load(Path("reports/curves/params.yaml"))
    assert logged["jitter"] == 0.75 and logged["optimizer"]["floor"] == 0.125
    assert train(f"{momentum}}}").returncode == 0
    logged = YAML(typ="safe").load(Path("reports/curves/params.yaml"))
    assert logged["jitter"] == 0.25 and logged["optimizer"]["floor"] == 0.5
    for changed, line in (
        (
            f"{momentum}, floor: -1}}",
            "params.yaml: train.optimizer.floor: should be greater than or equal to 0, is -1.0",
        ),
        (f"{momentum}}}\n  jitter: 1", "params.yaml: train.jitter: should be less than 1, is 1.0"),
        (f"{momentum}}}\n  jiter: 0.5", "params.yaml: train.jiter: unknown key; did you mean 'jitter'?"),
    ):
        done = train(changed)
        assert (done.returncode, done.stderr) == (2, f"train: {line}\n")


@pytest.mark.parametrize(
    ("old", "new", "key", "call"),
    [
        (OLD, "optimizer: {name: sgd, learning_rate: -0.1}", "optimizer", lambda: SGD(-0.1)),
        (OLD, "optimizer: {name: sgd, learning_rate: '1e-3'}", "optimizer", lambda: SGD("1e-3")),
        (OLD, "optimizer: {name: momentum, learning_rate: 1, momentum: 1}", "optimizer", lambda: Momentum(1, 1)),
        (OLD, f"{OLD}\n  schedule: {{name: steps, after: [3, 1], factors: [1, 1]}}", "schedule",
         lambda: Steps([3, 1], [1, 1])),
        (OLD, f"{OLD}\n  stopping: {{name: patience, epochs: 0}}", "stopping", lambda: Patience(0)),
        (OLD, f"{OLD}\n  averaging: {{decay: 0.9, steps: 0}}", "averaging", lambda: Averaging(0.9, 0)),
        (OLD, f"{OLD}\n  clip_norm: -1", "", lambda: Settings(clip_norm=-1)),
        (OLD, f"{OLD}\n  reduction: avg", "", lambda: Settings(reduction="avg")),
        (OLD, f"{OLD}\n  shards: 65", "", lambda: Settings(shards=65)),
        ("epochs: 2", "epochs: 1.5", "", lambda: Settings(epochs=1.5)),
        ("units: 6", "units: 0", "layers.0", lambda: Dense(0)),
        ("activation: relu", "activation: rely", "layers.0", lambda: Dense(6, "rely")),
        ("activation: relu", "activation: relu, frozen: [weight]", "layers.0", lambda: Dense(6, frozen=["weight"])),
        ("{name: glorot}", "{name: uniform, low: 1, high: -1}", "layers.1.weights", lambda: Uniform(1, -1)),
    ],
)  # fmt: skip
def test_the_file_and_python_are_told_the_same(
    read: Callable[[str, str], Train], old: str, new: str, key: str, call: Callable[[], object]
) -> None:
    with pytest.raises(InputError) as in_file:
        read(old, new)
    with pytest.raises(InputError) as in_python:
        call()
    owner, _, message = str(in_python.value).partition(".")
    assert owner in ("Averaging", "Dense", "Momentum", "Patience", "SGD", "Settings", "Steps", "Uniform")
    assert str(in_file.value) == ".".join(filter(None, ["params.yaml: train", key, message]))


def test_what_is_written_is_read_again(read: Callable[[str, str], Train]) -> None:
    section = read(OLD, "optimizer: {name: adam, learning_rate: 1}\n  stopping: {name: patience, epochs: 1}")
    plain = written(section)
    assert build(Train, plain) == section
    assert plain["optimizer"] == {
        "name": "adam",
        "learning_rate": 1.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
    }
    assert list(plain)[:6] == ["seeds", "generator", "precision", "layers", "loss", "reduction"]
    assert "batch_size" not in plain and "augmenter" not in plain


def test_a_class_added_to_a_table_is_a_name(
    read: Callable[[str, str], Train], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Noisy(SGD):
        noise: Annotated[float, Bounds(least=0, most=3)] = 1.0

    monkeypatch.setitem(OPTIMIZERS, "noisy", Noisy)
    assert issubclass(Noisy, Checked)
    section = read(OLD, "optimizer: {name: noisy, learning_rate: 0.1, noise: 2}")
    assert section.how.optimizer == Noisy(0.1, 2.0)
    with pytest.raises(
        InputError, match=r"train\.optimizer\.noise: should be less than or equal to 3, is 4\.0"
    ):
        read(OLD, "optimizer: {name: noisy, learning_rate: 0.1, noise: 4}")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("epochs: 2", "epochs: 2\n  averaging: {decay: 0.99, steps: 9}", "train.averaging.steps: the run has 8 steps, "
         "so that no weights would come into the average, is 9"),
        ("seeds: [0]", "seeds: [4294967296]\n  generator: legacy", "train.seeds.0: should be less than 4294967296, "
         "is 4294967296"),
        ("seeds: [0]", "seeds: [1, 1]", "train.seeds: names a seed twice"),
        ("epochs: 2", "epochs: 2\n  stopping: {name: patience, epochs: 1}", ""),
        ("activation: relu}", "activation: softmax}", "train.layers.0.activation: softmax is for the output layer"),
        ("activation: softmax,", "activation: relu,", "train.loss: cross-entropy needs a softmax output, not relu"),
        ("precision: float32", "precision: float64", "train.precision: float64, but the images in data/batches are float32; "
         "make it the same as preprocess.dtype"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMETERS)
    write_tiny_raw()
    works("preprocess")
    works("batch")
    Path("params.yaml").write_text(PARAMETERS.replace(old, new))
    if line:
        assert line_of("train") == f"train: params.yaml: {line}"
        assert not Path("reports").exists()
    else:
        assert run("train").exit_code == 0
