"""The README does what it says: its Python is run, its console figures are compared.

A comment before a block, which no reader sees, says how it is held to its word; every block has one:

    <!-- run -->            in a clone of the commit, without data; Python as the wheel's extra `sklearn-api` has it
    <!-- run: numpy -->     Python, in an environment that has NumPy alone
    <!-- run: repro -->     lines of what `make repro` printed, in this order (CI names its log in REPRO_LOG)
    <!-- run: trained -->   in one clone, block after block, where the committed pipeline has run (as CI asks);
                            "run: trained after COMMAND" makes something first that the reader is told in words
    <!-- quoted: COMMAND --> above lines that begin with ">": lines of what it prints, in this order, in that clone
    <!-- shown: why -->     not run

Three dots stand for whatever was left out, at the end of a line or as a line of their own; seconds and commits
may differ, and so may the spaces between columns. A command of which no output is shown ends with status 0.
A Python block is followed by what it prints: "prints `…`".
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(?:<!-- (.*?) -->\n)?```(\w+)\n(.*?)^```\n(?:\nprints `(.*?)`)?", re.DOTALL | re.MULTILINE
)
QUOTE = re.compile(r"<!-- quoted: (.*?) -->\n((?:>.*\n)+)")
trained = pytest.mark.skipif(
    "REQUIRE_TRAINED" not in os.environ, reason="asked where the committed model is the one meant"
)


class Block(NamedTuple):
    line: int
    how: str
    language: str
    text: str
    prints: str | None


def blocks(text: str) -> Iterator[Block]:
    for found in BLOCK.finditer(text):
        how, language, inside, prints = found.groups()
        yield Block(text[: found.start()].count("\n") + 1, how or "", language, inside, prints)


def steps(console: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines of output shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].split("  #")[0].strip(), []))
        else:
            assert found, f"output before any command: {line}"
            found[-1][1].append(line)
    return found


def in_order(shown: list[str], said: str) -> bool:
    """Whether each line shown is one of those said, in the same order."""
    lines = iter(said.splitlines())
    return all(any(agrees([line], candidate) for candidate in lines) for line in shown)


def agrees(shown: list[str], said: str) -> bool:
    """Whether `said` is what is shown, with whatever may be left out or differ."""
    return re.fullmatch("".join(map(_pattern, shown)), said.rstrip() + "\n") is not None


def _pattern(line: str) -> str:
    if line.strip() in ("...", "…"):
        return r"(.*\n)*?"
    end = ".*" if line.endswith("…") else ""
    text = r"\s+".join(re.escape(word) for word in line.removesuffix("…").split())
    text = re.sub(r"\b[\d\\.]+\\s\+s\b", r"[\\d.]+\\s+s", text)  # seconds
    text = re.sub(r"\bsince\\s\+[0-9a-f]{7}\b", r"since\\s+[0-9a-f]{7}", text)  # a commit
    return f" *{text}{end} *\n"


BLOCKS = list(blocks(README.read_text(encoding="utf-8")))


def those(how: str, language: str) -> list:
    return [
        pytest.param(block, id=f"line {block.line}")
        for block in BLOCKS
        if (block.how.partition(" after ")[0], block.language) == (how, language)
    ]


def test_every_block_says_how_it_is_held_to_its_word() -> None:
    for block in BLOCKS:
        known = re.fullmatch(r"run|run: (numpy|repro|trained( after .+)?)|shown: .+", block.how)
        assert known, (
            f"README.md, line {block.line}: say above it how it is tested (see {Path(__file__).name})"
        )
        assert block.language in ("python", "console")
        if block.language == "python" and block.how.startswith("run"):
            assert block.prints is not None, f"README.md, line {block.line}: say what it prints"


@pytest.mark.parametrize("block", those("run", "python"))
def test_python_of_the_readme(block: Block, with_sklearn: Path, tmp_path: Path) -> None:
    assert python(with_sklearn, block, tmp_path) == f"{block.prints}\n"


@trained
@pytest.mark.parametrize("block", those("run: numpy", "python"))
def test_python_of_the_readme_with_numpy_alone(block: Block, numpy_alone: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "models" / "model.npz", tmp_path)
    assert python(numpy_alone, block, tmp_path) == f"{block.prints}\n"


def python(interpreter: Path, block: Block, folder: Path) -> str:
    done = subprocess.run([interpreter, "-I", "-c", block.text], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


@pytest.mark.parametrize("block", those("run", "console"))
def test_console_of_the_readme(block: Block, clone: Path) -> None:
    hold(block, clone)


@pytest.fixture(scope="session")
def trained_clone(clone: Path) -> Path:
    """A clone that shares the checkout's cache, with the data and the model in place."""
    local = f"[cache]\n    dir = {ROOT / '.dvc' / 'cache'}\n"
    (clone / ".dvc" / "config.local").write_text(local, encoding="utf-8")
    subprocess.run(["dvc", "checkout", "--quiet"], cwd=clone, env=environment(clone), check=True)
    return clone


@trained
@pytest.mark.parametrize("block", those("run: trained", "console"))
def test_console_of_the_readme_where_the_pipeline_has_run(block: Block, trained_clone: Path) -> None:
    hold(block, trained_clone)


@trained
@pytest.mark.parametrize(
    "quote", list(QUOTE.finditer(README.read_text(encoding="utf-8"))), ids=lambda found: found[1]
)
def test_quotes_of_the_readme(quote: re.Match, trained_clone: Path) -> None:
    said = bash(quote[1], trained_clone).stdout
    assert in_order([line[2:] for line in quote[2].splitlines() if line[2:]], said), said


@pytest.mark.skipif("REPRO_LOG" not in os.environ, reason="asked where `make repro` has just run")
@pytest.mark.parametrize("block", those("run: repro", "console"))
def test_what_make_repro_prints(block: Block) -> None:
    said = Path(os.environ["REPRO_LOG"]).read_text(encoding="utf-8")
    assert in_order(block.text.splitlines(), said)


def hold(block: Block, folder: Path) -> None:
    _, _, before = block.how.partition(" after ")
    if before:
        done = bash(before, folder)
        assert done.returncode == 0, f"$ {before}\n{done.stdout}"
    for command, shown in steps(block.text):
        done = bash(command, folder)
        right = agrees(shown, done.stdout) if shown else done.returncode == 0
        assert right, f"$ {command}\n{done.stdout}"


def bash(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(folder), "COLUMNS": "120"}


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        (["a  b"], "a   b\n", True),
        (["a b"], "a c\n", False),
        (["took 1.5 s"], "took 21 s\n", True),
        (["took 1.5 m"], "took 2.5 m\n", False),
        (["a", "...", "z"], "a\nb\nc\nz\n", True),
        (["a", "...", "z"], "a\nb\nc\n", False),
        (["plot, …"], "plot, train\n", True),
        (["plot, …"], "train, plot\n", False),
        (["since 8d41977"], "since 0a1b2c3\n", True),
        (["since 8d41977"], "since yesterday\n", False),
    ],
)
def test_what_agrees(shown: list[str], said: str, same: bool) -> None:
    assert agrees(shown, said) == same


@trained
def test_the_readme_shows_the_committed_metrics():
    test = json.loads((ROOT / "reports" / "metrics.json").read_text(encoding="utf-8"))["test"]
    readme = README.read_text(encoding="utf-8")
    low, high = (100 * bound for bound in test["accuracy_ci95"])
    accuracy = f"{100 * test['accuracy']:.2f} %"
    assert f"test accuracy  {accuracy} (95 % interval {low:.2f} to {high:.2f} %)\n" in readme
    assert f"errors         {test['errors']} of 10,000\n" in readme
    for page in (readme, (ROOT / "docs" / "headline.md").read_text(encoding="utf-8")):
        assert f"| test accuracy (10,000 images) | {accuracy} |" in page
        assert f"| test errors | {test['errors']} |" in page
    with Image.open(ROOT / "docs" / "report.png") as picture:
        assert picture.text["Description"] == f"{test['errors']} errors"
