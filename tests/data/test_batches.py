"""The hold-out is stratified, the shuffle loses nothing, and only sound files are read back."""

import json
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistcore.data.batches import (
    BatchesDescription,
    Size,
    gather,
    open_batches,
    read_batches_description,
    size_of,
    write_batches_description,
)
from mnistcore.data.holdout import split
from mnistcore.data.parts import open_part
from mnistcore.errors import InputError

some_labels = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(
    lambda labels: np.array(labels, "uint8")
)


class TestSplit:
    @settings(max_examples=200, deadline=None)
    @given(some_labels, st.data())
    def test_no_example_is_lost_or_doubled(self, labels, data):
        held_out = data.draw(st.integers(0, len(labels) - 1))
        train, validation = split(labels, held_out, seed=0)
        assert len(validation) == held_out
        assert sorted([*train, *validation]) == list(range(len(labels)))
        assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()  # in the order of the file

    @settings(max_examples=200, deadline=None)
    @given(some_labels, st.data())
    def test_each_class_gives_its_share_to_within_one(self, labels, data):
        held_out = data.draw(st.integers(0, len(labels) - 1))
        given_ = np.bincount(labels[split(labels, held_out, seed=0)[1]], minlength=6)
        share = np.bincount(labels, minlength=6) * held_out / len(labels)
        assert (np.abs(given_ - share) < 1).all()

    def test_the_largest_remainders_give_one_more(self):
        # 5, 3 and 2 of ten; four held out: 2.0, 1.2 and 0.8, so the third class gives the fourth.
        labels = np.array([0] * 5 + [1] * 3 + [2] * 2)
        validation = split(labels, 4, seed=0)[1]
        assert np.bincount(labels[validation]).tolist() == [2, 1, 1]
        # Equal remainders: the lower classes first.
        labels = np.array([0, 0, 1, 1, 2, 2])
        assert np.bincount(labels[split(labels, 2, seed=0)[1]], minlength=3).tolist() == [1, 1, 0]
        labels = np.repeat(np.arange(100), 2)
        assert labels[split(labels, 60, seed=0)[1]].tolist() == list(range(60))

    def test_the_seed_decides(self):
        labels = np.zeros(1000, "uint8")
        first, again, other = (split(labels, 100, seed)[1].tolist() for seed in (0, 0, 1))
        assert first == again != other

    def test_every_example_is_as_likely_to_be_held_out(self):
        times = np.zeros(20)
        for seed in range(2000):
            times[split(np.zeros(20, "uint8"), 5, seed)[1]] += 1
        assert np.abs(times / 2000 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)

    @pytest.mark.parametrize("held_out", [3, 4, 2**62])
    def test_some_must_be_left(self, held_out):
        with pytest.raises(InputError, match="leave none"):
            split(np.zeros(3, "uint8"), held_out, seed=0)


@pytest.mark.parametrize(
    ("examples", "size", "remainder", "expected"),
    [
        (10, 5, "keep", (10, 2, 5)),
        (11, 5, "keep", (11, 3, 1)),
        (11, 5, "drop", (11, 2, 5)),
        (3, 5, "keep", (3, 1, 3)),
        (3, 5, "drop", (3, 0, 0)),
        (0, 5, "keep", (0, 0, 0)),
    ],
)
def test_how_many_batches(examples, size, remainder, expected):
    assert astuple(size_of(examples, size, remainder)) == expected


class TestGather:
    @pytest.mark.parametrize("at_once", [1, 100, 1 << 23])
    @pytest.mark.parametrize("shape", [(50,), (50, 3)])
    def test_it_is_the_rows_in_order(self, tmp_path, monkeypatch, at_once, shape):
        monkeypatch.setattr("mnistcore.data.batches.GATHERED", at_once)
        array = np.random.default_rng(0).random(shape).astype("float32")
        np.save(tmp_path / "from.npy", array)
        rows = np.random.default_rng(1).permutation(50)[:33]
        gather(tmp_path / "from.npy", rows, tmp_path / "to.npy")
        assert np.array_equal(np.load(tmp_path / "to.npy"), array[rows])

    def test_no_rows(self, tmp_path):
        np.save(tmp_path / "from.npy", np.zeros((2, 3)))
        gather(tmp_path / "from.npy", np.zeros(0, int), tmp_path / "to.npy")
        assert np.load(tmp_path / "to.npy").shape == (0, 3)


class TestPart:
    arrays = {
        "images": np.arange(6, dtype="float32").reshape(3, 2),
        "labels": np.array([1, 0, 1], "uint8"),
        "targets": np.array([[0, 1], [1, 0], [0, 1]], "float32"),
    }

    def save(self, folder, **changed):
        for name, array in (self.arrays | changed).items():
            np.save(folder / f"{name}.npy", array)

    def test_it_is_what_was_saved(self, tmp_path):
        self.save(tmp_path)
        for array, saved in zip(open_part(tmp_path), self.arrays.values(), strict=True):
            assert isinstance(array, np.memmap) and np.array_equal(array, saved)

    def test_it_may_be_empty(self, tmp_path):
        self.save(tmp_path, **{name: array[:0] for name, array in self.arrays.items()})
        assert open_part(tmp_path).images.shape == (0, 2)

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"images": np.zeros((3, 2), "float16")}, "images.npy: is float16"),
            ({"images": np.zeros(3, "float32")}, "images.npy: has shape"),
            ({"labels": np.zeros(2, "uint8")}, "labels.npy: has shape"),
            ({"labels": np.zeros(3, "int64")}, "labels.npy: is int64"),
            ({"labels": np.array([0, 1, 2], "uint8")}, "label 2 for 2 classes"),
            ({"labels": np.array([1, 1, 1], "uint8")}, "not the one-hot form"),
            ({"targets": np.zeros((3, 2), "float64")}, "targets.npy: is float64"),
            ({"targets": np.zeros((2, 2), "float32")}, "targets.npy: has shape"),
            ({"targets": np.ones((3, 1), "float32")}, "1 classes"),
            ({"targets": np.full((3, 2), 0.5, "float32")}, "not the one-hot form"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, tmp_path, changed, words):
        self.save(tmp_path, **changed)
        with pytest.raises(InputError, match=words) as caught:
            open_part(tmp_path)
        assert "\n" not in str(caught.value)


class TestBatches:
    @pytest.fixture
    def folder(self, tmp_path):
        for part, rows in {"train": slice(None), "validation": slice(0, 1)}.items():
            (tmp_path / part).mkdir()
            TestPart().save(tmp_path / part, **{name: array[rows] for name, array in TestPart.arrays.items()})
        description = BatchesDescription(
            2, "keep", 2, 2, (1, 2), size_of(3, 2, "keep"), size_of(1, 2, "keep")
        )
        write_batches_description(tmp_path / "batches.json", description)
        return tmp_path

    def test_they_are_what_was_written(self, folder):
        description, train, validation = open_batches(folder)
        assert description.train == Size(3, 2, 1)
        assert len(train.images) == 3 and len(validation.images) == 1

    def test_arrays_of_another_run_are_refused(self, folder):
        (folder / "train").rename(folder / "other")
        (folder / "validation").rename(folder / "train")
        (folder / "other").rename(folder / "validation")
        with pytest.raises(InputError, match=r"train: .* are \(1, 2, 2\), and in batches.json \(3, 2, 2\)"):
            open_batches(folder)

    def test_parts_of_another_dtype_are_refused(self, folder):
        changed = {name: TestPart.arrays[name][:1].astype("float64") for name in ("images", "targets")}
        TestPart().save(folder / "validation", labels=TestPart.arrays["labels"][:1], **changed)
        with pytest.raises(InputError, match="differ in dtype"):
            open_batches(folder)


class TestDescription:
    description = BatchesDescription(4, "drop", 6, 10, (2, 3), size_of(11, 4, "drop"), size_of(5, 4, "keep"))

    def test_it_comes_back(self, tmp_path):
        write_batches_description(tmp_path / "batches.json", self.description)
        assert read_batches_description(tmp_path / "batches.json") == self.description
        assert (tmp_path / "batches.json").read_text("utf-8").endswith("}\n")
        assert json.loads((tmp_path / "batches.json").read_text()) == {
            "batch_size": 4,
            "remainder": "drop",
            "features": 6,
            "classes": 10,
            "image_shape": [2, 3],
            "train": {"examples": 11, "batches": 2, "last_batch": 4},
            "validation": {"examples": 5, "batches": 2, "last_batch": 1},
        }

    @pytest.mark.parametrize(
        "change",
        [
            {"batch_size": 0},
            {"batch_size": 4.0},
            {"batch_size": True},
            {"batch_size": None},
            {"remainder": "both"},
            {"features": 7},
            {"classes": 1},
            {"image_shape": [2, 3, 1]},
            {"image_shape": 6},
            {"train": {"examples": 11, "batches": 3, "last_batch": 4}},
            {"train": {"examples": 11, "batches": 2}},
            {"validation": {"examples": -8, "batches": -2, "last_batch": 4}},
            {"validation": []},
            {"more": 1},
        ],
    )
    def test_anything_else_is_refused(self, tmp_path, change):
        path = tmp_path / "batches.json"
        write_batches_description(path, self.description)
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(InputError, match="damaged, or not written by the batch stage"):
            read_batches_description(path)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
    def test_so_is_what_is_no_object(self, tmp_path, text):
        (tmp_path / "batches.json").write_text(text)
        with pytest.raises(InputError, match=r"damaged|not JSON"):
            read_batches_description(tmp_path / "batches.json")
        with pytest.raises(InputError, match="not found"):
            read_batches_description(tmp_path / "x.json")
