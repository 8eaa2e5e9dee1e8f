"""Atomic writing: a file under its final name is always whole, the old one or the new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`; on success move it into place, on failure remove it.

    The temporary name is fixed (`.NAME.partial`): what a killed run leaves behind,
    the next run overwrites, so nothing piles up. Missing parent folders are made.

    Parameters
    ----------
    path : the final name
    mode : "wb", or "w" for UTF-8 text with "\\n" line ends on every system
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(partial, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
