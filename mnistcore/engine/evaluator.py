"""A network's loss and accuracy over a whole data set, worked by a team."""

import numpy as np

from mnistcore.engine import passes, shared_memory
from mnistcore.engine.division import Division
from mnistcore.engine.team import Team
from mnistcore.engine.windows import Window
from mnistcore.engine.workspace import Workspace
from mnistcore.network.network import Network

CHUNK = 512  # examples at a time


class Evaluator:
    """Evaluates networks as they predict, without dropout.

    shards : into how many sums the losses are divided; the bits depend on it
    """

    def __init__(self, team: Team, shards: int) -> None:
        self._team, self._shards = team, shards
        self._sums = shared_memory.zeros((shards, 2), np.float64)

    def evaluate(self, network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Mean loss and accuracy over images (N, features) with labels (N,); every worker of the team calls it."""
        count = images.shape[0]
        size = min(count, CHUNK)
        division, window = Division(network, size), Window(images)
        workspace = Workspace(network, division, training=False)
        for shard in self._team.own(self._shards):
            self._sums[shard] = 0
            for start in range(shard * size, count, self._shards * size):
                end = min(start + size, count)
                batch, part = workspace.batch(end - start), workspace.part(slice(0, end - start))
                workspace.load_labels(labels[start:end])
                window.copy(slice(start, end), batch.inputs[0])
                for call in passes.first_layer(network, division.columns, batch) + passes.forward(
                    network, part
                ):
                    call()
                losses, correct = passes.losses_and_correct(network, workspace.outputs(end - start))
                self._sums[shard] += losses.sum(dtype=np.float64), correct.sum()
        self._team.barrier()
        loss, right = self._sums.sum(axis=0).tolist()
        self._team.barrier()  # until all have read the sums
        return loss / count, right / count
