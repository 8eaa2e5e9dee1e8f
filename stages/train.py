"""Stage 4 of the pipeline: the network, trained, and its learning curves."""

import mnistcore.reproducible  # noqa: F401  (before NumPy)

import os
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import click
import numpy as np
from pydantic import Field

from mnistcore import initializers, model, optimizers, schedules, stopping, training
from mnistcore.augment import Augmentation, Augmenter
from mnistcore.batches import open_batches
from mnistcore.errors import InputError
from mnistcore.network import Dense, Network
from mnistcore.streams import stream
from stages.stage import Progress, Section, Stage, read_section, summarize

BATCHES = Path("data/batches")
MODEL = Path("models/model.npz")
CURVES = Path("reports/curves")

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


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
    units: Count
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
    factors: list[Annotated[float, Field(ge=0)]]
    stands_for = schedules.Steps


class Cosine(Named):
    name: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    final: Annotated[float, Field(ge=0)] = 0.0
    stands_for = schedules.Cosine


class LossBands(Named):
    name: Literal["loss-bands"]
    losses: Annotated[list[Positive], Field(min_length=1)]
    factors: list[Annotated[float, Field(ge=0)]]
    stands_for = schedules.LossBands


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
    rotation_degrees: Annotated[float, Field(ge=0)] = 0.0
    scale: Rate = 0.0
    shear: Annotated[float, Field(ge=0)] = 0.0
    translation_pixels: Annotated[float, Field(ge=0)] = 0.0
    elastic_pixels: Annotated[float, Field(ge=0)] = 0.0
    elastic_smoothness: Positive = 4.0


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
    shards: Count = 2
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 5.0

    def settings(self, batch_size: int, remainder: str, image_shape: tuple[int, int]) -> training.Settings:
        return training.Settings(
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
            averaging=self.averaging and training.Averaging(**dict(self.averaging)),
            augmenter=self.augmentation
            and (lambda: Augmenter(Augmentation(**dict(self.augmentation)), image_shape, self.precision)),
            shards=self.shards,
        )


@click.command("train", cls=Stage)
@click.option("--workers", type=click.IntRange(min=1), help="Threads; the cores available, if not given.")
def main(workers: int | None) -> None:
    """Train the network on data/batches.

    \b
    Writes models/model.npz   the trained parameters, one network per seed
           reports/curves     loss and accuracy after each epoch, by DVCLive

    The number of workers changes the time, never the result.
    """
    started = time.monotonic()
    section = read_section("train", Train)
    description, train, validation = open_batches(BATCHES)
    layers = [layer.build() for layer in section.layers]
    try:
        network = Network(description.features, layers, section.loss, section.precision)
    except InputError as error:
        raise InputError(f"params.yaml: train: {error}") from None
    if layers[-1].units != description.classes:
        raise InputError(
            f"params.yaml: train.layers.{len(layers) - 1}.units: {layers[-1].units}, but the data have "
            f"{description.classes} classes"
        )
    if train.images.dtype != section.precision:
        raise InputError(
            f"params.yaml: train.precision: {section.precision}, but the images in {BATCHES} are "
            f"{train.images.dtype}; make it the same as preprocess.dtype"
        )
    settings = section.settings(description.batch_size, description.remainder, description.image_shape)
    workers = workers or len(os.sched_getaffinity(0))
    networks = []
    total = description.train.examples * section.epochs * len(section.seeds)
    live = _live()
    live.log_params(section.model_dump(mode="json"))  # the report shows them
    with Progress("train", total, "examples") as progress:
        for seed in section.seeds:
            network = Network(description.features, layers, section.loss, section.precision)
            network.initialize(
                np.random.RandomState(seed) if section.generator == "legacy" else stream(seed, "weights")
            )
            training.train(
                network,
                training.Examples(train.images, train.labels),
                settings,
                validation=training.Examples(validation.images, validation.labels),
                seed=seed,
                workers=workers,
                on_progress=progress.update,
                on_epoch=(lambda epoch: _log(live, epoch)) if seed == section.seeds[0] else lambda epoch: None,
            )
            networks.append(network)
    live.end()
    model.save(MODEL, section.seeds, networks)
    summarize("train", f"{MODEL}: {networks[0]}", started)


def _live():
    from dvclive import Live

    return Live(dir=str(CURVES), save_dvc_exp=False, dvcyaml=None)


def _log(live, epoch) -> None:
    live.step = epoch.number
    live.log_metric("train/loss", epoch.train_loss, timestamp=False)
    live.log_metric("train/accuracy", epoch.train_accuracy, timestamp=False)
    if not np.isnan(epoch.validation_loss):
        live.log_metric("validation/loss", epoch.validation_loss, timestamp=False)
        live.log_metric("validation/accuracy", epoch.validation_accuracy, timestamp=False)
    live.log_metric("learning_rate", epoch.learning_rate, timestamp=False)
    live.make_summary()


if __name__ == "__main__":
    main(prog_name="train")
