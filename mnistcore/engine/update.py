"""Phase 3 of a step: from inputs and deltas to the gradient of each parameter block, and what it does to it."""

import math
from functools import partial
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from mnistcore.engine import passes, shared_memory
from mnistcore.engine.division import Division, ParameterBlock
from mnistcore.engine.passes import Call
from mnistcore.engine.workspace import Batch, Workspace
from mnistcore.network.network import Network


class UpdateRule(Protocol):
    """How a gradient moves the parameters: what the engine asks of an optimiser.

    slots : how many arrays like the parameters it remembers between steps
    rate_folded : whether `update` expects the gradient already multiplied by the learning rate,
        which costs nothing when done on the (batch, classes) deltas of the outputs
    uses_scratch : whether `update` needs room for one more array like the gradient
    """

    slots: ClassVar[int]
    rate_folded: ClassVar[bool]
    uses_scratch: ClassVar[bool]

    def update(
        self, p: np.ndarray, g: np.ndarray, slots: np.ndarray, scratch: np.ndarray, rate: float, step: int
    ) -> None:
        """Move p (n,) by its gradient g (n,), which may be overwritten; slots is (slots, n), scratch (n,).

        `rate` is the learning rate of this step, the `step`-th of the run, from 1.
        """


class Descent(NamedTuple):
    """How a step descends: the gradient it takes, and the rule by which that moves the parameters.

    l2 : adds ½ · l2 · Σ weights² (not biases) to the loss
    reduction : whether it is the gradient of the "mean" or of the "sum" of the examples' losses
    clip_norm : the largest norm that the gradient may have; a longer one is shortened to it
    weighted : whether each example's loss has a weight; the mean is then a weighted one
    l2_reduced : whether the l2 term is one more of the sum that `reduction` reduces, rather than beside the mean
    """

    rule: UpdateRule
    l2: float
    reduction: Literal["mean", "sum"] = "mean"
    clip_norm: float | None = None
    weighted: bool = False
    l2_reduced: bool = False


class ParameterUpdate:
    """Forms the gradients of a division's parameter blocks, and updates the parameters by them.

    Without clipping a block is updated as soon as its gradient is formed, while that is still in the cache.
    Clipping needs the norm of the whole gradient first.

    Attributes
    ----------
    slots : (slots, P) what the rule remembers
    steps : steps done in the run, with the current one
    scale : () what the deltas of the outputs are multiplied with in this step; (batch, 1) if it is weighted
    """

    def __init__(self, network: Network, division: Division, workspace: Workspace, descent: Descent) -> None:
        self._network, self._division, self._workspace, self._descent = network, division, workspace, descent
        rule, dtype = descent.rule, network.parameters.dtype
        self.slots = shared_memory.zeros((rule.slots, len(network.parameters)), dtype)
        self.steps, self._rate, self._folded = 0, 0.0, 1.0
        self.scale = np.ones((division.batch_size, 1) if descent.weighted else (), dtype)
        self._decay = np.zeros((), dtype)
        longest = max((block.end - block.start for shard in division.blocks for block in shard), default=0)
        self._scratch = np.empty(longest if descent.l2 or rule.uses_scratch else 0, dtype)
        self._squares = shared_memory.zeros((division.shards,), np.float64)

    def begin(self, rate: float, examples: int, weights: np.ndarray | None = None) -> None:
        """Begin a step of so many examples, with their weights (examples,) if it is weighted, at this learning rate."""
        self.steps += 1
        self._rate = rate
        # A rule that only multiplies by the learning rate finds it in the gradient already: the deltas of the outputs
        # are the smallest array that every gradient is proportional to.
        # Gains 9 % on 784-40-10, 10: python -m benchmarks.tricks folded-learning-rate
        self._folded = rate if self._descent.rule.rate_folded else 1.0
        total = 1.0
        if self._descent.reduction == "mean":
            total = examples if weights is None else float(weights.sum()) or math.nan  # no mean of no weight
        if weights is None:
            self.scale[()] = self._folded / total
        else:
            np.multiply(weights[:, None], self._folded / total, out=self.scale[:examples])
        self._decay[()] = self._descent.l2 * self._folded
        if self._descent.l2_reduced:
            self._decay /= total

    def prepare(self, batch: Batch) -> list[list[Call]]:
        """For each shard, the calls that form its gradients and, without clipping, update by them."""
        return [
            [call for block in blocks for call in self._work(block, batch)]
            for blocks in self._division.blocks
        ]

    def _work(self, block: ParameterBlock, batch: Batch) -> list[Call]:
        delta, gradient = batch.deltas[block.layer], self._workspace.gradient(block)
        if block.layer:
            inputs = batch.outputs[block.layer - 1][:, block.rows]
        else:  # the shard has its own columns of the images alone
            first = self._division.columns[block.shard].start
            inputs = batch.inputs[block.shard][:, block.rows.start - first : block.rows.stop - first]
        calls = passes.gradient(block, inputs, delta, gradient)
        count = block.biases - block.start
        if self._descent.l2 and count:
            weights, decay = self._network.parameters[block.start : block.biases], self._scratch[:count]
            calls.append(partial(np.multiply, weights, self._decay, decay))
            calls.append(partial(np.add, gradient[:count], decay, gradient[:count]))
        if self._descent.clip_norm is None:
            calls.append(self._update(block))
        return calls

    def _update(self, block: ParameterBlock) -> Call:
        own = slice(block.start, block.end)
        scratch = self._scratch[: block.end - block.start]
        p, g, slots = self._network.parameters[own], self._workspace.gradient(block), self.slots[:, own]
        return partial(self._apply, p, g, slots, scratch)

    def _apply(self, p: np.ndarray, g: np.ndarray, slots: np.ndarray, scratch: np.ndarray) -> None:
        self._descent.rule.update(p, g, slots, scratch, self._rate, self.steps)

    def clip(self, own: range, barrier: Call) -> None:
        """Shorten the gradient of these shards as far as its norm over all shards asks for, and update by it."""
        if self._descent.clip_norm is None:
            return
        for shard in own:
            gradients = [self._workspace.gradient(block) for block in self._division.blocks[shard]]
            self._squares[shard] = sum(float(np.dot(g, g)) for g in gradients)
        barrier()
        norm = math.sqrt(self._squares.sum()) / self._folded if self._folded else 0.0
        for shard in own:
            for block in self._division.blocks[shard]:
                if norm > self._descent.clip_norm:
                    g = self._workspace.gradient(block)
                    np.multiply(g, self._descent.clip_norm / norm, out=g)
                self._update(block)()
