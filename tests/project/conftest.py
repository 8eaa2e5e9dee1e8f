"""The library as others install it: a wheel, in an environment that has what it asks for and nothing else."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_wheel(out), b.build_sdist(out)"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a copy, so that nothing is left in the checkout."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    without = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("mnistcore", "commands", "stages"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=without)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=copy, check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def numpy_alone(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and what it requires."""
    return _environment(built, tmp_path_factory.mktemp("numpy-alone"))


@pytest.fixture(scope="session")
def with_sklearn(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and its extra `sklearn-api`."""
    return _environment(built, tmp_path_factory.mktemp("with-sklearn"), "sklearn-api")


def _environment(built: Path, home: Path, extra: str = "") -> Path:
    venv.create(home, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # all that installing a wheel of pure Python is; pip takes seconds to begin
    (metadata,) = site.glob("mnistcore-*.dist-info/METADATA")
    for line in metadata.read_text(encoding="utf-8").split("\n\n")[0].splitlines():
        if line.startswith("Requires-Dist: "):
            _link(line.removeprefix("Requires-Dist: "), site, extra)
    return home / "bin" / "python"


def _link(requirement: str, site: Path, extra: str = "") -> None:
    """Link an installed distribution, and what it requires, into another environment."""
    wanted, _, marker = requirement.partition(";")
    if marker and not (extra and f'extra == "{extra}"' in marker):
        return
    installed = distribution(re.match(r"[\w.-]+", wanted)[0])
    for top in {Path(file).parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(installed.locate_file(top))
    for further in installed.requires or ():
        _link(further, site)
