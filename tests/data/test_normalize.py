"""Normalisers agree with scikit-learn's, do not depend on the cut into chunks, and survive their file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnistcore.data.normalization import Normalizer, divide, fit
from mnistcore.errors import InputError

some_images = hnp.arrays("uint8", st.tuples(st.integers(1, 40), st.just(2), st.just(3)))
random_images = np.random.default_rng(0).integers(0, 256, (500, 2, 3)).astype("uint8")


def test_divide_is_a_true_division():
    images = np.arange(256, dtype="uint8").reshape(1, 16, 16)
    for dtype in ("float32", "float64"):
        normalised = divide(255, (16, 16), dtype).transform(images)
        assert normalised.dtype == dtype
        assert np.array_equal(normalised[0], np.arange(256).astype(dtype) / np.array(255, dtype))


@pytest.mark.parametrize("method", ["min-max", "standardize"])
def test_it_is_what_scikit_learn_fits(method):
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    pixels = random_images.reshape(-1, 6).astype("float64")
    theirs = {"min-max": MinMaxScaler, "standardize": StandardScaler}[method]().fit(pixels)
    later = np.random.default_rng(1).integers(0, 256, (50, 2, 3)).astype("uint8")
    ours = fit(method, [random_images], (2, 3), "float64")
    for images in (random_images, later):
        assert np.allclose(
            ours.transform(images), theirs.transform(images.reshape(-1, 6)), rtol=1e-12, atol=1e-12
        )


@settings(max_examples=60, deadline=None)
@given(some_images, st.integers(1, 40), st.sampled_from(["min-max", "standardize"]))
def test_the_fit_does_not_depend_on_the_chunks(images, rows, method):
    cut = [images[start : start + rows] for start in range(0, len(images), rows)]
    one, other = (fit(method, chunks, (2, 3), "float32") for chunks in ([images], cut))
    assert one.offset.tobytes() == other.offset.tobytes()
    assert one.scale.tobytes() == other.scale.tobytes()


@settings(max_examples=100, deadline=None)
@given(
    some_images,
    some_images,
    st.sampled_from(["min-max", "standardize"]),
    st.sampled_from(["float32", "float64"]),
)
def test_everything_stays_finite(training, later, method, dtype):
    normalizer = fit(method, [training], (2, 3), dtype)
    for images in (training, later):
        assert np.isfinite(normalizer.transform(images)).all()


@pytest.mark.parametrize("method", ["min-max", "standardize"])
def test_a_constant_pixel_is_zero_in_training_and_in_the_usual_range_later(method):
    training = random_images.copy()
    training[:, 0, 0] = 7
    normalizer = fit(method, [training], (2, 3), "float64")
    assert not normalizer.transform(training)[:, 0].any()
    later = normalizer.transform(np.full((1, 2, 3), 255, "uint8"))
    assert abs(later[0, 0]) < 2 * np.abs(later[0, 1:]).max()


def test_constant_images_are_all_zero():
    images = np.full((3, 2, 3), 9, "uint8")
    for method in ("min-max", "standardize"):
        assert not fit(method, [images], (2, 3), "float32").transform(images).any()


def test_images_may_be_flat_and_must_fit():
    normalizer = divide(2, (2, 3), "float32")
    assert normalizer.transform(np.ones((4, 6))).tolist() == [[0.5] * 6] * 4
    with pytest.raises(InputError, match="2 × 3"):
        normalizer.transform(np.ones((4, 3, 2)))


@pytest.mark.parametrize("divisor", [0, -1, float("nan"), 1e-300, 1e300])
def test_an_impossible_divisor_is_refused(divisor):
    with pytest.raises(InputError, match="divisor"):
        divide(divisor, (2, 3), "float32")


class TestStored:
    def test_it_comes_back_with_the_same_bytes_every_time(self, tmp_path):
        path = tmp_path / "normalizer.npz"
        for method in ("min-max", "standardize"):
            normalizer = fit(method, [random_images], (2, 3), "float32")
            normalizer.save(path)
            first = path.read_bytes()
            normalizer.save(path)
            assert path.read_bytes() == first
            back = Normalizer.load(path)
            assert (back.method, back.image_shape) == (method, (2, 3))
            assert np.array_equal(back.transform(random_images), normalizer.transform(random_images))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"method": "other"}, "method: should be 'divide', 'min-max' or 'standardize', is 'other'"),
            ({"offset": np.zeros(5, "float32")}, "5 offsets and 6 scales"),
            ({"offset": np.zeros(6, "float64")}, "offset is float64, scale float32"),
            ({"offset": np.full(6, np.nan, "float32")}, "finite"),
            ({"scale": np.zeros(6, "float32")}, "positive"),
            ({"scale": np.ones(6, "int32")}, "is int32, and should be float32 or float64"),
            ({"image_shape": (2, 4)}, "2 × 4"),
            ({"image_shape": (-2, -3)}, "image_shape.0: should be greater than or equal to 1, is -2"),
        ],
    )
    def test_what_save_could_not_have_written_is_refused(self, tmp_path, change, words):
        path = tmp_path / "normalizer.npz"
        whole = vars(divide(255, (2, 3), "float32")) | change
        np.savez(path, **whole | {"image_shape": np.array(whole["image_shape"], np.int64)})
        with pytest.raises(InputError, match=words) as caught:
            Normalizer.load(path)
        assert str(caught.value).startswith(f"{path}: ")
