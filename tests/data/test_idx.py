"""The IDX reader: every type and shape there and back, damage told in one line, no allocation on trust."""

import gzip
import importlib.util
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnistcore.data import gzipped, idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
CORPUS = Path(__file__).parents[1] / "corpus" / "idx"
any_array = st.sampled_from(sorted(CODES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


def header(code: int, *sizes: int) -> bytes:
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def refused(data: bytes, *words: str) -> None:
    """`data` are refused with one line that has all of `words`."""
    with pytest.raises(idx.IdxError) as caught:
        idx.decode(data, "the-file")
    line = str(caught.value)
    assert line.startswith("the-file: ") and "\n" not in line
    assert all(word in line for word in words), line


def test_the_bytes_are_those_of_the_published_format():
    # By hand, after the format's description: 00 00 08 02 | 2 | 3 | 1 2 3 4 5 6
    data = bytes.fromhex("00000802 00000002 00000003 010203040506")
    assert idx.decode(data).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert idx.encode(np.array([[1, 2, 3], [4, 5, 6]], "uint8")) == data
    assert idx.decode(bytes.fromhex("00000B01 00000002 0100 FFFE")).tolist() == [256, -2]
    assert idx.decode(bytes.fromhex("00000D01 00000001 3FC00000")).tolist() == [1.5]


@pytest.mark.fault(
    "IDX files",
    "every type code, 1 to 4 dimensions, plain and gzipped, there and back",
    "the same array, to the bit",
)
@settings(max_examples=300, deadline=None)
@given(any_array, st.booleans())
def test_every_array_comes_back_as_it_was(array, is_gzipped):
    data = idx.encode(array)
    assert data[2] == CODES[array.dtype.name]
    back = idx.decode(gzip.compress(data) if is_gzipped else data)
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()  # bytes, so that NaNs count as themselves


@settings(max_examples=50, deadline=None)
@given(any_array)
def test_big_endian_arrays_are_written_alike(array):
    assert idx.encode(array.astype(array.dtype.newbyteorder(">"))) == idx.encode(array)


@pytest.mark.fault(
    "IDX files",
    "any bytes, with and without the magic number",
    "an array that writes back to them, or one line",
)
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.booleans())
def test_any_bytes_are_read_or_refused(data, with_magic):
    _one_input(b"\0\0\x08" + data if with_magic else data)


@pytest.mark.fault(
    "IDX files", "any byte of a gzip changed", "one line, or the right array where the byte does not matter"
)
@settings(max_examples=200, deadline=None)
@given(any_array, st.data())
def test_a_changed_byte_of_a_gzip_never_gives_another_array(array, data):
    whole = bytearray(gzip.compress(idx.encode(array), mtime=0))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        back = idx.decode(bytes(whole))
    except (idx.IdxError, gzipped.GzipError):
        return
    assert back.tobytes() == array.tobytes()  # a byte that does not matter, such as the time stamp


@pytest.mark.fault(
    "IDX files",
    "empty; truncated at each byte of the header and of the data",
    "`FILE: empty`, `FILE: truncated in the header, after 9 of its 20 bytes`, "
    "`FILE: truncated: 2 × 3 × 2 × 2 values of 2 bytes make 68 bytes with the header, it has 67`",
    times=68,
)
def test_a_file_is_refused_when_truncated_at_any_byte():
    data = idx.encode(np.arange(24, dtype="int16").reshape(2, 3, 2, 2))
    refused(b"", "empty")
    for length in range(1, 20):
        refused(data[:length], "truncated in the header")
    for length in range(20, len(data)):
        refused(data[:length], "truncated: 2 × 3 × 2 × 2 values of 2 bytes", "68", str(length))


@pytest.mark.fault(
    "IDX files",
    "bytes left over at the end",
    "`FILE: has bytes left over: 3 values of 1 bytes make 11 bytes with the header, it has 12`",
)
def test_bytes_left_over_are_refused():
    refused(idx.encode(np.zeros(3, "uint8")) + b"x", "left over")


@pytest.mark.fault(
    "IDX files",
    "a wrong magic number",
    "`FILE: not an IDX file (it begins with 89 50 4e 47, an IDX file with 00 00)`",
    times=3,
)
def test_a_wrong_magic_number_is_refused():
    refused(b"\x89PNG\r\n", "not an IDX file", "89 50 4e 47")
    refused(b"\0\1\x08\1", "not an IDX file")
    refused(b"<html>", "not an IDX file")


@pytest.mark.fault("IDX files", "an unknown type code", "`FILE: unknown IDX type code 0x0A (known: 0x08, …)`")
@pytest.mark.parametrize("code", sorted(set(range(256)) - set(CODES.values())))
def test_an_unknown_type_is_refused(code):
    refused(header(code, 1) + b"\0", f"unknown IDX type code 0x{code:02X}")


@pytest.mark.fault(
    "IDX files", "no dimension, or more than four", "`FILE: 5 dimensions; an IDX file here has 1 to 4`"
)
@pytest.mark.parametrize("dimensions", [0, 5, 255])
def test_only_one_to_four_dimensions(dimensions):
    refused(bytes([0, 0, 8, dimensions]) + bytes(4 * dimensions), f"{dimensions} dimensions")
    if dimensions < 6:
        with pytest.raises(idx.IdxError, match="dimensions"):
            idx.encode(np.zeros((1,) * dimensions, "uint8"))


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "uint16", "float16", "S3", "O"])
def test_a_dtype_that_idx_lacks_is_refused(dtype):
    with pytest.raises(idx.IdxError, match="IDX has no type for"):
        idx.encode(np.zeros(2, dtype))


@pytest.mark.fault(
    "IDX files",
    "dimensions whose product overflows or exceeds the file, plain and gzipped",
    "one line, and nothing allocated for them",
)
@pytest.mark.parametrize(
    "sizes",
    [
        (0xFFFFFFFF,),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x10000, 0x10000, 0x10000, 0x10000),  # 2**64: nothing, to a reader that counts in 64 bits
        (0x80000000, 0x80000000, 4, 1),
        (0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),  # empty, and yet more than NumPy can make
    ],
)
@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_nothing_is_allocated_for_sizes_that_the_file_cannot_have(sizes, wrap):
    data = wrap(header(0x0E, *sizes))
    tracemalloc.start()
    refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # one piece of decompressed data, at the most


class TestGzip:
    data = idx.encode(np.arange(60, dtype="uint8"))

    @pytest.mark.fault("IDX files", "a gzip truncated at any byte", "`FILE: truncated gzip data`", times=89)
    def test_truncated_at_any_byte(self):
        whole = gzip.compress(self.data, compresslevel=0)
        assert len(whole) == 2 + 89
        for length in range(2, len(whole)):
            with pytest.raises((gzipped.GzipError, idx.IdxError)) as caught:
                idx.decode(whole[:length], "the-file")
            assert str(caught.value).startswith("the-file: ")

    @pytest.mark.fault(
        "IDX files", "a corrupt gzip", "`FILE: damaged gzip data (incorrect data check)`", times=2
    )
    def test_corrupt(self):
        whole = bytearray(gzip.compress(self.data))
        whole[-8] ^= 1  # in the checksum
        with pytest.raises(gzipped.GzipError, match=r"the-file: damaged gzip data .*check"):
            idx.decode(bytes(whole), "the-file")
        with pytest.raises(gzipped.GzipError, match="damaged"):
            idx.decode(gzipped.MAGIC + b"\x08" + b"\xff" * 40)

    @pytest.mark.fault(
        "IDX files", "a gzip of two members", "the array, if together they are right; else one line", times=2
    )
    def test_two_members_are_one_file_if_together_they_are_right(self):
        both = gzip.compress(self.data[:7]) + gzip.compress(self.data[7:])
        assert idx.decode(both).tolist() == list(range(60))
        refused(gzip.compress(self.data) * 2, "left over")

    @pytest.mark.fault("IDX files", "a gzip followed by something else", "`FILE: damaged gzip data (…)`")
    def test_something_after_the_data(self):
        with pytest.raises(gzipped.GzipError, match="damaged"):
            idx.decode(gzip.compress(self.data) + b"something")

    @pytest.mark.fault(
        "IDX files",
        "a gzip that expands without end",
        "one line, after as many bytes as its header announces; at most 1 GiB in all",
    )
    @pytest.mark.parametrize("claimed", [60, 1 << 40])
    def test_a_bomb_is_not_expanded(self, claimed):
        compress = zlib.compressobj(9, wbits=31)
        bomb = compress.compress(header(8, 60) if claimed == 60 else header(8, 1 << 20, 1 << 20))
        bomb += b"".join(compress.compress(bytes(1 << 20)) for _ in range(64)) + compress.flush()
        tracemalloc.start()
        with pytest.raises((idx.IdxError, gzipped.GzipError)):
            idx.decode(bomb)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5 * gzipped.PIECE

    def test_a_dimension_that_takes_more_than_32_bits(self):
        with pytest.raises(idx.IdxError, match=r"a dimension of 4,294,967,296; IDX counts to 4,294,967,295"):
            idx.encode(np.zeros((0, 1 << 32), "u1"))

    def test_more_than_1_gib_is_refused_by_its_header(self):
        with pytest.raises(
            idx.IdxError, match=r"1,073,741,836 bytes decompressed; the limit is 1,073,741,824$"
        ):
            idx.decode(gzip.compress(header(8, 1 << 10, 1 << 20)))

    def test_pieces_cut_anywhere_give_the_same(self):
        whole = gzip.compress(self.data[:7]) + gzip.compress(self.data[7:])
        for size in (1, 2, 7, 100):
            pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
            assert b"".join(gzipped.decompress(pieces, len(self.data), "x")) == self.data

    def test_one_byte_more_than_allowed_is_too_many(self):
        with pytest.raises(gzipped.GzipError, match="more than the 63 bytes"):
            list(gzipped.decompress([gzip.compress(self.data)], 63, "x"))


class TestFiles:
    @pytest.mark.parametrize("name", ["a-idx2-short", "a-idx2-short.gz"])
    def test_a_file_there_and_back_has_the_same_bytes_every_time(self, tmp_path, name):
        array = np.arange(6, dtype="int16").reshape(2, 3)
        idx.write(tmp_path / name, array)
        first = (tmp_path / name).read_bytes()
        idx.write(tmp_path / name, array)
        assert (tmp_path / name).read_bytes() == first
        assert idx.read(tmp_path / name).tolist() == array.tolist()
        assert list(tmp_path.iterdir()) == [tmp_path / name]
        if name.endswith(".gz"):
            assert first[4:8] == bytes(4)  # no time, as RFC 1952 has it

    def test_a_missing_file_and_a_folder_are_told_apart(self, tmp_path):
        with pytest.raises(idx.IdxError, match="not found"):
            idx.read(tmp_path / "x")
        with pytest.raises(idx.IdxError, match="not a file"):
            idx.header_of(tmp_path)

    @pytest.mark.parametrize("rows", [1, 3, 7, 100])
    @pytest.mark.parametrize("first", [None, 1, 5, 7])
    def test_chunks_are_the_array_in_order(self, tmp_path, rows, first):
        array = np.arange(7 * 6, dtype="int32").reshape(7, 2, 3)
        idx.write(tmp_path / "x", array)
        chunks = list(idx.chunks(tmp_path / "x", rows, first))
        assert max(len(chunk) for chunk in chunks) <= rows
        assert np.array_equal(np.concatenate(chunks), array[:first])

    def test_a_truncated_file_gives_no_chunk(self, tmp_path):
        (tmp_path / "x").write_bytes(idx.encode(np.zeros((7, 2), "uint8"))[:-1])
        with pytest.raises(idx.IdxError, match="truncated"):
            next(idx.chunks(tmp_path / "x", 2))

    def test_a_file_that_becomes_shorter_while_it_is_read(self, tmp_path):
        idx.write(tmp_path / "x", np.arange(60, dtype=np.uint8).reshape(6, 10))
        chunks = idx.chunks(tmp_path / "x", 2)
        next(chunks)
        os.truncate(tmp_path / "x", (tmp_path / "x").stat().st_size - 25)
        with pytest.raises(idx.IdxError, match="became shorter while it was read"):
            list(chunks)


@pytest.mark.fault(
    "IDX files",
    "the inputs kept from 12 million of coverage-guided fuzzing (23 minutes, no finding)",
    "an array that writes back to them, or one line",
    times=68,
)
def test_what_fuzzing_found_interesting_is_read_or_refused():
    inputs = sorted(CORPUS.iterdir())
    accepted = [_one_input(path.read_bytes()) is not None for path in inputs]
    assert len(inputs) >= 20
    assert 0 < sum(accepted) < len(inputs)  # the inputs go both ways


def _one_input(data: bytes):
    """The very function that was fuzzed."""
    specification = importlib.util.spec_from_file_location(
        "fuzz_idx", Path(__file__).with_name("fuzz_idx.py")
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.one_input(data)
