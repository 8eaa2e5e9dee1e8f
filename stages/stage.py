"""What the stage scripts share: their section of params.yaml, one clear line for bad input, progress, the summary.

A script is `@click.command(cls=Stage)` over a function that reads its section
with `read_section`, calls the core, writes, and ends with `summarize`.
"""

import difflib
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import click
from pydantic import BaseModel, ConfigDict, ValidationError

from mnistcore.errors import InputError

PARAMETERS = Path("params.yaml")


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
    from ruamel.yaml import YAML  # DVC's own parser, so that both read the same values
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(PARAMETERS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{PARAMETERS}: not found; run this in a folder that has one") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{PARAMETERS}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise InputError(f"{PARAMETERS}: should be sections of keys and values, one section per stage")
    if name not in document:
        raise InputError(f"{PARAMETERS}: has no section '{name}'{_nearest(name, document)}")
    if not isinstance(document[name], dict):
        raise InputError(f"{PARAMETERS}: {name}: should be keys and values")
    try:
        return section.model_validate(document[name])
    except ValidationError as error:
        raise InputError(f"{PARAMETERS}: {_first_problem(name, section, error)}") from None


def _nearest(key: Any, known: Any) -> str:
    close = difflib.get_close_matches(str(key), [str(name) for name in known], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _first_problem(name: str, section: type[Section], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # A misspelt key is both unknown and missing; the unknown one is what its writer will recognise.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    sections, path = [section], [name]
    for part in problem["loc"][:-1]:
        below = [field.annotation for one in sections for key, field in one.model_fields.items() if key == part]
        if below:
            sections = [found for annotation in below for found in _sections_in(annotation)]
        elif isinstance(part, str):  # the `name` by which one of several sections was chosen: no key of the file
            sections = [one for one in sections if part in get_args(one.model_fields["name"].annotation)]
            continue
        path.append(str(part))
    where = ".".join([*path, *(str(part) for part in problem["loc"][-1:])])
    if problem["type"] == "extra_forbidden":
        known = [key for one in sections for key in one.model_fields]
        return f"{where}: unknown key{_nearest(problem['loc'][-1], known)}"
    if problem["type"] == "missing":
        return f"{where}: missing"
    if problem["type"] == "union_tag_not_found":
        return f"{where}: should have a name and what belongs to it, is {problem['input']!r}"
    if problem["type"] == "union_tag_invalid":
        return f"{where}.name: should be one of {problem['ctx']['expected_tags']}, is {problem['ctx']['tag']!r}"
    return f"{where}: {problem['msg']}, is {problem['input']!r}"


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in get_args(annotation) for found in _sections_in(part)]


class Stage(click.Command):
    """A command that ends bad input with one line and exit status 2, SIGINT with 130, SIGTERM with 143."""

    def invoke(self, context: click.Context) -> Any:
        signal.signal(signal.SIGTERM, _terminated)
        try:
            return super().invoke(context)
        except InputError as error:
            self._end(2, str(error))
        except MemoryError:
            self._end(2, "out of memory; nothing under a final name was changed")
        except OSError as error:
            self._end(2, f"{error.filename or 'operating system'}: {error.strerror or error}")
        except KeyboardInterrupt:
            self._end(130, "interrupted; run it again to continue")
        except _Terminated:
            self._end(143, "terminated; run it again to continue")

    def _end(self, status: int, line: str) -> NoReturn:
        stage = click.get_current_context().info_name  # the name it was run by, not the function's
        click.echo(f"{stage}: {' '.join(line.split())}", err=True)
        sys.exit(status)


class _Terminated(BaseException):
    """SIGTERM arrived; a BaseException, so that no handler of errors swallows it."""


def _terminated(signum: int, frame: Any) -> NoReturn:
    raise _Terminated


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

            self._bar = tqdm(total=self.total, desc=self.label, unit=f" {self.unit}", unit_scale=True, leave=False)
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
