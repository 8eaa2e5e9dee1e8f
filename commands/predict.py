"""Try the trained network on pictures of one's own. Not a stage of the pipeline: it writes nothing."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this copy of the code, whichever is installed

import mnistcore.reproducible  # noqa: F401  (before NumPy)

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
import numpy as np

from mnistcore.data.description import read_dataset_description
from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.network import model
from mnistcore.report.familiarity import Familiarity
from mnistcore.report.framing import frame_of
from mnistcore.report.page import STROKES
from mnistcore.report.pictures import is_picture, read_digits
from stages.command import Stage
from stages.paths import DATASET, FAMILIARITY, MODEL, NORMALIZER, PROCESSED

SHOWN = 3  # classes
SURE = 0.6  # of probability; below it the reading is said to be unsure
SHADES = " ░▒▓█"


@click.command("predict", cls=Stage)
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PICTURE...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON array, with an object for each picture."
)
@click.option("--show", is_flag=True, help="Draw what the network saw.")
def main(pictures: tuple[Path, ...], as_json: bool, show: bool) -> None:
    """Say what the trained network reads in each PICTURE, with the three likeliest classes.

    A PICTURE is a PNG, a JPEG or the like, of any size: a photograph of a digit on
    paper, or a drawing, dark on light or light on dark, transparent or not; or a
    folder, which stands for the pictures in it. Digits that stand apart are read
    from left to right. Each is scaled and centred as the data set's own.

    What looks like nothing the network was trained on, and what it is not sure
    of, is said to be so.

    Needs models/model.npz, reports/familiarity.npz and data/processed in the current folder: run the
    pipeline first. Ends with status 2 if any PICTURE could not be read; the
    others are read all the same.
    """
    for needed in (PROCESSED, MODEL, FAMILIARITY):
        if not needed.exists():
            problem = f"has no {needed}; run predict in the folder of the project, after the pipeline"
            raise InputError(f"{Path.cwd()}: {problem}")
    description = read_dataset_description(PROCESSED / DATASET)
    classes, kind = description.classes, STROKES.get(description.name, "picture of its data set")
    normalizer = Normalizer.load(PROCESSED / NORMALIZER)
    network = model.load(MODEL)[1][0]
    if network.features != normalizer.offset.size or network.classes != len(classes):
        raise InputError(f"{MODEL} and {PROCESSED} do not belong together; run the pipeline again")
    familiarity = Familiarity.load(FAMILIARITY, network)
    how = frame_of(normalizer.image_shape)

    readings: list[dict[str, Any]] = []
    for path in _files(pictures):
        try:
            framed = np.stack(read_digits(path, how))
        except InputError as error:
            _complain(str(error))
            readings.append({"picture": str(path), "error": str(error)})
            continue
        images = normalizer.transform(framed)
        with np.errstate(all="ignore"):  # what is not finite is told in the next line
            outputs, scores = network.probabilities(images), familiarity.score(network, images)
        if not np.isfinite(outputs).all():
            raise InputError(f"{MODEL}: its outputs are not finite; run the pipeline again")
        digits = [
            _reading(one, bool(score <= 0), classes) for one, score in zip(outputs, scores, strict=True)
        ]
        if show:
            for digit, picture in zip(digits, framed, strict=True):
                digit["saw"] = picture.tolist()
        readings.append(
            {"picture": str(path), "class": "".join(d["class"] for d in digits), "digits": digits}
        )
        if not as_json:
            _print(readings[-1], kind, how.brightest)
    if as_json:
        lines = ",\n ".join(json.dumps(reading, ensure_ascii=False) for reading in readings)
        click.echo(f"[{lines}]")
    if any("error" in reading for reading in readings) or not readings:
        sys.exit(2)


def _complain(line: str) -> None:
    click.echo(f"predict: {_on_a_line(line)}", err=True)


def _on_a_line(text: str) -> str:
    """The same, whatever is in a file's name."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _files(pictures: Iterable[Path]) -> Iterator[Path]:
    """The pictures themselves, and in place of a folder the pictures in it, by name."""
    for picture in pictures:
        if not picture.is_dir():
            yield picture
            continue
        inside = sorted(
            path for path in picture.iterdir() if path.is_file() and not path.name.startswith(".")
        )
        found = [path for path in inside if is_picture(path)]
        if not found:
            yield picture  # reading it says that it is a folder
        elif len(found) < len(inside):
            _complain(f"{picture}: {len(inside) - len(found)} of {len(inside)} files are no pictures")
        yield from found


def _reading(outputs: np.ndarray, familiar: bool, classes: Sequence[str]) -> dict[str, Any]:
    best = np.argsort(-outputs, kind="stable")[:SHOWN]
    likeliest = [{"class": classes[name], "probability": float(outputs[name].clip(0, 1))} for name in best]
    sure = likeliest[0]["probability"] >= SURE
    return {"class": likeliest[0]["class"], "sure": sure, "familiar": familiar, "likeliest": likeliest}


def _print(reading: dict[str, Any], kind: str, brightest: int) -> None:
    name, digits = _on_a_line(reading["picture"]), reading["digits"]
    if len(digits) > 1:
        click.echo(f"{name}:  {len(digits)} digits, {reading['class']}")
    for number, digit in enumerate(digits, 1):
        likeliest = [f"{one['class']} {one['probability']:6.1%}" for one in digit["likeliest"]]
        doubt = ""
        if not digit["familiar"]:
            doubt = f"does not look like a {kind}:  "
        elif not digit["sure"]:
            doubt = "not sure: {} or {}:  ".format(*(one["class"] for one in digit["likeliest"]))
        place = "" if len(digits) == 1 else f" [{number}]"
        click.echo(f"{name}{place}:  {doubt}" + "   ".join(likeliest))
        if "saw" in digit:
            click.echo(_drawn(np.array(digit["saw"]) / brightest))


def _drawn(ink: np.ndarray) -> str:
    """(rows, columns) from 0 to 1 as text, two characters a pixel, so that it is about square."""
    shades = np.ceil(ink * (len(SHADES) - 1)).astype(int)
    return "\n".join("".join(2 * SHADES[shade] for shade in row).rstrip() for row in shades)


if __name__ == "__main__":
    main(prog_name="predict")
