"""Rows of an array, in memory or in a file."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from mnistcore.engine.windows import Window


@pytest.mark.parametrize(
    "columns", [None, [slice(0, 4), slice(4, 8)], [slice(0, 2), slice(2, 5), slice(5, 8)]]
)
@pytest.mark.parametrize("kind", ["memory", "every other row", "sparse", "small file", "large file"])
def test_a_window_gives_the_rows_of_its_array(columns, kind, tmp_path, monkeypatch):
    array = np.random.default_rng(0).random((50, 8))
    if kind == "every other row":
        array = np.repeat(array, 2, axis=0)[::2]
    source = csr_array(array) if kind == "sparse" else array
    if "file" in kind:
        monkeypatch.setattr("mnistcore.engine.windows.RESIDENT", array.nbytes - (kind == "large file"))
        np.save(tmp_path / "images.npy", array)
        source = np.load(tmp_path / "images.npy", mmap_mode="r")
    window, rows = Window(source, columns), np.array([3, 49, 0, 3])
    assert (window._file is not None) == (kind == "large file")
    for part, c in enumerate(columns or [slice(0, 8)]):
        out = np.empty((4, c.stop - c.start))
        window.take(rows, out, part)
        assert np.array_equal(out, array[rows, c])
    out = np.empty((4, 8))
    window.copy(slice(46, 50), out)
    assert np.array_equal(out, array[46:])


def test_a_part_of_a_map_is_read_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("mnistcore.engine.windows.RESIDENT", 0)
    np.save(tmp_path / "images.npy", np.zeros((50, 7)))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert Window(mapped)._file is not None and Window(mapped[10:])._file is None
