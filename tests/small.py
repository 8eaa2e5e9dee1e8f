"""A tiny data set and the stages run in this process, for tests of what goes wrong."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from mnistcore.data import idx
from mnistcore.data.description import DatasetDescription, write_dataset_description
from stages import batch, evaluate, fetch, plot, preprocess, train

MODULES = {
    "fetch": fetch,
    "preprocess": preprocess,
    "batch": batch,
    "train": train,
    "evaluate": evaluate,
    "plot": plot,
}

PARAMETERS = """\
fetch:
  dataset: digits
  source: null
preprocess:
  normalization: divide
  divisor: 16
  examples: null
  dtype: float32
batch:
  batch_size: 8
  remainder: keep
  validation_examples: 6
  shuffle: true
  seed: 0
train:
  seeds: [0]
  precision: float32
  layers:
    - {units: 6, activation: relu}
    - {units: 3, activation: softmax, weights: {name: glorot}}
  loss: cross-entropy
  epochs: 2
  optimizer: {name: sgd, learning_rate: 0.1}
evaluate:
  calibration_bins: 5
plot:
  mistakes: 4
  calibration_bins: 5
  dpi: 50
"""


def write_raw(images: np.ndarray, labels: np.ndarray, tests: int, classes: int = 3) -> None:
    """Write data/raw here, as fetch does: the last `tests` images are the test images."""
    folder = Path("data/raw")
    cut = len(images) - tests
    for name, part in (("train", slice(0, cut)), ("t10k", slice(cut, None))):
        idx.write(folder / f"{name}-images-idx3-ubyte", images[part].astype(np.uint8))
        idx.write(folder / f"{name}-labels-idx1-ubyte", labels[part].astype(np.uint8))
    names = tuple(str(label) for label in range(classes))
    write_dataset_description(folder / "dataset.json", DatasetDescription("tiny", "tiny", names))


def write_tiny_raw(side: int = 4) -> None:
    """36 training and 12 test images of 4 × 4 pixels, or more, in 3 classes that can be told apart."""
    random = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = random.integers(0, 6, (48, side, side))
    images[np.arange(48), labels] += 9
    write_raw(images, labels, tests=12)


def run(stage: str, *arguments: str) -> Result:
    """Run a stage in the current folder; an exception that it lets out is raised."""
    result = CliRunner().invoke(MODULES[stage].main, list(arguments), prog_name=stage)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def works(stage: str, *arguments: str) -> str:
    """Run a stage that has to succeed, and return its closing line."""
    result = run(stage, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def line_of(stage: str, *arguments: str) -> str:
    """Run a stage that has to end with one line and exit status 2, and return the line."""
    result = run(stage, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n"), result.stderr
    assert len(result.stderr) < 500
    return result.stderr.rstrip("\n")


def everything() -> dict[str, bytes]:
    """Every file under the current folder, with its content."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}
