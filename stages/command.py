"""The command that every stage is: one clear line for bad input and for signals, one closing line for success.

A script is `@click.command(cls=Stage)` over a function that reads its section with
`read_section`, calls the core, writes, and ends with `summarize`.
"""

from stages.interrupt import Interrupted, as_exceptions, leave

import io
import sys
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from mnistcore.errors import InputError
from mnistcore.files import exclusive


class Stage(click.Command):
    """A command that ends bad input with one line and exit status 2, SIGINT with 130, SIGTERM with 143."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # no locale is too poor for what a stage has to say
        try:
            with as_exceptions():
                return super().invoke(ctx)
        except InputError as error:
            self._end(2, str(error))
        except MemoryError:
            self._end(2, "out of memory; nothing under a final name was changed")
        except BrokenPipeError:
            raise  # nobody reads what is printed any more; Click ends quietly
        except OSError as error:
            self._end(2, f"{error.filename or 'operating system'}: {error.strerror or error}")
        except Interrupted as interrupted:
            self._say(interrupted.line)
            leave(interrupted.status)

    def _end(self, status: int, line: str) -> NoReturn:
        with suppress(OSError):  # what is printed goes nowhere: a full disk
            self._say(line)
        sys.exit(status)

    def _say(self, line: str) -> None:
        say(" ".join(line.split()))


def say(line: str) -> None:
    """Print a line on standard error, after the name of the stage, as it was run and not as its function is called.

    What no terminal shows, such as a control character in the name of a file, is a question mark.
    """
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    click.echo(f"{click.get_current_context().info_name}: {line}", err=True)


def writing(folder: Path) -> AbstractContextManager[None]:
    """Hold `folder` for this run alone; say so if another one has to end first."""
    return exclusive(folder, waiting=lambda: say(f"another run is writing {folder}; waiting for it"))


def summarize(what: str, started: float) -> None:
    """Print the closing line: what was written, how much, how long (`started` from `time.monotonic`)."""
    click.echo(f"{click.get_current_context().info_name}: {what} in {time.monotonic() - started:.1f} s")
