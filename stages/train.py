"""Stage 4 of the pipeline: the network, trained, and its learning curves."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this copy of the code, whichever is installed

import stages.interrupt  # (first of all)
import mnistcore.reproducible  # (before NumPy)

import shutil
import time
from dataclasses import asdict

import click

from mnistcore.arguments import ArgumentError
from mnistcore.data.batches import open_batches
from mnistcore.data.parts import Part
from mnistcore.engine.shared_memory import shared
from mnistcore.errors import InputError
from mnistcore.network import model
from mnistcore.network.network import Network
from mnistcore.training import run
from mnistcore.training.checkpoint import Checkpoint
from mnistcore.training.settings import Examples, check_run
from stages.command import Stage, say, summarize, writing
from stages.curves import CurvesWriter, keep_curves
from stages.fingerprint import fingerprint
from stages.parameters import errors_of, read_section
from stages.paths import BATCHES, CHECKPOINTS, CURVES, IMAGES, LABELS, MODEL
from stages.progress import Progress
from stages.schema import written
from stages.side_by_side import OnEpoch, OnProgress, cores, send_epoch, send_progress, train_side_by_side
from stages.train_section import Train

DATA = tuple(BATCHES / part / name for part in ("train", "validation") for name in (IMAGES, LABELS))


@click.command("train", cls=Stage)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes; as many as there are cores, if not given."
)
@click.option(
    "--seed", type=click.IntRange(min=0), hidden=True, help="Train this seed alone, for the run that asks."
)
def main(workers: int | None, seed: int | None) -> None:
    """Train the network on data/batches.

    \b
    Writes models/model.npz   the trained parameters, one network per seed
           reports/curves     loss and accuracy after each epoch, by DVCLive

    Several seeds are trained side by side as far as there are workers. The
    number of workers changes the time, never the result. A run that was killed
    continues from its checkpoints, in the folder checkpoints, which goes when
    all is done.
    """
    started = time.monotonic()
    job = Job(read_section("train", Train))
    workers = workers or cores()
    if seed is not None:
        try:
            job.train(seed, workers, send_epoch, send_progress)
        except stages.interrupt.Interrupted as interrupted:
            stages.interrupt.leave(interrupted.status)  # the run that asked says so
        return
    if (different := mnistcore.reproducible.difference()) is not None:
        say(f"the bits may differ from the committed ones: {different}")
    seeds, examples = job.section.seeds, len(job.examples.labels)
    total, unfinished = len(seeds) * job.settings.epochs * examples, CHECKPOINTS / CURVES.name
    with writing(CHECKPOINTS), Progress("train", total, "examples") as progress:
        with CurvesWriter(unfinished, written(job.section)) as curves:
            if len(seeds) == 1:
                job.train(seeds[0], workers, curves.append, progress.update)
            else:
                train_side_by_side(__file__, seeds, workers, curves.append, progress.update)
        networks = [job.result(seed) for seed in seeds]
        model.save(MODEL, seeds, networks)
        keep_curves(unfinished, CURVES)  # until here those of the model before stood beside it
        shutil.rmtree(CHECKPOINTS)
    tail = f", {len(seeds)} seeds," if len(seeds) > 1 else ","
    summarize(f"{MODEL}: {networks[0]}{tail} {len(networks[0].parameters):,} parameters", started)


class Job:
    """What is to be trained on what, checked before any work."""

    def __init__(self, section: Train) -> None:
        self.data, training, validation = open_batches(BATCHES)
        self.section = section = section.for_images(self.data.image_shape)
        with errors_of("train"):
            section.check_fit(self.data, training.images.dtype.name)
            data = self.data
            self.settings = section.settings(data.batch_size, data.remainder, data.image_shape)
            network = section.network(self.data.features)
        self.examples, self.validation = _examples("train", training), _examples("validation", validation)
        with errors_of("train"):
            check_run(network, self.examples, self.settings, self.validation)

    def train(self, seed: int, workers: int, on_epoch: OnEpoch, on_progress: OnProgress) -> None:
        """Train one seed; the finished run is in its checkpoint."""
        checkpoint = self._checkpoint(seed)
        state = checkpoint.load()
        if checkpoint.unused:
            say(f"{checkpoint.path} is {checkpoint.unused}: not used")
        elif state is not None and not state.finished:
            say(
                f"seed {seed} continues from its checkpoint, at epoch {state.epoch + 1}, step {state.step + 1}"
            )
        try:
            run.train(
                shared(self.section.initialized(self.data.features, seed)), self.examples, self.settings,
                validation=self.validation, seed=seed, workers=workers, checkpoint=checkpoint,
                on_progress=on_progress, on_epoch=on_epoch,
            )  # fmt: skip
        except run.Diverged as error:
            raise InputError(f"seed {seed}: {error}") from None

    def result(self, seed: int) -> Network:
        """The network that `train` has finished."""
        state = self._checkpoint(seed).load()
        if state is None or not state.finished:
            raise InputError(f"{CHECKPOINTS}/seed-{seed}.npz: changed while training; run it again")
        network = self.section.network(self.data.features)
        network.parameters[...] = state.parameters
        return network

    def _checkpoint(self, seed: int) -> Checkpoint:
        parameters = {**written(self.section), "seeds": [seed], "checkpoint_seconds": None}
        return Checkpoint(
            CHECKPOINTS / f"seed-{seed}.npz",
            lambda: fingerprint([parameters, asdict(self.data)], (*DATA, Path(__file__))),
            self.section.checkpoint_seconds,
        )


def _examples(name: str, part: Part) -> Examples:
    try:
        return Examples(part.images, part.labels)
    except ArgumentError as error:
        raise InputError(f"{BATCHES / name}: {error.line()}; run batch again") from None


if __name__ == "__main__":
    main(prog_name="train")
