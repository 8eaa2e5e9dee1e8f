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
from mnistcore.report import framing
from stages.stage import Stage

PROCESSED, MODEL = Path("data/processed"), Path("models/model.npz")
SHOWN = 3  # classes
SHADES = " ░▒▓█"


@click.command("predict", cls=Stage)
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PICTURE...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON array, with an object for each picture."
)
@click.option("--show", is_flag=True, help="Draw what the network saw.")
def main(pictures: tuple[Path, ...], as_json: bool, show: bool) -> None:
    """Say what the trained network reads in each PICTURE, with the three likeliest classes.

    A PICTURE is a PNG, a JPEG or the like, of any size, one character on a plain
    background, dark on light or light on dark, transparent or not; or a folder,
    which stands for the pictures in it. It is scaled and centred as the data set's own.

    Needs models/model.npz and data/processed in the current folder: run the
    pipeline first. Ends with status 2 if any PICTURE could not be read; the
    others are read all the same.
    """
    classes = read_dataset_description(PROCESSED / "dataset.json").classes
    normalizer = Normalizer.load(PROCESSED / "normalizer.npz")
    network = model.load(MODEL)[1][0]
    if network.features != normalizer.offset.size or network.classes != len(classes):
        raise InputError(f"{MODEL} and {PROCESSED} do not belong together; run the pipeline again")
    frame = framing.frame_of(normalizer.image_shape)

    readings, failed = [], False
    for path in _files(pictures):
        try:
            seen = framing.read_drawing(path, frame)
        except InputError as error:
            click.echo(f"predict: {error}", err=True)
            failed = True
            continue
        reading = _reading(path, network.probabilities(normalizer.transform(seen[None]))[0], classes)
        if as_json:
            readings.append(reading | ({"saw": seen.tolist()} if show else {}))
        else:
            click.echo(_line(reading))
            if show:
                click.echo(_drawn(seen / frame.brightest))
    if as_json:
        click.echo(json.dumps(readings, ensure_ascii=False, indent=2))
    if failed:
        sys.exit(2)


def _files(pictures: Iterable[Path]) -> Iterator[Path]:
    """The pictures themselves, and in place of a folder the pictures in it, by name."""
    for picture in pictures:
        if not picture.is_dir():
            yield picture
            continue
        inside = sorted(
            path for path in picture.iterdir() if path.is_file() and not path.name.startswith(".")
        )
        found = [path for path in inside if framing.is_picture(path)]
        if not found:
            raise InputError(f"{picture}: there is no picture in this folder")
        if len(found) < len(inside):
            click.echo(
                f"predict: {picture}: {len(inside) - len(found)} of {len(inside)} files are no pictures",
                err=True,
            )
        yield from found


def _reading(path: Path, outputs: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    best = np.argsort(-outputs, kind="stable")[:SHOWN]
    likeliest = [{"class": classes[name], "probability": float(outputs[name].clip(0, 1))} for name in best]
    return {"picture": str(path), "class": likeliest[0]["class"], "likeliest": likeliest}


def _line(reading: dict[str, Any]) -> str:
    likeliest = (f"{one['class']} {one['probability']:6.1%}" for one in reading["likeliest"])
    return f"{reading['picture']}:  " + "   ".join(likeliest)


def _drawn(ink: np.ndarray) -> str:
    """(rows, columns) from 0 to 1 as text, two characters a pixel, so that it is about square."""
    shades = np.ceil(ink * (len(SHADES) - 1)).astype(int)
    return "\n".join("".join(2 * SHADES[shade] for shade in row).rstrip() for row in shades)


if __name__ == "__main__":
    main(prog_name="predict")
