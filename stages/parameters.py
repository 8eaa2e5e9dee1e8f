"""params.yaml: reading a stage's section of it, every failure told in one line that names the file and the key."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mnistcore import arguments
from mnistcore.arguments import ArgumentError
from mnistcore.errors import InputError
from stages import schema
from stages.paths import PARAMETERS

STAGES = ("fetch", "preprocess", "batch", "train", "evaluate", "plot")

Section = TypeVar("Section")

MOST_MERGED = 100_000  # pairs that "<<" may bring into a mapping; a few lines can ask for 10¹¹


def read_section(name: str, kind: type[Section]) -> Section:
    """Read one section of params.yaml in the current folder, as the dataclass `kind`.

    Raises
    ------
    InputError : naming the file and the key, for anything that is not a valid section
    """
    document = _read()
    for key in document:
        # Other sections are the user's own, unless one looks like a stage's, misspelt.
        if key not in STAGES and (stage := schema.nearest(key, STAGES, cutoff=0.75)):
            raise InputError(f"{PARAMETERS}: unknown section {shown(key)}{stage}")
    if name not in document:
        raise InputError(f"{PARAMETERS}: has no section '{name}'")
    with errors_of(name):
        return schema.build(kind, document[name])


@contextmanager
def errors_of(section: str) -> Iterator[None]:
    """An `ArgumentError` in this context becomes one of that section of params.yaml.

    Raises
    ------
    InputError : in its place
    """
    try:
        yield
    except ArgumentError as error:
        raise InputError(f"{PARAMETERS}: {error.line(section, shown)}") from None


def shown(value: object) -> str:
    """`value` in short, as YAML would have it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return arguments.shown(value)


def _read() -> dict[Any, Any]:
    """The whole of params.yaml, as DVC reads it; every failure is told with the line it is in."""
    from ruamel.yaml import YAML  # DVC's own parser, so that both read the same values
    from ruamel.yaml.error import MarkedYAMLError, YAMLWarning
    from ruamel.yaml.reader import ReaderError

    if not PARAMETERS.is_file():
        what = "is not a file" if PARAMETERS.exists() else "not found; run this in a folder that has one"
        raise InputError(f"{PARAMETERS}: {what}")
    text = ""
    try:
        text = PARAMETERS.read_bytes().decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", YAMLWarning)  # such as of an anchor used twice, which YAML allows
            if "<<" in text and _merged(YAML(typ="safe", pure=True).compose(text), {}) > MOST_MERGED:
                raise ValueError(f"its merge keys stand for more than {MOST_MERGED:,} pairs")
            document = YAML(typ="safe", pure=True).load(text)
    except (OSError, MemoryError):
        raise
    except UnicodeDecodeError as error:
        raise InputError(
            f"{PARAMETERS}: not in UTF-8 (byte {error.start}); save it in that encoding"
        ) from None
    except RecursionError:
        raise InputError(f"{PARAMETERS}: nested too deeply") from None
    except Exception as error:  # of any type: what a value is made of is checked by whatever makes it
        where, problem = "", " ".join(str(error).split())
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            mark = error.problem_mark
            where, problem = f"line {mark.line + 1}, column {mark.column + 1}: ", error.problem or ""
            if problem.startswith("but "):  # the other half of the sentence is in the context
                problem = f"{error.context}, {problem}"
        elif isinstance(error, ReaderError):
            where = f"line {text[: error.position].count(chr(10)) + 1}: "
            problem = f"character U+{error.character:04X}, which no YAML file may have"
        advice = "; indent with spaces" if r"'\t'" in problem else ""
        raise InputError(f"{PARAMETERS}: {where}not readable as YAML: {problem[:200]}{advice}") from None
    if not isinstance(document, dict):
        raise InputError(f"{PARAMETERS}: should be sections of keys and values, one section per stage")
    return document


def _merged(node: Any, known: dict[int, int]) -> int:
    """How many pairs would be copied to make the mappings in a node of YAML, and of those it names in `<<`."""
    if node is None or not isinstance(node.value, list):
        return 0
    if id(node) not in known:
        known[id(node)] = 0
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = len(node.value) + sum(_merged(part, known) for part in parts)
    return known[id(node)]
