"""Damage to a zip file: what a bad disk, a bad copy or an ill-meant hand makes of it."""

import random
import struct
from collections.abc import Iterator

# Where the fields lie in a member's local header, its entry in the directory, and the end of the directory
# (PKWARE's APPNOTE, 4.3.7, 4.3.12 and 4.3.16): signature, then (offset, bytes) of each field.
HEADERS = {
    b"PK\3\4": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    b"PK\1\2": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2),
                (32, 2), (34, 2), (36, 2), (38, 4), (42, 4)],
    b"PK\5\6": [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}  # fmt: skip
VALUES = [*range(16), *(1 << bit for bit in range(4, 32)), 20, 45, 46, 63, 93, 97, 99, 0xFFFF, 0xFFFFFFFF]


def changed_fields(data: bytes) -> Iterator[bytes]:
    """Each field of each zip header, with each of `VALUES` that it can hold and does not."""
    for signature, fields in HEADERS.items():
        start = data.find(signature)
        while start >= 0:
            for offset, size in fields:
                where = slice(start + offset, start + offset + size)
                for value in VALUES:
                    if value < 1 << 8 * size and (new := value.to_bytes(size, "little")) != data[where]:
                        yield data[: where.start] + new + data[where.stop :]
            start = data.find(signature, start + 4)


def changed_bytes(data: bytes, generator: random.Random) -> Iterator[bytes]:
    """Without end: a few bytes changed, left out or put twice, anywhere."""
    while True:
        some = bytearray(data)
        for _ in range(generator.choice((1, 1, 1, 2, 5))):
            place = generator.randrange(len(some))
            kind = generator.randrange(6)
            if kind == 0:
                del some[place : place + generator.choice((1, 4, 1000))]
            elif kind == 1:
                some[place:place] = some[place : place + generator.choice((1, 4, 1000))]
            elif kind == 2:
                some[place : place + 4] = struct.pack("<I", generator.choice(VALUES))
            else:
                some[place] = generator.randrange(256)
        if bytes(some) != data:
            yield bytes(some)
