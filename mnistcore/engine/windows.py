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
    """Rows of `array`, (N, features), in memory or mapped from a file.

    columns : parts of a row that are to be taken each by itself; None: one part, the whole row
    """

    def __init__(self, array: np.ndarray, columns: list[slice] | None = None) -> None:
        self._array = np.asarray(array)  # a map's own indexing is slower
        features = self._array.shape[1]
        self._columns = columns or [slice(0, features)]
        # Parts of equal width are the rows of a longer array: taking those is faster than cutting them out.
        parts = len(self._columns)
        self._parts: np.ndarray | None = None
        if features % parts == 0 and self._array.flags.c_contiguous:
            self._parts = self._array.reshape(-1, features // parts)
        self._file: int | None = None
        whole_map = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
        if whole_map and array.flags.c_contiguous and array.nbytes > RESIDENT and hasattr(os, "preadv"):
            self._name, self._start = array.filename, array.offset
            self._file = os.open(self._name, os.O_RDONLY)
            self._width = array.nbytes // len(array)
            self._bytes = [
                (c.start * array.itemsize, (c.stop - c.start) * array.itemsize) for c in self._columns
            ]
            weakref.finalize(self, os.close, self._file)

    def take(self, rows: np.ndarray, out: np.ndarray, part: int = 0) -> None:
        """Copy a part of the rows of the given numbers to `out`, (n, its columns), which is contiguous."""
        if self._file is not None:
            room, (start, width) = memoryview(out).cast("B"), self._bytes[part]
            for place, row in enumerate(rows.tolist()):
                self._read(room[place * width : (place + 1) * width], row * self._width + start)
        elif self._parts is not None:
            parts = len(self._columns)
            numbers = rows if parts == 1 else rows * parts + part
            self._parts.take(numbers, axis=0, out=out, mode="clip")
        else:
            out[...] = self._array[rows, self._columns[part]]

    def copy(self, rows: slice, out: np.ndarray) -> None:
        """Copy a stretch of rows to `out`, which is contiguous."""
        if self._file is None:
            out[...] = self._array[rows]
        else:
            self._read(memoryview(out).cast("B"), rows.start * self._width)

    def _read(self, room: memoryview, start: int) -> None:
        if os.preadv(self._file, [room], self._start + start) != len(room):
            raise OSError(f"{self._name}: became shorter while it was read")
