"""The pictures of recipes/README.md: one for each recipe, and one that sets all of them side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rcParams

from mnistcore.report.figures import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    PALE,
    PAPER,
    RULE,
    page,
    percent_ticks,
    place_axes,
    styled,
    warmth,
    whole_ticks,
)
from recipes.results import Result
from recipes.table import here, published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AS_PRINTED = {
    "color": ORANGE,
    "linestyle": "",
    "marker": "o",
    "markersize": 7,
    "fillstyle": "none",
    "zorder": 4,
}


PUBLISHED = {"marker": "o", "markersize": 9, "fillstyle": "none", "markeredgewidth": 1.8, "zorder": 5}


# In a README a picture is half as wide as it is here: what is written in it has to be read all the same.
LARGER = {"font.size": 13, "axes.labelsize": 13, "axes.titlesize": 14, "axes.titlepad": 12}


@styled
def recipe(result: Result) -> "Figure":
    """Training loss; training accuracy with the test's beside it; which test images are taken for what."""
    rcParams.update(LARGER)
    figure = page(
        (12.2, 5.2),
        result.name,
        f"test accuracy: published {published(result) or 'nothing'}, here {here(result)}",
    )
    _loss(place_axes(figure, (0.95, 0.85, 2.4, 3.0)), result)
    _accuracy(place_axes(figure, (4.35, 0.85, 2.4, 3.0)), result)
    _confusion(place_axes(figure, (8.65, 0.4, 3.3, 3.3)), result)
    return figure


def _loss(axes: "Axes", result: Result) -> None:
    epochs, loss = result.curves["train/loss"].T
    axes.set_title("Training loss")
    axes.set_xlabel("epoch")
    axes.set_xticks(whole_ticks(int(epochs[0]), int(epochs[-1])))
    axes.grid(axis="y")
    axes.plot(epochs, loss, color=BLUE)
    axes.set_ylim(0, 1.05 * loss.max())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if printed := result.about.printed:
        axes.plot(np.add(printed.passes, 1), np.asarray(printed.error, float) / 2, **AS_PRINTED)
        axes.text(0.97, 0.93, "○ as printed", color=ORANGE, ha="right", transform=axes.transAxes)


def _accuracy(axes: "Axes", result: Result) -> None:
    epochs, accuracy = result.curves["train/accuracy"].T
    last, value = epochs[-1], result.about.published
    axes.set_title("Accuracy")
    axes.set_xlabel("epoch")
    axes.set_xticks(whole_ticks(int(epochs[0]), int(last)))
    percent_ticks(axes.yaxis)
    axes.grid(axis="y")
    axes.plot(epochs, accuracy, color=BLUE)
    axes.axhline(result.mean, color=INK, linewidth=1)
    each = result.accuracies
    axes.plot(
        [last * 1.03] * len(each), each, color=INK, linestyle="", marker="o", markersize=4, clip_on=False
    )
    labels = [(accuracy[-1], BLUE, "training"), (result.mean, INK, f"test, here\n{100 * result.mean:.2f} %")]
    if value is not None:
        axes.axhline(value, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)))
        labels.append((value, ORANGE, f"published\n{published(result)}"))
    if printed := result.about.printed:
        axes.plot(np.add(printed.passes, 1), np.asarray(printed.accuracy, float), **AS_PRINTED)
    # The first steep climb is cut off: what matters happens near the top.
    lowest = min(*(height for height, _, _ in labels), float(np.quantile(accuracy, 0.02)))
    highest = max(*accuracy, *each, value or 0.0)
    axes.set_ylim(lowest - 0.12 * (highest - lowest), highest + 0.04 * (highest - lowest))
    axes.set_xlim(epochs[0] - 0.02 * last, last * 1.06)

    # Each line is named at its right end, from the top down, moved apart where two names would touch.
    above = float("inf")  # where the name above ends
    for height, colour, text in sorted(labels, reverse=True):
        half = 0.04 * (1 + text.count("\n"))
        place = axes.transAxes.inverted().transform(axes.transData.transform((1, height)))[1]
        place = min(place, above - half)
        axes.text(1.05, place, text, color=colour, size=12, va="center", transform=axes.transAxes)
        above = place - half


def _confusion(axes: "Axes", result: Result) -> None:
    counts = result.confusion()
    errors = counts - np.diag(np.diag(counts))
    most = max(int(errors.max()), 1)
    axes.set_title(f"{errors.sum():,} test errors", pad=50)
    axes.imshow(np.where(errors > 0, errors, np.nan), cmap=warmth(), vmin=0, vmax=most)
    for row, column in zip(*np.nonzero(errors), strict=True):
        text = f"{errors[row, column]}"
        axes.text(column, row, text, size=11, color=INK, ha="center", va="center")
    for place in range(len(counts)):
        axes.text(place, place, "·", color=FAINT, ha="center", va="center")
    axes.set_xticks(range(len(counts)))
    axes.set_yticks(range(len(counts)))
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    for across, side, text in ((0, "left", "taken for →"), (-0.03, "right", "is ↓")):
        axes.text(across, 1.1, text, color=FAINT, transform=axes.transAxes, ha=side, va="bottom", size=12)
    axes.spines[:].set_visible(False)


@styled
def side_by_side(results: Sequence[Result]) -> "Figure":
    """Test accuracy of every recipe: published, here for each seed, and their mean."""
    rows = len(results)
    tall, left, wide = 0.44 * rows, 2.75, 5.3
    rcParams.update(LARGER)
    figure = page(
        (12.2, 2.15 + tall),
        "Published and here",
        "test accuracy of each experiment as its notebook printed it, and with the mathematics put right",
    )
    axes = place_axes(figure, (left, 0.65, wide, tall))
    values = [value for result in results for value in result.accuracies]
    values += [result.about.published for result in results if result.about.published is not None]
    lowest = min(values) - 0.015
    for row, result in enumerate(results):
        value, each = result.about.published, result.accuracies
        axes.axhline(row, color=PALE, linewidth=0.8, zorder=0)
        axes.plot(each, [row] * len(each), color=BLUE, linestyle="", marker="|", markersize=13)
        axes.plot(result.mean, row, color=BLUE, marker="o", markersize=8)
        across = axes.get_yaxis_transform()
        axes.text(1.04, row, published(result), transform=across, color=ORANGE, va="center")
        axes.text(1.27, row, here(result), transform=across, color=BLUE, va="center")
        if value is not None:
            axes.plot([value, result.mean], [row, row], color=RULE, linewidth=3, zorder=1)
            axes.plot(value, row, color=ORANGE, **PUBLISHED)
        elif result.about.published_note:  # at the bottom of the scale, since it has no place on it
            axes.plot(lowest + 0.008, row, color=ORANGE, **PUBLISHED | {"marker": "x"})
            axes.text(
                lowest + 0.018, row, published(result), color=ORANGE, va="center", backgroundcolor=PAPER
            )
    axes.set_yticks(range(rows), [result.name for result in results])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(lowest, 1.0)
    percent_ticks(axes.xaxis)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    width, height = figure.get_size_inches()
    for inches, colour, text in (
        (left, ORANGE, "○ published"),
        (left + 1.45, BLUE, "● here, the mean"),
        (left + 3.4, BLUE, "| each seed"),
        (left + 1.04 * wide, ORANGE, "published"),
        (left + 1.27 * wide, BLUE, "here, mean ± sd"),
    ):
        figure.text(inches / width, 1 - 1.1 / height, text, color=colour, weight="bold", va="center")
    return figure
