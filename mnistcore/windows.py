"""Reading rows of an array that may be a file far larger than memory.

Pages of a memory-mapped file count as the process's memory once touched, and the
system may map two megabytes for a row of three kilobytes. So rows of a large file
are read, not mapped: then memory does not grow with the data.
"""

import mmap
import os
import weakref

import numpy as np

RESIDENT = 256 << 20  # bytes: a smaller file may become resident, which is faster


class Window:
    """Rows of `array`, (N, features), in memory or mapped from a file."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = np.asarray(array)  # a map's own indexing is slower
        self._file: int | None = None
        whole_map = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
        if whole_map and array.flags.c_contiguous and array.nbytes > RESIDENT and hasattr(os, "preadv"):
            self._name, self._start = array.filename, array.offset
            self._file = os.open(self._name, os.O_RDONLY)
            self._width = array.nbytes // len(array)
            weakref.finalize(self, os.close, self._file)

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The rows of the given numbers, (n, features), in `out` if it is given."""
        if self._file is None:
            return self._array.take(rows, axis=0, out=out, mode="clip")
        if out is None:
            out = np.empty((len(rows), *self._array.shape[1:]), self._array.dtype)
        room, width = memoryview(out).cast("B"), self._width
        for place, row in enumerate(rows.tolist()):
            self._read(room[place * width : (place + 1) * width], row)
        return out

    def copy(self, rows: slice, out: np.ndarray) -> None:
        """Copy a stretch of rows to `out`, which is contiguous."""
        if self._file is None:
            out[...] = self._array[rows]
        else:
            self._read(memoryview(out).cast("B"), rows.start)

    def _read(self, room: memoryview, row: int) -> None:
        if os.preadv(self._file, [room], self._start + row * self._width) != len(room):
            raise OSError(f"{self._name}: became shorter while it was read")
