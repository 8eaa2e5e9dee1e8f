"""Stage 3 of the pipeline: a stratified hold-out, and shuffled, memory-mappable batches."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this copy of the code, whichever is installed

import stages.interrupt  # noqa: F401  (first of all)
import mnistcore.reproducible  # noqa: F401  (before NumPy)

import time
from dataclasses import dataclass

import click

from mnistcore.arguments import Checked, Count, Whole
from mnistcore.data.batches import BatchesDescription, Remainder, gather, size_of, write_batches_description
from mnistcore.data.description import read_dataset_description
from mnistcore.data.holdout import split
from mnistcore.data.normalization import Normalizer
from mnistcore.data.parts import open_part
from mnistcore.errors import InputError
from mnistcore.streams import stream
from stages.command import Stage, summarize, writing
from stages.parameters import read_section
from stages.paths import BATCHES, DATASET, DESCRIPTION, IMAGES, LABELS, NORMALIZER, PROCESSED, TARGETS
from stages.progress import Progress


@dataclass(frozen=True)
class Batch(Checked):
    """Section `batch`."""

    batch_size: Count
    remainder: Remainder
    validation_examples: Whole | None
    shuffle: bool
    seed: Whole


@click.command(cls=Stage)
def main() -> None:
    """Divide the training images into train and validation, in data/batches.

    Each class gives to validation in proportion; a twelfth of the examples, if
    batch.validation_examples is null. With batch.shuffle the examples
    of both parts are in random order, without it in the order of the file. The
    arrays can be mapped into memory; batch k is rows k·batch_size to (k+1)·batch_size. No
    example is lost: batch.remainder `drop` only leaves the last, smaller batch
    out of an epoch.
    """
    started = time.monotonic()
    section = read_section("batch", Batch)
    classes = len(read_dataset_description(PROCESSED / DATASET).classes)
    normalizer = Normalizer.load(PROCESSED / NORMALIZER)
    source = open_part(PROCESSED / "train")
    features = len(normalizer.offset)
    if source.images.shape[1] != features or source.targets.shape[1] != classes:
        raise InputError(
            f"{PROCESSED}: {source.images.shape[1]} features and {source.targets.shape[1]} classes in train,"
            f" {features} and {classes} in normalizer.npz and dataset.json; run preprocess again"
        )
    held_out = section.validation_examples
    if held_out is None:
        held_out = len(source.labels) // 12
    try:
        train_rows, validation_rows = split(source.labels, held_out, section.seed)
    except InputError as error:
        raise InputError(f"params.yaml: batch.validation_examples: {error}") from None
    parts = {"train": train_rows, "validation": validation_rows}
    sizes = {
        "train": size_of(len(parts["train"]), section.batch_size, section.remainder),
        "validation": size_of(len(parts["validation"]), section.batch_size, "keep"),
    }
    if sizes["train"].batches == 0:
        examples = f"the {sizes['train'].examples:,} examples to train on"
        raise InputError(
            f"params.yaml: batch.batch_size: {section.batch_size:,} is more than {examples}; drop leaves no batch"
        )

    with (
        writing(BATCHES),
        Progress("batch", len(source.labels), "examples") as progress,
    ):
        # Written last: its presence says that the rest is complete.
        (BATCHES / DESCRIPTION).unlink(missing_ok=True)
        for part, rows in parts.items():
            if section.shuffle:
                rows = stream(section.seed, f"order of {part}").permutation(rows)
            for name in (IMAGES, LABELS, TARGETS):
                gather(PROCESSED / "train" / name, rows, BATCHES / part / name)
            progress.update(len(rows))
        write_batches_description(
            BATCHES / DESCRIPTION,
            BatchesDescription(
                section.batch_size, section.remainder, features, classes, normalizer.image_shape, **sizes
            ),
        )
    train, validation = sizes["train"], sizes["validation"]
    what = f"{train.examples:,} examples in {train.batches:,} batches of {section.batch_size}"
    if train.last_batch != section.batch_size:
        what += f" (the last of {train.last_batch})"
    summarize(f"{BATCHES}: {what}, {validation.examples:,} held out,", started)


if __name__ == "__main__":
    main(prog_name="batch")
