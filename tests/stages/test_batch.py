"""The batch stage: nothing lost, nothing doubled, each class in proportion, the same bytes every time."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mnistcore.arrays import writing_array
from mnistcore.data.description import DatasetDescription, write_dataset_description
from mnistcore.data.labels import one_hot
from mnistcore.data.normalization import divide
from mnistcore.data.parts import open_part

COUNTS = (33, 50, 20)  # of each class
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3, dtype="uint8"), COUNTS))


def write(folder, labels, features=6, dtype="float32"):
    """What preprocess would have written; pixel 0 of an image is its number."""
    images = np.random.default_rng(1).random((len(labels), features)).astype(dtype)
    images[:, 0] = np.arange(len(labels))
    (folder / "train").mkdir(parents=True, exist_ok=True)
    np.save(folder / "train/images.npy", images)
    np.save(folder / "train/labels.npy", labels)
    np.save(folder / "train/targets.npy", one_hot(labels, 3, dtype))
    divide(255, (2, features // 2), dtype).save(folder / "normalizer.npz")
    write_dataset_description(folder / "dataset.json", DatasetDescription("small", "Small", ("a", "b", "c")))


@pytest.fixture
def processed(workplace):
    folder = workplace.folder / "data/processed"
    write(folder, LABELS)
    workplace.set("batch", batch_size=10, validation_examples=20)
    return folder


def numbers(part: str) -> list[int]:
    """Which examples are in a part, in order; everything about each is as it was."""
    images, labels, targets = open_part(f"data/batches/{part}")
    rows = images[:, 0].astype(int)
    was = open_part("data/processed/train")
    assert np.array_equal(images, was.images[rows])
    assert np.array_equal(labels, was.labels[rows])
    assert np.array_equal(targets, was.targets[rows])
    return rows.tolist()


def test_no_example_is_lost_or_doubled_and_each_class_gives_its_share(workplace, processed):
    line = workplace.done("batch")
    assert "83 examples in 9 batches of 10 (the last of 3), 20 held out" in line
    train, validation = numbers("train"), numbers("validation")
    assert sorted(train + validation) == list(range(103))
    # 20 of 103 from 33, 50 and 20: 6.41, 9.71 and 3.88
    assert np.bincount(LABELS[validation]).tolist() == [6, 10, 4]
    assert train != sorted(train) and validation != sorted(validation)
    assert json.loads(Path("data/batches/batches.json").read_text()) == {
        "batch_size": 10,
        "remainder": "keep",
        "features": 6,
        "classes": 3,
        "image_shape": [2, 3],
        "train": {"examples": 83, "batches": 9, "last_batch": 3},
        "validation": {"examples": 20, "batches": 2, "last_batch": 10},
    }


def test_a_dropped_remainder_is_still_there(workplace, processed):
    workplace.done("batch")
    kept = workplace.files()
    workplace.set("batch", remainder="drop")
    assert "83 examples in 8 batches of 10, 20 held out" in workplace.done("batch")
    assert json.loads(Path("data/batches/batches.json").read_text())["train"] == {
        "examples": 83,
        "batches": 8,
        "last_batch": 10,
    }
    differ = {path for path, data in workplace.files().items() if kept[path] != data}
    assert differ == {"params.yaml", "data/batches/batches.json"}


def test_without_shuffling_the_order_is_that_of_the_file(workplace, processed):
    workplace.set("batch", shuffle=False)
    workplace.done("batch")
    assert numbers("train") == sorted(numbers("train"))
    assert numbers("validation") == sorted(numbers("validation"))
    workplace.set("batch", validation_examples=0)
    workplace.done("batch")
    assert numbers("train") == list(range(103))


def test_no_validation(workplace, processed):
    workplace.set("batch", validation_examples=0)
    workplace.done("batch")
    part = open_part("data/batches/validation")
    assert part.images.shape == (0, 6) and part.labels.shape == (0,) and part.targets.shape == (0, 3)
    assert sorted(numbers("train")) == list(range(103))


def test_the_seed_decides_and_nothing_else(workplace, processed):
    workplace.done("batch")
    first, order = workplace.files(), numbers("train")
    workplace.done("batch")
    assert workplace.files() == first
    workplace.set("batch", seed=1)
    workplace.done("batch")
    assert numbers("train") != order
    workplace.set("batch", seed=0, batch_size=7)
    workplace.done("batch")
    assert numbers("train") == order


def test_float64_stays_so(workplace, processed):
    write(processed, LABELS, dtype="float64")
    workplace.done("batch")
    assert open_part("data/batches/train").images.dtype == "float64"
    numbers("train")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.fault(
    "Between the stages",
    "what preprocess wrote is missing, truncated, of another type or shape, a pickle, or of two runs",
    "one line, such as `batch: data/processed/train/images.npy: truncated: …`",
)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "dataset.json").unlink(), "dataset.json: not found; run the stage"),
        (lambda folder: (folder / "normalizer.npz").unlink(), "normalizer.npz: not found"),
        (lambda folder: truncate(folder / "normalizer.npz"), "normalizer.npz: "),
        (lambda folder: (folder / "train/labels.npy").unlink(), "train/labels.npy: not found"),
        (lambda folder: truncate(folder / "train/images.npy"), "train/images.npy: truncated"),
        (lambda folder: truncate(folder / "train/targets.npy"), "train/targets.npy: truncated"),
        (lambda folder: (folder / "train/labels.npy").write_bytes(b"\x80\x04K\x01."), "not a .npy array"),
        (lambda folder: np.save(folder / "train/labels.npy", LABELS[:-1]), "has shape (102,)"),
        (lambda folder: np.save(folder / "train/labels.npy", LABELS.astype("int64")), "is int64"),
        (lambda folder: np.save(folder / "train/labels.npy", LABELS[::-1].copy()), "not the one-hot form"),
        (
            lambda folder: divide(255, (2, 4), "float32").save(folder / "normalizer.npz"),
            "3 classes in train, 8 and 3 in normalizer",
        ),
        (
            lambda folder: write_dataset_description(
                folder / "dataset.json", DatasetDescription("a", "b", ("c", "d"))
            ),
            "6 and 2 in normalizer.npz and dataset.json; run preprocess again",
        ),
    ],
)
def test_what_is_damaged_or_does_not_fit_together(workplace, processed, damage, words):
    damage(processed)
    workplace.refused("batch", "data/processed", words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"validation_examples": 103},
            "validation_examples: 103 of 103 examples held out leave none to train on",
        ),
        ({"validation_examples": -1}, "validation_examples: "),
        (
            {"batch_size": 84, "remainder": "drop"},
            "batch_size: 84 is more than the 83 examples to train on; drop leaves no batch",
        ),
        ({"batch_size": 0}, "batch_size: "),
        ({"batch_size": 10.0}, "batch_size: "),
        ({"remainder": "pad"}, "remainder: "),
        ({"shuffle": 1}, "shuffle: "),
        ({"seed": -1}, "seed: "),
        ({"sede": 1}, "sede: unknown key; did you mean 'seed'?"),
    ],
)
def test_an_impossible_parameter(workplace, processed, values, words):
    workplace.set("batch", **values)
    workplace.refused("batch", f"params.yaml: batch.{words}")


def test_a_batch_may_be_larger_than_the_data(workplace, processed):
    workplace.set("batch", batch_size=10**12)
    assert "83 examples in 1 batches of 1000000000000 (the last of 83)" in workplace.done("batch")


def test_memory_stays_small_for_as_many_images_as_mnist_has(workplace, processed):
    peaks = []
    for count in (6_000, 60_000):
        labels = np.random.default_rng(0).integers(0, 3, count).astype("uint8")
        write(processed, labels)
        with writing_array(processed / "train/images.npy", "float32", (count, 784)) as out:
            for _ in range(count // 1000):
                out.append(np.ones((1000, 784), "float32"))
        divide(255, (28, 28), "float32").save(processed / "normalizer.npz")
        peaks.append(workplace.peak_megabytes("batch"))
    shutil.rmtree("data")  # some 400 MB
    assert peaks[1] < 150  # 600 are allowed
    assert peaks[1] < peaks[0] + 20  # labels and row numbers: a few bytes an example
