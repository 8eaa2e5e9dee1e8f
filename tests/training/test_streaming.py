"""Training from files larger than memory would like."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnistcore.data import idx

SCRIPT = """
import mnistcore.reproducible
import sys
import numpy as np
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream
from mnistcore.training.run import train
from mnistcore.training.settings import Examples, Settings

images, labels = (np.load(sys.argv[1] + f"/{name}.npy", mmap_mode="r") for name in ("images", "labels"))
network = Network(784, [Dense(16, "relu"), Dense(10, "softmax")]).initialize(stream(0, "weights"))
train(network, Examples(images, labels), Settings(epochs=1, batch_size=128), workers=2)
# Not ru_maxrss, which a process inherits from the one that started it.
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak) * 1024)
"""


@pytest.mark.slow
def test_twenty_times_the_data_need_no_more_memory(tmp_path):
    """MNIST twenty times over, 1.2 million images, 3.8 GB, with at most 1.2 times the memory of MNIST."""
    raw = Path(__file__).parents[2] / "data" / "raw"
    if not (raw / "train-images-idx3-ubyte").is_file():
        pytest.skip("needs MNIST in data/raw: run `make repro` first")
    block = idx.read(raw / "train-images-idx3-ubyte").reshape(-1, 784).astype(np.float32) / np.float32(255)
    labels = idx.read(raw / "train-labels-idx1-ubyte")
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
        np.save(folder / "labels.npy", np.tile(labels, copies))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
        (folder / "images.npy").unlink()
    print(f"peak RSS {peaks[0] / 1e6:.0f} MB for 60,000 images, {peaks[1] / 1e6:.0f} MB for 1,200,000")
    assert peaks[1] <= 1.2 * peaks[0]
