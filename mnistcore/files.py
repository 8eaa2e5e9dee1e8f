"""Atomic writing: a file under its final name is always whole, the old one or the new one. And the reading of text.

Two processes that write the same file would share its temporary one, so a stage
holds the folder it writes to for itself (`exclusive`).
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from mnistcore.arguments import check
from mnistcore.errors import InputError

LONGEST = 1 << 24  # bytes of a text; what is written here has thousands, or a few for each example


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`; on success move it into place, on failure remove it.

    The temporary name is fixed (`.NAME.partial`): what a killed run leaves behind,
    the next run removes, so nothing piles up. Whatever else stands there, a link
    that leads elsewhere or a pipe, is removed too and never written through.
    Missing parent folders are made.

    Parameters
    ----------
    path : the final name
    mode : "wb", or "w" for UTF-8 text with "\\n" line ends on every system

    Raises
    ------
    InputError : a path that ends in no name, that no file can have, or a device, such as /dev/null, which root could
        replace
    """
    path = Path(path)
    if not path.name or path.is_char_device() or path.is_block_device():
        raise InputError(f"{path}: is no name of a file")
    _check_name(path)
    check(Literal["wb", "w"], mode, "replacing", "mode")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        partial.unlink(missing_ok=True)
        with open(partial, mode, opener=_create, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say of which file
            error.filename = str(path)
        raise


def _check_name(path: Path) -> None:
    """Refuse what no file system takes, NUL and half a surrogate pair; Python has a ValueError for each."""
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise InputError(f"{str(path)!r}: no name can have such a character in it")


def _create(path: str, flags: int) -> int:
    """Open a new file, which nothing stands in the place of, not even a link to nowhere."""
    return os.open(path, flags | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def exclusive(folder: str | os.PathLike[str], waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold `folder`, which is made if missing, for this process alone; wait if another one has it.

    The lock is on the folder itself: no lock file is left in what a stage makes, and the system releases it
    when the process ends, however it ends. Where folders cannot be locked (Windows, some network file
    systems), nothing is held.

    Parameters
    ----------
    waiting : called once if another process has it

    Raises
    ------
    InputError : a name that no folder can have
    """
    folder = Path(folder)
    _check_name(folder)
    try:
        import fcntl
    except ImportError:
        folder.mkdir(parents=True, exist_ok=True)
        yield
        return
    reported = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not reported:
                    waiting()
                    reported = True
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                pass
            # Whoever had it may have removed the folder and made a new one.
            if folder.is_dir() and os.path.samestat(os.fstat(descriptor), os.stat(folder)):
                yield
                return
        finally:
            os.close(descriptor)


def read_text(path: str | os.PathLike[str], maker: str, most: int = LONGEST) -> str:
    """The text of a file that a stage wrote.

    Parameters
    ----------
    maker : whom to run if it cannot be read, such as "train"
    most : bytes that it may have

    Raises
    ------
    InputError : missing, a folder, a pipe or a device, longer than `most`, or not in UTF-8
    """
    check(str, maker, "read_text", "maker")
    most, path = check(int, most, "read_text", "most"), Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: not a file; run {maker} again"
            if path.exists()
            else f"{path}: not found; run {maker} first"
        )
    with open(path, "rb") as file:
        data = file.read(max(0, min(most, path.stat().st_size)) + 1)
    if len(data) > most:
        raise InputError(f"{path}: longer than {most:,} bytes; run {maker} again")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not in UTF-8 (byte {error.start}); run {maker} again") from None


def read_json(path: str | os.PathLike[str], maker: str) -> Any:
    """What stands in a file of JSON that a stage wrote; Python's NaN and Infinity, and a key twice, do not.

    Raises
    ------
    InputError : as `read_text`, or not JSON
    """
    text = read_text(path, maker)
    try:
        return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); run {maker} again") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
