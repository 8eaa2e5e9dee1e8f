"""Class names and one-hot targets."""

import json

import numpy as np
import pytest

from mnistcore.data.description import DatasetDescription, read_dataset_description, write_dataset_description
from mnistcore.data.labels import check_labels, one_hot
from mnistcore.errors import InputError


def test_one_hot():
    assert one_hot(np.array([2, 0], "uint8"), 3, "float32").tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot(np.zeros(0, "uint8"), 3, "float64").shape == (0, 3)


def test_the_first_wrong_label_is_named():
    check_labels(np.array([0, 9], "uint8"), 10, "labels")
    with pytest.raises(InputError, match="labels: example 101 has label 10; the classes are 0 to 9"):
        check_labels(np.array([9, 10, 11], "uint8"), 10, "labels", first=100)


def test_a_description_comes_back(tmp_path):
    description = DatasetDescription("kmnist", "Kuzushiji-MNIST", ("お", "き"))
    write_dataset_description(tmp_path / "dataset.json", description)
    assert read_dataset_description(tmp_path / "dataset.json") == description
    assert json.loads((tmp_path / "dataset.json").read_bytes())["classes"] == ["お", "き"]
    text = (tmp_path / "dataset.json").read_text(encoding="utf-8")
    assert "お" in text and text.endswith("}\n")  # as people write it


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        "{}",
        '{"name": "a", "title": "b", "classes": ["1", "2"], "more": 1}',
        '{"name": 1, "title": "b", "classes": ["1", "2"]}',
        '{"name": "a", "title": "b", "classes": "12"}',
        '{"name": "a", "title": "b", "classes": ["1", 2]}',
        '{"name": "a", "title": "b", "classes": ["1"]}',
        json.dumps({"name": "a", "title": "b", "classes": ["c"] * 257}),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_dataset_description(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not in UTF-8"):
        read_dataset_description(tmp_path / "dataset.json")
    with pytest.raises(InputError, match="not found"):
        read_dataset_description(tmp_path / "other.json")
