"""Whatever a stage reads, damaged in every way: one line that names the file, and nothing else touched."""

import contextlib
import io
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import PARAMETERS, everything, line_of, works, write_tiny_raw

THREE = ("images.npy", "labels.npy", "targets.npy")
READS = {
    "preprocess": [
        *(f"data/raw/{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
        "data/raw/dataset.json",
    ],
    "batch": [
        "data/processed/dataset.json",
        "data/processed/normalizer.npz",
        *(f"data/processed/train/{name}" for name in THREE),
    ],
    "train": [
        "data/batches/batches.json",
        *(f"data/batches/{part}/{name}" for part in ("train", "validation") for name in THREE),
    ],
    "evaluate": [
        "data/processed/dataset.json",
        "models/model.npz",
        *(f"data/{part}/{name}" for part in ("processed/test", "batches/train", "batches/validation") for name in THREE),
    ],
    "plot": [
        "data/processed/dataset.json",
        "data/processed/normalizer.npz",
        *(f"data/processed/test/{name}" for name in THREE),
        "models/model.npz",
        "reports/metrics.json",
        "reports/predictions.csv",
        *(f"reports/curves/plots/metrics/{part}/{what}.tsv" for part in ("train", "validation") for what in ("loss", "accuracy")),
    ],
}  # fmt: skip
PAIRS = [(stage, name) for stage, names in READS.items() for name in names]
ARRAYS = [(stage, name) for stage, name in PAIRS if name.endswith(".npy")]


class Trap:
    """What leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple:
        return open, ("sprung", "w")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    with contextlib.chdir(folder):
        Path("params.yaml").write_text(PARAMETERS)
        write_tiny_raw()
        for stage in READS:
            works(stage)
    return folder


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def disguise_pickle(path: Path) -> None:
    trap = np.array([Trap()], dtype=object)
    if path.suffix == ".npy":
        np.save(path, trap, allow_pickle=True)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        np.savez(path, **dict.fromkeys(names, trap))
    else:
        path.write_bytes(pickle.dumps(Trap()))


def save_as(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        array = np.load(path, allow_pickle=False)
        np.save(path, change(array))

    return damage


def damages() -> list:
    every = [
        ("missing", remove, "not found; run …"),
        ("empty", empty, "…: not a .npy array, or a damaged one"),
        ("cut in half", halve, "…: truncated: … makes 2,432 bytes, it has 1,216"),
        ("other bytes of the same number", noise, "…: not a whole .npz file (…)"),
        ("a folder in its place", make_folder, "…: not a file; run …"),
        ("a pickle in disguise, which would leave a file behind if it were loaded", disguise_pickle,
         "…: holds pickled objects, which are never loaded"),
    ]  # fmt: skip
    arrays = [
        ("of another type", save_as(lambda array: array.astype("complex128")), "…: is complex128, and should be …"),
        ("of the other byte order", save_as(lambda array: array.astype("i2").astype(">i2")), "…: is >i2, and should be …"),
        ("without its last row", save_as(lambda array: array[:-1]), "…: has shape (35,), and should have (36)"),
        ("of one dimension more", save_as(lambda array: array[None]), "…: has shape (1, 36, 16), and should have (any, any)"),
        ("of one dimension less", save_as(lambda array: array[0]), "…: has shape (16,), and should have (any, any)"),
    ]  # fmt: skip
    return [
        pytest.param(
            *(pairs, damage),
            id=done.replace(" ", "-"),
            marks=pytest.mark.fault(
                "Between the stages",
                f"{what} {done}, each, for each stage",
                f"`…: {sees}`, or the like",
                times=len(pairs),
            ),
        )
        for pairs, what, rows in (
            (PAIRS, "a file that the stage reads:", every),
            (ARRAYS, "an array that the stage reads:", arrays),
        )
        for done, damage, sees in rows
    ]


@pytest.mark.parametrize(("pairs", "damage"), damages())
def test_a_damaged_file_is_named_in_one_line(done, tmp_path, monkeypatch, pairs, damage) -> None:
    folder = shutil.copytree(done, tmp_path / "work")
    monkeypatch.chdir(folder)
    wrong = []
    for stage, name in pairs:
        path = Path(name)
        whole = path.read_bytes()
        damage(path)
        before = everything()
        try:
            line = line_of(stage)
        except AssertionError as error:
            wrong.append(f"{stage} on {name}: {str(error)[:300]}")
        else:
            if str(path.parent) not in line:
                wrong.append(f"{stage} on {name}: {line}")
        if everything() != before:
            wrong.append(f"{stage} on {name}: touched something")
        if path.is_dir():
            path.rmdir()
        path.write_bytes(whole)
    assert not wrong, "\n".join(wrong)


def test_a_trap_would_spring(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.load(io.BytesIO(pickle.dumps(Trap()))).close()  # noqa: S301  what no stage may do
    assert Path("sprung").exists()
