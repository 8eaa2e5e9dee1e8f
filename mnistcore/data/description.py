"""dataset.json: a data set's name and the names of its classes, which travel with the data."""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

from mnistcore.arguments import ArgumentError, AtLeast, Checked, check
from mnistcore.errors import InputError
from mnistcore.files import replacing

MOST_CLASSES = 256  # labels are single bytes


@dataclass(frozen=True)
class DatasetDescription(Checked):
    """What dataset.json says: the data set's name, its title in figures, and the name of each class.

    Raises
    ------
    ArgumentError : for anything but text, and 2 to 256 class names
    """

    name: str
    title: str
    classes: Annotated[tuple[str, ...], AtLeast(2)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.classes) > MOST_CLASSES:
            problem = f"{len(self.classes)}; there should be 2 to {MOST_CLASSES}"
            raise ArgumentError("DatasetDescription", ("classes",), problem)


def write_dataset_description(path: str | os.PathLike[str], description: DatasetDescription) -> None:
    """Write `description` as JSON, the same bytes every time."""
    check(DatasetDescription, description, "write_dataset_description", "description")
    with replacing(path, "w") as file:
        json.dump(asdict(description), file, ensure_ascii=False, indent=2)
        file.write("\n")


def read_dataset_description(path: str | os.PathLike[str]) -> DatasetDescription:
    """Read and check a dataset.json.

    Raises
    ------
    InputError : missing, not JSON, or not a description
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; run the stage that makes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    keys = [field.name for field in fields(DatasetDescription)]
    if not isinstance(content, dict) or set(content) != set(keys):
        raise InputError(f"{path}: should have the keys {', '.join(keys)}, and no others")
    try:
        return DatasetDescription(**content)
    except ArgumentError as error:
        raise InputError(f"{path}: {error.line()}") from None
