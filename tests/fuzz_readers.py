"""Fuzzing of the readers of what one stage writes and another reads; what led to each kind of answer is kept.

    python tests/fuzz_readers.py metrics.json --inputs 1000000 --seconds 600 --keep

Valid files are changed at random: bytes, words of the format, numbers; the arrays of an .npz with right checksums
around them. A reader may return, or refuse in one line that names the file, within two seconds; nothing else. With
--keep, the smallest input for each line not seen before goes to tests/corpus/readers/NAME, which tests/test_fuzz_readers.py
replays.
"""

import argparse
import hashlib
import io
import json
import os
import random
import re
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from mnistcore.data.batches import read_batches_description
from mnistcore.data.description import read_dataset_description
from mnistcore.data.normalization import Normalizer, divide
from mnistcore.errors import InputError
from mnistcore.evaluation.metrics_file import read_metrics
from mnistcore.evaluation.predictions import read_predictions
from mnistcore.network import model
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.checkpoint import Checkpoint, State
from stages import train
from stages.curves import read_curves
from stages.curves_parameters import read_parameters
from stages.parameters import read_section

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus" / "readers"
RECIPE = ROOT / "recipes" / "digits-relu200"
SECONDS = 2  # for one input, of this process
MOST_KEPT = 40
LABELS = np.array([2, 0, 1, 2])
CURVE = "plots/metrics/train/loss.tsv"

WORDS = [
    *(b"0", b"-1", b"1", b"2", b"1e999", b"-1e-999", b"1e308", b"NaN", b"nan", b"Infinity", b"inf", b"0x10", b"1_0", b"9" * 400, b"9" * 5000),
    *(b"null", b"true", b"~", b'""', b'"a"', b"[]", b"{}", b"[", b"]", b"{", b"}", b",", b":", b": ", b"- ", b"'", b'"', b"\\", b"\\ud800"),
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\n", b"\r", b"\t", b" ", b"#", b"&a ", b"*a", b"<<: ", b"!!binary ", b"? "),
    *(b"!!python/object:os.system ", b"2024-01-01", b"---\n", b"...\n", b"%YAML 1.1\n", b"|\n ", b"<f4", b"|O", b">i8", b"True", b"(3,)", b"(-1,)"),
    *(struct.pack("<I", value) for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)), struct.pack("<f", float("inf")), struct.pack("<f", float("nan")),
]  # fmt: skip


class Reader(NamedTuple):
    """A reader, the name of the file that it reads in the current folder, and what a valid one holds."""

    read: Callable[[Path], object]
    name: str
    valid: Callable[[], list[bytes]]


def _model() -> list[bytes]:
    network = Network(4, [Dense(3, "relu"), Dense(3, "softmax")]).initialize(stream(0, "weights"))
    model.save("m.npz", [0, 7], [network, network])
    return [Path("m.npz").read_bytes()]


def _normalizer() -> list[bytes]:
    divide(255, (2, 2), "float32").save("n.npz")
    return [Path("n.npz").read_bytes()]


def _checkpoint() -> list[bytes]:
    few = np.zeros(3, np.float32)
    state = State(1, 1, False, 0.5, 0.5, few, few[None], few[:0], few[:0], np.zeros((1, 7)), few, few == 0)
    Checkpoint("c.npz", lambda: "f", 1).save(state)
    return [Path("c.npz").read_bytes()]


def _load_checkpoint(path: Path) -> str:
    checkpoint = Checkpoint(path, lambda: "f", 1)
    return "read" if checkpoint.load() else checkpoint.unused


def _batches() -> bytes:
    size = {"examples": 6, "batches": 1, "last_batch": 6}
    content = {"batch_size": 8, "remainder": "keep", "features": 4, "classes": 3, "image_shape": [2, 2]}
    return json.dumps(content | {"train": size, "validation": size}, indent=1).encode()


READERS = {
    "metrics.json": Reader(
        read_metrics,
        "metrics.json",
        lambda: [(ROOT / name / "reports/metrics.json").read_bytes() for name in (".", RECIPE)],
    ),
    "dataset.json": Reader(
        read_dataset_description,
        "dataset.json",
        lambda: [b'{"name": "a", "title": "A", "classes": ["0", "1", "\xc3\xa9"]}'],
    ),
    "batches.json": Reader(read_batches_description, "batches.json", lambda: [_batches()]),
    "predictions.csv": Reader(
        lambda path: read_predictions(path, LABELS, 3),
        "predictions.csv",
        lambda: [b"actual,predicted,confidence\n2,2,0.5\n0,1,0.25\n1,1,1.000000\n2,0,0\n"],
    ),
    "curves": Reader(
        lambda path: read_curves(path.parents[3]),
        CURVE,
        lambda: [b"step\tloss\n1\t0.5\n2\t0.25\n3\t1e-05\n", b"step\tloss\n1\tinf\n2\tnan\n3\t0\n"],
    ),
    "curves/params.yaml": Reader(
        lambda path: read_parameters(path.parent),
        "params.yaml",
        lambda: [(RECIPE / "reports/curves/params.yaml").read_bytes(), b"a: [1, {b: c}]\n"],
    ),
    "model": Reader(model.load, "model.npz", _model),
    "normalizer": Reader(Normalizer.load, "normalizer.npz", _normalizer),
    "checkpoint": Reader(_load_checkpoint, "checkpoint.npz", _checkpoint),
    "params.yaml": Reader(
        lambda path: read_section("train", train.Train),
        "params.yaml",
        lambda: [(RECIPE / "params.yaml").read_bytes()],
    ),
}


@contextmanager
def workshop() -> Iterator[None]:
    """A current folder in memory, with the other files that the readers look at; a warning is an error."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("error")
        Path(CURVE).parent.mkdir(parents=True)
        Path(CURVE).with_name("accuracy.tsv").write_text("step\taccuracy\n1\t0.5\n2\t0.25\n3\t1\n")
        yield


def answer(reader: Reader, data: bytes) -> str:
    """What the reader says of these bytes: "read", or its line without numbers, names and the like."""
    path = Path(reader.name)
    path.write_bytes(data)
    started = time.process_time()
    try:
        found = reader.read(path)
        said = found if isinstance(found, str) else "read"
    except InputError as error:
        said = str(error)
        if not said.startswith(reader.name.split("/")[0]) or len(said.splitlines()) != 1:
            raise AssertionError(f"not one line that names the file: {said!r}") from None
    if time.process_time() - started > SECONDS:
        raise AssertionError(f"took {time.process_time() - started:.1f} s")
    return re.sub(r"'[^']*'|\"[^\"]*\"|[\d.,]+|\(.*|, is .*", "_", said)[:80]


@cache
def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def mutated(valid: bytes, draw: random.Random) -> bytes:
    """Valid bytes with a few changes; of an archive, either as it lies there or inside its members."""
    if not valid.startswith(b"PK") or draw.random() < 0.2:
        return _changed(valid, draw)
    members = dict(_members(valid))
    for name in draw.choices(sorted(members), k=draw.choice((1, 1, 2))):
        members[name] = _changed(members[name], draw)
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", draw.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))
    ) as archive:
        for name, content in members.items():
            if draw.random() > 0.01:
                archive.writestr(name, content)
    return out.getvalue()


def _changed(data: bytes, draw: random.Random) -> bytes:
    text = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        start = draw.randrange(len(text) + 1)
        kind = draw.randrange(6)
        if kind == 0 and (numbers := [*re.finditer(rb"-?\d[\d.e+-]*", bytes(text))]):
            start, end = draw.choice(numbers).span()
            text[start:end] = draw.choice(WORDS)
        elif kind == 1:
            text[start : start + draw.choice((1, 4, 30))] = b""
        elif kind == 2:
            some = bytes(text[start : start + draw.choice((1, 4, 30, 300))])
            text[start:start] = some * draw.choice((1, 1, 2, 50))
        elif kind == 3:
            text[start : start + 1] = bytes([draw.randrange(256)])
        else:
            text[start : start + draw.choice((0, 1, 4))] = draw.choice(WORDS)
    return bytes(text)


def fuzz(name: str, inputs: int, seconds: float, seed: int = 0) -> tuple[int, dict[str, bytes]]:
    """Read so many changed files, or for so long; how many it were, and the smallest for each kind of answer."""
    reader, draw, kinds = READERS[name], random.Random(seed), dict[str, bytes]()
    with workshop():
        valid, until, number = reader.valid(), time.monotonic() + seconds, 0
        for data in valid:
            assert answer(reader, data) == "read"
        while number < inputs and time.monotonic() < until:
            data = mutated(draw.choice(valid), draw)
            number += 1
            try:
                kind = answer(reader, data)
            except BaseException:
                print(f"{name}, input {number} of seed {seed}: {data!r}", file=sys.stderr)
                raise
            if kind not in kinds or len(data) < len(kinds[kind]):
                kinds[kind] = data
    return number, kinds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=READERS)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true")
    chosen = parser.parse_args()
    number, kinds = fuzz(chosen.name, chosen.inputs, chosen.seconds, chosen.seed)
    print(f"{chosen.name}: {number:,} inputs, {len(kinds)} kinds of answers")
    folder = CORPUS / chosen.name.replace("/", "-")
    with workshop():
        known = {answer(READERS[chosen.name], path.read_bytes()) for path in folder.glob("*")}
    for kind, data in sorted(kinds.items())[:MOST_KEPT] if chosen.keep else ():
        if kind not in known and len(data) < 4096:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
