"""Stage 4 of the pipeline: the network, trained, and its learning curves."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this copy of the code, whichever is installed

import stages.interrupt  # noqa: F401  (first of all)
from stages.interrupt import Interrupted, leave
import mnistcore.reproducible  # (before NumPy)

import functools
import hashlib
import json
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal

import click
import numpy as np
from pydantic import Field, model_validator

from mnistcore.data.batches import open_batches
from mnistcore.errors import InputError
from mnistcore.files import exclusive
from mnistcore.network import initializers, model
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training import optimizers, run, schedules, settings, stopping
from mnistcore.training.augmentation import Augmentation, Augmenter
from mnistcore.training.checkpoint import Checkpoint
from mnistcore.training.history import Epoch
from stages.stage import Progress, Section, Stage, read_section, summarize

BATCHES = Path("data/batches")
MODEL = Path("models/model.npz")
CURVES = Path("reports/curves")
CHECKPOINTS = Path("checkpoints")  # not among DVC's outputs, which it removes before a stage runs

OnEpoch = Callable[[Epoch], None]
OnProgress = Callable[[int, str], None]

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Units = Annotated[int, Field(ge=1, le=1_000_000)]
Factors = list[Annotated[float, Field(ge=0)]]


class Named(Section):
    """A choice among several, told by its `name`; its other keys are those of the class it stands for."""

    stands_for: ClassVar[type]

    def build(self) -> Any:
        """What the core calls it."""
        values = {key: value for key, value in self if key != "name"}
        return self.stands_for(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class Zeros(Named):
    name: Literal["zeros"] = "zeros"
    stands_for = initializers.Zeros


class Uniform(Named):
    name: Literal["uniform"]
    low: float
    high: float
    stands_for = initializers.Uniform


class Normal(Named):
    name: Literal["normal"]
    deviation: Annotated[float, Field(ge=0)]
    stands_for = initializers.Normal


class Glorot(Named):
    name: Literal["glorot"]
    stands_for = initializers.Glorot


class He(Named):
    name: Literal["he"] = "he"
    stands_for = initializers.He


class LeCun(Named):
    name: Literal["lecun"]
    stands_for = initializers.LeCun


Initializer = Annotated[Zeros | Uniform | Normal | Glorot | He | LeCun, Field(discriminator="name")]


class Layer(Section):
    units: Units
    activation: Literal["identity", "relu", "relu-straight-through", "sigmoid", "tanh", "softmax"]
    bias: bool = True
    drop_rate: Rate = 0.0
    frozen: list[Literal["weights", "biases"]] = []
    weights: Initializer = He()
    biases: Initializer = Zeros()

    def build(self) -> Dense:
        return Dense(
            self.units, self.activation, self.bias, self.drop_rate, tuple(self.frozen),
            self.weights.build(), self.biases.build(),
        )  # fmt: skip


class SGD(Named):
    name: Literal["sgd"]
    learning_rate: Positive
    stands_for = optimizers.SGD


class Momentum(Named):
    name: Literal["momentum"]
    learning_rate: Positive
    momentum: Rate
    stands_for = optimizers.Momentum


class Nesterov(Named):
    name: Literal["nesterov"]
    learning_rate: Positive
    momentum: Rate
    stands_for = optimizers.Nesterov


class Adam(Named):
    name: Literal["adam"]
    learning_rate: Positive
    beta1: Rate = 0.9
    beta2: Rate = 0.999
    epsilon: Positive = 1e-8
    stands_for = optimizers.Adam


class AdamW(Named):
    name: Literal["adamw"]
    learning_rate: Positive
    beta1: Rate = 0.9
    beta2: Rate = 0.999
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)]
    stands_for = optimizers.AdamW


class Constant(Named):
    name: Literal["constant"] = "constant"
    stands_for = schedules.Constant


class Steps(Named):
    name: Literal["steps"]
    after: Annotated[list[Count], Field(min_length=1)]
    factors: Factors
    stands_for = schedules.Steps

    @model_validator(mode="after")
    def _pairs(self) -> "Steps":
        if len(self.factors) != len(self.after) or sorted(set(self.after)) != self.after:
            raise ValueError("should have a factor for each of `after`, and these ascending")
        return self


class Cosine(Named):
    name: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    final: Annotated[float, Field(ge=0)] = 0.0
    stands_for = schedules.Cosine


class LossBands(Named):
    name: Literal["loss-bands"]
    losses: Annotated[list[Positive], Field(min_length=1)]
    factors: Factors
    stands_for = schedules.LossBands

    @model_validator(mode="after")
    def _pairs(self) -> "LossBands":
        if len(self.factors) != len(self.losses) or sorted(set(self.losses), reverse=True) != self.losses:
            raise ValueError("should have a factor for each of `losses`, and these descending")
        return self


class LossTarget(Named):
    name: Literal["loss-target"]
    loss: Positive
    stands_for = stopping.LossTarget


class Patience(Named):
    name: Literal["patience"]
    epochs: Count
    stands_for = stopping.Patience


class FirstRise(Named):
    name: Literal["first-rise"]
    stands_for = stopping.FirstRise


class Averaging(Section):
    decay: Rate
    steps: Count


class Distortions(Section):
    rotation_degrees: Annotated[float, Field(ge=0, le=360)] = 0.0
    scale: Rate = 0.0
    shear: Annotated[float, Field(ge=0, le=10)] = 0.0
    translation_pixels: Annotated[float, Field(ge=0, le=1000)] = 0.0
    elastic_pixels: Annotated[float, Field(ge=0, le=1000)] = 0.0
    elastic_smoothness: Annotated[float, Field(gt=0, le=1000)] = 4.0


class Train(Section):
    """Section `train`."""

    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    generator: Literal["modern", "legacy"] = "modern"
    precision: Literal["float32", "float64"]
    layers: Annotated[list[Layer], Field(min_length=1)]
    loss: Literal["cross-entropy", "binary-cross-entropy", "squared-error"]
    reduction: Literal["mean", "sum"] = "mean"
    epochs: Count
    shuffle: bool = True
    optimizer: Annotated[SGD | Momentum | Nesterov | Adam | AdamW, Field(discriminator="name")]
    schedule: Annotated[Constant | Steps | Cosine | LossBands, Field(discriminator="name")] = Constant()
    l2: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Positive | None = None
    stopping: Annotated[LossTarget | Patience | FirstRise, Field(discriminator="name")] | None = None
    averaging: Averaging | None = None
    augmentation: Distortions | None = None
    shards: Annotated[int, Field(ge=1, le=64)] = 2
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 5.0

    def settings(self, batch_size: int, remainder: str, image_shape: tuple[int, int]) -> settings.Settings:
        return settings.Settings(
            epochs=self.epochs,
            batch_size=batch_size,
            remainder=remainder,
            reduction=self.reduction,
            optimizer=self.optimizer.build(),
            schedule=self.schedule.build(),
            l2=self.l2,
            clip_norm=self.clip_norm,
            shuffle=self.shuffle,
            stopping=self.stopping and self.stopping.build(),
            averaging=self.averaging and settings.Averaging(**dict(self.averaging)),
            augmenter=self.augmentation
            and (lambda: Augmenter(Augmentation(**dict(self.augmentation)), image_shape, self.precision)),
            shards=self.shards,
        )


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
    workers = workers or _cores()
    if seed is not None:
        try:
            job.train(seed, workers, on_epoch=_tell_epoch, on_progress=_tell_progress)
        except Interrupted as interrupted:
            leave(interrupted.status)  # the run that asked says so
        return
    if (different := mnistcore.reproducible.difference()) is not None:
        click.echo(f"train: the bits may differ from the committed ones: {different}", err=True)
    waiting = f"train: another run is writing {CHECKPOINTS}; waiting for it"
    seeds, examples = job.section.seeds, job.description.train.examples
    with (
        exclusive(CHECKPOINTS, waiting=lambda: click.echo(waiting, err=True)),
        Progress("train", len(seeds) * job.section.epochs * examples, "examples") as progress,
        Curves(CURVES, job.section) as curves,
    ):
        if len(seeds) == 1:
            job.train(seeds[0], workers, curves.log, progress.update)
        else:
            train_side_by_side(seeds, workers, curves.log, progress.update)
        networks = [job.result(seed) for seed in seeds]
        model.save(MODEL, seeds, networks)
        shutil.rmtree(CHECKPOINTS)
    tail = f", {len(seeds)} seeds," if len(seeds) > 1 else ","
    summarize("train", f"{MODEL}: {networks[0]}{tail} {len(networks[0].parameters):,} parameters", started)


class Job:
    """What is to be trained on what, checked before any work."""

    def __init__(self, section: Train) -> None:
        self.section = section
        self.description, train, validation = open_batches(BATCHES)
        self.examples = settings.Examples(train.images, train.labels)
        self.validation = settings.Examples(validation.images, validation.labels)
        self.dense = [layer.build() for layer in section.layers]
        self._check()
        self.settings = section.settings(
            self.description.batch_size, self.description.remainder, self.description.image_shape
        )

    def _check(self) -> None:
        section, description = self.section, self.description
        try:
            self.network()
        except InputError as error:
            raise InputError(f"params.yaml: train: {error}") from None
        if self.dense[-1].units != description.classes:
            raise InputError(
                f"params.yaml: train.layers.{len(self.dense) - 1}.units: {self.dense[-1].units}, "
                f"but the data have {description.classes} classes"
            )
        if self.examples.images.dtype != section.precision:
            raise InputError(
                f"params.yaml: train.precision: {section.precision}, but the images in {BATCHES} are "
                f"{self.examples.images.dtype}; make it the same as preprocess.dtype"
            )
        if len(set(section.seeds)) < len(section.seeds):
            raise InputError("params.yaml: train.seeds: names a seed twice")
        if isinstance(section.stopping, Patience) and not description.validation.examples:
            raise InputError(
                "params.yaml: train.stopping: patience goes by the validation loss; "
                "set batch.validation_examples"
            )

    def network(self) -> Network:
        section = self.section
        return Network(self.description.features, self.dense, section.loss, section.precision)

    def train(self, seed: int, workers: int, on_epoch: OnEpoch, on_progress: OnProgress) -> None:
        """Train one seed; the finished run is in its checkpoint."""
        generator = (
            np.random.RandomState(seed) if self.section.generator == "legacy" else stream(seed, "weights")
        )
        checkpoint = Checkpoint(
            _checkpoint(seed), lambda: self.fingerprint(seed), self.section.checkpoint_seconds
        )
        state = checkpoint.load()
        if checkpoint.foreign:
            told = "is of other parameters, data or code: not used"
            click.echo(f"train: {checkpoint.path} {told}", err=True)
        elif state is not None and not state.finished:
            where = f"epoch {state.epoch + 1}, step {state.step + 1}"
            click.echo(f"train: seed {seed} continues from its checkpoint, at {where}", err=True)
        try:
            with np.errstate(all="ignore"):  # values beyond float32 are told by the loss they lead to
                network = self.network().initialize(generator)
            run.train(
                network, self.examples, self.settings, validation=self.validation,
                seed=seed, workers=workers, checkpoint=checkpoint, on_progress=on_progress, on_epoch=on_epoch,
            )  # fmt: skip
        except run.Diverged as error:
            raise InputError(f"seed {seed}: {error}") from None

    def result(self, seed: int) -> Network:
        """The network that `train` has finished."""
        state = Checkpoint(_checkpoint(seed), lambda: self.fingerprint(seed), 0).load()
        if state is None or not state.finished:
            raise InputError(f"{_checkpoint(seed)}: changed while training; run it again")
        network = self.network()
        network.parameters[...] = state.parameters
        return network

    @functools.cache  # noqa: B019  (one job per process)
    def _data_hash(self) -> str:
        digest = hashlib.sha256()
        for name in (
            "train/images.npy",
            "train/labels.npy",
            "validation/images.npy",
            "validation/labels.npy",
        ):
            with open(BATCHES / name, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def fingerprint(self, seed: int) -> str:
        """What the run of a seed is computed from: parameters, data, code and NumPy."""
        parameters = self.section.model_dump(exclude={"seeds", "checkpoint_seconds"})
        code = hashlib.sha256()
        modules = {name: module for name, module in sys.modules.items() if name.startswith("mnistcore.")}
        for _, module in sorted(modules.items()):
            code.update(Path(module.__file__).read_bytes())
        code.update(Path(__file__).read_bytes())
        everything = [
            seed, parameters, self.description, self._data_hash(), code.hexdigest(), np.__version__,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _checkpoint(seed: int) -> Path:
    return CHECKPOINTS / f"seed-{seed}.npz"


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _tell_epoch(epoch: Epoch) -> None:
    print(json.dumps(epoch), flush=True)


def _tell_progress(examples: int, note: str) -> None:
    print(json.dumps(examples), flush=True)


def train_side_by_side(seeds: list[int], workers: int, on_epoch: OnEpoch, on_progress: OnProgress) -> None:
    """Train each seed in a process of its own: as many at a time as there are workers, or all of them at
    once where the last few would otherwise leave workers idle (three seeds on two cores share them evenly).

    The processes tell their progress in lines of JSON: a number for examples worked, a list for an epoch.
    One whose reader is gone ends at its next line. Curves are those of the first seed.
    """
    at_once = len(seeds) if workers > 1 and len(seeds) < 2 * workers else min(workers, len(seeds))
    lock = threading.Lock()
    waiting, running, failures = list(seeds), {}, []

    def follow(seed: int, process: subprocess.Popen) -> None:
        for line in process.stdout:
            told = json.loads(line)
            with lock:
                if isinstance(told, list):
                    if seed == seeds[0]:
                        on_epoch(Epoch(*told))
                else:
                    on_progress(told, f"seed {seed}")
        if process.wait():
            failures.append(process.returncode)

    try:
        while (waiting or running) and not failures:
            while waiting and len(running) < at_once:
                seed = waiting.pop(0)
                process = subprocess.Popen(
                    [
                        sys.executable,
                        __file__,
                        "--seed",
                        str(seed),
                        "--workers",
                        str(max(1, workers // at_once)),
                    ],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                thread = threading.Thread(target=follow, args=(seed, process), daemon=True)
                running[seed] = process, thread
                thread.start()
            for seed, (_, thread) in list(running.items()):
                thread.join(0.05)
                if not thread.is_alive():
                    del running[seed]
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, thread in running.values():
            process.wait()
            thread.join()
    if failures:
        sys.exit(2)  # the process has said why


class Curves:
    """The learning curves, as DVCLive writes them while training goes on; use as a context manager."""

    def __init__(self, folder: Path, section: Train) -> None:
        self._folder, self._section = folder, section

    def __enter__(self) -> "Curves":
        from dvclive import Live  # slow to import

        with self._named():
            self._live = Live(dir=str(self._folder), save_dvc_exp=False, dvcyaml=None)
            self._live.log_params(self._section.model_dump(mode="json"))  # the report shows them
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        if kind is None:
            with self._named():
                self._live.end()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """A full disk does not say of which file."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self._folder)
            raise

    def log(self, epoch: Epoch) -> None:
        """Append an epoch's figures."""
        with self._named():
            self._live.step = epoch.number
            for name, value in {
                "train/loss": epoch.train_loss,
                "train/accuracy": epoch.train_accuracy,
                "validation/loss": epoch.validation_loss,
                "validation/accuracy": epoch.validation_accuracy,
                "learning_rate": epoch.learning_rate,
            }.items():
                if not math.isnan(value):
                    self._live.log_metric(name, value)
            self._live.make_summary()


if __name__ == "__main__":
    main(prog_name="train")
