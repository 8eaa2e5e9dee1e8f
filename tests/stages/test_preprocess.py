"""The preprocess stage: what it writes is what the definitions say, and bad raw data get one line each."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import stages.preprocess
from mnistcore.data import idx
from mnistcore.data.description import DatasetDescription, write_dataset_description
from mnistcore.data.normalization import Normalizer
from mnistcore.data.parts import open_part

random = np.random.default_rng(0)
IMAGES = {"train": random.integers(0, 256, (50, 4, 3)), "t10k": random.integers(0, 256, (20, 4, 3))}
LABELS = {"train": random.integers(0, 3, 50), "t10k": random.integers(0, 3, 20)}


@pytest.fixture
def raw(workplace):
    """Small raw data in data/raw."""
    folder = workplace.folder / "data/raw"
    for part in IMAGES:
        idx.write(folder / f"{part}-images-idx3-ubyte", IMAGES[part].astype("uint8"))
        idx.write(folder / f"{part}-labels-idx1-ubyte", LABELS[part].astype("uint8"))
    write_dataset_description(folder / "dataset.json", DatasetDescription("small", "Small", ("a", "b", "c")))
    return folder


def normalised(method: str, images: np.ndarray, training: np.ndarray, dtype: str) -> np.ndarray:
    """The definitions, on whole arrays in float64."""
    images, training = images.reshape(len(images), -1) / 1.0, training.reshape(len(training), -1) / 1.0
    if method == "divide":
        return images.astype(dtype) / np.array(255, dtype)
    if method == "min-max":
        low, high = training.min(axis=0), training.max(axis=0)
        return (images - low) / (high - low)
    return (images - training.mean(axis=0)) / training.std(axis=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("examples", [None, 30])
@pytest.mark.parametrize("method", ["divide", "min-max", "standardize"])
def test_everything_is_as_defined_and_fitted_on_training_images_alone(
    workplace, raw, method, examples, dtype
):
    workplace.set("preprocess", normalization=method, examples=examples, dtype=dtype)
    workplace.done("preprocess")
    training = IMAGES["train"][:examples]
    for part, published in {"train": "train", "test": "t10k"}.items():
        images, labels, targets = open_part(f"data/processed/{part}")
        count = examples if part == "train" else None
        expected = normalised(method, IMAGES[published][:count], training, dtype)
        assert images.dtype == targets.dtype == dtype
        if method == "divide":
            assert np.array_equal(images, expected)  # to the last bit
        else:
            assert np.allclose(images, expected, rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-6)
        assert labels.tolist() == LABELS[published][:count].tolist()
        assert targets.tolist() == np.eye(3)[LABELS[published][:count]].tolist()
    normalizer = Normalizer.load("data/processed/normalizer.npz")
    assert (
        normalizer.method == method and normalizer.image_shape == (4, 3) and normalizer.offset.dtype == dtype
    )
    one = normalizer.transform(IMAGES["t10k"][:1].astype("uint8"))  # a single image meets the same transform
    assert np.array_equal(one, open_part("data/processed/test").images[:1])
    assert json.loads(Path("data/processed/dataset.json").read_text()) == json.loads(
        Path("data/raw/dataset.json").read_text()
    )
    names = [f"{part}/{name}.npy" for part in ("train", "test") for name in ("images", "labels", "targets")]
    written = {path for path in workplace.files() if path.startswith("data/processed/")}
    assert written == {f"data/processed/{name}" for name in [*names, "normalizer.npz", "dataset.json"]}


@pytest.mark.parametrize("method", ["divide", "standardize"])
def test_the_bytes_depend_neither_on_the_run_nor_on_the_chunks(workplace, raw, monkeypatch, method):
    workplace.set("preprocess", normalization=method)
    workplace.done("preprocess")
    first = workplace.files()
    monkeypatch.setattr(stages.preprocess, "PIXELS", 25)  # two images at a time
    monkeypatch.setattr(stages.preprocess, "LABELS_HELD", 3)
    workplace.done("preprocess")
    assert workplace.files() == first


def swap(raw, one, other):
    (raw / one).rename(raw / "x")
    (raw / other).rename(raw / one)
    (raw / "x").rename(raw / other)


def rewrite(raw, name, array):
    idx.write(raw / name, np.asarray(array, "uint8"))


@pytest.mark.fault(
    "IDX files",
    "files missing, damaged, swapped; counts or sizes that disagree; labels above the classes",
    "one line, such as `preprocess: data/raw/t10k-labels-idx1-ubyte: example 15 has label 3; "
    "the classes are 0 to 2`",
)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: shutil.rmtree(raw), "data/raw/dataset.json: not found; run the stage that makes it"),
        (lambda raw: (raw / "dataset.json").unlink(), "data/raw/dataset.json: not found"),
        (lambda raw: (raw / "dataset.json").write_text("{"), "data/raw/dataset.json: not JSON"),
        (lambda raw: (raw / "t10k-images-idx3-ubyte").unlink(), "t10k-images-idx3-ubyte: not found"),
        (lambda raw: (raw / "train-labels-idx1-ubyte").write_bytes(b""), "train-labels-idx1-ubyte: empty"),
        (
            lambda raw: (raw / "train-images-idx3-ubyte").write_bytes(
                (raw / "t10k-images-idx3-ubyte").read_bytes()[:99]
            ),
            "train-images-idx3-ubyte: truncated",
        ),
        (
            lambda raw: swap(raw, "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"),
            "20 train images but 50 labels",
        ),
        (
            lambda raw: swap(raw, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
            "1 dimensions of uint8, not images",
        ),
        (
            lambda raw: rewrite(raw, "t10k-labels-idx1-ubyte", LABELS["t10k"][:19]),
            "20 test images but 19 labels",
        ),
        (
            lambda raw: rewrite(raw, "t10k-labels-idx1-ubyte", [2] * 15 + [3] * 5),
            "example 15 has label 3; the classes are 0 to 2",
        ),
        (lambda raw: rewrite(raw, "t10k-images-idx3-ubyte", np.zeros((20, 3, 4))), "test images of (3, 4)"),
        (lambda raw: rewrite(raw, "train-images-idx3-ubyte", np.zeros((0, 4, 3))), "0 train images but 50"),
        (lambda raw: rewrite(raw, "train-images-idx3-ubyte", np.zeros((50, 0, 3))), "no images"),
        (
            lambda raw: idx.write(raw / "train-images-idx3-ubyte", np.zeros((50, 4, 3), "float32")),
            "3 dimensions of",
        ),
        (
            lambda raw: idx.write(raw / "train-labels-idx1-ubyte", np.zeros(50, "int32")),
            "not labels of bytes",
        ),
    ],
)
def test_raw_data_that_are_damaged_or_do_not_fit_together(workplace, raw, damage, words):
    damage(raw)
    workplace.refused("preprocess", "data/raw", words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"examples": 51}, "preprocess.examples: 51 wanted, 50 training images in data/raw"),
        ({"examples": 0}, "preprocess.examples: "),
        ({"examples": True}, "preprocess.examples: "),
        ({"divisor": 0}, "preprocess.divisor: "),
        (
            {"divisor": 1e300},
            "preprocess.divisor: divisor 1e+300: should be positive, and 255 divided by it finite",
        ),
        ({"divisor": 1e-37}, "preprocess.divisor: divisor 1e-37"),
        ({"divisor": float("inf")}, "preprocess.divisor: "),
        ({"divisor": "1e-3"}, "preprocess.divisor: "),
        ({"normalization": "minmax"}, "preprocess.normalization: "),
        ({"dtype": "float16"}, "preprocess.dtype: "),
    ],
)
def test_an_impossible_parameter(workplace, raw, values, words):
    workplace.set("preprocess", **values)
    workplace.refused("preprocess", "params.yaml: ", words)


def test_memory_stays_small_for_as_many_images_as_mnist_has(workplace, raw):
    workplace.set("preprocess", normalization="standardize")
    peaks = []
    for count in (6_000, 60_000):
        rewrite(raw, "train-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28), "uint8"))
        rewrite(raw, "train-labels-idx1-ubyte", np.zeros(count))
        rewrite(raw, "t10k-images-idx3-ubyte", np.zeros((20, 28, 28)))
        peaks.append(workplace.peak_megabytes("preprocess"))
    shutil.rmtree("data")  # some 300 MB
    assert peaks[1] < 150  # 600 are allowed
    assert peaks[1] < peaks[0] + 10  # it does not grow with the data
