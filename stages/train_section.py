"""The section `train` of params.yaml: the core's own dataclasses, and what is the stage's."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

import numpy as np

from mnistcore.arguments import ArgumentError, AtLeast, Checked, NotNegative, OneOf, Precision, Whole, check
from mnistcore.data.batches import BatchesDescription, Remainder
from mnistcore.network.losses import LOSSES
from mnistcore.network.network import Dense, Network
from mnistcore.streams import LegacySeed, legacy_stream, stream
from mnistcore.training.augmentation import Augmentation, Augmenter
from mnistcore.training.settings import Settings
from mnistcore.training.stopping import Patience
from stages.paths import BATCHES
from stages.schema import Inline

# What the data say themselves is no key of the section; what alters the images is made of `augmentation`.
ELSEWHERE = {"batch_size": None, "remainder": None, "augmenter": "augmentation"}


@dataclass(frozen=True, kw_only=True)
class Train(Checked):
    """Section `train`, field by field: the network, how to train it, and what is the stage's own."""

    seeds: Annotated[tuple[Whole, ...], AtLeast(1)]
    generator: Literal["modern", "legacy"] = "modern"
    precision: Precision
    layers: Annotated[tuple[Dense, ...], AtLeast(1)]
    loss: Annotated[str, OneOf(LOSSES)]
    how: Annotated[Settings, Inline(ELSEWHERE)]
    augmentation: Augmentation | None = None
    checkpoint_seconds: NotNegative = 5.0

    # What a file has to say although the core has a default for it.
    written = frozenset(
        ["epochs", "optimizer", "learning_rate", "momentum", "weight_decay", "low", "high", "deviation"]
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.seeds)) < len(self.seeds):
            raise ArgumentError("Train", ("seeds",), "names a seed twice")
        if self.generator == "legacy":
            check(tuple[LegacySeed, ...], self.seeds, "Train", "seeds")

    def check_fit(self, data: BatchesDescription, dtype: str) -> None:
        """Refuse what does not go with the data, whose images are of that dtype.

        Raises
        ------
        ArgumentError : names the key
        """
        if dtype != self.precision:
            problem = f"{self.precision}, but the images in {BATCHES} are {dtype}; make it the same as preprocess.dtype"
            raise ArgumentError("Train", ("precision",), problem)
        last = len(self.layers) - 1
        if self.layers[last].units != data.classes:
            problem = f"{self.layers[last].units}, but the data have {data.classes} classes"
            raise ArgumentError("Train", ("layers", last, "units"), problem)
        if isinstance(self.how.stopping, Patience) and not data.validation.examples:
            problem = "patience goes by the validation loss; set batch.validation_examples"
            raise ArgumentError("Train", ("stopping",), problem)

    def for_images(self, image_shape: tuple[int, int]) -> "Train":
        """The section with nothing left open that follows the images."""
        if self.augmentation is None:
            return self
        return replace(self, augmentation=self.augmentation.for_images(image_shape))

    def network(self, features: int) -> Network:
        """A network as the section describes it, not initialised yet."""
        return Network(features, self.layers, self.loss, self.precision)

    def initialized(self, features: int, seed: int) -> Network:
        """The network with the weights that the seed draws."""
        generator = legacy_stream(seed) if self.generator == "legacy" else stream(seed, "weights")
        with np.errstate(all="ignore"):  # values beyond float32 are told by the loss they lead to
            return self.network(features).initialize(generator)

    def settings(self, batch_size: int, remainder: Remainder, image_shape: tuple[int, int]) -> Settings:
        """How to train it on batches of images of that shape."""
        augmentation = self.augmentation
        augmenter = partial(Augmenter, augmentation, image_shape, self.precision) if augmentation else None
        return replace(self.how, batch_size=batch_size, remainder=remainder, augmenter=augmenter)
