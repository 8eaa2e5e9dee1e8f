"""Training from files larger than memory would like."""

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import mnistcore.reproducible
import resource, sys
import numpy as np
from mnistcore.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training import Examples, Settings, train

images, labels = (np.load(sys.argv[1] + f"/{name}.npy", mmap_mode="r") for name in ("images", "labels"))
network = Network(784, [Dense(16, "relu"), Dense(10, "softmax")]).initialize(stream(0, "weights"))
train(network, Examples(images, labels), Settings(epochs=1, batch_size=128), workers=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_twenty_times_the_data_need_no_more_memory(tmp_path):
    """1.2 million images, 3.8 GB, in a new order, with at most 1.2 times the memory of 60,000."""
    rng = np.random.default_rng(0)
    block = rng.integers(0, 256, (60_000, 784), np.uint8).astype(np.float32) / np.float32(255)
    peaks = []
    for copies in (1, 20):
        folder = tmp_path / str(copies)
        folder.mkdir()
        shape = (copies * len(block), 784)
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.float32, shape)
        for copy in range(copies):
            images[copy * len(block) : (copy + 1) * len(block)] = block
        images.flush()
        del images
        np.save(folder / "labels.npy", rng.integers(0, 10, len(block) * copies).astype(np.uint8))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
        (folder / "images.npy").unlink()
    print(f"peak RSS {peaks[0] / 1e6:.0f} MB for 60,000 images, {peaks[1] / 1e6:.0f} MB for 1,200,000")
    assert peaks[1] <= 1.2 * peaks[0]
