"""How the work of a step is divided: which part of it is whose. Whole numbers only, no arrays.

A step has three phases (`mnistcore.engine.stepper` says what is done in them). The
first and the third are cut into shards, the second into parts, and the third into
parameter blocks. The numbers of them depend on the network and the batch, never on
how many workers share them: so the bits do not depend on the workers either.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mnistcore.network.network import Layer, Network

# A batch is not cut so far that a shard, or a part, would have fewer of its multiplications than this: the calls and
# the barriers would cost more than is saved. Phase 2 has more calls for its work.
# Gains 4 % on 784-40-10, 10: python -m benchmarks.tricks uncut-small-batches
SMALLEST_SHARD, SMALLEST_PART = 1 << 17, 1 << 20
SMALLEST_CUT = 1 << 12  # weights; of a smaller matrix one shard forms the gradient
# Elements of a parameter block: few enough that its gradient is used while still in the cache. Networks with more
# than LARGE parameters have the memory for larger blocks, which make their products a little faster. Both gain little
# on these rows; they stay because committed models hang on how a product is cut.
# Gains 2 % on 784-1000-500-10, 128: python -m benchmarks.tricks blocks
# Gains 2 % on 784-1000-500-10, 128: python -m benchmarks.tricks larger-blocks
BLOCK, LARGE_BLOCK, LARGE = 40 << 10, 128 << 10, 1 << 20


class ParameterBlock(NamedTuple):
    """Some rows of one layer's weights, its biases, or both: one piece of the flat vector.

    layer, shard : whose parameters they are, and which shard works on them
    rows : which rows of the layer's weights
    start, biases, end : where in the flat vector these rows begin, where the biases begin, and where the block
        ends; start = biases if it has no weights, biases = end if it has no biases
    """

    layer: int
    shard: int
    rows: slice
    start: int
    biases: int
    end: int


class Division:
    """The shares of a step with batches of up to `batch_size` examples.

    Parameters
    ----------
    shards : into how many shards, or parts, a phase may be cut at most

    Attributes
    ----------
    shards, parts : into how many phases 1 and 3 are cut, and into how many phase 2
    largest_part : examples of a part, at most
    columns : for each shard, which columns of the images are its own in phase 1
    blocks : for each shard, the parameter blocks that it works on in phase 3, in order
    """

    def __init__(self, network: Network, batch_size: int, shards: int = 1) -> None:
        self.batch_size = batch_size
        multiplications = batch_size * len(network.parameters)
        self.shards = max(1, min(shards, multiplications // SMALLEST_SHARD))
        self.parts = max(1, min(shards, multiplications // SMALLEST_PART))
        self.largest_part = -(-batch_size // self.parts)
        # Gains 109 % on 784-100-100-10, 100: python -m benchmarks.tricks first-layer-by-columns
        self.columns = evenly(network.features, self.shards)
        blocks = list(self._blocks(network))
        self.blocks = [[block for block in blocks if block.shard == shard] for shard in range(self.shards)]

    def _blocks(self, network: Network) -> Iterator[ParameterBlock]:
        size = BLOCK if len(network.parameters) < LARGE else LARGE_BLOCK
        for k, layer in enumerate(network.layers):
            if not layer.weights_train:
                if layer.biases_train:  # the last shard's, as if they followed its rows of the weights
                    yield _block(k, layer, self.shards - 1, slice(layer.fan_in, layer.fan_in), True)
                continue
            # The first matrix goes by the columns of the images; a small one is the first shard's.
            shards = self.shards if k == 0 or layer.weights.size >= SMALLEST_CUT else 1
            height = max(1, size // layer.units)
            for shard, own in enumerate(evenly(layer.fan_in, shards)):
                for top in range(own.start, own.stop, height):
                    rows = slice(top, min(top + height, own.stop))
                    yield _block(k, layer, shard, rows, layer.biases_train and rows.stop == layer.fan_in)


def _block(k: int, layer: Layer, shard: int, rows: slice, with_biases: bool) -> ParameterBlock:
    start, biases = (layer.start + row * layer.units for row in (rows.start, rows.stop))
    return ParameterBlock(k, shard, rows, start, biases, biases + layer.units * with_biases)


def evenly(count: int, parts: int) -> list[slice]:
    """The numbers below `count` in so many parts, as even as can be; where `count` is smaller, some are empty."""
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
