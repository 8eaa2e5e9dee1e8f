"""Times this checkout and another one, in turn: `python -m benchmarks.versus PATH`.

Each row of the benchmark is worked by both, an epoch after an epoch, so that what else
the machine does falls on both alike. The medians stand side by side, and their ratio. On
a busy machine, where waiting says little, `--cpu --workers 1` compares processor time.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.__main__ import HERE, RAW, Contestant, write_arrays
from benchmarks.cases import CASES, EXAMPLES


@click.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--examples", default=EXAMPLES, show_default=True, help="Images per epoch.")
@click.option("--seconds", default=40, show_default=True, help="How long to go on with each row.")
@click.option("--workers", default=2, show_default=True, help="Processes of each.")
@click.option("--case", "only", type=int, multiple=True, help="Number of a row, from 0; all, if not given.")
@click.option("--cpu", is_flag=True, help="Compare processor time, not time.")
@click.option(
    "--data", default=RAW, type=click.Path(path_type=Path), show_default=True, help="MNIST's files."
)
def main(
    other: Path, examples: int, seconds: int, workers: int, only: tuple[int, ...], cpu: bool, data: Path
) -> None:
    """Time an epoch of this checkout and of OTHER, in turn, on every row of the benchmark."""
    click.echo("| network, batch | other | this | this ÷ other | pairs |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = write_arrays(data, Path(folder))
        for number, case in enumerate(CASES):
            if only and number not in only:
                continue
            pair = [
                Contestant("ours", case, workers, sys.executable, files, root).ready()
                for root in (other.resolve(), HERE.parent)
            ]
            for contestant in pair:
                contestant.epoch(examples)  # warms up
            times: list[list[float]] = [[], []]
            started = time.monotonic()
            while len(times[0]) < 3 or time.monotonic() - started < seconds:
                first = len(times[0]) % 2  # each goes first every other time
                for turn in (first, 1 - first):
                    before = processor_time(pair[turn])
                    taken = pair[turn].epoch(examples)
                    times[turn].append(processor_time(pair[turn]) - before if cpu else taken)
            for contestant in pair:
                contestant.end()
            theirs, ours = map(statistics.median, times)
            ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
            click.echo(f"| {case.name} | {theirs:.3f} s | {ours:.3f} s | {ratio:.3f} | {len(times[0])} |")


def processor_time(contestant: Contestant) -> float:
    """Seconds that it and its ended children have computed."""
    with open(f"/proc/{contestant.process.pid}/stat", encoding="ascii") as file:
        ticks = file.read().rsplit(")", 1)[1].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
