"""The figures of the report, one function each, in one style; the same data give the same bytes.

Drawn on `matplotlib.figure.Figure` itself, not through pyplot: no global state,
no display to choose, and half the import time. Whatever matplotlibrc a reader
has is kept out (`styled`), since it would change the bytes; so would a layout
that Matplotlib computes, hence every axes has its place in inches.
"""

import functools
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from mnistcore.evaluation.metrics import Reliability, precision_and_recall, wilson_interval
from mnistcore.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

# The page's colours (template/report.css); a blue and an orange are told apart with every kind of colour vision.
PAPER, INK, FAINT, RULE, PALE = "#fbfaf6", "#1d1b18", "#5e594f", "#ddd7ca", "#ece7dc"
BLUE, ORANGE, HEAT = "#00629b", "#b04a00", "#e8772e"
# And its fonts, of which Matplotlib's own is asked for signs only that they lack: names in Japanese, say.
TEMPLATE = Path(__file__).parent / "template"
SANS, SERIF = ("Report Sans", "DejaVu Sans"), ("Report Serif", "DejaVu Serif")

STYLE: "dict[RcKeyType, Any]" = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "font.family": SANS,
    "font.size": 10,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "text.parse_math": False,  # a "$" in the name of a class is no formula
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}

MARGIN = 0.35  # inches around everything
HEADER = 0.95  # inches at the top, for title and subtitle
LARGEST_MATRIX = 24.0  # inches: its figures are small from 22 classes on, and 256 classes still fit in memory
UNITS_SHOWN = 96  # first-layer units in one picture: enough to see their kinds, few enough to see each

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _matplotlib() -> ModuleType:
    """Matplotlib, imported without MPLBACKEND, in which it refuses a name unknown to it; nothing goes to a screen."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return matplotlib


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run under Matplotlib's own defaults and `STYLE`, whatever the reader's matplotlibrc says."""

    @functools.wraps(draw)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        matplotlib = _matplotlib()
        _register_fonts()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return draw(*args, **kwargs)

    return wrapper


@functools.cache
def _register_fonts() -> None:
    from matplotlib.font_manager import fontManager

    for path in sorted(TEMPLATE.glob("*.ttf")):
        fontManager.addfont(path)


@styled
def save(figure: "Figure", path: str | os.PathLike[str], dpi: int) -> None:
    """Write a figure as PNG of at most 256 colours: looks the same, and Git keeps a third of the bytes.

    Nothing but pixels goes in: no date, no name of a program.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # see `unknown_letters`
        canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
    picture = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with replacing(path) as file:
        picture.save(file, format="png", optimize=True, dpi=(dpi, dpi))


@styled
def unknown_letters(names: Sequence[str]) -> str:
    """The letters in names that the figures' fonts have no glyph for; a box is drawn in place of each."""
    from matplotlib import font_manager, ft2font

    known = set().union(*(ft2font.FT2Font(font_manager.findfont(name)).get_charmap() for name in SANS))
    return "".join(letter for letter in dict.fromkeys("".join(names)) if ord(letter) not in known)


@styled
def learning_curves(curves: Mapping[str, np.ndarray]) -> "Figure":
    """Loss and accuracy by epoch, and the learning rate if it changes.

    Parameters
    ----------
    curves : by name, (points, 2) floats: epoch and value. Names: train/loss,
        train/accuracy, validation/loss and validation/accuracy (both or
        neither), learning_rate (may be missing)
    """
    epochs = curves["train/loss"][:, 0]
    rate = curves.get("learning_rate", np.empty((0, 2)))
    changes = np.unique(rate[:, 1]).size > 1
    figure = page(
        (12.3 if changes else 8.5, 4.5),
        "Learning curves",
        f"{len(epochs):,} {'epoch' if len(epochs) == 1 else 'epochs'}; "
        "the training values come from the passes that train the network",
    )
    for left, what, title, written in (
        (0.8, "loss", "Loss", "{:.3g}".format),
        (4.9, "accuracy", "Accuracy", _percent),
    ):
        axes = place_axes(figure, (left, 0.75, 2.3, 2.5))
        ends = []
        for part, colour in (("train", BLUE), ("validation", ORANGE)):
            if f"{part}/{what}" in curves:
                points = curves[f"{part}/{what}"]
                axes.plot(*points.T, color=colour, marker="o" if len(points) <= 30 else "", markersize=3.5)
                ends.append((points[-1, 1], colour, f"{part}\n{written(points[-1, 1])}"))
        _finish_curve(axes, title, epochs)
        if what == "loss":
            _by_factors(axes)
        _label_ends(axes, ends)
        if what == "accuracy":
            percent_ticks(axes.yaxis)
    if changes:
        axes = place_axes(figure, (9.1, 0.75, 2.3, 2.5))
        axes.plot(*rate.T, color=INK, marker="o" if len(rate) <= 30 else "", markersize=3.5)
        _finish_curve(axes, "Learning rate", epochs)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure


def _finish_curve(axes: "Axes", title: str, epochs: np.ndarray) -> None:
    """Title, grid, whole epochs below."""
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    axes.set_xticks(whole_ticks(int(epochs[0]), int(epochs[-1])))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)


def whole_ticks(first: int, last: int) -> list[int]:
    """The first of some epochs, and about five multiples of 1, 2, 3 or 5 times a power of ten, up to the last."""
    steps = (multiple * 10**power for power in range(10) for multiple in (1, 2, 3, 5))
    step = next(step for step in steps if (last - first) // step < 6 - (step > 1))
    ticks = [tick for tick in range(0, last + 1, step) if tick >= first]
    return ticks if first in ticks or (ticks and ticks[0] - first < step / 2) else [first, *ticks]


def _by_factors(axes: "Axes") -> None:
    """A logarithmic scale where the values span more than a factor of 20, with labels to read it by."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = np.concatenate([line.get_ydata() for line in axes.lines])
    values = values[np.isfinite(values)]
    if not values.size or values.min() <= 0 or values.max() <= 20 * values.min():
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if values.max() < 200 * values.min() else (1,)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _label_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Name each curve beside its last point, moved apart where two would touch: no legend to look up."""
    apart = 0.2  # of the height of the axes: two lines of text
    axes.autoscale_view()  # settles the limits, which the heights below depend on
    heights = [
        axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1] for value, _, _ in ends
    ]
    heights = [height if math.isfinite(height) else 0.5 for height in heights]
    if len(heights) == 2 and abs(heights[0] - heights[1]) < apart:
        middle, up = sum(heights) / 2, 1 if heights[0] >= heights[1] else -1
        heights = [middle + up * apart / 2, middle - up * apart / 2]
    for height, (_, colour, text) in zip(heights, ends, strict=True):
        axes.text(1.04, height, text, color=colour, size=9, va="center", transform=axes.transAxes)


@styled
def confusion(counts: np.ndarray, names: Sequence[str]) -> "Figure":
    """The confusion matrix, coloured by the errors alone: the diagonal would drown them.

    Parameters
    ----------
    counts : (classes, classes) integers, actual class by row, predicted class by column
    names : of the classes
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator

    classes, examples = len(counts), int(counts.sum())
    errors = counts - np.diag(np.diag(counts))
    side = min(max(4.6, 0.46 * classes), LARGEST_MATRIX)
    longest = max(len(name) for name in names)
    left, above = 0.62 + 0.08 * longest, 0.55 + (0.08 * longest if longest > 3 else 0)
    figure = page(
        (left + side + MARGIN, HEADER + above + side + MARGIN),
        "Confusion matrix",
        f"{errors.sum():,} errors among {examples:,} test images; colour shows the errors",
    )
    axes = place_axes(figure, (left, MARGIN, side, side))
    most = max(int(errors.max()), 1)
    axes.imshow(
        np.where(errors > 0, errors, np.nan), cmap=warmth(), vmin=0, vmax=most, interpolation="nearest"
    )
    size = min(10.0, 4.6 * 22 / classes)
    for row, column in zip(*np.nonzero(counts), strict=True):
        on_diagonal = row == column
        axes.text(
            column,
            row,
            f"{counts[row, column]:,}",
            size=size * (0.85 if on_diagonal and examples > 99_999 else 1),
            color=FAINT if on_diagonal else INK,
            ha="center",
            va="center",
        )
    for place in range(classes):
        axes.add_patch(_square(place))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(range(classes)))
        axis.set_major_formatter(FixedFormatter(list(names)))
        axis.set_minor_locator(FixedLocator([edge - 0.5 for edge in range(classes + 1)]))
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", labelrotation=90 if longest > 3 else 0)
    axes.tick_params(which="both", length=0)
    top = 1 + (above - 0.12) / side
    axes.text(0, top, "taken for →", color=FAINT, va="top", transform=axes.transAxes)
    axes.text(-0.08 / side, top, "is ↓", color=FAINT, ha="right", va="top", transform=axes.transAxes)
    axes.grid(which="minor")
    axes.spines[:].set_visible(False)
    return figure


def _square(place: int):
    from matplotlib.patches import Rectangle

    return Rectangle((place - 0.5, place - 0.5), 1, 1, facecolor=PALE, edgecolor=PAPER, zorder=0)


def warmth() -> "Colormap":
    """From a breath of the page's heat to most of it: ink is read on all of it."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    paper, heat = np.array(to_rgb(PAPER)), np.array(to_rgb(HEAT))
    return LinearSegmentedColormap.from_list(
        "warmth", [paper + part * (heat - paper) for part in (0.12, 0.8)]
    )


@styled
def mistakes(
    pictures: np.ndarray,
    actual: Sequence[str],
    predicted: Sequence[str],
    confidence: np.ndarray,
    errors: int,
) -> "Figure":
    """A gallery of mistakes in the order given, each with what it is, what it was taken for, and how surely.

    Parameters
    ----------
    pictures : (shown, rows, columns) floats, larger is more ink
    actual, predicted : (shown,) names of classes
    confidence : (shown,) in [0, 1]
    errors : how many mistakes there are in all
    """
    shown = len(pictures)
    columns = max(min(8, shown), 5)
    rows = max(math.ceil(shown / columns), 1)
    cell, caption = 0.95, 0.52
    wordy = max((len(name) for name in [*actual, *predicted]), default=1) > 3
    across = cell + (0.45 if wordy else 0.2)
    down = cell + caption + (0.2 if wordy else 0.0)
    size = (2 * MARGIN + columns * across - (across - cell), HEADER + rows * down + 0.1)
    which = (
        f"the {shown:,} most confident of {errors:,} errors" if shown < errors else f"all errors: {errors:,}"
    )
    figure = page(size, "Worst mistakes", f"actual → predicted, and the network's confidence; {which}")
    axes = place_axes(figure, (0, 0, *size), xlim=(0, size[0]), ylim=(0, size[1]))
    axes.axis("off")
    for place, picture in enumerate(pictures):
        left = MARGIN + place % columns * across
        top = size[1] - HEADER - place // columns * down
        low, high = float(picture.min()), float(picture.max())
        axes.imshow(
            picture,
            cmap="gray_r",
            vmin=low,
            vmax=high if high > low else low + 1,
            extent=(left, left + cell, top - cell, top),
            interpolation="nearest",
            aspect="auto",
        )
        middle = left + cell / 2
        words = f"{actual[place]}\n→ {predicted[place]}" if wordy else f"{actual[place]} → {predicted[place]}"
        axes.text(
            middle, top - cell - 0.06, words, size=9 if wordy else 11, weight="bold", ha="center", va="top"
        )
        below = top - cell - (0.4 if wordy else 0.27)
        axes.text(middle, below, _percent(confidence[place], 1), size=9, color=FAINT, ha="center", va="top")
    if not shown:
        axes.text(
            MARGIN, size[1] / 2 - MARGIN, "None: every test image is classified correctly.", va="center"
        )
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))
    return figure


@styled
def first_layer(
    weights: np.ndarray, image_shape: tuple[int, int], names: Sequence[str] | None = None
) -> "Figure":
    """The weights of first-layer units as pictures: what each looks for (blue) and avoids (orange).

    Parameters
    ----------
    weights : (features, units) floats
    image_shape : rows and columns of an image; their product is `features`
    names : of the units, when they are the classes themselves; None for hidden units
    """
    strength = np.sqrt(np.square(weights, dtype=np.float64).sum(axis=0))
    units = weights.shape[1]
    order = np.argsort(-strength, kind="stable")[:UNITS_SHOWN] if names is None else np.arange(units)
    columns = min(16, len(order)) if names is None else min(5, units)
    rows = math.ceil(len(order) / columns)
    pictures = weights[:, order].T.reshape(-1, *image_shape)
    tall, wide = image_shape
    gap = max(1, wide // 14)
    below = gap if names is None else gap + max(2, tall // 4)
    mosaic = np.full(
        (rows * (tall + below) - below + below * (names is not None), columns * (wide + gap) - gap), np.nan
    )
    for place, picture in enumerate(pictures):
        top, left = place // columns * (tall + below), place % columns * (wide + gap)
        mosaic[top : top + tall, left : left + wide] = picture
    across = 8.6 if names is None else 6.0
    down = across * mosaic.shape[0] / mosaic.shape[1]
    if names is not None:
        which = "the weights of each output"
    elif len(order) < units:
        which = f"the {len(order):,} of {units:,} units with the largest weights"
    else:
        which = f"{units:,} {'unit' if units == 1 else 'units'}, the largest weights first"
    figure = page(
        (2 * MARGIN + across + 0.95, max(HEADER + down + MARGIN, 3.4)),
        "First-layer weights",
        f"{which}; ink where it is blue raises a unit, where it is orange lowers it",
    )
    height = figure.get_size_inches()[1]
    axes = place_axes(figure, (MARGIN, height - HEADER - down, across, down))
    limit = float(np.quantile(np.abs(pictures), 0.999)) or 1.0
    image = axes.imshow(
        mosaic, cmap=_balance(), vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto"
    )
    axes.axis("off")
    for place, name in enumerate(names or ()):
        x, y = place % columns * (wide + gap) + wide / 2 - 0.5, place // columns * (tall + below) + tall
        axes.text(x, y, name, weight="bold", ha="center", va="top")
    scale = place_axes(
        figure, (MARGIN + across + 0.25, height - HEADER - min(down, 2.1), 0.14, min(down, 2.1))
    )
    bar = figure.colorbar(image, cax=scale, ticks=[-limit, 0, limit])
    bar.ax.set_yticklabels([f"−{limit:.2g}", "0", f"{limit:.2g}"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure


def _balance() -> "Colormap":
    """Orange for negative, paper for zero, blue for positive."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("balance", [ORANGE, PAPER, BLUE])


@styled
def reliability_diagram(bins: Reliability) -> "Figure":
    """Accuracy against confidence with 95 % intervals, and below it how many predictions each bin holds."""
    examples, width = int(bins.counts.sum()), 1 / len(bins.counts)
    figure = page(
        (5.7, 6.3),
        "Reliability",
        f"expected calibration error {_percent(bins.expected_calibration_error)}, {len(bins.counts)} bins",
    )
    axes = place_axes(figure, (1.05, 1.95, 4.2, 3.4), xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0.06, 0.02, "ideal", color=FAINT, size=9)
    filled = np.flatnonzero(bins.counts)
    accuracy, confidence = bins.accuracy[filled], bins.confidence[filled]
    right = np.rint(accuracy * bins.counts[filled]).astype(int)
    low, high = np.array(
        [wilson_interval(int(k), int(n)) for k, n in zip(right, bins.counts[filled], strict=True)]
    ).T
    axes.vlines(confidence, low, high, color=BLUE, alpha=0.35, linewidth=4)
    axes.plot(
        confidence, accuracy, color=BLUE, marker="o", markersize=6, linewidth=1.2, clip_on=False, zorder=3
    )
    axes.set_ylabel("accuracy (bars: 95 % interval)")
    axes.tick_params(labelbottom=False)
    axes.grid()
    below = place_axes(figure, (1.05, 0.7, 4.2, 1.05), xlim=(0, 1))
    centres = (filled + 0.5) * width
    below.bar(centres, bins.counts[filled], width=0.86 * width, color=BLUE)
    below.set_yscale("log")
    below.set_ylim(0.7, 8 * examples)
    for centre, count in zip(centres, bins.counts[filled], strict=True):
        below.text(
            centre,
            1.25 * count,
            f"{count:,}",
            size=min(8, 120 * width),
            color=FAINT,
            ha="center",
            va="bottom",
        )
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.set_ylabel("predictions")
    below.set_xlabel("confidence")
    for part in (axes, below):
        percent_ticks(part.xaxis)
    percent_ticks(axes.yaxis)
    return figure


def _percent(value: float, decimals: int = 2) -> str:
    return f"{100 * value:.{decimals}f} %"


def percent_ticks(axis: "Axis") -> None:
    """Label an axis in per cent."""
    axis.set_major_formatter(lambda value, _: _percent(value, percent_decimals(axis.get_majorticklocs())))


def percent_decimals(parts: Iterable[float]) -> int:
    """How many decimals it takes to write all these parts of one in per cent: the same for each on a scale."""
    return next(
        (
            many
            for many in range(4)
            if all(abs(round(100 * part, many) - 100 * part) < 1e-6 for part in parts)
        ),
        4,
    )


@styled
def per_class(counts: np.ndarray, names: Sequence[str]) -> "Figure":
    """Precision and recall of each class as bars that hang from 100 %, their length is what is missing.

    Bars from zero would all look alike, and an axis cut off would lie about their lengths.

    Parameters
    ----------
    counts : (classes, classes) confusion matrix
    names : of the classes
    """
    precision, recall = precision_and_recall(counts)
    classes = len(names)
    gutter = 0.65 + 0.085 * max(len(name) for name in names)
    tall = 0.46 * classes
    figure = page(
        (gutter + 5.2 + 2 * MARGIN, HEADER + 0.25 + tall + 0.6),
        "Precision and recall by class",
        "the length of a bar is what is missing to 100 %",
    )
    axes = place_axes(figure, (gutter, 0.6, 5.2, tall))
    lowest = min(precision.min(), recall.min())
    span = max((1 - lowest) * 1.18, 1e-3)
    places = np.arange(classes)
    for shift, values, colour in ((-0.19, precision, BLUE), (0.19, recall, ORANGE)):
        axes.barh(places + shift, 1 - values, left=values, height=0.34, color=colour)
        for place, value in zip(places, values, strict=True):
            axes.text(
                value - 0.008 * span,
                place + shift,
                _percent(value),
                size=8,
                color=FAINT,
                ha="right",
                va="center",
            )
    axes.set(xlim=(1 - span, 1), ylim=(classes - 0.5, -0.5))
    axes.set_yticks(places, list(names))
    axes.tick_params(axis="y", length=0)
    percent_ticks(axes.xaxis)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.spines["right"].set_visible(True)
    width, height = figure.get_size_inches()
    for left, word, colour in ((gutter, "precision", BLUE), (gutter + 1.0, "recall", ORANGE)):
        figure.text(
            left / width, 1 - (HEADER + 0.12) / height, word, color=colour, weight="bold", va="center"
        )
    return figure


def page(size: tuple[float, float], title: str, subtitle: str) -> "Figure":
    """An empty figure of `size` inches with its title and subtitle at the top left."""
    from matplotlib.figure import Figure

    width, height = size
    figure = Figure(figsize=size)
    figure.text(MARGIN / width, 1 - 0.25 / height, title, size=17, family=SERIF, va="top")
    figure.text(MARGIN / width, 1 - 0.6 / height, subtitle, size="medium", color=FAINT, va="top")
    return figure


def place_axes(figure: "Figure", place: tuple[float, float, float, float], **options) -> "Axes":
    """Axes at (left, bottom, width, height), in inches."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = place
    return figure.add_axes((left / width, bottom / height, wide / width, high / height), **options)
