"""How long an epoch takes, here and in a plain loop as the notebook wrote it: by turns, medians."""

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mnistcore.data.batches import read_batches_description
from mnistcore.data.parts import open_part
from mnistcore.errors import InputError
from mnistcore.files import replacing
from mnistcore.network.network import Network
from mnistcore.streams import stream
from mnistcore.training import run
from mnistcore.training.settings import Examples
from recipes.notebook_loops import LOOPS
from recipes.results import HERE, TIMINGS
from stages.parameters import read_section
from stages.train_section import Train

LOOP_STEPS = {
    "mnist-sigmoid20": 1000,
    "mnist-sigmoid20-frozen": 1000,
    "mnist-sigmoid100": 150,
    "mnist-sigmoid100-scaled": 150,
}
"""Loops that take many seconds for an epoch are timed on so many batches, and the time is scaled up."""


def measure(names: Sequence[str], repeats: int, say: Callable[[str], None]) -> None:
    """Time the named recipes, one worker, no progress bar; put them beside the others in timings.json."""
    found = json.loads(TIMINGS.read_text(encoding="utf-8")) if TIMINGS.exists() else {"recipes": {}}
    found["machine"] = {
        "processor": _processor(),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    for name in names:
        ours, loop = _ours(name), _loop(name)
        times: dict[str, list[float]] = {"ours": [], "loop": []}
        for _ in range(repeats):
            times["ours"].append(ours())
            times["loop"].append(loop())
        here, there = statistics.median(times["ours"]), statistics.median(times["loop"])
        found["recipes"][name] = {
            "seconds_per_epoch": round(here, 5),
            "notebook_seconds_per_epoch": round(there, 5),
        }
        say(f"{name}: {here:.4f} s per epoch, the notebook's loop {there:.4f} s, {there / here:.1f} times")
    with replacing(TIMINGS, "w") as file:
        json.dump(found, file, indent=2)
        file.write("\n")


def _ours(name: str) -> Callable[[], float]:
    """One epoch of the recipe, as its params.yaml says."""
    before = Path.cwd()
    os.chdir(HERE / name)
    try:
        section = read_section("train", Train)
        description = read_batches_description(Path("data/batches/batches.json"))
        part = open_part(Path("data/batches/train"))
    except InputError as error:
        raise InputError(f"{name}: {error}; `dvc repro batch@{name}` in recipes/ makes its data") from None
    finally:
        os.chdir(before)
    network = Network(description.features, section.layers, section.loss, section.precision).initialize(
        stream(section.seeds[0], "weights")
    )
    settings = section.settings(description.batch_size, description.remainder, description.image_shape)
    settings = dataclasses.replace(settings, epochs=1)
    examples = Examples(part.images, part.labels)

    def epoch() -> float:
        started = time.perf_counter()
        run.train(network, examples, settings, workers=1)
        return time.perf_counter() - started

    return epoch


def _loop(name: str) -> Callable[[], float]:
    """One epoch of the notebook's loop on the same images, in float64; scaled up where it is slow."""
    folder = HERE / name / "data" / "batches"
    size = json.loads((folder / "batches.json").read_text(encoding="utf-8"))["batch_size"]
    images, targets = (
        np.load(folder / "train" / f"{what}.npy", mmap_mode="r", allow_pickle=False)
        for what in ("images", "targets")
    )
    count = min(LOOP_STEPS.get(name, len(images)) * size, len(images))
    epochs = LOOPS[name](
        images[:count].astype(float), targets[:count].astype(float), np.random.RandomState(0)
    )

    def epoch() -> float:
        started = time.perf_counter()
        next(epochs)
        return (time.perf_counter() - started) * len(images) / count

    return epoch


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
