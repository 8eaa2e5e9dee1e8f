"""A glyph is framed as the data set frames its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistcore.errors import InputError
from mnistcore.report import framing

MNIST, DIGITS = framing.frame_of((28, 28)), framing.frame_of((8, 8))


def test_the_bounding_box_fits_20_pixels_and_keeps_its_aspect():
    ink = np.zeros((300, 200))
    ink[40:240, 60:110] = 1  # 200 x 50
    seen = framing.frame(ink, MNIST)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (len(rows), len(columns)) == (20, 5)
    assert (seen[seen > 0] == 255).all()
    # the centre of mass is on row and column 14, to the nearest pixel
    assert abs(rows.mean() - 14) <= 0.5 and abs(columns.mean() - 14) <= 0.5


def test_the_centre_is_that_of_mass_not_that_of_the_box():
    ink = np.zeros((20, 20))
    ink[:, 0] = 1
    ink[0, :] = 0.05  # a faint stroke widens the box but weighs little
    seen = framing.frame(ink, MNIST).astype(float)
    columns = (seen.sum(0) @ np.arange(28)) / seen.sum()
    assert seen.sum(0).argmax() < 28 - 14 and columns < 14


def test_each_new_pixel_is_the_mean_of_the_area_it_covers():
    ink = np.zeros((40, 40))
    ink[::2, ::2] = 1
    ink[0, 0] = ink[-1, -1] = ink[-1, 0] = ink[0, -1] = 1
    seen = framing.frame(ink, MNIST)
    inner = seen[6:22, 6:22]
    assert len(np.unique(inner)) == 1  # a quarter of each 2 x 2 square, stretched to the full range
    assert seen.max() == 255


def test_ink_is_never_pushed_over_the_edge():
    ink = np.zeros((20, 20))
    ink[0:3, 0:3] = 1
    ink[19, 19] = 0.01
    assert np.count_nonzero(framing.frame(ink, MNIST)) >= 9


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([MNIST, DIGITS]))
@settings(max_examples=60, deadline=None)
def test_any_ink_at_all_is_framed(height, width, seed, how):
    ink = np.random.default_rng(seed).random((height, width)) ** 4
    ink[ink < 0.3] = 0
    ink[0, 0] = 1
    seen = framing.frame(ink, how)
    assert seen.shape == how.shape and seen.dtype == np.uint8
    assert 0.5 * how.brightest <= seen.max() <= how.brightest


def test_no_frame_is_guessed_for_other_shapes():
    with pytest.raises(InputError, match="32 x 32"):
        framing.frame_of((32, 32))
