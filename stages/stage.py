"""What the stage scripts share: their section of params.yaml, one clear line for bad input, progress, the summary.

A script is `@click.command(cls=Stage)` over a function that reads its section
with `read_section`, calls the core, writes, and ends with `summarize`.
"""

from stages.interrupt import Interrupted, as_exceptions, leave

import difflib
import reprlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import click
from pydantic import BaseModel, ConfigDict, ValidationError

from mnistcore.errors import InputError

PARAMETERS = Path("params.yaml")
STAGES = ("fetch", "preprocess", "batch", "train", "evaluate", "plot")
LARGEST = 2**63 - 1


class Section(BaseModel):
    """The parameters of one stage, as they stand in its section of params.yaml.

    Types are strict (no text for a number, no true for 1), unknown keys are
    refused, and so are NaN and infinities.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


def read_section(name: str, section: type[SectionT]) -> SectionT:
    """Read and validate one section of params.yaml in the current folder.

    Raises
    ------
    InputError : naming the file and the key, for anything that is not a valid section
    """
    document = _read_parameters()
    for key in document:
        # Other sections are the user's own, unless one looks like a stage's, misspelt.
        if key not in STAGES and (stage := _nearest(key, [*STAGES], cutoff=0.75)):
            raise InputError(f"{PARAMETERS}: unknown section {_shown(key)}{stage}")
    if name not in document:
        raise InputError(f"{PARAMETERS}: has no section '{name}'")
    if not isinstance(document[name], dict):
        raise InputError(f"{PARAMETERS}: {name}: should be keys and values, is {_shown(document[name])}")
    _refuse_huge_integers(name, document[name])
    try:
        return section.model_validate(document[name])
    except ValidationError as error:
        raise InputError(f"{PARAMETERS}: {_first_problem(name, section, error)}") from None


def _read_parameters() -> dict[Any, Any]:
    """The whole of params.yaml, as DVC reads it; every failure is told with the line it is in."""
    from ruamel.yaml import YAML  # DVC's own parser, so that both read the same values
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    if not PARAMETERS.is_file():
        what = "is not a file" if PARAMETERS.exists() else "not found; run this in a folder that has one"
        raise InputError(f"{PARAMETERS}: {what}")
    text = ""
    try:
        text = PARAMETERS.read_bytes().decode("utf-8")
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


def _refuse_huge_integers(name: str, section: dict[Any, Any]) -> None:
    """Numbers go into arrays, whose integers have 64 bits."""
    waiting: list[tuple[str, Any]] = [(name, section)]
    seen = set()  # an alias can stand for what is around it
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, (dict, list)) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting.extend((f"{where}.{_cut(key)}", item) for key, item in items)
        elif isinstance(value, int) and abs(value) > LARGEST:
            raise InputError(f"{PARAMETERS}: {where}: too large for an integer of 64 bits")


def _nearest(key: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    close = difflib.get_close_matches(_cut(key), sorted(known), n=1, cutoff=cutoff)
    return f"; did you mean '{close[0]}'?" if close else ""


def _first_problem(name: str, section: type[Section], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # A misspelt key is both unknown and missing; the unknown one is what its writer will recognise.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    sections, path = [section], [name]
    last = (
        () if problem["type"] == "value_error" else problem["loc"][-1:]
    )  # not of a key, but of a whole section
    for part in problem["loc"][: len(problem["loc"]) - len(last)]:
        below = [
            field.annotation for one in sections for key, field in one.model_fields.items() if key == part
        ]
        if below:
            sections = [found for annotation in below for found in _sections_in(annotation)]
        elif isinstance(
            part, str
        ):  # the `name` by which one of several sections was chosen: no key of the file
            sections = [one for one in sections if part in get_args(one.model_fields["name"].annotation)]
            continue
        path.append(_cut(part))
    where = ".".join([*path, *(_cut(part) for part in last)])
    if problem["type"] == "extra_forbidden":
        known = [key for one in sections for key in one.model_fields]
        return f"{where}: unknown key{_nearest(problem['loc'][-1], known)}"
    if problem["type"] == "missing":
        return f"{where}: missing"
    if problem["type"] == "union_tag_not_found":
        return f"{where}: should have a name and what belongs to it, is {_shown(problem['input'])}"
    if problem["type"] == "union_tag_invalid":
        return f"{where}.name: should be one of {problem['ctx']['expected_tags']}, is {_shown(problem['ctx']['tag'])}"
    wanted = problem["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
    return f"{where}: {wanted}, is {_shown(problem['input'])}"


def _cut(key: Any) -> str:
    return key if isinstance(key, str) and len(key) <= 40 and key.isprintable() else _shown(key)


def _shown(value: Any) -> str:
    """`value` in short: through aliases, a few lines of YAML can stand for gigabytes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlist, short.maxdict = 1, 60, 60, 6, 6
    return short.repr(value)


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in get_args(annotation) for found in _sections_in(part)]


class Stage(click.Command):
    """A command that ends bad input with one line and exit status 2, SIGINT with 130, SIGTERM with 143."""

    def invoke(self, context: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # no locale is too poor for what a stage has to say
        try:
            with as_exceptions():
                return super().invoke(context)
        except InputError as error:
            self._end(2, str(error))
        except MemoryError:
            self._end(2, "out of memory; nothing under a final name was changed")
        except BrokenPipeError:
            raise  # nobody reads what is printed any more; Click ends quietly
        except OSError as error:
            self._end(2, f"{error.filename or 'operating system'}: {error.strerror or error}")
        except Interrupted as interrupted:
            self._tell(interrupted.line)
            leave(interrupted.status)

    def _end(self, status: int, line: str) -> NoReturn:
        self._tell(line)
        sys.exit(status)

    def _tell(self, line: str) -> None:
        stage = click.get_current_context().info_name  # the name it was run by, not the function's
        click.echo(f"{stage}: {' '.join(line.split())}", err=True)


class Progress:
    """A progress bar on a terminal; a plain line every few seconds when there is none.

    Use as a context manager; call `update` with the units done since the last call.
    """

    seconds_between_lines = 5.0

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._bar = None
        self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.total, desc=self.label, unit=f" {self.unit}", unit_scale=True, leave=False
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, units: int, note: str = "") -> None:
        self.done += units
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
        elif time.monotonic() - self._last >= self.seconds_between_lines:
            self._last = time.monotonic()
            tail = f"; {note}" if note else ""
            click.echo(f"{self.label}: {self.done:,} of {self.total:,} {self.unit}{tail}", err=True)


def summarize(stage: str, what: str, started: float) -> None:
    """Print the closing line: what was written, how much, how long (`started` from `time.monotonic`)."""
    click.echo(f"{stage}: {what} in {time.monotonic() - started:.1f} s")
