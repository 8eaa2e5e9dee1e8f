"""dataset.json: a data set's name and the names of its classes, which travel with the data."""

import json
import os
import unicodedata
from dataclasses import asdict, dataclass, fields
from typing import Annotated

from mnistcore.arguments import ArgumentError, AtLeast, Checked, check
from mnistcore.errors import InputError
from mnistcore.files import read_json, replacing

MOST_CLASSES = 256  # labels are single bytes
LONGEST = 100  # characters of a name, which stands beside a figure
_NO_TEXT = {
    "Cc",
    "Cs",
    "Zl",
    "Zp",
}  # Unicode's control characters, surrogates, separators of lines and paragraphs


@dataclass(frozen=True)
class DatasetDescription(Checked):
    """What dataset.json says: the data set's name, its title in figures, and the name of each class.

    Raises
    ------
    ArgumentError : for anything but short lines of text, and 2 to 256 class names, each another
    """

    name: str
    title: str
    classes: Annotated[tuple[str, ...], AtLeast(2)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.classes) > MOST_CLASSES:
            problem = f"{len(self.classes)}; there should be 2 to {MOST_CLASSES}"
            raise ArgumentError("DatasetDescription", ("classes",), problem)
        if len(set(self.classes)) < len(self.classes):
            raise ArgumentError("DatasetDescription", ("classes",), "has one name twice")
        lines = {("name",): self.name, ("title",): self.title}
        for path, line in (lines | {("classes", at): name for at, name in enumerate(self.classes)}).items():
            if not 0 < len(line.strip()) <= len(line) <= LONGEST or any(
                unicodedata.category(letter) in _NO_TEXT for letter in line
            ):
                problem = f"should be a line of 1 to {LONGEST} letters, without control characters"
                raise ArgumentError("DatasetDescription", path, problem, line)


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
    content = read_json(path, "the stage that makes it")
    keys = [field.name for field in fields(DatasetDescription)]
    if not isinstance(content, dict) or set(content) != set(keys):
        raise InputError(f"{path}: should have the keys {', '.join(keys)}, and no others")
    try:
        return DatasetDescription(**content)
    except ArgumentError as error:
        raise InputError(f"{path}: {error.line()}") from None
