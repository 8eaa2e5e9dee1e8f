"""Letters, crosses and scribbles are told from digits: by a network trained on digits, and how surely."""

import os
from pathlib import Path

import numpy as np
import pytest
from drawn_paths import KINDS, drawings
from pictures_of_digits import fonts, smooth
from PIL import Image, ImageDraw, ImageFont
from report_page import any_network, trained_on_digits

from mnistcore.arrays import save_arrays
from mnistcore.data.normalization import Normalizer, divide
from mnistcore.errors import InputError
from mnistcore.network import model
from mnistcore.network.network import Dense
from mnistcore.report import familiarity
from mnistcore.report.framing import frame, frame_of
from mnistcore.report.marks import marks
from mnistcore.streams import stream

ROOT = Path(__file__).parents[2]
MNIST = frame_of((28, 28))
LETTERS = (
    "ACEFHKMNPRTUVWXYacdefhkmnprtuvwxy"  # not those that are drawn as a digit is: I, O, S, Z, b, g, l, q, ...
)

# Letters as they are written, strokes through points of the unit square.
WRITTEN = {
    "A": [[(0.5, 0), (0.05, 1)], [(0.5, 0), (0.95, 1)], [(0.22, 0.62), (0.78, 0.62)]],
    "E": [[(0.85, 0), (0.1, 0)], [(0.1, 0), (0.1, 1)], [(0.1, 0.5), (0.7, 0.5)], [(0.1, 1), (0.85, 1)]],
    "F": [[(0.85, 0), (0.1, 0)], [(0.1, 0), (0.1, 1)], [(0.1, 0.45), (0.7, 0.45)]],
    "H": [[(0.1, 0), (0.1, 1)], [(0.9, 0), (0.9, 1)], [(0.1, 0.5), (0.9, 0.5)]],
    "K": [[(0.1, 0), (0.1, 1)], [(0.85, 0), (0.1, 0.55)], [(0.3, 0.45), (0.9, 1)]],
    "M": [[(0.05, 1), (0.1, 0)], [(0.1, 0), (0.5, 0.6)], [(0.5, 0.6), (0.9, 0)], [(0.9, 0), (0.95, 1)]],
    "N": [[(0.1, 1), (0.1, 0)], [(0.1, 0), (0.9, 1)], [(0.9, 1), (0.9, 0)]],
    "P": [[(0.1, 0), (0.1, 1)], [(0.1, 0.02), (0.6, 0), (0.85, 0.25), (0.6, 0.5), (0.1, 0.52)]],
    "R": [[(0.1, 0), (0.1, 1)], [(0.1, 0.02), (0.6, 0), (0.85, 0.25), (0.6, 0.5), (0.1, 0.52)], [(0.35, 0.52), (0.9, 1)]],
    "T": [[(0.05, 0), (0.95, 0)], [(0.5, 0), (0.5, 1)]],
    "W": [[(0.02, 0), (0.27, 1)], [(0.27, 1), (0.5, 0.3)], [(0.5, 0.3), (0.73, 1)], [(0.73, 1), (0.98, 0)]],
    "a": [[(0.8, 0.15), (0.5, 0), (0.1, 0.4), (0.3, 0.95), (0.7, 0.8), (0.8, 0.15)], [(0.8, 0.05), (0.8, 0.8), (0.98, 1)]],
    "e": [[(0.1, 0.5), (0.85, 0.45), (0.6, 0.03), (0.2, 0.2), (0.1, 0.6), (0.4, 1), (0.9, 0.85)]],
    "h": [[(0.15, 0), (0.15, 1)], [(0.15, 0.6), (0.5, 0.42), (0.8, 0.6), (0.82, 1)]],
    "k": [[(0.15, 0), (0.15, 1)], [(0.75, 0.4), (0.15, 0.7)], [(0.3, 0.62), (0.8, 1)]],
    "n": [[(0.12, 0), (0.12, 1)], [(0.12, 0.3), (0.5, 0), (0.85, 0.3), (0.87, 1)]],
    "t": [[(0.45, 0), (0.45, 0.85), (0.65, 1), (0.85, 0.93)], [(0.1, 0.3), (0.85, 0.3)]],
}  # fmt: skip
CROSSES = [
    [[(0, 0), (1, 1)], [(1, 0), (0, 1)]],
    [[(0, 0.5), (1, 0.5)], [(0.5, 0), (0.5, 1)]],
    [[(0, 0.5), (1, 0.5)], [(0.5, 0), (0.5, 1)], [(0.1, 0.1), (0.9, 0.9)], [(0.9, 0.1), (0.1, 0.9)]],
]


def drawn(strokes):
    """Strokes in the unit square, drawn with a pen of a seventh of their extent and framed."""
    points = np.vstack(strokes)
    low, extent = points.min(axis=0), np.ptp(points, axis=0).max()
    image, pen = Image.new("L", (280, 280)), 30
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        line = [tuple((point - low) / extent * 240 + 20) for point in np.asarray(stroke)]
        draw.line(line, 255, pen, "curve")
        for x, y in (line[0], line[-1]):
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), 255)
    return frame(np.asarray(image) / 255, MNIST)


def varied(strokes, random):
    width, slant = random.uniform(0.55, 0.9), random.uniform(-0.12, 0.2)
    shaken = [np.array(stroke) + random.normal(0, 0.025, (len(stroke), 2)) for stroke in strokes]
    return [
        smooth(np.stack([(xy[:, 0] - 0.5) * width + slant * (0.5 - xy[:, 1]), xy[:, 1]], axis=1))
        for xy in shaken
    ]


def printed(letter, font):
    face = ImageFont.truetype(font, 160)
    left, top, right, bottom = face.getbbox(letter)
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), letter, 255, face)
    return frame(np.asarray(image) / 255, MNIST)


def no_digits():
    """By kind, pictures (N, 28, 28) of what is no digit."""
    random = np.random.default_rng(5)
    wild = [[smooth(random.uniform(0, 1, (random.integers(8, 20), 2)))] for _ in range(150)]
    return {
        "written letters": np.stack(
            [drawn(varied(one, random)) for one in WRITTEN.values() for _ in range(10)]
        ),
        "printed letters": np.stack([printed(letter, font) for letter in LETTERS for font in fonts()]),
        "crosses": np.stack([drawn(varied(one, random)) for one in CROSSES for _ in range(50)]),
        "scribbles": np.stack([drawn(one) for one in wild]),
    }


def test_marks_are_framed_as_the_data_set_frames_its_own():
    made = marks(300, MNIST, stream(0, "test")).astype(float)
    rows, columns = made.any(axis=2), made.any(axis=1)
    spans = np.maximum(*(28 - side.argmax(axis=1) - side[:, ::-1].argmax(axis=1) for side in (rows, columns)))
    assert (
        np.isin(spans, [20, 21, 22]).all() and made.max() == 255
    )  # a box of 20, and part of a pixel around it
    mass = made.sum(axis=(1, 2))
    for axis in (1, 2):
        centres = (made.sum(axis=3 - axis) @ np.arange(28)) / mass
        assert abs(np.median(centres) - 14) < 0.5
    assert len(np.unique(made.reshape(300, -1), axis=0)) == 300


def test_the_threshold_is_chosen_on_images_that_nothing_was_fitted_to():
    network, images, _ = trained_on_digits()
    fitted = familiarity.fit(network, divide(16, (8, 8), "float32"), images)
    held_out = images[4 * len(images) // 5 :]
    assert np.mean(fitted.score(network, held_out) > 0) <= familiarity.ALARMS + 1 / len(held_out)
    again = familiarity.fit(network, divide(16, (8, 8), "float32"), images)
    np.testing.assert_array_equal(fitted.classifier.parameters, again.classifier.parameters)
    noise = np.random.default_rng(0).uniform(0, 1, (200, 64)).astype(np.float32)
    others = marks(500, frame_of((8, 8)), stream(1, "test")).reshape(500, 64) / np.float32(16)
    assert np.mean(fitted.score(network, noise) > 0) > 0.5
    assert np.mean(fitted.score(network, others) > 0) > 0.6
    images = np.concatenate([images[: -len(held_out)], others[: len(held_out)]])  # marks are held out
    lenient = familiarity.fit(network, divide(16, (8, 8), "float32"), images)
    flagged = np.mean(lenient.score(network, others[: len(held_out)]) > 0)
    assert 0 < flagged <= familiarity.ALARMS + 1 / len(held_out)


@pytest.mark.parametrize(
    "dense", [[Dense(10, "softmax")], [Dense(8), Dense(6, "tanh"), Dense(10, "softmax")]]
)
def test_networks_of_any_depth_and_too_few_images(dense, tmp_path):
    network = any_network(dense, 64)
    images = np.random.default_rng(0).random((2 * familiarity.FEWEST, 64), np.float32)
    fitted = familiarity.fit(network, divide(16, (8, 8), "float32"), images)
    path = tmp_path / "familiarity.npz"
    fitted.save(path)
    read = familiarity.Familiarity.load(path, network)
    scores = fitted.score(network, images)
    np.testing.assert_array_equal(read.score(network, images), scores)
    assert len(np.unique(scores)) > 1
    few = familiarity.fit(network, divide(16, (8, 8), "float32"), images[: familiarity.FEWEST])
    assert (few.score(network, images) == -1).all()
    save_arrays(path, {"parameters": fitted.classifier.parameters[1:], "network": np.array(fitted.network)})
    with pytest.raises(InputError, match=r"familiarity.npz: has [\d,]+ parameters, and should have [\d,]+$"):
        familiarity.Familiarity.load(path, network)


def test_the_scale_of_the_activations_does_not_matter():
    """Hidden units a thousand times as large, and what reads them as much smaller: the same network, the same scores."""
    network, images, _ = trained_on_digits()
    assert [layer.dense.activation for layer in network.layers[:-1]] == ["relu"]
    scores = familiarity.fit(network, divide(16, (8, 8), "float32"), images).score(network, images)
    first, last = network.layers
    for array, factor in ((first.weights, 1024), (first.biases, 1024), (last.weights, 1 / 1024)):
        array *= np.float32(factor)
    again = familiarity.fit(network, divide(16, (8, 8), "float32"), images).score(network, images)
    np.testing.assert_allclose(again, scores, rtol=1e-3, atol=1e-3)


def test_activations_that_are_no_numbers_find_nothing_unfamiliar():
    images = np.random.default_rng(0).random((100, 64), np.float32)
    for value in (0, 3e38):
        network = any_network([Dense(8), Dense(10, "softmax")], 64)
        network.parameters[:] = value
        fitted = familiarity.fit(network, divide(16, (8, 8), "float32"), images)
        np.testing.assert_array_equal(fitted.classifier.layers[-1].biases, [-1])
        assert not fitted.classifier.layers[0].weights.any()


@pytest.mark.slow
def test_how_much_of_what_is_no_digit_is_told():
    if not (ROOT / "models/model.npz").is_file() and not os.environ.get("REQUIRE_TRAINED"):
        pytest.skip("needs the trained network: run the pipeline first")
    network = model.load(ROOT / "models/model.npz")[1][0]
    normalizer = Normalizer.load(ROOT / "data/processed/normalizer.npz")
    if normalizer.image_shape != (28, 28):
        pytest.skip("the network in models reads other pictures")
    train, test = (
        np.load(ROOT / f"data/processed/{part}/images.npy", mmap_mode="r") for part in ("train", "test")
    )
    fitted = familiarity.fit(network, normalizer, train)

    def share(images):
        return float(np.mean(fitted.score(network, images) > 0))

    refused = {kind: share(normalizer.transform(pictures)) for kind, pictures in no_digits().items()}
    digits = [
        drawn([np.array(stroke) for stroke in one.strokes]) for kind in KINDS for one in drawings(kind, 2, 4)
    ]
    alarms = {
        "test images": share(np.asarray(test)),
        "drawn digits": share(normalizer.transform(np.stack(digits))),
    }
    print({kind: f"{part:.1%}" for kind, part in (refused | alarms).items()})
    assert alarms["test images"] <= 0.02 and alarms["drawn digits"] <= 0.05
    assert min(refused.values()) >= 0.9
