"""The pictures of recipes/README.md: one for each recipe, and one that sets all of them side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from mnistcore.report.figures import BLUE, INK, ORANGE, PALE, PAPER, page, place_axes, styled, warmth
from recipes.results import Result

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


@styled
def recipe(result: Result) -> "Figure":
    """Training loss; training accuracy with the test's beside it; which test images are taken for what."""
    figure = page(
        (13.75, 5.35), result.name, f"test accuracy: published {_published(result)}, here {_here(result)}"
    )
    _loss(place_axes(figure, (0.85, 0.75, 3.1, 3.3)), result)
    _accuracy(place_axes(figure, (4.85, 0.75, 3.1, 3.3)), result)
    _confusion(place_axes(figure, (10.1, 0.75, 3.3, 3.3)), result)
    return figure


def _published(result: Result) -> str:
    """The published test accuracy in per cent, with the digits that were printed, or what is said in its place."""
    value = result.about.published
    return result.about.published_note or "nothing" if value is None else _percent(value)


def _here(result: Result) -> str:
    spread = f" ± {100 * result.sd:.2f}" if len(result.accuracies) > 1 else ""
    return f"{100 * result.mean:.2f}{spread} %"


def _percent(value: float, _: object = None) -> str:
    return f"{100 * value:.4g} %"


def _loss(axes: "Axes", result: Result) -> None:
    epochs, loss = result.curves["train/loss"].T
    axes.set_title("Training loss, logarithmic")
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    axes.plot(epochs, loss, color=BLUE)
    axes.set_yscale("log")
    # One tick for each of 1, 2 and 5 times a power of ten, for a loss falls through less than two of them.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if printed := result.about.printed:
        axes.plot(np.add(printed.passes, 1), np.asarray(printed.error, float) / 2, **AS_PRINTED)
        axes.text(0.97, 0.93, "○ as printed", color=ORANGE, ha="right", transform=axes.transAxes)


def _accuracy(axes: "Axes", result: Result) -> None:
    epochs, accuracy = result.curves["train/accuracy"].T
    last, value = epochs[-1], result.about.published
    axes.set_title("Accuracy")
    axes.set_xlabel("epoch")
    axes.yaxis.set_major_formatter(_percent)
    axes.grid(axis="y")
    axes.plot(epochs, accuracy, color=BLUE)
    axes.axhline(result.mean, color=INK, linewidth=1)
    each = result.accuracies
    axes.plot(
        [last * 1.03] * len(each), each, color=INK, linestyle="", marker="o", markersize=4, clip_on=False
    )
    labels = [(accuracy[-1], BLUE, "training"), (result.mean, INK, f"test, here {100 * result.mean:.1f} %")]
    if value is not None:
        axes.axhline(value, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)))
        labels.append((value, ORANGE, f"test, published {_published(result)}"))
    if printed := result.about.printed:
        axes.plot(np.add(printed.passes, 1), np.asarray(printed.accuracy, float), **AS_PRINTED)
    # The first steep climb is cut off: what matters happens near the top.
    lowest = min(*(height for height, _, _ in labels), float(np.quantile(accuracy, 0.02)))
    highest = max(*accuracy, *each, value or 0.0)
    axes.set_ylim(lowest - 0.12 * (highest - lowest), highest + 0.04 * (highest - lowest))
    axes.set_xlim(epochs[0] - 0.02 * last, last * 1.06)

    # Each line is named at its right end, from the top down, moved apart where two names would touch.
    above = float("inf")
    for height, colour, text in sorted(labels, reverse=True):
        place = axes.transAxes.inverted().transform(axes.transData.transform((1, height)))[1]
        above = min(place, above - 0.07)
        axes.text(1.04, above, text, color=colour, va="center", transform=axes.transAxes)


def _confusion(axes: "Axes", result: Result) -> None:
    counts = result.confusion()
    errors = counts - np.diag(np.diag(counts))
    most = max(int(errors.max()), 1)
    axes.set_title(f"{errors.sum():,} test errors (first seed)")
    axes.set_facecolor("#f4f5f7")
    axes.imshow(np.where(errors > 0, errors, np.nan), cmap=warmth(), vmin=0, vmax=most)
    for row, column in zip(*np.nonzero(errors), strict=True):
        colour = "white" if errors[row, column] > 0.6 * most else INK
        text = f"{errors[row, column]}"
        axes.text(column, row, text, size=9, color=colour, ha="center", va="center")
    axes.set_xticks(range(len(counts)))
    axes.set_yticks(range(len(counts)))
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.spines[:].set_visible(False)


@styled
def side_by_side(results: Sequence[Result]) -> "Figure":
    """Test accuracy of every recipe: published, here for each seed, and their mean."""
    rows = len(results)
    tall, left, wide = 0.42 * rows, 2.35, 5.6
    figure = page(
        (11.2, 2.05 + tall),
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
        axes.text(1.04, row, _published(result), transform=across, color=ORANGE, va="center")
        axes.text(1.22, row, _here(result), transform=across, color=BLUE, va="center")
        if value is not None:
            axes.plot([value, result.mean], [row, row], color="#c9ced6", linewidth=3, zorder=1)
            axes.plot(value, row, color=ORANGE, **PUBLISHED)
        elif result.about.published_note:  # at the bottom of the scale, since it has no place on it
            axes.plot(lowest + 0.008, row, color=ORANGE, **PUBLISHED | {"marker": "x"})
            axes.text(
                lowest + 0.018, row, _published(result), color=ORANGE, va="center", backgroundcolor=PAPER
            )
    axes.set_yticks(range(rows), [result.name for result in results])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(lowest, 1.0)
    axes.xaxis.set_major_formatter(_percent)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    width, height = figure.get_size_inches()
    for inches, colour, text in (
        (left, ORANGE, "○ published"),
        (left + 1.3, BLUE, "● here, the mean"),
        (left + 3.0, BLUE, "| each seed"),
        (left + 1.04 * wide, ORANGE, "published"),
        (left + 1.22 * wide, BLUE, "here, mean ± sd"),
    ):
        figure.text(inches / width, 1 - 1.1 / height, text, color=colour, weight="bold", va="center")
    return figure
