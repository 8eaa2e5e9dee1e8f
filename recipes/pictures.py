"""The pictures of recipes/README.md: one for each recipe, and one that sets all of them side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnistcore.report.figures import BLUE, FAINT, INK, PALE, VERMILION, page, place_axes, styled, warmth
from recipes.results import Result
from recipes.table import here, published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AS_PRINTED = {
    "color": VERMILION,
    "linestyle": "",
    "marker": "o",
    "markersize": 7,
    "fillstyle": "none",
    "zorder": 4,
}


@styled
def recipe(result: Result) -> "Figure":
    """Training loss; training accuracy with the test's beside it; which test images are taken for what."""
    told = f"published {published(result) or 'none'}, here {here(result)}"
    figure = page((11.95, 4.3), result.name, f"test accuracy: {told}")
    _loss(place_axes(figure, (0.8, 0.7, 2.75, 2.4)), result)
    _accuracy(place_axes(figure, (4.3, 0.7, 2.75, 2.4)), result)
    _confusion(place_axes(figure, (9.2, 0.7, 2.4, 2.4)), result)
    return figure


def _loss(axes: "Axes", result: Result) -> None:
    epochs, loss = result.curves["train/loss"].T
    axes.set_title("Training loss")
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    axes.plot(epochs, loss, color=BLUE)
    if loss.min() > 0 and loss.max() > 20 * loss.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    else:
        axes.set_ylim(bottom=0)
    if printed := result.about.printed:
        axes.plot(np.add(printed.passes, 1), np.asarray(printed.error, float) / 2, **AS_PRINTED)
        axes.text(0.97, 0.9, "○ as printed", color=VERMILION, size=9, ha="right", transform=axes.transAxes)


def _accuracy(axes: "Axes", result: Result) -> None:
    epochs, accuracy = result.curves["train/accuracy"].T
    last, value = epochs[-1], result.about.published
    axes.set_title("Accuracy")
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    axes.plot(epochs, accuracy, color=BLUE)
    axes.axhline(result.mean, color=INK, linewidth=1)
    each = result.accuracies
    axes.plot(
        [last * 1.03] * len(each), each, color=INK, linestyle="", marker="o", markersize=4, clip_on=False
    )
    labels = [(accuracy[-1], BLUE, "training"), (result.mean, INK, f"test, here {result.mean:.3f}")]
    if value is not None:
        axes.axhline(value, color=VERMILION, linewidth=1, linestyle=(0, (4, 3)))
        labels.append((value, VERMILION, f"test, published {published(result)}"))
    if printed := result.about.printed:
        axes.plot(np.add(printed.passes, 1), np.asarray(printed.accuracy, float), **AS_PRINTED)
    # The first steep climb is cut off: what matters happens near the top.
    lowest = min(*(height for height, _, _ in labels), float(np.quantile(accuracy, 0.02)))
    axes.set_ylim(lowest - 0.12 * (1 - lowest), 1 + 0.03 * (1 - lowest))
    axes.set_xlim(epochs[0] - 0.02 * last, last * 1.06)

    # Each line is named at its right end, from the top down, moved apart where two names would touch.
    above = float("inf")
    for height, colour, text in sorted(labels, reverse=True):
        place = axes.transAxes.inverted().transform(axes.transData.transform((1, height)))[1]
        above = min(place, above - 0.085)
        axes.text(1.04, above, text, color=colour, size=9, va="center", transform=axes.transAxes)


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
        axes.text(column, row, text, size=6.5, color=colour, ha="center", va="center")
    axes.set_xticks(range(len(counts)))
    axes.set_yticks(range(len(counts)))
    axes.tick_params(length=0, labelsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.spines[:].set_visible(False)


@styled
def side_by_side(results: Sequence[Result]) -> "Figure":
    """Test accuracy of every recipe: published, here for each seed, and their mean."""
    rows = len(results)
    tall = 0.42 * rows
    left, wide = 2.35, 6.2
    figure = page(
        (10.4, 1.95 + tall),
        "Published and here",
        "test accuracy of each experiment as its notebook printed it, and with the mathematics put right",
    )
    axes = place_axes(figure, (left, 0.65, wide, tall))
    values = []
    for row, result in enumerate(results):
        value, each = result.about.published, result.accuracies
        values += [*each, *([] if value is None else [value])]
        axes.axhline(row, color=PALE, linewidth=0.8, zorder=0)
        axes.plot(each, [row] * len(each), color=BLUE, linestyle="", marker="|", markersize=13)
        axes.plot(result.mean, row, color=BLUE, marker="o", markersize=8)
        axes.text(1.02, row, here(result), transform=axes.get_yaxis_transform(), size=9, va="center")
        if value is not None:
            axes.plot([value, result.mean], [row, row], color="#c9ced6", linewidth=3, zorder=1)
            axes.plot(
                value,
                row,
                color=VERMILION,
                marker="o",
                markersize=9,
                fillstyle="none",
                markeredgewidth=1.8,
                zorder=5,
            )
    axes.set_yticks(range(rows), [result.name for result in results])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(min(values) - 0.015, max(*values, 0.99) + 0.01)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    width, height = figure.get_size_inches()
    for inches, colour, text in (
        (left, VERMILION, "○ published"),
        (left + 1.4, BLUE, "● here, mean over the seeds"),
        (left + 3.95, BLUE, "| each seed"),
        (left + wide * 1.02, FAINT, "mean ± sd"),
    ):
        figure.text(inches / width, 1 - 1.0 / height, text, color=colour, weight="bold", va="center")
    return figure
