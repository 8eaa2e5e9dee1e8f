"""SIGINT and SIGTERM end a stage with one line and exit status 130 or 143, from its first import on.

So does SIGBUS, with 2: a file that is mapped into memory became shorter; and want of memory in an import. Where a
standard stream is closed, there is a bottomless one: what is opened next would take its number, and get what a library
prints.

Imported before all else by the stage scripts. While they import, nothing is open and nothing is half-written:
the process ends at once. While they work, the signal becomes an exception, so that temporary files are removed
on the way out; a second signal then ends the process at once after all.
"""

import ctypes
import mmap
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn

# What the system's loader says when an extension module does not fit, and Python when one fails without a word.
NO_MEMORY = re.compile(
    "failed to map segment|cannot allocate memory|without (setting an )?exception", re.IGNORECASE
)
# Bytes of address space that a stage wants at least. With less, OpenBLAS finds none for its buffers, somewhere in the
# middle, and ends the process by itself, with a line and a status of its own.
ADDRESSES = 184 << 20
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


def _stage() -> str:
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]


def _end(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, f"{_stage()}: {Interrupted(number).line}\n".encode())
    os._exit(128 + number)


def _heed_shorter_files() -> None:
    """Have SIGBUS end the process with a line.

    Python's own handlers run between two instructions of Python's, and the one that has met the missing page never
    ends. So this one is the system's; it may do no more than write and leave. In a fork, whose parent tells how it
    ended, the page is met again without it.
    """
    if not hasattr(signal, "SIGBUS"):
        return
    owner, system = os.getpid(), ctypes.CDLL(None).signal
    system.restype, default = ctypes.c_void_p, ctypes.c_void_p(0)

    def end(number: int) -> None:
        if os.getpid() != owner:
            system(number, default)
            return
        os.write(
            2, f"{_stage()}: a file became shorter while it was read; run the stages before again\n".encode()
        )
        os._exit(2)

    global _HANDLER  # as long as the system may call it
    _HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    system(int(signal.SIGBUS), _HANDLER)


def _out_of_memory(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """In place of `sys.excepthook`: for want of memory an import raises one of several errors."""
    causes = [error]
    while causes[-1].__context__ is not None:
        causes.append(causes[-1].__context__)
    if any(isinstance(one, MemoryError) or NO_MEMORY.search(str(one)) for one in causes):
        os.write(2, f"{_stage()}: out of memory; nothing under a final name was changed\n".encode())
        os._exit(2)
    sys.__excepthook__(kind, error, traceback)


def _open_streams() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(
                os.open(os.devnull, os.O_RDWR), True
            )  # takes the lowest number that is free, this one
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as the process lives
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as the process lives


def leave(status: int) -> NoReturn:
    """End the process after a signal, without Python's own tidying up.

    The signal may have stopped an extension module in the middle of its import; the interpreter may crash over that.
    """
    if not _IS_SCRIPT:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


# Whether one of the scripts beside this file is being run, and not imported by something else.
_IS_SCRIPT = os.path.dirname(os.path.abspath(sys.argv[0])) == os.path.dirname(os.path.abspath(__file__))
if _IS_SCRIPT:
    _open_streams()
    _end_at_once()
    _heed_shorter_files()
    sys.excepthook = _out_of_memory
    mmap.mmap(-1, ADDRESSES).close()
