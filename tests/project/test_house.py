"""Which room may use which: the arrows of CONTRIBUTING.md, read from the imports of every module."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "mnistcore"

GROUND = {"arguments", "arrays", "errors", "files", "reproducible", "streams"}
# What a room may use beside itself and the ground floor.
MAY_USE = {
    "textbook": set(),
    "network": set(),
    "data": set(),
    "evaluation": set(),
    "engine": {"network"},
    "training": {"network", "engine"},
    "report": {"network", "data", "evaluation", "textbook"},
    "interop": {"network", "engine", "training", "data", "evaluation"},
}
NEVER = {"click", "dvc", "dvclive", "pydantic", "ruamel", "yaml", "stages", "commands", "recipes"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(CORE.rglob("*.py"))
    if path.name != "__init__.py"
}


@cache
def imported(path: Path) -> set[str]:
    """The modules named by the imports of a file, wherever in it and for whatever (types, too)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the arrow"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(path: Path) -> set[str]:
    """The modules of the core that a file imports."""
    return {name for name in imported(path) if name in MODULES}


def room(module: str) -> str:
    return module.split(".")[1]


def reached(module: str) -> set[str]:
    """All modules of the core that `module` imports, directly or through others."""
    found, waiting = set(), [module]
    while waiting:
        new = own(MODULES[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def test_every_room_is_on_the_plan() -> None:
    assert {room(module) for module in MODULES} <= GROUND | MAY_USE.keys()


@pytest.mark.parametrize("module", MODULES)
def test_a_room_uses_what_it_may(module: str) -> None:
    here = room(module)
    allowed = GROUND | {here} | MAY_USE.get(here, set())
    assert {name for name in own(MODULES[module]) if room(name) not in allowed} == set()
    assert {name for name in imported(MODULES[module]) if name.partition(".")[0] in NEVER} == set()


@pytest.mark.parametrize("module", MODULES)
def test_nothing_joins_data_with_training(module: str) -> None:
    rooms = {room(name) for name in {module} | reached(module)}
    assert not {"data", "training"} <= rooms


def test_the_ground_floor_stands_on_itself() -> None:
    for name in GROUND:
        assert {room(below) for below in reached(f"mnistcore.{name}")} <= GROUND


@pytest.mark.parametrize("module", ["dropout", "schedules", "stopping", "augmentation", "checkpoint"])
def test_a_part_of_training_knows_no_engine(module: str) -> None:
    """Not for a type either: the run alone puts them together."""
    assert "engine" not in {room(name) for name in reached(f"mnistcore.training.{module}")}


def test_no_module_goes_in_a_circle() -> None:
    assert [module for module in MODULES if module in reached(module)] == []


# The estimator is asked for as `mnistcore.interop.MLPClassifier`, and found then, so that ONNX needs no scikit-learn.
WITH_CODE = {CORE / "interop" / "__init__.py"}


@pytest.mark.parametrize(
    "package", sorted({*CORE.rglob("__init__.py")} - WITH_CODE), ids=lambda path: path.parent.name
)
def test_no_init_has_code(package: Path) -> None:
    body = ast.parse(package.read_text(encoding="utf-8")).body
    assert [
        part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
    ] == []


def test_dropout_knows_no_engine() -> None:
    assert not [name for name in reached("mnistcore.training.dropout") if room(name) == "engine"]
