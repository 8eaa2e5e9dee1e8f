"""dataset.json: a data set's name and the names of its classes, which travel with the data."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from mnistcore.errors import InputError
from mnistcore.files import replacing

MOST_CLASSES = 256  # labels are single bytes


class DatasetDescription(NamedTuple):
    """What dataset.json says: the data set's name, its title in figures, and the name of each class."""

    name: str
    title: str
    classes: tuple[str, ...]


def write_dataset_description(path: str | os.PathLike[str], description: DatasetDescription) -> None:
    """Write `description` as JSON, the same bytes every time."""
    with replacing(path, "w") as file:
        json.dump(description._asdict(), file, ensure_ascii=False, indent=2)
        file.write("\n")


def read_dataset_description(path: str | os.PathLike[str]) -> DatasetDescription:
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
    if not isinstance(content, dict) or set(content) != set(DatasetDescription._fields):
        raise InputError(
            f"{path}: should have the keys {', '.join(DatasetDescription._fields)}, and no others"
        )
    name, title, classes = content["name"], content["title"], content["classes"]
    if not isinstance(name, str) or not isinstance(title, str):
        raise InputError(f"{path}: name and title should be text")
    if not isinstance(classes, list) or not all(isinstance(text, str) for text in classes):
        raise InputError(f"{path}: classes should be a list of names")
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise InputError(f"{path}: {len(classes)} classes; there should be 2 to {MOST_CLASSES}")
    return DatasetDescription(name, title, tuple(classes))
