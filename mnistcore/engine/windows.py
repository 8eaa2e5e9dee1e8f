"""Reading rows of an array that may be a file far larger than memory.

Pages of a memory-mapped file count as the process's memory once touched, and the
system may map two megabytes for a row of three kilobytes. So rows of a large file
are read, not mapped: then memory does not grow with the data.
"""

import mmap
import os
import weakref
from typing import Any

import numpy as np

RESIDENT = 256 << 20  # bytes: a smaller file may become resident, which is faster


class Window:
    """Rows of `array`, (N, features), in memory or mapped from a file; or of a SciPy matrix in CSR form.

    Of a sparse matrix only the rows that are taken become dense.

    columns : parts of a row that are to be taken each by itself; None: one part, the whole row
    """

    def __init__(self, array: np.ndarray, columns: list[slice] | None = None) -> None:
        self._sparse = hasattr(array, "toarray")  # known by that, since nothing here imports SciPy
        self._array: Any = array if self._sparse else np.asarray(array)  # a map's own indexing is slower
        features = self._array.shape[1]
        self._columns = columns or [slice(0, features)]
        # Parts of equal width are the rows of a longer array: taking those is faster than cutting them out.
        # Gains 7 % on 784-40-10, 10: python -m benchmarks.tricks windows
        widths = {columns.stop - columns.start for columns in self._columns}
        self._parts: np.ndarray | None = None
        if len(widths) == 1 and not self._sparse and self._array.flags.c_contiguous:
            self._parts = self._array.reshape(-1, *widths)
        self._file = _File(array) if _is_large_file(array) else None

    def take(self, rows: np.ndarray, out: np.ndarray, part: int = 0) -> None:
        """Copy a part of the rows of the given numbers to `out`, (n, its columns), which is contiguous."""
        if self._file is not None:
            for row, place in zip(rows.tolist(), out, strict=True):
                self._file.read(row, self._columns[part].start, place)
        elif self._parts is not None:
            parts = len(self._columns)
            numbers = rows if parts == 1 else rows * parts + part
            self._parts.take(numbers, axis=0, out=out, mode="clip")
        elif self._sparse:
            some = self._array[rows]
            out[...] = (some if len(self._columns) == 1 else some[:, self._columns[part]]).toarray()
        else:
            out[...] = self._array[rows, self._columns[part]]

    def copy(self, rows: slice, out: np.ndarray) -> None:
        """Copy successive rows to `out`, (n, features), which is contiguous."""
        if self._file is not None:
            self._file.read(rows.start, 0, out)
        else:
            out[...] = self._array[rows].toarray() if self._sparse else self._array[rows]


def _is_large_file(array: np.ndarray) -> bool:
    """Whether it is a whole map of a file that should not become resident."""
    whole_map = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
    return whole_map and array.flags.c_contiguous and array.nbytes > RESIDENT and hasattr(os, "preadv")


class _File:
    """The file that an array is mapped from, open to be read."""

    def __init__(self, array: np.ndarray) -> None:
        self._name, self._offset = str(getattr(array, "filename", "")), int(getattr(array, "offset", 0))
        self._features, self._itemsize = array.shape[1], array.itemsize
        self._descriptor = os.open(self._name, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, row: int, column: int, out: np.ndarray) -> None:
        """Fill `out`, contiguous, from this place on."""
        start = self._offset + (row * self._features + column) * self._itemsize
        if os.preadv(self._descriptor, [out.data], start) != out.nbytes:
            raise OSError(f"{self._name}: became shorter while it was read")
