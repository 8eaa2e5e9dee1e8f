"""IDX, the format MNIST is published in: a magic number, the dimensions, then the values, all big-endian.

    0 0 type dimensions | size of dimension 1 | … | values, the last index running fastest
    (one byte each)     | (four bytes each, unsigned)

Nothing is allocated before the sizes in the header agree with the size of the file.
"""

import gzip
import io
import math
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from mnistcore.arguments import Count, Whole, check, shown
from mnistcore.data import gzipped
from mnistcore.errors import InputError
from mnistcore.files import replacing

TYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MOST_DIMENSIONS = 4
LONGEST_HEADER = 4 + 4 * MOST_DIMENSIONS
LARGEST_EXPANSION = 1 << 30  # bytes; a gzipped IDX file may not become larger than this


class IdxError(InputError):
    """The data are not an IDX file, or not a whole one."""


class Header(NamedTuple):
    """What an IDX file says of itself; the values begin `offset` bytes into the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Bytes that the whole file should have. (Python's integers do not overflow.)"""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], size: int, name: str) -> Header:
    """Read the header at the start of `file`, which has `size` bytes in all, and check one against the other.

    Raises
    ------
    IdxError : not IDX, truncated, or with bytes left over
    """
    header = _parse(file, name)
    _check_size(header, size, name)
    return header


def _parse(file: IO[bytes], name: str) -> Header:
    magic = file.read(4)
    if not magic:
        raise IdxError(f"{name}: empty")
    if magic[:2] != b"\0\0"[: len(magic)]:
        raise IdxError(f"{name}: not an IDX file (it begins with {magic.hex(' ')}, an IDX file with 00 00)")
    if len(magic) < 4:
        raise IdxError(f"{name}: truncated in the header, after {len(magic)} bytes")
    code, dimensions = magic[2:]
    if code not in TYPES:
        known = ", ".join(f"0x{code:02X}" for code in TYPES)
        raise IdxError(f"{name}: unknown IDX type code 0x{code:02X} (known: {known})")
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise IdxError(f"{name}: {dimensions} dimensions; an IDX file here has 1 to {MOST_DIMENSIONS}")
    sizes = file.read(4 * dimensions)
    offset = 4 + 4 * dimensions
    if len(sizes) < 4 * dimensions:
        raise IdxError(f"{name}: truncated in the header, after {4 + len(sizes)} of its {offset} bytes")
    header = Header(TYPES[code], struct.unpack(f">{dimensions}I", sizes), offset)
    # An empty array may claim any other dimensions; NumPy cannot make every one of those.
    if math.prod(max(1, length) for length in header.shape) * header.dtype.itemsize > sys.maxsize:
        raise IdxError(f"{name}: impossible dimensions {' × '.join(map(str, header.shape))}")
    return header


def _check_size(header: Header, size: int, name: str) -> None:
    if size != header.size:
        what = "truncated" if size < header.size else "has bytes left over"
        values = f"{' × '.join(map(str, header.shape))} values of {header.dtype.itemsize} bytes"
        raise IdxError(
            f"{name}: {what}: {values} make {header.size:,} bytes with the header, it has {size:,}"
        )


def decode(data: bytes, name: str = "IDX data") -> np.ndarray:
    """The array in the bytes of an IDX file, plain or gzipped, in the machine's byte order.

    Raises
    ------
    IdxError, gzipped.GzipError : not an IDX file, or not a whole one
    """
    return _load(io.BytesIO(data), len(data), name)


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, plain or gzipped, whatever its name; errors as `decode`, naming the file."""
    with open(_existing(path), "rb") as file:
        return _load(file, os.fstat(file.fileno()).st_size, str(path))


def _load(file: IO[bytes], size: int, name: str) -> np.ndarray:
    if file.read(2) == gzipped.MAGIC:
        file.seek(0)
        pieces = gzipped.decompress(iter(lambda: file.read(gzipped.PIECE), b""), LARGEST_EXPANSION, name)
        data = bytearray()
        while len(data) < LONGEST_HEADER and (piece := next(pieces, b"")):
            data += piece
        header = _parse(io.BytesIO(data), name)
        if header.size > LARGEST_EXPANSION:
            raise IdxError(f"{name}: {header.size:,} bytes decompressed; the limit is {LARGEST_EXPANSION:,}")
        for piece in pieces:
            data += piece
            if len(data) > header.size:
                break
        _check_size(header, len(data), name)
        values = np.frombuffer(data, header.dtype, offset=header.offset)
    else:
        file.seek(0)
        header = read_header(file, size, name)
        data = file.read()
        if len(data) != header.size - header.offset:
            raise IdxError(f"{name}: changed while it was read")
        values = np.frombuffer(data, header.dtype)
    return values.reshape(header.shape).astype(header.dtype.newbyteorder("="))


def encode(array: np.ndarray) -> bytes:
    """The bytes of an IDX file that holds `array`.

    Raises
    ------
    IdxError : a dtype or a number of dimensions that IDX does not have
    """
    if not isinstance(array, np.ndarray):
        raise IdxError(f"IDX holds an array, not what is {shown(array)}")
    codes = {dtype: code for code, dtype in TYPES.items()}
    code = codes.get(array.dtype.newbyteorder(">"))
    if code is None:
        known = ", ".join(dtype.name for dtype in TYPES.values())
        raise IdxError(f"IDX has no type for {array.dtype}; it has {known}")
    if not 1 <= array.ndim <= MOST_DIMENSIONS:
        raise IdxError(f"an array of {array.ndim} dimensions; an IDX file here has 1 to {MOST_DIMENSIONS}")
    if max(array.shape) >= 1 << 32:
        raise IdxError(f"a dimension of {max(array.shape):,}; IDX counts to 4,294,967,295")
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(TYPES[code]).tobytes()


def write(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write `array` as an IDX file, gzipped if the name ends in `.gz`; the same bytes every time."""
    data = encode(array)
    if str(path).endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    with replacing(path) as file:
        file.write(data)


def header_of(path: str | os.PathLike[str]) -> Header:
    """The checked header of a plain IDX file; errors as `read_header`."""
    with open(_existing(path), "rb") as file:
        return read_header(file, os.fstat(file.fileno()).st_size, str(path))


def chunks(path: str | os.PathLike[str], rows: int, first: int | None = None) -> Iterator[np.ndarray]:
    """The array in a plain IDX file, `rows` of it at a time, and with `first` only so many in all.

    Memory does not depend on the size of the file. Errors as `read_header`.
    """
    rows, first = check(Count, rows, "chunks", "rows"), check(Whole | None, first, "chunks", "first")
    header = header_of(path)
    count = header.shape[0] if first is None else min(first, header.shape[0])
    row = math.prod(header.shape[1:])
    with open(path, "rb") as file:
        file.seek(header.offset)
        for start in range(0, count, rows):
            taken = min(rows, count - start)
            values = np.fromfile(file, header.dtype, taken * row)
            if len(values) < taken * row:
                raise IdxError(f"{path}: became shorter while it was read")
            yield values.reshape(taken, *header.shape[1:]).astype(header.dtype.newbyteorder("="), copy=False)


def _existing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.is_file():
        raise IdxError(f"{path}: {'not a file' if path.exists() else 'not found'}")
    return path
