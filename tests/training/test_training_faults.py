"""Training that diverges, and data that hardly are any: one line, or it works and evaluate can judge it."""

from pathlib import Path

import numpy as np
import pytest
from small import PARAMETERS, everything, line_of, run, works, write_raw, write_tiny_raw

from mnistcore.network import model

FINITE = "it works"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(parameters: str) -> None:
    Path("params.yaml").write_text(parameters)
    works("preprocess")
    works("batch")


def check() -> None:
    """The model is finite, and the stages after training accept it."""
    assert all(np.isfinite(network.parameters).all() for network in model.load("models/model.npz")[1])
    works("evaluate")
    assert "NaN" not in Path("reports/metrics.json").read_text()


def changed(old: str, new: str) -> str:
    assert PARAMETERS.count(old) == 1
    return PARAMETERS.replace(old, new)


SGD = "{name: sgd, learning_rate: 0.1}"
DIVERGING = [
    ("learning rate 1e6, softmax", "learning_rate: 0.1", "learning_rate: 1e6"),
    (
        "learning rate 1e6, squared error on a linear output",
        "softmax, weights: {name: glorot}}\n  loss: cross-entropy\n  epochs: 2\n  optimizer: {name: sgd, learning_rate: 0.1}",
        "identity}\n  loss: squared-error\n  epochs: 2\n  optimizer: {name: sgd, learning_rate: 1e6}",
    ),
    ("learning rate 1e30", "learning_rate: 0.1", "learning_rate: 1e30"),
    ("learning rate 1e300, beyond float32", "learning_rate: 0.1", "learning_rate: 1e300"),
    ("weights of 1e30", "weights: {name: glorot}", "weights: {name: uniform, low: -1e30, high: 1e30}"),
    (
        "weights of 1e300, beyond float32",
        "weights: {name: glorot}",
        "weights: {name: normal, deviation: 1e300}",
    ),
    ("momentum and learning rate 1e6", SGD, "{name: momentum, learning_rate: 1e6, momentum: 0.9}"),
    ("Adam and learning rate 1e6", SGD, "{name: adam, learning_rate: 1e6}"),
    ("decay of 1e6", "  epochs: 2", "  epochs: 2\n  l2: 1e6"),
]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            *(old, new),
            id=done.replace(" ", "-"),
            marks=pytest.mark.fault(
                "Training",
                done,
                "the model is finite and judged as it is, or: `train: seed 0: the loss became NaN in epoch 1, step 2 of 4, "
                "at learning rate …; most likely the learning rate is too high or the initial weights are too large`",
            ),
        )
        for done, old, new in DIVERGING
    ],
)
def test_what_diverges_says_so_in_one_line_or_stays_finite(folder: Path, old: str, new: str) -> None:
    write_tiny_raw()
    prepare(changed(old, new).replace("epochs: 2", "epochs: 8"))
    result = run("train")
    if result.exit_code == 0:
        check()
    else:
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("train: seed 0: the loss became ")
        assert "epoch" in result.stderr and "most likely the learning rate is too high" in result.stderr
        assert not Path("models/model.npz").exists()


def zeros() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((48, 4, 4)), np.arange(48) % 3


def one_class() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 16, (48, 4, 4)), np.ones(48)


def one_pixel() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 16, (48, 1, 1)), np.arange(48) % 3


@pytest.mark.parametrize("normalization", ["divide", "min-max", "standardize"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(zeros, marks=pytest.mark.fault("Training", "all images zero", FINITE)),
        pytest.param(one_class, marks=pytest.mark.fault("Training", "all examples of one class", FINITE)),
        pytest.param(one_pixel, marks=pytest.mark.fault("Training", "images of one pixel", FINITE)),
    ],
)
def test_data_that_say_little_are_trained_on(folder: Path, data, normalization: str) -> None:
    images, labels = data()
    write_raw(images, labels, tests=12)
    prepare(changed("normalization: divide", f"normalization: {normalization}"))
    works("train")
    check()


@pytest.mark.fault("Training", "one example to train on, one held out, a batch larger than the data", FINITE)
def test_one_example_is_enough(folder: Path) -> None:
    write_tiny_raw()
    prepare(
        changed("examples: null", "examples: 2").replace("validation_examples: 6", "validation_examples: 1")
        .replace("batch_size: 8", "batch_size: 1000000000000")
    )  # fmt: skip
    works("train")
    check()


@pytest.mark.fault("Training", "nothing left to train on", "`batch: params.yaml: batch.validation_examples: 36 of 36 "
                   "examples held out leave none to train on`")  # fmt: skip
def test_nothing_to_train_on(folder: Path) -> None:
    write_tiny_raw()
    Path("params.yaml").write_text(changed("validation_examples: 6", "validation_examples: 36"))
    works("preprocess")
    assert line_of("batch") == (
        "batch: params.yaml: batch.validation_examples: 36 of 36 examples held out leave none to train on"
    )


@pytest.mark.fault(
    "Training", "images without a pixel", "`preprocess: data/raw/train-images-idx3-ubyte: no images`"
)
def test_images_without_pixels(folder: Path) -> None:
    write_raw(np.zeros((48, 0, 4)), np.arange(48) % 3, tests=12)
    Path("params.yaml").write_text(PARAMETERS)
    assert line_of("preprocess") == "preprocess: data/raw/train-images-idx3-ubyte: no images"


@pytest.mark.fault(
    "Training",
    "zero epochs",
    "`train: params.yaml: train.epochs: should be greater than or equal to 1, is 0`",
)
def test_zero_epochs(folder: Path) -> None:
    write_tiny_raw()
    prepare(changed("epochs: 2", "epochs: 0"))
    assert line_of("train") == "train: params.yaml: train.epochs: should be greater than or equal to 1, is 0"


@pytest.mark.fault("Training", "a last layer that does not fit the classes", "`train: params.yaml: train.layers.1.units: 4, "
                   "but the data have 3 classes`")  # fmt: skip
def test_a_last_layer_that_does_not_fit(folder: Path) -> None:
    write_tiny_raw()
    prepare(changed("units: 3", "units: 4"))
    assert line_of("train") == "train: params.yaml: train.layers.1.units: 4, but the data have 3 classes"


@pytest.mark.fault(
    "Killed",
    "a checkpoint that is damaged, or no checkpoint at all",
    "`train: checkpoints/seed-0.npz is damaged: not used`, and the same model",
)
@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\5\6" + bytes(18)])
def test_a_damaged_checkpoint_is_not_used(folder: Path, content: bytes) -> None:
    write_tiny_raw()
    prepare(PARAMETERS)
    works("train")
    model_alone = Path("models/model.npz").read_bytes()
    Path("checkpoints").mkdir()
    Path("checkpoints/seed-0.npz").write_bytes(content)
    result = run("train")
    assert result.exit_code == 0
    assert "train: checkpoints/seed-0.npz is damaged: not used\n" in result.stderr
    assert Path("models/model.npz").read_bytes() == model_alone and not Path("checkpoints").exists()


@pytest.mark.fault(
    "Training",
    "a run that diverges, after one that did not",
    "the model and the curves of the run before are as they were",
)
def test_a_diverged_run_leaves_model_and_curves_as_they_were(folder: Path) -> None:
    write_tiny_raw()
    prepare(PARAMETERS)
    works("train")
    before = {
        name: content for name, content in everything().items() if name.startswith(("models", "reports"))
    }
    Path("params.yaml").write_text(
        changed("learning_rate: 0.1", "learning_rate: 1e30").replace("epochs: 2", "epochs: 8")
    )
    assert "the loss became" in line_of("train")
    assert before == {
        name: content for name, content in everything().items() if name.startswith(("models", "reports"))
    }
