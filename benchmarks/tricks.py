"""What each trick of the engine gains: `python -m benchmarks.tricks NAME` times epochs with it and without it.

Each row of the benchmark is trained by both, an epoch after an epoch in one process, so
that what else the machine does falls on both alike. Tricks that have nothing to do with
several workers are timed with one, by its processor time. "Without" puts something plainer
in the trick's place: a constant that switches it off, or a variant that stands here.
"""

import mnistcore.reproducible  # noqa: F401  (before NumPy)

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.__main__ import HERE, RAW, write_arrays
from benchmarks.cases import CASES, RATE, Case
from mnistcore.engine import division, passes, team, workspace
from mnistcore.engine.stepper import Stepper
from mnistcore.engine.windows import Window
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training import run
from mnistcore.training.optimizers import SGD
from mnistcore.training.settings import Examples, Settings

RECORD = HERE / "results" / "tricks.json"
DOCUMENT = HERE.parent / "docs" / "from-textbook-to-engine.md"
BEGIN, END = "<!-- the table of python -m benchmarks.tricks --write -->", "<!-- its end -->"
# Of each row, so many images that an epoch takes about an eighth of a second.
EXAMPLES = (15_000, 8_000, 2_000, 10_000, 2_000)
NEVER = 1 << 60
# The line beside a trick in the code.
LINE = re.compile(r"# Gains [^\n]*python -m benchmarks\.tricks ([a-z-]+)$", re.MULTILINE)


class Trick(NamedTuple):
    """A trick, and how to do without it.

    what : what the engine does
    without : what stands in its place
    replaced : (where, name, value) of everything that is another without it
    settings : of the run without it, where they are other ones
    workers : how many work in both runs, of as many shards; of one, it is processor time that counts
    rows : which rows of the benchmark have it
    """

    what: str
    without: str
    replaced: tuple[tuple[Any, str, Any], ...] = ()
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    workers: int = 1
    rows: tuple[int, ...] = (0, 1, 2, 3, 4)


class Unfolded(SGD):
    """Multiplies each gradient by the learning rate."""

    rate_folded, uses_scratch = False, True

    def update(self, p, g, slots, scratch, rate, step):
        np.multiply(g, rate, out=scratch)
        np.subtract(p, scratch, out=p)


def unprepared(stepper: Stepper, examples: int, step: int):
    stepper._updates.clear()
    return stepper._prepare(examples, step)


def take_columns(window: Window, rows: np.ndarray, out: np.ndarray, part: int = 0) -> None:
    out[...] = window._array[rows, window._columns[part]]


def all_to_the_first(count: int, parts: int, evenly=division.evenly) -> list[slice]:
    if count != CASES[0].sizes[0]:
        return evenly(count, parts)
    return [slice(0, count), *(slice(count, count) for _ in range(parts - 1))]


def reduced(a: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    return partial(np.add.reduce, a, axis=0, out=out)


def always_matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    return partial(np.matmul, a, b, out)


TRICKS = {
    "two-workers": Trick(
        "a step is divided between two processes",
        "one process does all of it",
        settings={"shards": 1},
        workers=2,
    ),
    "first-layer-by-columns": Trick(
        "each shard has its columns of the images and its rows of the first weights",
        "one shard does the whole first layer, forward and gradient",
        ((division, "evenly", all_to_the_first),),
        workers=2,
        rows=(0, 1, 2, 3),
    ),
    "uncut-small-batches": Trick(
        "a small batch is cut into fewer shards and parts",
        "each phase is cut into two, however small",
        ((division, "SMALLEST_SHARD", 1), (division, "SMALLEST_PART", 1)),
        workers=2,
        rows=(0, 3),
    ),
    "spinning": Trick(
        "at a barrier a process asks a thousand times before it sleeps",
        "it sleeps at once",
        ((team, "SPINS", 0),),
        workers=2,
    ),
    "prepared-calls": Trick(
        "views and calls are prepared once", "they are made in each step", ((Stepper, "_plan", unprepared),)
    ),
    "deferred-losses": Trick(
        "losses and right answers of up to 64 steps are found at once", "of each step", ((run, "STEPS", 1),)
    ),
    "outputs-by-columns": Trick(
        "the outputs of a batch of 16 or more lie column by column",
        "row by row",
        ((workspace, "COLUMNS", NEVER),),
        rows=(0, 1, 2),
    ),
    "folded-learning-rate": Trick(
        "the deltas of the outputs are multiplied by the learning rate",
        "each gradient is",
        settings={"optimizer": Unfolded(RATE)},
        rows=(0, 1, 2, 3),
    ),
    "dot-where-it-can": Trick(
        "products by `a.dot` where memory allows it",
        "all products by `np.matmul`",
        ((passes, "product", always_matmul),),
    ),
    "sums-as-products": Trick(
        "the gradient of the biases as a product with ones",
        "as `np.add.reduce`",
        ((passes, "column_sums", reduced),),
    ),
    "blocks": Trick(
        "gradients are formed and used in blocks that fit the cache",
        "each shard's rows of a matrix at once",
        ((division, "BLOCK", NEVER), (division, "LARGE_BLOCK", NEVER)),
        rows=(0, 1, 2),
    ),
    "larger-blocks": Trick(
        "blocks of a large network are larger", "they are as small", ((division, "LARGE", NEVER),), rows=(2,)
    ),
    "windows": Trick(
        "a shard's columns are taken as rows of a longer array",
        "they are cut out of the rows",
        ((Window, "take", take_columns),),
    ),
    "lit-pixels": Trick(
        "in batches of one, pixels of zero are left out",
        "all pixels are worked",
        ((run, "SingleExampleStepper", Stepper),),
        rows=(4,),
    ),
}


@contextmanager
def replaced(where: Any, name: str, value: Any) -> Iterator[None]:
    """Another attribute of an object, for a while."""
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)


def epoch(case: Case, data: Examples, trick: Trick, with_it: bool) -> float:
    """Seconds that an epoch takes with the trick, or without it."""
    *hidden, output = case.sizes[1:]
    layers = [*(Dense(units, "relu") for units in hidden), Dense(output, "softmax")]
    network = Network(case.sizes[0], layers, "cross-entropy", case.dtype).initialize(stream(0, "weights"))
    clock = time.process_time if trick.workers == 1 else time.perf_counter
    options: dict[str, Any] = {"batch_size": case.batch, "optimizer": SGD(RATE), "shards": trick.workers}
    with ExitStack() as stack:
        if not with_it:
            options |= trick.settings
            for one in trick.replaced:
                stack.enter_context(replaced(*one))
        settings = Settings(epochs=1, **options)
        started = clock()
        run.train(network, data, settings, workers=trick.workers)
        return clock() - started


def gain(case: Case, data: Examples, trick: Trick, rounds: int) -> float:
    """By how much more time an epoch takes without the trick: 0.05 are 5 %; the median of the rounds."""
    ratios = []
    for number in range(rounds + 1):
        turns = (True, False) if number % 2 else (False, True)
        taken = {with_it: epoch(case, data, trick, with_it) for with_it in turns}
        if number:  # the first one warms up
            ratios.append(taken[False] / taken[True])
    return statistics.median(ratios) - 1


def table(gains: dict[str, dict[str, float]]) -> list[str]:
    """The gains as Markdown, one row for each trick and one column for each row of the benchmark."""
    names = [case.name for case in CASES]
    lines = ["| trick | instead of | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for name, of_rows in gains.items():
        cells = [f"{100 * of_rows[row]:.0f} %" if row in of_rows else "–" for row in names]
        trick = TRICKS[name]
        lines.append(f"| `{name}`: {trick.what} | {trick.without} | " + " | ".join(cells) + " |")
    return lines


def write(gains: dict[str, dict[str, float]]) -> None:
    """Into benchmarks/results/tricks.json, beside what it says of others; into the document; and into the code."""
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    known |= {name: known.get(name, {}) | of_rows for name, of_rows in gains.items()}
    known = {name: known[name] for name in TRICKS if name in known}
    RECORD.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCUMENT.write_text(before + "\n".join([BEGIN, "", *table(known), "", END]) + after, encoding="utf-8")
    for path in (HERE.parent / "mnistcore").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        updated = LINE.sub(lambda found: line(found[1], known.get(found[1], {})), code)
        if updated != code:
            path.write_text(updated, encoding="utf-8")


def line(name: str, of_rows: dict[str, float]) -> str:
    """What stands beside a trick in the code: its largest gain."""
    row = max(of_rows, key=lambda row: of_rows[row], default="")
    gain = f"{100 * of_rows[row]:.0f} % on {row}" if row else "not measured yet"
    return f"# Gains {gain}: python -m benchmarks.tricks {name}"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TRICKS)))
@click.option("--rounds", default=7, show_default=True, help="Pairs of epochs on each row.")
@click.option("--case", "only", type=int, multiple=True, help="Number of a row, from 0; all, if not given.")
@click.option(
    "--data", default=RAW, type=click.Path(path_type=Path), show_default=True, help="MNIST's files."
)
@click.option("--write/--no-write", "record", default=False, help="Whether to record the gains.")
def main(names: tuple[str, ...], rounds: int, only: tuple[int, ...], data: Path, record: bool) -> None:
    """Time an epoch with and without each of NAMES, or of all tricks, on the rows of the benchmark."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        images, labels = (np.load(path) for path in write_arrays(data, Path(folder)))
    gains: dict[str, dict[str, float]] = {name: {} for name in names or TRICKS}
    for number, case in enumerate(CASES):
        if only and number not in only:
            continue
        count = EXAMPLES[number]
        of_case = Examples((images[:count].astype(case.dtype) / 255).astype(case.dtype), labels[:count])
        for name in gains:
            if number in TRICKS[name].rows:
                gains[name][case.name] = round(gain(case, of_case, TRICKS[name], rounds), 3)
                click.echo(f"{case.name}: without {name} {100 * gains[name][case.name]:+.1f} %")
    click.echo("\n".join(table(gains)))
    if record:
        write(gains)


if __name__ == "__main__":
    main()
