"""The classes of a data set: their names, which travel in dataset.json, and labels as one-hot targets."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnistcore.errors import InputError
from mnistcore.files import replacing

MOST_CLASSES = 256  # labels are single bytes


class Description(NamedTuple):
    """What dataset.json says: the data set's name, its title in figures, and the name of each class."""

    name: str
    title: str
    classes: tuple[str, ...]


def write_description(path: str | os.PathLike[str], description: Description) -> None:
    """Write `description` as JSON, the same bytes every time."""
    with replacing(path, "w") as file:
        json.dump(description._asdict(), file, ensure_ascii=False, indent=2)
        file.write("\n")


def read_description(path: str | os.PathLike[str]) -> Description:
    """Read and check a dataset.json.

    Raises
    ------
    InputError : missing, not JSON, or without a name, a title and 2 to 256 class names
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; run the stage that makes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict) or set(content) != set(Description._fields):
        raise InputError(f"{path}: should have the keys {', '.join(Description._fields)}, and no others")
    name, title, classes = content["name"], content["title"], content["classes"]
    if not isinstance(name, str) or not isinstance(title, str):
        raise InputError(f"{path}: name and title should be text")
    if not isinstance(classes, list) or not all(isinstance(text, str) for text in classes):
        raise InputError(f"{path}: classes should be a list of names")
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise InputError(f"{path}: {len(classes)} classes; there should be 2 to {MOST_CLASSES}")
    return Description(name, title, tuple(classes))


def check_labels(labels: np.ndarray, classes: int, name: str, first: int = 0) -> None:
    """Refuse labels that are no class of 0 … `classes` − 1.

    Parameters
    ----------
    name : what the labels are called in the error
    first : the number of the first of them there

    Raises
    ------
    InputError : names the first wrong one
    """
    wrong = labels >= classes
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{name}: example {first + at} has label {labels[at]}; the classes are 0 to {classes - 1}"
        )


def one_hot(labels: np.ndarray, classes: int, dtype: np.typing.DTypeLike) -> np.ndarray:
    """(N, `classes`) array of zeros with a one in row i at `labels[i]`."""
    targets = np.zeros((len(labels), classes), dtype)
    targets[np.arange(len(labels)), labels] = 1
    return targets
