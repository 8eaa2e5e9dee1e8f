"""Coverage-guided fuzzing of the IDX reader; what it found interesting is kept in tests/corpus/idx.

    python tests/fuzz_idx.py -runs=10000000 -max_len=512 NEW_INPUTS tests/corpus/idx

It needs the `atheris` package, which the tests do not: they replay the kept inputs
through `one_input`. The options are libFuzzer's.
"""

import gzip
import sys

import numpy as np

from mnistcore.data import gzipped, idx


def one_input(data: bytes) -> np.ndarray | None:
    """Read `data` as IDX: an array that writes back to the same bytes, or the module's own error, and nothing else.

    Gzipped, the same data have to give the same array, or be refused as well.
    """
    array = _decoded(data)
    if data.startswith(gzipped.MAGIC):
        return array
    if array is not None and idx.encode(array) != data:
        raise AssertionError("what was read does not write back to what was there")
    again = _decoded(gzip.compress(data, compresslevel=1, mtime=0))
    if (array is None) != (again is None):
        raise AssertionError("accepted plain and refused gzipped, or the other way round")
    if array is not None and array.tobytes() != again.tobytes():
        raise AssertionError("plain and gzipped, the same data give different arrays")
    return array


def _decoded(data: bytes) -> np.ndarray | None:
    try:
        return idx.decode(data)
    except (idx.IdxError, gzipped.GzipError) as error:
        if "\n" in str(error) or not str(error).startswith("IDX data: "):
            raise AssertionError(f"not one line that names the data: {error}") from None
        return None


if __name__ == "__main__":
    import atheris

    for module in (idx, gzipped):
        for name, value in vars(module).items():
            if (
                callable(value)
                and getattr(value, "__module__", None) == module.__name__
                and hasattr(value, "__code__")
            ):
                setattr(module, name, atheris.instrument_func(value))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
