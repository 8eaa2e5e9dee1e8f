"""The pictures of recipes/README.md: one for each recipe, and one that sets all of them side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnistcore.figures import BLUE, FAINT, INK, PALE, VERMILION, _axes, _page, _styled, _warmth
from recipes.results import Result
from recipes.table import here, published

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@_styled
def recipe(result: Result) -> "Figure":
    """Training loss; training accuracy with the test's beside it; which test images are taken for what."""
    figure = _page((11.95, 4.3), result.name, _subtitle(result))
    loss, accuracy = result.curve("loss"), result.curve("accuracy")
    printed = result.about.get("printed")
    marks = {
        "linestyle": "",
        "marker": "o",
        "markersize": 7,
        "color": VERMILION,
        "fillstyle": "none",
        "zorder": 4,
    }

    axes = _axes(figure, (0.8, 0.7, 2.75, 2.4))
    axes.set_title("Training loss")
    axes.plot(*loss.T, color=BLUE)
    if printed:
        passes = np.array(printed["pass"]) + 1
        axes.plot(passes, np.array(printed["error"], dtype=float) / 2, **marks)
        axes.text(0.97, 0.9, "○ as printed", color=VERMILION, size=9, ha="right", transform=axes.transAxes)
    if loss[:, 1].min() > 0 and loss[:, 1].max() > 20 * loss[:, 1].min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")

    axes = _axes(figure, (4.3, 0.7, 2.75, 2.4))
    axes.set_title("Accuracy")
    axes.plot(*accuracy.T, color=BLUE)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    labels = [(accuracy[-1, 1], BLUE, "training")]
    right = accuracy[-1, 0]
    tested = result.accuracies
    axes.plot(
        [right * 1.03] * len(tested), tested, color=INK, linestyle="", marker="o", markersize=4, clip_on=False
    )
    axes.axhline(result.mean, color=INK, linewidth=1)
    labels.append((result.mean, INK, f"test, here {result.mean:.3f}"))
    if result.about.get("published") is not None:
        axes.axhline(result.about["published"], color=VERMILION, linewidth=1, linestyle=(0, (4, 3)))
        if printed:
            axes.plot(passes, np.array(printed["accuracy"], dtype=float), **marks)
        labels.append((result.about["published"], VERMILION, f"test, published {published(result)}"))
    lowest = min([value for value, _, _ in labels] + [float(np.quantile(accuracy[:, 1], 0.02))])
    axes.set_ylim(lowest - 0.12 * (1 - lowest), 1 + 0.03 * (1 - lowest))
    axes.set_xlim(accuracy[0, 0] - 0.02 * right, right * 1.06)
    _beside(axes, labels)

    counts = result.confusion()
    errors = counts - np.diag(np.diag(counts))
    axes = _axes(figure, (9.2, 0.7, 2.4, 2.4))
    axes.set_title(f"{errors.sum():,} test errors (first seed)")
    axes.imshow(np.where(errors > 0, errors, np.nan), cmap=_warmth(), vmin=0, vmax=max(int(errors.max()), 1))
    most = max(int(errors.max()), 1)
    for row, column in zip(*np.nonzero(errors), strict=True):
        dark = errors[row, column] > 0.6 * most
        axes.text(
            column,
            row,
            f"{errors[row, column]}",
            size=6.5,
            color="white" if dark else INK,
            ha="center",
            va="center",
        )
    axes.set_xticks(range(len(counts)))
    axes.set_yticks(range(len(counts)))
    axes.tick_params(length=0, labelsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.spines[:].set_visible(False)
    return figure


def _subtitle(result: Result) -> str:
    value = published(result)
    return f"test accuracy: published {value or 'none'}, here {here(result)}"


def _beside(axes, labels: list[tuple[float, str, str]]) -> None:
    """Name each height at the right of the axes, from the top down, moved apart where two would touch."""
    apart, above = 0.085, float("inf")
    for value, colour, text in sorted(labels, reverse=True):
        height = axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1]
        above = min(height, above - apart)
        axes.text(1.04, above, text, color=colour, size=9, va="center", transform=axes.transAxes)


@_styled
def side_by_side(results: Sequence[Result]) -> "Figure":
    """Test accuracy of every recipe: published, here for each seed, and their mean."""
    rows = len(results)
    tall = 0.42 * rows
    figure = _page(
        (10.4, 0.95 + 0.3 + tall + 0.7),
        "Published and here",
        "test accuracy of each experiment as its notebook printed it, and with the mathematics put right",
    )
    axes = _axes(figure, (2.35, 0.65, 6.2, tall))
    values = []
    for row, result in enumerate(results):
        value = result.about.get("published")
        axes.axhline(row, color=PALE, linewidth=0.8, zorder=0)
        if value is not None:
            values.append(value)
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
        axes.plot(
            result.accuracies,
            [row] * len(result.accuracies),
            color=BLUE,
            linestyle="",
            marker="|",
            markersize=13,
        )
        axes.plot(result.mean, row, color=BLUE, marker="o", markersize=8)
        values += result.accuracies
        axes.text(1.02, row, here(result), transform=axes.get_yaxis_transform(), size=9, va="center")
    axes.set_yticks(range(rows), [result.name for result in results])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xlim(min(values) - 0.015, max(max(values) + 0.01, 1.0))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    width, height = figure.get_size_inches()
    top = 1 - 1.0 / height
    for left, colour, text in (
        (2.35, VERMILION, "○ published"),
        (3.75, BLUE, "● here, mean over the seeds"),
        (6.3, BLUE, "| each seed"),
    ):
        figure.text(left / width, top, text, color=colour, weight="bold", va="center")
    figure.text((2.35 + 6.2 * 1.02) / width, top, "mean ± sd", color=FAINT, size=9, va="center")
    return figure
