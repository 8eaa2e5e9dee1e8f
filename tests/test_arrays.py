"""Checked reading of .npy and .npz files: whatever is not exactly the array expected gets its one line."""

import hashlib
import io
import pickle
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnistcore.arrays import ArrayError, load_arrays, open_array, save_arrays, writing_array
from mnistcore.errors import InputError


def npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def refused(path, dtype, shape, *words):
    with pytest.raises(ArrayError) as caught:
        open_array(path, dtype, shape)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    assert all(word in line for word in words), line


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["uint8", "float32", "float64", "int64"]),
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6),
    ),
    st.integers(1, 7),
)
def test_written_in_chunks_it_is_the_file_that_numpy_writes(tmp_path_factory, array, rows):
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    with writing_array(path, array.dtype, array.shape) as out:
        for start in range(0, len(array), rows):
            out.append(array[start : start + rows])
    assert path.read_bytes() == npy(array)
    back = open_array(path, array.dtype.name, array.shape)
    assert back.tobytes() == array.tobytes()
    assert list(path.parent.iterdir()) == [path]


def test_a_map_is_read_only(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    array = open_array(tmp_path / "a.npy", "float64", (None, 3))
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_too_few_rows_leave_no_file(tmp_path):
    with (
        pytest.raises(ValueError, match="1 rows written of 2"),
        writing_array(tmp_path / "a", "u1", (2, 3)) as out,
    ):
        out.append(np.zeros((1, 3), "u1"))
    with pytest.raises(ValueError, match="a chunk"), writing_array(tmp_path / "a", "u1", (2, 3)) as out:
        out.append(np.zeros((1, 4), "u1"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(
    "Between the stages",
    "a .npy file truncated at any byte, or with bytes left over",
    "`FILE: truncated: (4,) of float32 makes 144 bytes, it has 143`",
    times=145,
)
def test_truncated_at_any_byte_and_with_bytes_left_over(tmp_path):
    path, whole = tmp_path / "a.npy", npy(np.arange(4, dtype="float32"))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path, "float32", (4,), "truncated" if length >= 128 else "damaged")
    path.write_bytes(whole + b"\0")
    refused(path, "float32", (4,), "left over")


@pytest.mark.fault(
    "Between the stages",
    "any byte of a .npy header changed",
    "one line, or an array of the right type and shape",
)
@settings(max_examples=400, deadline=None)
@given(st.integers(0, 135), st.integers(1, 255))
def test_any_changed_byte_of_the_header_is_refused_or_harmless(tmp_path_factory, place, change):
    whole = bytearray(npy(np.arange(2, dtype="float32")))
    whole[place] ^= change
    path = tmp_path_factory.getbasetemp() / "changed.npy"
    path.write_bytes(whole)
    try:
        array = open_array(path, "float32", (2,))
    except ArrayError as error:
        assert "\n" not in str(error)
    else:
        assert array.shape == (2,)


def test_missing_or_a_folder(tmp_path):
    refused(tmp_path / "a.npy", "float32", (1,), "not found", "run the stage that makes it")
    refused(tmp_path, "float32", (1,), "not a file")


def test_another_dtype_shape_or_order(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3), "float32"))
    refused(path, "float64", (2, 3), "is float32, and should be float64")
    refused(path, ("uint8", "float64"), (2, 3), "uint8 or float64")
    refused(path, "float32", (2, 4), "has shape (2, 3), and should have (2, 4)")
    refused(path, "float32", (None,), "(2, 3)", "(any)")
    np.save(path, np.asfortranarray(np.zeros((2, 3), "float32")))
    refused(path, "float32", (2, 3), "Fortran")
    np.save(path, np.zeros(2, ">f4"))
    refused(path, "float32", (2,), ">f4")


def test_a_shape_beyond_the_file_or_below_zero(tmp_path):
    path, whole = tmp_path / "a.npy", npy(np.zeros((2, 3), "float32"))
    path.write_bytes(whole.replace(b"(2, 3), }        ", b"(2000000000, 3), }"[:17]))
    refused(path, "float32", (None, 3))
    path.write_bytes(whole.replace(b"(2, 3), }  ", b"(-2, -3), }"))
    refused(path, "float32", (None, None), "impossible")


class Surprise:
    """Unpickled, it would say so."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was loaded')",)


@pytest.mark.fault(
    "Security",
    "a pickle in the place of an array, inside .npy or inside .npz",
    "one line; it is not loaded",
    times=3,
)
def test_a_pickle_in_disguise_is_not_loaded(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(pickle.dumps(Surprise()))
    refused(path, "float32", (None,), "not a .npy array")
    np.save(path, np.array([Surprise()], object), allow_pickle=True)
    refused(path, "float32", (None,), "pickled objects")
    with open(tmp_path / "a.npz", "wb") as file:
        np.savez(file, a=np.array([Surprise()], object))
    with pytest.raises(ArrayError, match="pickled objects"):
        load_arrays(tmp_path / "a.npz", {"a": ("float32", (None,))})


class TestNpz:
    expected = {"a": ("float32", (None, 2)), "b": ("str", ())}

    def save(self, path, **arrays):
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    def test_what_savez_wrote_comes_back(self, tmp_path):
        self.save(tmp_path / "x.npz", a=np.arange(4, dtype="float32").reshape(2, 2), b=np.array("text"))
        arrays = load_arrays(tmp_path / "x.npz", self.expected)
        assert arrays["a"].tolist() == [[0, 1], [2, 3]] and str(arrays["b"]) == "text"

    arrays = {  # every kind of array that the project stores, and empty ones
        "parameters": np.arange(6, dtype="float32").reshape(2, 3),
        "seeds": np.array([0, 2**40]),
        "text": np.array("784 → 10"),
        "one": np.array(0.1),
        "none": np.empty((0, 3)),
    }

    def test_written_it_is_the_file_that_savez_writes_on_python_3_11_4_and_later(self, tmp_path):
        save_arrays(tmp_path / "ours.npz", self.arrays)
        self.save(tmp_path / "numpy.npz", **self.arrays)
        if sys.version_info >= (3, 11, 4):
            assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()
        with np.load(tmp_path / "ours.npz") as file:
            assert file.files == [*self.arrays]
            for name, array in self.arrays.items():
                np.testing.assert_array_equal(file[name], array)
        with zipfile.ZipFile(tmp_path / "ours.npz") as archive:
            assert archive.testzip() is None

    def test_written_it_has_these_bytes_on_every_python(self, tmp_path):
        save_arrays(tmp_path / "ours.npz", self.arrays)
        digest = hashlib.sha256((tmp_path / "ours.npz").read_bytes()).hexdigest()
        assert digest == "db33432f5a463fb5ed17473d6ad20fdeeeb265556e2b0c42e5a8b435e7304621"

    def test_written_in_c_order_whatever_the_order_it_had(self, tmp_path):
        array = np.arange(6.0).reshape(2, 3)
        for order, name in (("C", "c"), ("F", "f")):
            save_arrays(tmp_path / f"{name}.npz", {"a": np.asarray(array, order=order)})
        assert (tmp_path / "c.npz").read_bytes() == (tmp_path / "f.npz").read_bytes()

    def test_more_than_the_headers_can_hold_is_refused_and_leaves_no_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr("mnistcore.arrays._LARGEST", 1000)  # in place of 4 GiB
        save_arrays(tmp_path / "x.npz", {"a": np.zeros(800, "uint8")})
        with pytest.raises(InputError, match=r"y\.npz: more than 4 GiB"):
            save_arrays(tmp_path / "y.npz", {"a": np.zeros(500, "uint8"), "b": np.zeros(500, "uint8")})
        assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]

    def test_other_arrays_than_expected(self, tmp_path):
        self.save(tmp_path / "x.npz", a=np.zeros((1, 2), "float32"))
        with pytest.raises(ArrayError, match="holds a where a, b should be"):
            load_arrays(tmp_path / "x.npz", self.expected)
        self.save(tmp_path / "x.npz", a=np.zeros((1, 3), "float32"), b=np.array("text"))
        with pytest.raises(ArrayError, match="a: has shape"):
            load_arrays(tmp_path / "x.npz", self.expected)

    @pytest.mark.parametrize("number", [0xD800, 0xDFFF, 0x110000, 0xFFFFFFFF])
    def test_numbers_that_stand_for_no_letters_are_no_text(self, tmp_path, number):
        """NumPy makes a string of them, which Python can neither print nor encode."""
        text = np.array("ab")
        save_arrays(tmp_path / "x.npz", {"b": text})
        assert str(load_arrays(tmp_path / "x.npz", {"b": ("str", ())})["b"]) == "ab"
        text.reshape(1).view(np.uint32)[1] = number
        save_arrays(tmp_path / "x.npz", {"b": text})
        with pytest.raises(ArrayError, match="b: holds numbers that stand for no letters"):
            load_arrays(tmp_path / "x.npz", {"b": ("str", ())})

    @pytest.mark.fault(
        "Between the stages", "a .npz file damaged at any byte", "one line, or the right arrays", times=500
    )
    def test_damaged_at_any_byte_it_is_refused_or_harmless(self, tmp_path):
        self.save(tmp_path / "x.npz", a=np.ones((1, 2), "float32"), b=np.array("text"))
        whole = (tmp_path / "x.npz").read_bytes()
        for place in range(500):
            damaged = bytearray(whole)
            damaged[place] ^= 0x55
            (tmp_path / "x.npz").write_bytes(damaged)
            try:
                arrays = load_arrays(tmp_path / "x.npz", self.expected)
            except ArrayError as error:
                assert "\n" not in str(error)
            else:
                assert arrays["a"].tolist() == [[1, 1]] and str(arrays["b"]) == "text"

    @pytest.mark.parametrize("length", [0, 1, 100, 300, 500])
    def test_truncated(self, tmp_path, length):
        self.save(tmp_path / "x.npz", a=np.ones((1, 2), "float32"), b=np.array("text"))
        (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:length])
        with pytest.raises(ArrayError, match=r"not a whole \.npz file"):
            load_arrays(tmp_path / "x.npz", self.expected)

    @pytest.mark.fault(
        "Between the stages",
        "a .npz file that could expand",
        "`FILE: NAME is not stored as numpy.savez stores it`",
    )
    @pytest.mark.parametrize("array", [np.zeros((100_000, 2)), np.random.default_rng(0).random((9, 2))])
    def test_compressed_it_could_be_a_bomb_and_is_refused(self, tmp_path, array):
        with open(tmp_path / "x.npz", "wb") as file:
            np.savez_compressed(file, a=array.astype("float32"), b=np.array("text"))
        with pytest.raises(ArrayError, match=r"not stored as numpy\.savez stores it"):
            load_arrays(tmp_path / "x.npz", self.expected)

    def test_two_arrays_of_one_name(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("a.npy", npy(np.ones((1, 2), "float32")))
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("a.npy", npy(np.ones((1, 2), "float32")))
        with pytest.raises(ArrayError, match="holds a where"):
            load_arrays(tmp_path / "x.npz", {"a": self.expected["a"]})


def test_an_error_is_one_line_whatever_a_name_holds(tmp_path):
    with pytest.raises(InputError) as caught:
        open_array(tmp_path / "one\ntwo\x1b[31m\ud800.npy", "float32", (None,))
    assert str(caught.value).endswith("one?two?[31m?.npy: not found; run the stage that makes it")


@pytest.mark.parametrize("expected", ["", [], None, 3])
def test_what_is_no_mapping_of_names_is_refused(tmp_path, expected):
    save_arrays(tmp_path / "empty.npz", {})
    with pytest.raises(TypeError, match="load_arrays: expected should be a mapping"):
        load_arrays(tmp_path / "empty.npz", expected)
