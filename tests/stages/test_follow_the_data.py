"""One word of params.yaml changes the data set: sizes and scales follow the data unless they are given."""

import json

import numpy as np
import pytest
from ruamel.yaml import YAML

from mnistcore.data.batches import open_batches
from mnistcore.data.normalization import Normalizer, divide, fit
from mnistcore.training.augmentation import Augmentation, Augmenter
from stages.paths import BATCHES, METRICS, NORMALIZER, PROCESSED


def test_a_divisor_that_is_not_given_is_the_largest_pixel():
    images = np.zeros((3, 2, 2), "uint8")
    images[1, 0, 1] = 16
    fitted = fit("divide", [images[:1], images[1:]], (2, 2), "float32")
    assert vars(fitted).keys() == vars(divide(16, (2, 2), "float32")).keys()
    assert (
        fitted.method == "divide" and fitted.scale.tolist() == [16] * 4 and fitted.offset.tolist() == [0] * 4
    )
    assert fit("divide", [images[:1]], (2, 2), "float32").scale.tolist() == [1] * 4  # black throughout


def test_lengths_that_are_not_given_are_those_of_mnist_scaled_to_the_side():
    """Of 28 pixels, to the bit, what stood in params.yaml before: 0.5, 1 and 4."""
    follows = Augmentation(translation_pixels=None, elastic_pixels=None)
    given = Augmentation(translation_pixels=0.5, elastic_pixels=1.0, elastic_smoothness=4.0)
    assert follows.for_images((28, 28)) == given
    assert follows.for_images((8, 14)).elastic_pixels == 8 / 28
    assert given.for_images((8, 8)) == given
    images = np.random.default_rng(0).random((5, 28 * 28))
    outs = np.empty((2, *images.shape))
    for out, augmentation in zip(outs, (follows, given), strict=True):
        Augmenter(augmentation, (28, 28), np.float64)(images, np.random.default_rng(1), out)
    assert outs[0].tobytes() == outs[1].tobytes()


def test_the_digits_are_scaled_by_16_and_a_twelfth_held_out(workplace):
    workplace.set("fetch", dataset="digits")
    for stage in ("fetch", "preprocess", "batch"):
        workplace.done(stage)
    assert set(Normalizer.load(PROCESSED / NORMALIZER).scale.tolist()) == {16}
    description, training, validation = open_batches(BATCHES)
    assert (len(training.labels), len(validation.labels)) == (1103, 100)
    assert description.image_shape == (8, 8) and training.images.max() == 1


@pytest.mark.slow
def test_one_word_trains_on_the_digits_to_97_per_cent(workplace):
    """And the curves say which lengths the distortions had."""
    workplace.set("fetch", dataset="digits")
    for stage in ("fetch", "preprocess", "batch", "train", "evaluate"):
        workplace.done(stage)
    assert json.loads(METRICS.read_text("utf-8"))["test"]["accuracy"] >= 0.97
    with open("reports/curves/params.yaml", encoding="utf-8") as file:
        logged = YAML(typ="safe").load(file)["augmentation"]
    assert logged["elastic_pixels"] == 8 / 28 and logged["elastic_smoothness"] == 8 / 7
