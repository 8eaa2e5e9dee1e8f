"""Dropout masks."""

import math

import numpy as np
import pytest

from mnistcore.streams import stream
from mnistcore.textbook import dropout_mask
from mnistcore.training.dropout import Dropout


def test_dropout_drops_at_its_rate_scales_what_is_kept_and_repeats():
    mask, again = np.empty((64, 500), "float32"), np.empty((64, 500), "float32")
    dropout = Dropout([0.3, 0.0], [500, 10], 64, seed=4, part=0)
    dropout.draw([mask, None], 1, 0)
    kept = mask > 0
    assert kept.mean() == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / mask.size))
    assert mask[kept] == pytest.approx(np.full(kept.sum(), 1 / 0.7), rel=1e-4)
    dropout.draw([again, None], 1, 1)
    assert (mask != again).mean() == pytest.approx(0.42, abs=0.02)
    dropout.draw([again, None], 1, 0)
    assert np.array_equal(mask, again)


def test_each_layer_and_each_part_draws_its_own():
    first, second, other = (np.empty((64, 500)) for _ in range(3))
    Dropout([0.5, 0.5], [500, 500], 64, seed=4, part=0).draw([first, second], 1, 0)
    Dropout([0.5, 0.0], [500, 500], 64, seed=4, part=1).draw([other, None], 1, 0)
    for mask in (second, other):
        assert (first != mask).mean() == pytest.approx(0.5, abs=0.02)


def test_the_rows_of_a_smaller_batch_are_the_first_ones():
    whole, part = np.empty((64, 500)), np.empty((10, 500))
    dropout = Dropout([0.5], [500], 64, seed=4, part=0)
    dropout.draw([whole], 2, 7)
    dropout.draw([part], 2, 7)
    assert np.array_equal(whole[:10], part)


def test_the_textbook_s_mask_drops_at_its_rate_and_keeps_the_mean():
    mask = dropout_mask((64, 500), 0.3, np.random.default_rng(0))
    assert set(np.unique(mask)) == {0, 1 / 0.7}
    assert mask.mean() == pytest.approx(1, abs=4 * math.sqrt(0.3 / 0.7 / mask.size))


def test_the_masks_come_from_the_words_of_their_stream_16_bits_a_unit():
    mask = np.empty((3, 6))
    for step in (0, 1, 5):
        Dropout([0.25], [6], 3, seed=4, part=2).draw([mask], 7, step)
        words = stream(4, "dropout", 7, 0, 2).bit_generator.random_raw(
            5 * 6
        )  # 18 units, rounded up to 5 words
        bits = words.view(np.uint16)[20 * step : 20 * step + 18].reshape(3, 6)
        assert np.array_equal(mask, (bits >= 1 << 14) / 0.75)


def test_a_rate_just_below_one_keeps_a_unit_in_65536():
    mask = np.empty((64, 5000))
    Dropout([1 - 1e-9], [5000], 64, seed=0, part=0).draw([mask], 1, 0)
    assert set(np.unique(mask)) == {0, 1 << 16} and (mask > 0).sum() < 20  # 4.9 of them are expected
