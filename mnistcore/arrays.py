"""Reading .npy and .npz files with every claim of their headers checked; writing .npy in chunks, .npz byte by byte.

NumPy's own loader trusts the header: it allocates what the header asks for, and
takes whatever dtype and order it names. Here an array is C-ordered, of the dtype
and shape the caller expects, exactly as long as its file, and never a pickle.
"""

import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from mnistcore.errors import InputError
from mnistcore.files import replacing

Shape = tuple[int | None, ...]  # None: any length

_DATE = 1 << 5 | 1  # 1980-01-01, the earliest that a zip file can have
_UNIX = 3 << 8  # the system whose permissions the directory gives
_LARGEST = 0xFFFFFFFF  # of a field of 32 bits; as a size it means: see the zip64 field


class ArrayError(InputError):
    """A file does not hold the array it should."""


def open_array(path: str | os.PathLike[str], dtype: str | tuple[str, ...], shape: Shape) -> np.ndarray:
    """Map a .npy file into memory, read-only, after checking it.

    Parameters
    ----------
    dtype : the name of the dtype it must have, or of several
    shape : the shape it must have; None where any length will do

    Raises
    ------
    ArrayError : missing, truncated, too long, not .npy, a pickle, Fortran-ordered, another dtype or shape
    """
    path = Path(path)
    if not path.is_file():
        raise ArrayError(
            f"{path}: {'not a file' if path.exists() else 'not found'}; run the stage that makes it"
        )
    with open(path, "rb") as file:
        found, actual, offset = _header(file, os.fstat(file.fileno()).st_size, str(path))
        _expect(str(path), found, actual, dtype, shape)
        if math.prod(actual) == 0:  # an empty file part cannot be mapped
            return np.empty(actual, found)
        return np.memmap(file, found, "r", offset, actual)


def load_arrays(
    path: str | os.PathLike[str], expected: Mapping[str, tuple[str | tuple[str, ...], Shape]]
) -> dict[str, np.ndarray]:
    """Load a .npz file, as `save_arrays` and `numpy.savez` write it, that holds exactly the arrays `expected`.

    Parameters
    ----------
    expected : name → (dtype or dtypes, shape), as for `open_array`; "str" stands for text of any length

    Raises
    ------
    ArrayError : missing, damaged, compressed, or other arrays than expected
    """
    if not isinstance(expected, Mapping):
        raise TypeError(f"load_arrays: expected should be a mapping, is a {type(expected).__name__}")
    path = Path(path)
    if not path.is_file():
        raise ArrayError(
            f"{path}: {'not a file' if path.exists() else 'not found'}; run the stage that makes it"
        )
    arrays, size = {}, path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if set(members) != set(expected) or len(members) != len(archive.infolist()):
                have, want = ", ".join(sorted(members)), ", ".join(sorted(expected))
                if not have.isprintable() or len(have) > 200:
                    have = "other arrays"
                raise ArrayError(f"{path}: holds {have or 'nothing'} where {want} should be")
            for name, (dtype, shape) in expected.items():
                info = members[name]
                # Stored as they are, arrays cannot be larger than the file; compressed, they could be.
                end = info.header_offset + info.file_size
                if info.compress_type != zipfile.ZIP_STORED or not 0 <= info.header_offset < end <= size:
                    raise ArrayError(f"{path}: {name} is not stored as numpy.savez stores it")
                with archive.open(info) as file:
                    where = f"{path}: {name}"
                    found, actual, _ = _header(file, info.file_size, where)
                    _expect(where, found, actual, dtype, shape)
                    data = bytearray(file.read())
                    if found.kind == "U" and not _is_text(np.frombuffer(data, np.uint32)):
                        raise ArrayError(f"{where}: holds numbers that stand for no letters")
                    arrays[name] = np.frombuffer(data, found).reshape(actual)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArrayError(f"{path}: not a whole .npz file ({' '.join(str(error).split())[:200]})") from None
    return arrays


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a .npz file, atomically, whose bytes are a function of the arrays alone.

    `numpy.savez` leaves the zip's headers to Python's zipfile, which writes them one way up to Python 3.11.3 and
    another since. Here they are those of the later ones: stored, dated 1980-01-01, each size in a zip64 field of
    its local header (PKWARE's APPNOTE, 4.3 and 4.5.3).

    Raises
    ------
    InputError : more than 4 GiB, which the headers written here cannot hold
    """
    path = Path(path)
    if not isinstance(arrays, Mapping) or not all(
        isinstance(name, str) and name.isascii() for name in arrays
    ):
        raise ArrayError(f"{path}: arrays should stand under names of ASCII letters")
    offset, directory = 0, b""
    with replacing(path) as file:
        for name, array in arrays.items():
            array, start = np.asarray(array, order="C"), io.BytesIO()
            np.lib.format.write_array_header_1_0(start, np.lib.format.header_data_from_array_1_0(array))
            data = array.reshape(-1).view(np.uint8).data
            member = f"{name}.npy".encode("ascii")
            checksum = zlib.crc32(data, zlib.crc32(start.getvalue()))
            size = start.tell() + len(data)
            zip64 = struct.pack("<HHQQ", 1, 16, size, size)
            local = b"PK\3\4" + struct.pack(
                "<HHHHHIIIHH", 45, 0, 0, 0, _DATE, checksum, _LARGEST, _LARGEST, len(member), len(zip64)
            )
            if offset + len(local) + len(member) + len(zip64) + size >= _LARGEST:
                raise InputError(f"{path}: more than 4 GiB of arrays for one .npz file")
            directory += b"PK\1\2" + struct.pack(
                "<HHHHHHIIIHHHHHII",
                *(45 | _UNIX, 45, 0, 0, 0, _DATE, checksum, size, size, len(member)),
                *(0, 0, 0, 0, 0o600 << 16, offset),
            )
            directory += member
            for part in (local, member, zip64, start.getvalue(), data):
                file.write(part)
                offset += len(part)
        file.write(directory)
        end = (0, 0, len(arrays), len(arrays), len(directory), offset, 0)
        file.write(b"PK\5\6" + struct.pack("<HHHHIIH", *end))


@contextmanager
def writing_array(
    path: str | os.PathLike[str], dtype: np.typing.DTypeLike, shape: tuple[int, ...]
) -> Iterator["Writer"]:
    """Write a .npy file chunk by chunk, atomically: `with writing_array(…) as out: out.append(chunk)`."""
    with replacing(path) as file:
        writer = Writer(file, np.dtype(dtype), shape)
        yield writer
        if writer.rows != shape[0]:
            raise ValueError(f"{path}: {writer.rows} rows written of {shape[0]}")


class Writer:
    """Appends rows to a .npy file of known dtype and shape (see `writing_array`)."""

    def __init__(self, file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.file, self.dtype, self.shape, self.rows = file, dtype, shape, 0
        description = np.lib.format.dtype_to_descr(dtype)
        np.lib.format.write_array_header_1_0(
            file, {"descr": description, "fortran_order": False, "shape": shape}
        )

    def append(self, chunk: np.ndarray) -> None:
        """Append `chunk`, (rows, *shape[1:]) of the writer's dtype."""
        if chunk.dtype != self.dtype or chunk.shape[1:] != self.shape[1:]:
            raise ValueError(f"a chunk {chunk.shape} {chunk.dtype} for an array {self.shape} {self.dtype}")
        self.file.write(np.ascontiguousarray(chunk).data)
        self.rows += len(chunk)


def _header(file: IO[bytes], size: int, name: str) -> tuple[np.dtype, tuple[int, ...], int]:
    """The dtype, shape and data offset of the .npy data of `size` bytes at the start of `file`, checked."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what NumPy would forgive is not what we wrote
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    except OSError:
        raise
    except Exception:  # the header is a literal in Python's syntax; damaged, it can fail in any way
        raise ArrayError(f"{name}: not a .npy array, or a damaged one") from None
    if dtype.hasobject:
        raise ArrayError(f"{name}: holds pickled objects, which are never loaded")
    if fortran_order and len(shape) > 1:
        raise ArrayError(f"{name}: is in Fortran order, and should be in C order")
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise ArrayError(f"{name}: impossible shape {shape}")
    offset = file.tell()
    expected = offset + math.prod(shape) * dtype.itemsize
    if size != expected:
        what = "truncated" if size < expected else "has bytes left over"
        raise ArrayError(f"{name}: {what}: {shape} of {dtype} makes {expected:,} bytes, it has {size:,}")
    return dtype, shape, offset


def _expect(
    name: str, dtype: np.dtype, shape: tuple[int, ...], wanted: str | tuple[str, ...], like: Shape
) -> None:
    names = (wanted,) if isinstance(wanted, str) else wanted
    fits = dtype.isnative and (dtype.name in names or (dtype.kind == "U" and "str" in names))
    if not fits:
        raise ArrayError(f"{name}: is {dtype}, and should be {' or '.join(names)}")
    if len(shape) != len(like) or any(
        want not in (None, have) for have, want in zip(shape, like, strict=True)
    ):
        want = ", ".join("any" if length is None else str(length) for length in like)
        raise ArrayError(f"{name}: has shape {shape}, and should have ({want})")


def _is_text(letters: np.ndarray) -> bool:
    """Whether these numbers are all Unicode's: of others NumPy makes a string that Python can't print."""
    return not ((letters > 0x10FFFF) | ((letters >= 0xD800) & (letters < 0xE000))).any()
