"""SIGINT and SIGTERM end a stage with one line and exit status 130 or 143, from its first import on.

Imported before all else by the stage scripts. While they import, nothing is open and nothing is half-written:
the process ends at once. While they work, the signal becomes an exception, so that temporary files are removed
on the way out; a second signal then ends the process at once after all.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDED = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupted(BaseException):
    """A signal to end has arrived; a BaseException, so that no handler of errors swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status, self.line = 128 + number, f"{ENDED[signal.Signals(number)]}; run it again to continue"


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Within this context SIGINT and SIGTERM raise Interrupted, the first time."""
    before = {number: signal.signal(number, _raise) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    _end_at_once()
    raise Interrupted(number)


def _end_at_once() -> None:
    for number in _heeded():
        signal.signal(number, _end)


def _heeded() -> list[signal.Signals]:
    """What was ignored when the process began, as a shell does for a command in the background, stays so."""
    return [number for number in ENDED if signal.getsignal(number) is not signal.SIG_IGN]


def _end(number: int, frame: FrameType | None) -> NoReturn:
    stage = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    os.write(2, f"{stage}: {Interrupted(number).line}\n".encode())
    os._exit(128 + number)


def leave(status: int) -> NoReturn:
    """End the process after a signal, without Python's own tidying up.

    The signal may have stopped an extension module in the middle of its import; the interpreter may crash over that.
    """
    if not _IS_SCRIPT:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by whoever started this
            stream.flush()
    os._exit(status)


# Whether one of the scripts beside this file is being run, and not imported by something else.
_IS_SCRIPT = os.path.dirname(os.path.abspath(sys.argv[0])) == os.path.dirname(os.path.abspath(__file__))
if _IS_SCRIPT:
    _end_at_once()
