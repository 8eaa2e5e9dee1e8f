"""The figures: no word cut off or covered, nothing but pixels in the files, and odd data drawn."""

import io
import itertools
import re
from unittest.mock import patch

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from mnistcore.data import datasets
from mnistcore.evaluation import metrics
from mnistcore.report import figures

DIGITS = tuple("0123456789")
GARMENTS = datasets.TABLE["fashion-mnist"].description.classes
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def curves(epochs=20, validation=True, rate=True, last=1.0):
    epoch = np.arange(1, epochs + 1.0)
    found = {"train/loss": 0.3 / epoch**2, "train/accuracy": 1 - 0.1 / epoch**2}
    if validation:
        found |= {"validation/loss": 0.3 / epoch**1.9 * last, "validation/accuracy": 1 - 0.1 / epoch}
    if rate:
        found["learning_rate"] = 0.1 / epoch
    return {name: np.column_stack([epoch, values]) for name, values in found.items()}


def predictions(names, right=0.97, examples=10_000):
    random = np.random.default_rng(0)
    actual = random.integers(len(names), size=examples)
    predicted = np.where(random.random(examples) < right, actual, random.integers(len(names), size=examples))
    return actual, predicted, random.beta(8, 0.2, examples)


def drawn(names, right=0.97, examples=10_000):
    """Every figure that names classes, of drawn predictions."""
    actual, predicted, confidence = predictions(names, right, examples)
    counts = metrics.confusion_matrix(actual, predicted, len(names))
    wrong = np.flatnonzero(actual != predicted)
    worst = wrong[:24]
    pictures = np.random.default_rng(1).random((len(worst), 28, 28))
    weights = np.random.default_rng(2).normal(size=(784, len(names))).astype(np.float32)
    return {
        "confusion": figures.confusion(counts, names),
        "mistakes": figures.mistakes(
            pictures,
            [names[label] for label in actual[worst]],
            [names[label] for label in predicted[worst]],
            confidence[worst],
            len(wrong),
        ),
        "first layer": figures.first_layer(weights, (28, 28), names),
        "reliability": figures.reliability_diagram(metrics.reliability(confidence, actual == predicted, 15)),
        "per class": figures.per_class(counts, names),
    }


def saved(figure, tmp_path, dpi=60):
    figures.save(figure, tmp_path / "figure.png", dpi)
    return (tmp_path / "figure.png").read_bytes()


def assert_readable(figure):
    """Every text that is drawn lies on the page, and no text covers another."""
    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    texts, draw = [], Text.draw

    def recorded(text, renderer):
        if text.get_visible() and text.get_text().strip():
            texts.append(text)
        draw(text, renderer)

    with patch.object(Text, "draw", recorded):
        canvas.draw()
    width, height = canvas.get_width_height()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert len(boxes) >= 3
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, f"{text!r} is cut off"
    for (one, box), (other, second) in itertools.combinations(boxes, 2):
        wide = min(box.x1, second.x1) - max(box.x0, second.x0)
        high = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert not (wide > 1.5 and high > 1.5), f"{one!r} covers {other!r}"


@pytest.mark.parametrize("names", [DIGITS, GARMENTS, LETTERS], ids=["digits", "garments", "letters"])
def test_no_word_is_cut_off_or_covered(names):
    for figure in drawn(names).values():
        assert_readable(figure)


@pytest.mark.parametrize(
    "data",
    [
        curves(),
        curves(epochs=1, rate=False),
        curves(validation=False),
        curves(epochs=300, last=1.001),
        {name: points * [1, 1e-9] for name, points in curves().items()},
    ],
    ids=["usual", "one epoch", "no validation", "ends that touch", "tiny values"],
)
def test_learning_curves_are_readable_whatever_they_are(data):
    assert_readable(figures.learning_curves(data))


def test_a_diverged_training_can_be_drawn(tmp_path):
    data = curves()
    data["train/loss"][3:, 1] = np.nan
    data["validation/loss"][2:, 1] = np.inf
    assert saved(figures.learning_curves(data), tmp_path)


def test_the_learning_rate_is_drawn_only_if_it_changes():
    changing, constant = curves(), curves()
    constant["learning_rate"][:, 1] = 0.1
    assert len(figures.learning_curves(changing).axes) == 3
    assert len(figures.learning_curves(constant).axes) == 2


def test_a_perfect_classifier_can_be_drawn(tmp_path):
    for figure in drawn(DIGITS, right=2.0).values():
        assert_readable(figure)
        assert saved(figure, tmp_path)


def test_a_class_without_examples_can_be_drawn():
    for figure in drawn((*DIGITS, "ten"), examples=30).values():
        assert_readable(figure)


def test_the_matrix_shows_every_count_and_leaves_empty_cells_empty():
    counts = np.array([[1234, 0, 7], [0, 9, 0], [31, 0, 50]])
    axes = figures.confusion(counts, "abc").axes[0]
    shown = {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text()
        for text in axes.texts
        if text.get_text() not in ("is ↓", "taken for →")
    }
    assert shown == {(0, 0): "1,234", (0, 2): "7", (1, 1): "9", (2, 0): "31", (2, 2): "50"}
    assert {"is ↓", "taken for →"} < {text.get_text() for text in axes.texts}


def test_bars_hang_from_all_down_to_precision_and_recall():
    counts = np.array([[8, 2], [0, 10]])
    bars = figures.per_class(counts, "ab").axes[0].patches
    assert sorted((round(bar.get_x(), 6), round(bar.get_x() + bar.get_width(), 6)) for bar in bars) == [
        (0.8, 1.0),  # recall of a
        (round(10 / 12, 6), 1.0),  # precision of b
        (1.0, 1.0),
        (1.0, 1.0),
    ]


def test_a_file_holds_pixels_and_nothing_else_and_is_the_same_again(tmp_path):
    for name, figure in drawn(DIGITS).items():
        data = saved(figure, tmp_path)
        picture = Image.open(io.BytesIO(data))
        assert set(picture.info) <= {"dpi"}, name
        assert picture.mode == "P", name
        assert saved(drawn(DIGITS)[name], tmp_path) == data, name


def test_the_style_of_the_reader_does_not_show(tmp_path):
    import matplotlib

    before = saved(figures.learning_curves(curves()), tmp_path)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linewidth": 9}):
        figure = figures.learning_curves(curves())
        assert saved(figure, tmp_path) == before
        assert matplotlib.rcParams["font.size"] == 20


def test_first_layer_shows_the_strongest_units_first():
    weights = np.zeros((4, 200), np.float32)
    weights[:, 150], weights[:, 3] = 5.0, -3.0
    image = figures.first_layer(weights, (2, 2)).axes[0].images[0].get_array()
    assert np.all(image[:2, :2] == 5.0) and np.all(image[:2, 3:5] == -3.0)


@pytest.mark.parametrize(
    ("first", "last", "ticks"),
    [
        (1, 1, [1]),
        (1, 4, [1, 2, 3, 4]),
        (1, 12, [1, 3, 6, 9, 12]),
        (1, 30, [1, 10, 20, 30]),
        (5, 9, [5, 6, 7, 8, 9]),
        (1, 300, [1, 100, 200, 300]),
    ],
)
def test_ticks_of_epochs(first, last, ticks):
    assert figures.whole_ticks(first, last) == ticks


def test_a_scale_in_per_cent_has_as_many_decimals_everywhere():
    assert figures.percent_decimals([0.98, 0.985, 0.99]) == 1
    assert figures.percent_decimals([0.5, 0.6]) == 0
    assert figures.percent_decimals([0.9825, 1]) == 2


def test_the_figures_have_the_colours_and_the_fonts_of_the_page():
    style = (figures.TEMPLATE / "report.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", style[: style.index("@media")]))
    names = {"paper": "PAPER", "ink": "INK", "muted": "FAINT", "rule": "RULE", "faint": "PALE"}
    names |= {"blue": "BLUE", "orange": "ORANGE", "heat": "HEAT"}
    assert {name: getattr(figures, names[name]) for name in names} == {name: light[name] for name in names}
    assert f'--sans: "{figures.SANS[0]}"' in style and f'--serif: "{figures.SERIF[0]}"' in style
    figure = figures.confusion(np.eye(3, dtype=int), "abc")
    figure.draw_without_rendering()
    fonts = {text.get_fontproperties().get_name() for text in figure.texts + figure.axes[0].texts}
    assert fonts == {figures.SANS[0], figures.SERIF[0]}
