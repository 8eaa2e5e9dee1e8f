"""recipes/README.md, generated: the table *published · here*, then each recipe's story and picture."""

import re
from collections.abc import Mapping, Sequence

from mnistcore.errors import InputError
from recipes.results import Result

INTRODUCTION = """\
# The published experiments

<!-- Made by `python -m recipes table` from each recipe's about.yaml and reports/ and timings.json. -->

Five published notebooks train handwritten-digit classifiers in plain NumPy; these are their experiments.
Each recipe is the same data, the same architecture and the same hyper-parameters with the mathematics put
right. One, the replay, keeps the original's slip and gives its printed table back digit for digit.

"""

NOTES = """\
*Published* and *here* are test accuracies; here with mean and standard deviation over {seeds} seeds (the
replay has one, its own). *Wanted* is what an independent implementation of the corrected experiment
reaches. Epochs and pictures are of the first seed. Seconds per epoch are with one worker and no progress
bar, beside the same experiment in a loop of the shape that its notebook's had
([notebook_loops.py](notebook_loops.py): float64, every array allocated anew, one example at a time or
batches as matrices as there), by turns in one run, medians ([timings.json](timings.json)). The loops of
`mnist-sigmoid20` and `mnist-sigmoid100` spend most of their time in functions that NumPy calls once for
every number (`np.vectorize`), as those of the notebooks did; the others have no such detour.

"""

RUNNING = """\
## Running them

```
make recipes                          # all of them, then this page and its pictures
python -m recipes run mnist1000-plain # one to its last stage, then the page
cd recipes                            # a DVC project of its own: here every dvc command means the recipes
dvc repro train@mnist1000-plain       # train one
dvc metrics diff                      # a row for every figure that moved
```

A recipe runs the six scripts of the root pipeline in its own folder. Metrics, curves and predictions are
in Git; data, models and the report with its figures are kept by DVC, in a cache and a remote of the recipes' own.
Recipes that agree in the first stages share that work: DVC runs it once and links the result into the other
folders. The images come from the root pipeline's `data/raw` where that is there, else from the public mirrors.

### Adding a recipe

1. Make `recipes/NAME/params.yaml`: copy the nearest recipe's and change what differs.
2. Add `NAME` to the list `recipes` at the top of `recipes/dvc.yaml`.
3. If you like, tell its story in `recipes/NAME/about.yaml`; every key in it is optional.
4. `python -m recipes run NAME`, then commit `recipes/`.

"""


def readme(results: Sequence[Result]) -> str:
    """The whole page as Markdown."""
    by_name = {result.name: result for result in results}
    seeds = max(len(result.accuracies) for result in results)
    parts = [INTRODUCTION, _table(results), "\n", NOTES.format(seeds=seeds)]
    parts.append("![Test accuracy of every recipe, published and here](pictures/all.png)\n\n")
    parts += [_story(result, by_name) for result in results]
    return "".join([*parts, RUNNING]).rstrip("\n") + "\n"


def _table(results: Sequence[Result]) -> str:
    header = [
        "recipe",
        "published",
        "here, mean ± sd",
        "wanted",
        "epochs",
        "seconds per epoch",
        "the notebook's loop",
        "times faster",
    ]
    rows = [header, ["---", *["---:"] * 7]]
    for result in results:
        timing = result.timing
        times = ["", "", ""]
        if timing:
            ours, loop = timing["seconds_per_epoch"], timing["notebook_seconds_per_epoch"]
            times = [_seconds(ours), _seconds(loop), f"{loop / ours:.1f}"]
        rows.append(
            [
                f"[`{result.name}`](#{result.name})",
                published(result),
                here(result),
                _wanted(result),
                f"{result.epochs}",
                *times,
            ]
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def published(result: Result) -> str:
    """The published test accuracy in per cent, with the digits that were printed, or what is said in its place."""
    value = result.about.published
    return result.about.published_note if value is None else percent(value)


def here(result: Result) -> str:
    """Test accuracy in per cent to two decimals: mean ± standard deviation, or the one value there is."""
    spread = f" ± {100 * result.sd:.2f}" if len(result.accuracies) > 1 else ""
    return f"{100 * result.mean:.2f}{spread} %"


def percent(value: float) -> str:
    """A part of one in per cent, with the digits that it has."""
    return f"{100 * value:.4g} %"


def _wanted(result: Result) -> str:
    about = result.about
    if about.between:
        wanted = f"{100 * about.between[0]:.4g} to {percent(about.between[1])}"
    elif about.at_least is not None:
        wanted = f"≥ {percent(about.at_least)}"
    elif about.printed:
        return "the printed table"
    else:
        return ""
    return wanted if result.reached else f"**{wanted}: missed**"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _story(result: Result, results: Mapping[str, Result]) -> str:
    lines = [f"## {result.name}\n\n"]
    about = result.about
    for title, text in (
        ("What it is.", about.what),
        ("What was wrong.", about.wrong),
        ("What else differs.", about.differs),
        ("What changes.", about.right),
    ):
        if text:
            lines.append(f"**{title}** {_with_figures(text, result, results)}\n\n")
    if about.printed:
        lines.append(replayed(result))
    lines.append(f"![{result.name}: training, test and confusions](pictures/{result.name}.png)\n\n")
    return "".join(lines)


_NAMED = re.compile(r"\{([a-z][\w-]*)(:epochs)?\}")


def _with_figures(text: str, result: Result, results: Mapping[str, Result]) -> str:
    """A story on one line, each {NAME} a recipe's mean test accuracy, each {NAME:epochs} its epochs.

    Nothing else in braces has a meaning: about.yaml may come from anybody, and `str.format` would look up
    attributes for it.
    """

    def figure(match: re.Match[str]) -> str:
        name, epochs = match.groups()
        if name not in results:
            raise InputError(f"{result.name}/about.yaml: {match[0]}: there is no recipe '{name}'")
        return f"{results[name].epochs}" if epochs else f"{100 * results[name].mean:.1f} %"

    return _NAMED.sub(figure, " ".join(text.split()))


def replay(result: Result) -> dict[str, list[str]]:
    """The lines of the printed table, as this recipe's curves and metrics give them, to three decimals.

    The notebook's error is Σ(y−o)², twice the loss ½Σ(y−o)² that is trained; its pass 0 is epoch 1 here.
    """
    loss, accuracy = result.curves["train/loss"], result.curves["train/accuracy"]
    rows = [pass_number + 1 for pass_number in result.about.printed.passes]
    at = [int((loss[:, 0] == row).argmax()) for row in rows]
    test = result.metrics["test"]
    return {
        "error": [*(f"{2 * loss[i, 1]:.3f}" for i in at), f"{2 * test['loss']:.3f}"],
        "accuracy": [*(f"{accuracy[i, 1]:.3f}" for i in at), f"{test['accuracy']:.3f}"],
    }


def replayed(result: Result) -> str:
    """The printed table and ours, line under line."""
    printed, ours = result.about.printed, replay(result)
    lines = [["pass", *(str(number) for number in printed.passes), "test"]]
    lines.append(["---", *["---:"] * len(lines[0][1:])])
    for what, theirs in (
        ("error", [*printed.error, printed.test_error]),
        ("accuracy", [*printed.accuracy, printed.test_accuracy]),
    ):
        lines.append([f"{what}, published", *theirs])
        same = [
            value if value == wanted else f"**{value}**"
            for value, wanted in zip(ours[what], theirs, strict=True)
        ]
        lines.append([f"{what}, here", *same])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"
