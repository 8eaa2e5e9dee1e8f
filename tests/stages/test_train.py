"""The train stage as a user runs it: the same bits whatever the shell, the workers and the kills; clear lines."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mnistcore.data.batches import BatchesDescription, size_of, write_batches_description
from mnistcore.network import model

STAGE = Path(__file__).parents[2] / "stages" / "train.py"
SECTION = """\
train:
  seeds: [0]
  precision: float32
  layers:
    - {units: 96, activation: relu, drop_rate: 0.3}
    - {units: 64, activation: tanh}
    - {units: 10, activation: softmax, weights: {name: glorot}}
  loss: cross-entropy
  epochs: 6
  optimizer: {name: adam, learning_rate: 0.002}
  schedule: {name: cosine, warmup_epochs: 1}
  averaging: {decay: 0.9, steps: 3}
  shards: 2
  checkpoint_seconds: 0
"""


def make(folder: Path, section: str = SECTION, dtype: str = "float32") -> Path:
    """A folder with 1,000 + 50 examples of ten blurred classes in data/batches."""
    rng = np.random.default_rng(0)
    centres = rng.random((10, 784))
    sizes = {"train": 1000, "validation": 50}
    for part, count in sizes.items():
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = (0.6 * centres[labels] + 0.4 * rng.random((count, 784))).astype(dtype)
        path = folder / "data/batches" / part
        path.mkdir(parents=True)
        np.save(path / "images.npy", images)
        np.save(path / "labels.npy", labels)
        np.save(path / "targets.npy", np.eye(10, dtype=dtype)[labels])
    whole = size_of(1000, 100, "keep"), size_of(50, 100, "keep")
    write_batches_description(
        folder / "data/batches/batches.json", BatchesDescription(100, "keep", 784, 10, (28, 28), *whole)
    )
    (folder / "params.yaml").write_text(section)
    return folder


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, STAGE, *arguments], cwd=folder, env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    process = start(folder, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def digest(folder: Path) -> str:
    """One hash of the model and of all curves."""
    result = hashlib.sha256((folder / "models/model.npz").read_bytes())
    for path in sorted(folder.glob("reports/curves/**/*.*")):
        result.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return result.hexdigest()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The digest of a run left in peace, with one worker."""
    folder = make(tmp_path_factory.mktemp("alone"))
    done = run(folder, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert not (folder / "checkpoints").exists()
    return digest(folder)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--workers", "2"], {"OPENBLAS_NUM_THREADS": "8", "OMP_NUM_THREADS": "8"}),
        (["--workers", "4"], {"OPENBLAS_CORETYPE": "SkylakeX"}),
        ([], {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3"}),
        (["--workers", "1"], {"GOTO_NUM_THREADS": "3", "NPY_DISABLE_CPU_FEATURES": ""}),
    ],
)
def test_same_bits_for_any_workers_and_whatever_the_shell_sets(alone, tmp_path, arguments, environment):
    done = run(make(tmp_path), *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path) == alone


@pytest.mark.fault(
    "Killed",
    "training alone killed (SIGKILL) after a checkpoint, up to three times",
    "`train: seed 0 continues from its checkpoint, at epoch …, step …`, and the same bits in the end",
)
def test_a_run_killed_again_and_again_ends_with_the_same_bits(alone, tmp_path):
    make(tmp_path)
    checkpoint = tmp_path / "checkpoints/seed-0.npz"
    kills = 0
    for _ in range(3):
        process = start(tmp_path)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                process.kill()
                break
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert kills, "no run lived long enough to be killed"
    assert digest(tmp_path) == alone
    assert "continues from its checkpoint" in done.stderr
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.fault(
    "Killed",
    "a checkpoint of other parameters, data or code",
    "`train: checkpoints/seed-0.npz is of other parameters, data or code: not used`",
)
def test_a_checkpoint_of_other_parameters_or_data_is_not_used(alone, tmp_path):
    make(tmp_path, SECTION.replace("learning_rate: 0.002", "learning_rate: 0.003"))
    process = start(tmp_path)
    checkpoint = tmp_path / "checkpoints/seed-0.npz"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert checkpoint.exists()
    (tmp_path / "params.yaml").write_text(SECTION)
    done = run(tmp_path)
    assert "checkpoints/seed-0.npz is of other parameters, data or code: not used" in done.stderr
    assert digest(tmp_path) == alone


def test_seeds_are_trained_side_by_side_to_the_bits_of_each_alone(alone, tmp_path):
    folder = make(tmp_path, SECTION.replace("[0]", "[0, 7]"))
    done = run(folder, "--workers", "2")
    assert done.returncode == 0, done.stderr
    seeds, networks = model.load(folder / "models/model.npz")
    assert seeds == [0, 7]
    single = make(tmp_path / "single")
    assert run(single).returncode == 0
    assert np.array_equal(networks[0].parameters, model.load(single / "models/model.npz")[1][0].parameters)
    assert not np.array_equal(networks[0].parameters, networks[1].parameters)
    assert len((folder / "reports/curves/plots/metrics/train/loss.tsv").read_text().splitlines()) == 7


@pytest.mark.fault(
    "Killed",
    "SIGINT or SIGTERM while several seeds are trained side by side",
    "`train: …; run it again to continue`, exit status 130 or 143; all its processes have ended",
)
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_stage_and_its_processes_with_one_line(tmp_path, signum, status):
    folder = make(tmp_path, SECTION.replace("[0]", "[0, 7]").replace("epochs: 6", "epochs: 2000"))
    process = start(folder, "--workers", "2")
    while process.poll() is None and len(list(folder.glob("checkpoints/seed-*.npz"))) < 2:
        time.sleep(0.01)
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in err
    assert "run it again to continue" in err.splitlines()[-1]
    times = {path: path.stat().st_mtime_ns for path in folder.glob("checkpoints/*")}
    time.sleep(0.3)
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("checkpoints/*")}
    assert not (folder / "models").exists()


@pytest.mark.fault(
    "Killed",
    "training of several seeds killed (SIGKILL)",
    "nothing; its processes end by themselves",
)
def test_processes_of_a_killed_stage_end_by_themselves(tmp_path):
    folder = make(tmp_path, SECTION.replace("[0]", "[0, 7]").replace("epochs: 6", "epochs: 100000"))
    process = start(folder, "--workers", "2")
    while process.poll() is None and len(list(folder.glob("checkpoints/seed-*.npz"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    newest = None
    while time.monotonic() < deadline:
        now = {path: path.stat().st_mtime_ns for path in folder.glob("checkpoints/seed-*")}
        if now == newest:
            return
        newest = now
        time.sleep(0.5)
    pytest.fail("checkpoints are still written")


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to tell the processes of a process")
@pytest.mark.fault(
    "Killed",
    "one of the processes that train several seeds killed",
    "`train: seed …: its process was ended by SIGKILL; run it again to continue`; the others have ended, too",
)
def test_the_killed_process_of_a_seed_is_told(tmp_path):
    folder = make(tmp_path, SECTION.replace("[0]", "[0, 7]").replace("epochs: 6", "epochs: 100000"))
    process = start(folder, "--workers", "2")
    while process.poll() is None and len(list(folder.glob("checkpoints/seed-*.npz"))) < 2:
        time.sleep(0.01)
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    os.kill(children[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    line = err.splitlines()[-1]
    assert line in [
        f"train: seed {seed}: its process was ended by SIGKILL; run it again to continue" for seed in (0, 7)
    ]
    assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a network is trained by one process")
@pytest.mark.fault(
    "Killed",
    "one of the processes that train a network killed, as by a system short of memory",
    "`train: training: a worker ended: status -9; the system may have run out of memory`; the next run continues",
)
def test_a_killed_worker_is_told_and_the_next_run_continues(alone, tmp_path):
    folder = make(tmp_path)
    process = start(folder, "--workers", "2")
    while process.poll() is None and not (folder / "checkpoints/seed-0.npz").exists():
        time.sleep(0.001)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err.splitlines()[-1] == (
        "train: training: a worker ended: status -9; the system may have run out of memory"
    )
    done = run(folder, "--workers", "2")
    assert "continues from its checkpoint" in done.stderr
    assert digest(folder) == alone


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("learning_rate: 0.002", "learning_rate: 1.0e+30"), "the loss became"),
        (("drop_rate: 0.3", "drop_rats: 0.3"), "did you mean 'drop_rate'?"),
        (("units: 10", "units: 9"), "the data have 10 classes"),
        (("precision: float32", "precision: float64"), "make it the same as preprocess.dtype"),
        (("activation: tanh", "activation: softmax"), "softmax is for the output layer"),
        (("[0]", "[1, 1]"), "names a seed twice"),
        (("{name: adam, ", "{"), "train.optimizer"),
        (("epochs: 6", "epochs: 0"), "train.epochs"),
    ],
)
def test_what_cannot_be_trained_ends_with_one_line_and_status_2(tmp_path, change, line):
    done = run(make(tmp_path, SECTION.replace(*change)))
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists()
    if "the loss became" in line:
        assert "epoch" in done.stderr and "step" in done.stderr and "learning rate" in done.stderr


def test_curves_hold_what_training_saw(alone, tmp_path):
    assert run(make(tmp_path)).returncode == 0
    metrics = json.loads((tmp_path / "reports/curves/metrics.json").read_text())
    header, *rows = (tmp_path / "reports/curves/plots/metrics/train/loss.tsv").read_text().splitlines()
    assert header.split("\t") == ["step", "loss"]
    assert [row.split("\t")[0] for row in rows] == [str(epoch) for epoch in range(1, 7)]
    assert float(rows[-1].split("\t")[1]) == metrics["train"]["loss"]
    assert metrics["validation"]["accuracy"] > 0.9
