"""Augmentation: the values it writes, the ranges it draws from, and that it repeats."""

import mnistcore.reproducible  # noqa: F401, isort: skip
import threading

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mnistcore.errors import InputError
from mnistcore.training.augmentation import Augmentation, Augmenter

EVERYTHING = Augmentation(
    rotation_degrees=15, scale=0.15, shear=0.2, translation_pixels=3, elastic_pixels=1.5, elastic_smoothness=3
)


def distort(settings, images, image_shape, seed=0):
    augmenter = Augmenter(settings, image_shape, images.dtype)
    return augmenter(images, np.random.default_rng(seed), np.full_like(images, np.nan))


def places(settings, image_shape, count, seed=0, repeats=1):
    """Where `count * repeats` images are sampled, (count * repeats, 2, rows, columns)."""
    augmenter, generator = Augmenter(settings, image_shape, np.float64), np.random.default_rng(seed)
    drawn = [augmenter.places(count, generator).transpose(2, 1, 0, 3).copy() for _ in range(repeats)]
    return np.concatenate(drawn)


def affine_maps(settings, repeats=40):
    """The matrix A and the translation t, both in (x, y), fitted to the places of many images."""
    size = 21
    sampled = places(settings, (size, size), 50, repeats=repeats)[:, ::-1].reshape(50 * repeats, 2, -1)
    y, x = np.mgrid[:size, :size].reshape(2, -1) - (size - 1) / 2
    pixels = np.stack([x, y, np.ones_like(x)], axis=1)
    solved, residual, *_ = np.linalg.lstsq(pixels, sampled.reshape(-1, size * size).T, rcond=None)
    assert residual.max() < 1e-20  # affine indeed
    inverse_and_offset = solved.T.reshape(-1, 2, 3)
    maps = np.linalg.inv(inverse_and_offset[:, :, :2])
    offset = inverse_and_offset[:, :, 2] - (size - 1) / 2
    return maps, -np.einsum("nij,nj->ni", maps, offset)


@pytest.mark.parametrize(
    ("image_shape", "dtype", "tolerance"),
    [
        ((28, 28), np.float32, 1e-5),
        ((28, 28), np.float64, 1e-12),
        ((8, 8), np.float32, 1e-5),
        ((5, 9), np.float64, 1e-12),
    ],
)
def test_values_are_those_of_scipys_bilinear_interpolation_at_the_same_places(image_shape, dtype, tolerance):
    images = np.random.default_rng(1).random((10, image_shape[0] * image_shape[1])).astype(dtype)
    distorted = distort(EVERYTHING, images, image_shape, seed=5)
    sampled = Augmenter(EVERYTHING, image_shape, dtype).places(10, np.random.default_rng(5))
    for i in range(10):
        expected = map_coordinates(
            images[i].reshape(image_shape), sampled[:, :, i].transpose(1, 0, 2), order=1, mode="nearest"
        )
        np.testing.assert_allclose(distorted[i].reshape(image_shape), expected, rtol=0, atol=tolerance)
    assert np.abs(distorted - images).max() > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_no_distortion_leaves_the_images_to_rounding(dtype, tolerance):
    images = np.random.default_rng(1).random((300, 12 * 7)).astype(dtype)  # more than one chunk at a time
    np.testing.assert_allclose(distort(Augmentation(), images, (12, 7)), images, rtol=0, atol=tolerance)


class Fixed:
    """A generator whose every affine draw is `value`, of [0, 1)."""

    def __init__(self, value):
        self.value = value

    def random(self, size):
        return np.broadcast_to(np.asarray(self.value, dtype=float)[:, None], size).copy()


NONE, HIGHEST, LOWEST = 0.5, 1.0, 0.0


def test_a_quarter_turn_by_hand():
    image = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).reshape(1, 9)
    augmenter = Augmenter(Augmentation(rotation_degrees=90), (3, 3), np.float64)
    turned = augmenter(image, Fixed([HIGHEST] + [NONE] * 5), np.empty_like(image))
    clockwise = [7, 4, 1, 8, 5, 2, 9, 6, 3]
    np.testing.assert_allclose(turned[0], clockwise, atol=1e-12)


def test_a_shift_by_hand_repeats_the_edge():
    image = np.array([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 6)
    augmenter = Augmenter(Augmentation(translation_pixels=1), (2, 3), np.float64)
    lower_and_left = augmenter(image, Fixed([NONE] * 4 + [HIGHEST, LOWEST]), np.empty_like(image))
    np.testing.assert_allclose(lower_and_left[0], [2, 3, 3, 2, 3, 3], atol=1e-12)
    half = Augmenter(Augmentation(translation_pixels=0.5), (2, 3), np.float64)
    right_by_half = half(image, Fixed([NONE] * 5 + [HIGHEST]), np.empty_like(image))
    np.testing.assert_allclose(right_by_half[0], [1, 1.5, 2.5, 4, 4.5, 5.5], atol=1e-12)


def test_a_taller_image_keeps_its_width():
    image = np.tile([0.0, 0, 1, 0, 0], (5, 1)).T.reshape(1, 25)  # a horizontal bar
    augmenter = Augmenter(Augmentation(scale=0.5), (5, 5), np.float64)
    taller = augmenter(image, Fixed([NONE, HIGHEST] + [NONE] * 4), np.empty_like(image)).reshape(5, 5)
    np.testing.assert_allclose(taller, np.tile([0, 1 / 3, 1, 1 / 3, 0], (5, 1)).T, atol=1e-12)


def test_a_map_scales_then_shears_then_turns():
    augmenter = Augmenter(Augmentation(rotation_degrees=20, scale=0.25, shear=0.3), (21, 21), np.float64)
    taller, narrower = [HIGHEST, LOWEST]
    places = augmenter.places(1, Fixed([HIGHEST, taller, narrower, HIGHEST, NONE, NONE]))
    cosine, sine = np.cos(np.radians(20)), np.sin(np.radians(20))
    turn, shear, scaling = [[cosine, -sine], [sine, cosine]], [[1, 0.3], [0, 1]], np.diag([0.75, 1.25])
    y, x = np.mgrid[:21, :21].reshape(2, -1) - 10.0
    expected = np.linalg.inv(np.array(turn) @ shear @ scaling) @ [x, y] + 10
    np.testing.assert_allclose(places[:, ::-1, 0].transpose(1, 0, 2).reshape(2, -1), expected, atol=1e-12)


def test_the_drawn_affine_maps_fill_the_ranges_of_the_settings():
    turns, _ = affine_maps(Augmentation(rotation_degrees=20))
    degrees = np.degrees(np.arctan2(turns[:, 1, 0], turns[:, 0, 0]))
    assert -20 <= degrees.min() < -19.5 and 19.5 < degrees.max() <= 20
    np.testing.assert_allclose(np.linalg.det(turns), 1)

    scalings, _ = affine_maps(Augmentation(scale=0.25))
    for factors in (scalings[:, 0, 0], scalings[:, 1, 1]):
        assert 0.75 <= factors.min() < 0.76 and 1.24 < factors.max() <= 1.25
    assert abs(np.corrcoef(scalings[:, 0, 0], scalings[:, 1, 1])[0, 1]) < 0.1
    np.testing.assert_allclose(scalings[:, [0, 1], [1, 0]], 0, atol=1e-12)

    shears, _ = affine_maps(Augmentation(shear=0.3))
    assert -0.3 <= shears[:, 0, 1].min() < -0.29 and 0.29 < shears[:, 0, 1].max() <= 0.3
    expected = np.tile([1, 0, 1], (len(shears), 1))
    np.testing.assert_allclose(shears[:, [0, 1, 1], [0, 0, 1]], expected, atol=1e-12)

    settings = Augmentation(rotation_degrees=20, scale=0.25, shear=0.3, translation_pixels=4)
    everything, shifts = affine_maps(settings)
    for shift in shifts.T:
        assert -4 <= shift.min() < -3.9 and 3.9 < shift.max() <= 4
    assert np.std(everything, axis=0).min() > 0.1


@pytest.mark.parametrize("pixels", [0.5, 1.5])
def test_the_elastic_field_has_the_strength_and_the_smoothness_of_the_settings(pixels):
    shape = (24, 20)
    settings = Augmentation(elastic_pixels=pixels, elastic_smoothness=4)
    field = places(settings, shape, 100, repeats=40) - np.mgrid[:24, :20]
    assert abs(field.mean()) < 0.02
    np.testing.assert_allclose(field.std(axis=0), pixels, rtol=0.07)  # at every pixel, at the borders too
    assert abs((field[:, 0] * field[:, 1]).mean()) < 0.05  # down and right are independent
    # White noise blurred by a Gaussian of width s has the correlation exp(-(d / 2s)^2) at distance d.
    for distance in (2, 4, 8):
        along = (field[..., distance:] * field[..., :-distance]).mean() / pixels**2
        assert along == pytest.approx(np.exp(-((distance / 8) ** 2)), abs=0.06)


def test_an_elastic_field_rougher_than_the_pixels_is_drawn_at_every_pixel():
    """Down to the smallest number above zero, by which nothing can be divided."""
    rough = places(Augmentation(elastic_pixels=1, elastic_smoothness=0.01), (9, 7), 4)
    assert np.array_equal(places(Augmentation(elastic_pixels=1, elastic_smoothness=5e-324), (9, 7), 4), rough)
    assert np.isfinite(rough).all()


def test_one_seed_gives_the_same_bits_and_another_seed_others():
    images = np.random.default_rng(1).random((150, 784), dtype=np.float32)
    first, again, other = (distort(EVERYTHING, images, (28, 28), seed) for seed in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert (np.abs(first - other).max(axis=1) > 0.1).all()


def test_every_image_of_a_batch_has_its_own_distortion():
    images = np.tile(np.random.default_rng(1).random(784, dtype=np.float32), (150, 1))
    distorted = distort(EVERYTHING, images, (28, 28))
    assert len(np.unique(distorted, axis=0)) == 150


def test_shards_worked_by_threads_at_once_give_the_bits_of_one_after_the_other():
    images = np.random.default_rng(1).random((256, 784), dtype=np.float32)
    out = np.empty_like(images)

    def work(shard):
        part = slice(64 * shard, 64 * (shard + 1))
        augmenter, generator = Augmenter(EVERYTHING, (28, 28), np.float32), np.random.default_rng([3, shard])
        for _ in range(5):
            augmenter(images[part], generator, out[part])

    threads = [threading.Thread(target=work, args=(shard,)) for shard in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = out.copy()
    for shard in range(4):
        work(shard)
    assert together.tobytes() == out.tobytes()


def test_images_are_left_alone_and_may_be_read_only():
    images = np.random.default_rng(1).random((5, 64))
    before = images.copy()
    images.flags.writeable = False
    distort(EVERYTHING, images, (8, 8))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 1.0}, "scale: should be less than 1, is 1.0"),
        ({"shear": -0.1}, "shear: should be greater than or equal to 0, is -0.1"),
        ({"rotation_degrees": float("nan")}, "rotation_degrees: should be a finite number"),
        ({"elastic_smoothness": 0}, "elastic_smoothness: should be greater than 0"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**settings)


def test_images_of_one_row_are_refused():
    with pytest.raises(InputError, match="at least 2 x 2 pixels, not of 1 x 9"):
        Augmenter(EVERYTHING, (1, 9), np.float64)
