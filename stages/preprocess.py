"""Stage 2 of the pipeline: normalised images, one-hot targets, and the fitted normaliser."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this copy of the code, whichever is installed

import stages.interrupt  # noqa: F401  (first of all)
import mnistcore.reproducible  # noqa: F401  (before NumPy)

import time
from dataclasses import dataclass
from typing import Annotated

import click

from mnistcore.arguments import Checked, Count, OneOf, Positive, Precision
from mnistcore.arrays import writing_array
from mnistcore.data import idx
from mnistcore.data.description import read_dataset_description, write_dataset_description
from mnistcore.data.labels import check_labels, one_hot
from mnistcore.data.normalization import METHODS, divide, fit
from mnistcore.errors import InputError
from stages.command import Stage, summarize, writing
from stages.parameters import read_section
from stages.paths import DATASET, IMAGES, LABELS, NORMALIZER, PROCESSED, RAW, TARGETS
from stages.progress import Progress

PARTS = {"train": "train", "test": "t10k"}  # our name → the published one
PIXELS = 1 << 21  # held at a time: memory does not depend on how many images there are
LABELS_HELD = 1 << 16


@dataclass(frozen=True)
class Preprocess(Checked):
    """Section `preprocess`."""

    normalization: Annotated[str, OneOf(METHODS)]
    divisor: Positive | None
    examples: Count | None
    dtype: Precision


@click.command(cls=Stage)
def main() -> None:
    """Turn raw images into what a network reads, in data/processed.

    For training and test images each: images.npy, one row per image, normalised;
    labels.npy; targets.npy, one-hot. The normalisation is fitted on the training
    images alone and stored in normalizer.npz, so that the test images and a
    drawing of your own meet the same one.

    \b
    preprocess.normalization in params.yaml is one of
      divide        by preprocess.divisor (null: by the brightest training pixel)
      min-max       each pixel to 0 … 1
      standardize   each pixel to mean 0, standard deviation 1
    """
    started = time.monotonic()
    section = read_section("preprocess", Preprocess)
    description = read_dataset_description(RAW / DATASET)
    classes = len(description.classes)
    shapes = {part: _check(part, classes) for part in PARTS}
    if shapes["train"][1:] != shapes["test"][1:]:
        raise InputError(
            f"{RAW}: training images of {shapes['train'][1:]} pixels, test images of {shapes['test'][1:]}"
        )
    available = shapes["train"][0]
    if section.examples is not None and section.examples > available:
        where = "params.yaml: preprocess.examples"
        raise InputError(f"{where}: {section.examples:,} wanted, {available:,} training images in {RAW}")
    counts = {"train": section.examples or available, "test": shapes["test"][0]}
    image_shape = shapes["train"][1:]
    features = image_shape[0] * image_shape[1]
    rows = max(1, PIXELS // features)
    normalizer = None
    if section.normalization == "divide" and section.divisor is not None:
        try:
            normalizer = divide(section.divisor, image_shape, section.dtype)
        except InputError as error:
            raise InputError(f"params.yaml: preprocess.divisor: {error}") from None

    with (
        writing(PROCESSED),
        Progress("preprocess", sum(counts.values()), "images") as progress,
    ):
        # Written last: its presence says that the rest is complete.
        (PROCESSED / DATASET).unlink(missing_ok=True)
        if normalizer is None:
            training = idx.chunks(RAW / "train-images-idx3-ubyte", rows, counts["train"])
            normalizer = fit(section.normalization, training, image_shape, section.dtype)
        normalizer.save(PROCESSED / NORMALIZER)
        for part, published in PARTS.items():
            folder, count = PROCESSED / part, counts[part]
            with writing_array(folder / IMAGES, section.dtype, (count, features)) as images:
                for chunk in idx.chunks(RAW / f"{published}-images-idx3-ubyte", rows, count):
                    images.append(normalizer.transform(chunk))
                    progress.update(len(chunk))
            with (
                writing_array(folder / LABELS, "uint8", (count,)) as labels,
                writing_array(folder / TARGETS, section.dtype, (count, classes)) as targets,
            ):
                for chunk in idx.chunks(RAW / f"{published}-labels-idx1-ubyte", LABELS_HELD, count):
                    labels.append(chunk)
                    targets.append(one_hot(chunk, classes, section.dtype))
        write_dataset_description(PROCESSED / DATASET, description)
    what = f"{counts['train']:,} training and {counts['test']:,} test images, {section.normalization}"
    summarize(f"{PROCESSED}: {what}, {section.dtype},", started)


def _check(part: str, classes: int) -> tuple[int, int, int]:
    """The shape of the images of one part, once they and their labels are found to be what they should."""
    images_path = RAW / f"{PARTS[part]}-images-idx3-ubyte"
    labels_path = RAW / f"{PARTS[part]}-labels-idx1-ubyte"
    images, labels = idx.header_of(images_path), idx.header_of(labels_path)
    if images.dtype != "uint8" or len(images.shape) != 3:
        raise InputError(
            f"{images_path}: {len(images.shape)} dimensions of {images.dtype}, not images of bytes"
        )
    if labels.dtype != "uint8" or len(labels.shape) != 1:
        raise InputError(
            f"{labels_path}: {len(labels.shape)} dimensions of {labels.dtype}, not labels of bytes"
        )
    if images.shape[0] != labels.shape[0]:
        raise InputError(
            f"{RAW}: {images.shape[0]:,} {part} images but {labels.shape[0]:,} labels; fetch them again"
        )
    if 0 in images.shape:
        raise InputError(f"{images_path}: no images")
    for number, chunk in enumerate(idx.chunks(labels_path, LABELS_HELD)):
        check_labels(chunk, classes, str(labels_path), number * LABELS_HELD)
    return images.shape


if __name__ == "__main__":
    main(prog_name="preprocess")
