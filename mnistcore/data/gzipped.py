"""Gzip, decompressed in pieces and never beyond a bound: no small file fills the disk or the memory."""

import zlib
from collections.abc import Iterable, Iterator

from mnistcore.arguments import Whole, check
from mnistcore.errors import InputError

MAGIC = b"\x1f\x8b"
PIECE = 1 << 20  # bytes; the most that is held decompressed at a time


class GzipError(InputError):
    """The gzip data are damaged, or expand to more than they should."""


class Truncated(GzipError):
    """The gzip data end too early."""


def decompress(pieces: Iterable[bytes], limit: int, name: str) -> Iterator[bytes]:
    """Decompress gzip data as they arrive; members after the first are appended (RFC 1952, section 2.2).

    Parameters
    ----------
    pieces : the compressed data, cut anywhere
    limit : the most bytes that may come out
    name : what the data are called in an error

    Raises
    ------
    GzipError : truncated, corrupt, followed by something else, or expanding to more than `limit` bytes
    """
    member = zlib.decompressobj(wbits=31)
    limit, total = check(Whole, limit, "decompress", "limit"), 0
    for piece in pieces:
        while piece:
            if member.eof:
                member = zlib.decompressobj(wbits=31)
            try:
                # One byte more than allowed is enough to see that there are too many.
                data = member.decompress(piece, min(PIECE, limit - total + 1))
            except zlib.error as error:
                raise GzipError(f"{name}: damaged gzip data ({_reason(error)})") from None
            piece = member.unused_data if member.eof else member.unconsumed_tail
            total += len(data)
            if total > limit:
                raise GzipError(f"{name}: expands to more than the {limit:,} bytes it should have")
            if data:
                yield data
    if not member.eof:
        raise Truncated(f"{name}: truncated gzip data")


def _reason(error: zlib.error) -> str:
    return str(error).rpartition(": ")[2]
