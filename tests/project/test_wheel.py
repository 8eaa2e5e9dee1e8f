"""`pip install` of this project elsewhere gives the library: NumPy alone below it, no pipeline beside it."""

import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from mnistcore.network import model
from mnistcore.network.network import Dense, Network
from mnistcore.streams import stream

ROOT = Path(__file__).resolve().parents[2]
CPU_SECONDS = "import time; import {}; print(time.process_time())"


def names(built: Path) -> list[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_has_the_whole_library_and_nothing_else(built: Path) -> None:
    inside = {name for name in names(built) if ".dist-info/" not in name}
    assert {name for name in inside if not name.startswith("mnistcore/")} == set()
    assert "mnistcore/py.typed" in inside
    assert inside >= {
        str(path.relative_to(ROOT))
        for path in [*ROOT.glob("mnistcore/**/*.py"), *ROOT.glob("mnistcore/report/template/*")]
    }
    assert not any(name.endswith("entry_points.txt") for name in names(built))  # `predict` is the checkout's


def test_the_sdist_can_be_built_again(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert inside >= {"pyproject.toml", "setup.py", "README.md", "LICENSE", "mnistcore/py.typed"}
    assert inside >= {name for name in names(built) if name.startswith("mnistcore/")}


def test_a_network_loads_and_predicts_with_numpy_alone(numpy_alone: Path, tmp_path: Path) -> None:
    network = Network(16, [Dense(8, "relu"), Dense(3, "softmax")]).initialize(stream(0, "weights"))
    images = stream(1, "images").random((5, 16)).astype("float32")
    model.save(tmp_path / "model.npz", [0], [network])
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np; from mnistcore.network import model;"
        "print(model.load('model.npz')[1][0].predict(np.load('images.npy')).tolist());"
        "print(sorted({'pydantic', 'sklearn', 'dvc', 'click', 'matplotlib'} & sys.modules.keys()))"
    )
    said = run(numpy_alone, code, tmp_path)
    assert said == f"{network.predict(images).tolist()}\n[]\n"


def test_every_module_of_the_base_imports_with_numpy_alone(numpy_alone: Path, tmp_path: Path) -> None:
    rooms = ("network", "data", "training", "engine", "evaluation")
    modules = [name[:-3].replace("/", ".") for path in rooms for name in modules_of(path)]
    assert len(modules) > 20
    run(numpy_alone, f"import {', '.join(modules)}", tmp_path)


def test_importing_the_network_is_quick(numpy_alone: Path, tmp_path: Path) -> None:
    def best(module: str) -> float:
        return min(float(run(numpy_alone, CPU_SECONDS.format(module), tmp_path)) for _ in range(5))

    seconds = best("mnistcore.network.model")
    assert seconds < 0.2 or seconds < 1.5 * best("numpy")  # a busy machine takes longer for NumPy, too


def modules_of(room: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / "mnistcore" / room).glob("[a-z]*.py"))]


def run(python: Path, code: str, folder: Path) -> str:
    """What `code` prints, run in an empty folder and without this checkout."""
    done = subprocess.run([python, "-I", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
