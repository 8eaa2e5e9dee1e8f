"""The division of a step's work: everything is somebody's, and nothing is two's."""

import numpy as np
import pytest

from mnistcore.engine import division
from mnistcore.engine.division import Division, evenly
from mnistcore.network.network import Dense, Network


@pytest.mark.parametrize("count", [0, 1, 2, 7, 784])
@pytest.mark.parametrize("parts", [1, 2, 3, 64])
def test_evenly_leaves_nothing_out_and_is_even(count, parts):
    slices = evenly(count, parts)
    assert [n for s in slices for n in range(s.start, s.stop)] == list(range(count))
    lengths = [s.stop - s.start for s in slices]
    assert len(lengths) == parts and max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("block", [1, 30, 1 << 20])
@pytest.mark.parametrize("frozen", [(), ("weights",), ("biases",), ("weights", "biases")])
def test_the_blocks_are_the_parameters_that_train_each_once(shards, block, frozen, monkeypatch):
    for name, value in {"SMALLEST_SHARD": 1, "SMALLEST_CUT": 40, "BLOCK": block}.items():
        monkeypatch.setattr(division, name, value)
    network = Network(13, [Dense(7), Dense(5, bias=False, frozen=frozen), Dense(3, "softmax", frozen=frozen)])
    cut = Division(network, 10, shards)
    assert cut.shards == shards and len(cut.blocks) == shards
    covered = np.zeros(len(network.parameters), int)
    for shard, blocks in enumerate(cut.blocks):
        for one in blocks:
            layer = network.layers[one.layer]
            assert one.shard == shard
            assert one.start == layer.start + one.rows.start * layer.units
            assert one.biases - one.start == (one.rows.stop - one.rows.start) * layer.units
            assert one.end - one.biases in (0, layer.units)
            if one.layer == 0:  # the first matrix goes by the columns of the images
                columns = cut.columns[shard]
                assert columns.start <= one.rows.start <= one.rows.stop <= columns.stop
            elif one.layer == 2:
                assert shard == (shards - 1 if "weights" in frozen else 0)  # 15 weights are not cut
            covered[one.start : one.end] += 1
    trains = np.ones(len(network.parameters), int)
    for layer in network.layers[1:]:
        end = layer.start + layer.weights.size
        trains[layer.start : end] = "weights" not in frozen
        if layer.biases is not None:
            trains[end : end + layer.units] = "biases" not in frozen
    assert np.array_equal(covered, trains)


def test_small_batches_are_not_cut():
    network = Network(784, [Dense(40), Dense(10, "softmax")])
    assert [Division(network, size, 3).shards for size in (1, 8, 9, 100)] == [1, 1, 2, 3]
    assert [Division(network, size, 3).parts for size in (1, 32, 66, 100)] == [1, 1, 2, 3]
    assert Division(network, 100, 3).largest_part == 34
