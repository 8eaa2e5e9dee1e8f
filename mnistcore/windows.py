"""Reading rows of an array that may be a file far larger than memory.

Pages of a memory-mapped file count as the process's memory once touched, so a
shuffled epoch would end with the whole file resident. A window gives them back
now and then; the system keeps them cached as long as nobody else needs the room.
"""

import mmap

import numpy as np

RESIDENT = 256 << 20  # bytes: smaller files may stay
TOUCHED = 16 << 20  # bytes read between two givings back; the system maps more around each row


class Window:
    """Rows of `array`, (N, features), in memory or mapped from a file."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        mapped = getattr(array, "_mmap", None)
        releasing = mapped is not None and array.nbytes > RESIDENT and hasattr(mmap, "MADV_DONTNEED")
        self._mapped = mapped if releasing else None
        self._rows = max(1, TOUCHED // max(1, array[:1].nbytes)) if len(array) else 1
        self._read = 0

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The rows of the given numbers, in `out` if it is given."""
        result = np.take(self._array, rows, axis=0, out=out, mode="clip")
        self._count(len(rows) * 8)
        return result

    def copy(self, rows: slice, out: np.ndarray) -> None:
        """Copy a stretch of rows to `out`."""
        out[...] = self._array[rows]
        self._count(len(out))

    def _count(self, rows: int) -> None:
        if self._mapped is None:
            return
        self._read += rows
        if self._read >= self._rows:
            self._read = 0
            self._mapped.madvise(mmap.MADV_DONTNEED)
