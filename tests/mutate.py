"""Defects on purpose: does a test notice? By hand, not in CI: `python tests/mutate.py --count 200 --seed 0`.

Small random changes (another operator, a constant, a condition turned round, a statement left out) are made one at
a time in a copy of the project, over the rooms of the core named below, and each is run against the tests named
for it until one fails. Copy and results stay in a folder: a run that was stopped goes on where it was, over the same
code.
"""

import argparse
import ast
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("network", "training", "engine", "data", "evaluation")
# The tests of a module, or of any other in its room; the likeliest to notice first.
OF_A_STEP = (
    "training/test_gradients.py",
    "training/test_training.py",
    "training/test_against_sklearn.py",
    "training/test_streaming.py",
    "engine/test_team.py",
    "engine/test_against_textbook.py",
)
OF_DOWNLOADS = ("data/test_download.py", "stages/test_fetch.py")
TESTS = {
    "network": ("training/test_gradients.py", "network", *OF_A_STEP),
    "training": (*OF_A_STEP, "training", "stages/test_train.py"),
    "training/augmentation": (
        "training/test_augment.py",
        "training/test_training.py",
        "stages/test_train.py",
    ),
    "training/checkpoint": (
        "training/test_training_faults.py",
        "training/test_training.py",
        "stages/test_train.py",
    ),
    "engine": (*OF_A_STEP, "training", "engine"),
    "data": (
        "data/test_batches.py",
        "data/test_classes.py",
        "stages/test_batch.py",
        "stages/test_preprocess.py",
    ),
    "data/normalization": ("data/test_normalize.py", "stages/test_preprocess.py"),
    "data/idx": ("data/test_idx.py", "data/test_classes.py", "stages/test_preprocess.py"),
    "data/gzipped": ("data/test_idx.py", *OF_DOWNLOADS),
    "data/datasets": OF_DOWNLOADS,
    "data/download": OF_DOWNLOADS,
    "data/sources": OF_DOWNLOADS,
    "data/urls": OF_DOWNLOADS,
    "evaluation": ("evaluation", "stages/test_evaluate_and_plot.py"),
}
LIMIT, CPU_LIMIT = 1200, 180  # seconds for one defect, also of processor time: what hangs is found

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


class Defect(NamedTuple):
    """A change of one piece of source text: `start` and `end` are offsets into the UTF-8 of the file."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str


def defects(file: str, source: str) -> Iterator[Defect]:
    """Every defect that this script can make in a file."""
    data = source.encode()
    starts = [0]
    for text in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    tree = ast.parse(source)
    skipped = {id(inner) for node in _not_behaviour(tree) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped or not hasattr(node, "lineno"):
            continue
        start, end = (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )
        for new in _changed(node):
            yield Defect(file, node.lineno, start, end, data[start:end].decode(), new)


def _not_behaviour(tree: ast.AST) -> Iterator[ast.AST]:
    """Annotations, imports, texts of errors, docstrings, and what only a type checker runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield from (argument.annotation for argument in arguments if argument.annotation)
            if node.returns:
                yield node.returns
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif (
            isinstance(node, ast.Raise | ast.Import | ast.ImportFrom)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (
                isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases)
            )
        ):
            yield node


def _changed(node: ast.AST) -> Iterator[str]:
    """The texts that may stand in the place of a node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = COMPARISONS[type(node.ops[0])]()
        yield f"({ast.unparse(ast.Compare(node.left, [other], node.comparators))})"
    elif isinstance(node, ast.BinOp) and not isinstance(node.left, ast.Constant | ast.JoinedStr):
        yield f"({ast.unparse(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))})"
    elif isinstance(node, ast.AugAssign):
        yield ast.unparse(ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"({ast.unparse(ast.BoolOp(other, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.IfExp):
        yield f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield str(not node.value)
        elif isinstance(node.value, int):
            yield str(node.value + 1)
        elif isinstance(node.value, float):
            yield repr(node.value * 2 if node.value else 1.0)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "pass"
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "return None"
    elif isinstance(node, ast.Break):
        yield "continue"
    elif isinstance(node, ast.Continue):
        yield "break"


# --- one defect after the other -------------------------------------------------------------------


def in_a_fork(run, folder: Path, log: Path, limit: float) -> int | None:
    """What `run` returns, in a process of its own that has imported all that is slow to; None past the limit."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.path[:] = [
            str(folder),
            *(
                path
                for path in sys.path
                if not path.startswith(str(ROOT) + "/tests") and path not in (str(ROOT), "")
            ),
        ]
        os.environ["PYTHONPATH"] = str(folder)
        status = 70
        try:
            status = int(run())
        finally:
            os._exit(status)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        status = None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what a test may have left running, too
    if status is None:
        os.waitpid(child, 0)
        return None
    return os.waitstatus_to_exitcode(status)


def try_one(defect: Defect, copy: Path) -> tuple[str, str]:
    """ "found" or "survived", and by what."""
    path, log = copy / defect.file, copy.parent / "last.log"
    source = path.read_bytes()
    _, room, module = defect.file.removesuffix(".py").split("/")
    tests = [f"tests/{name}" for name in TESTS.get(f"{room}/{module}", TESTS.get(room, ()))]

    def run() -> int:
        import pytest

        return pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--tb=no", *tests])

    try:
        path.write_bytes(source[: defect.start] + defect.new.encode() + source[defect.end :])
        status = in_a_fork(run, copy, log, LIMIT)
    finally:
        path.write_bytes(source)
    if status == 0:
        return "survived", ""
    if status is None:
        return "found", "a hang"
    failed = [
        line for line in log.read_text(errors="replace").splitlines() if line.startswith(("FAILED", "ERROR"))
    ]
    return "found", failed[0][:160] if failed else f"status {status}"


def copied(folder: Path) -> Path:
    """A copy of the files that Git knows, made once."""
    copy = folder / "copy"
    if not copy.exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--count", type=int, default=200, help="how many defects, drawn from all possible ones"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--room", action="append", choices=ROOMS, help="in these rooms only; may be repeated")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this long; run again to go on")
    parser.add_argument("--folder", type=Path, default=ROOT / "tmp" / "mutants")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True
    copy = copied(options.folder.resolve())
    for name in ("hypothesis", "numpy", "pytest", "sklearn.neural_network"):
        __import__(name)  # once, here; the forks have them
    rooms = options.room or list(ROOMS)

    everything = [
        defect
        for room in rooms
        for path in sorted((copy / "mnistcore" / room).glob("*.py"))
        for defect in defects(f"mnistcore/{room}/{path.name}", path.read_text(encoding="utf-8"))
    ]
    drawn = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    book = options.folder / f"results-{options.seed}.json"
    results = json.loads(book.read_text()) if book.exists() else {}
    for number, defect in enumerate(drawn):
        known = results.get(str(number))
        if time.monotonic() > end or (known and not (options.again and known["outcome"] == "survived")):
            continue
        begun = time.monotonic()
        outcome, by = try_one(defect, copy)
        results[str(number)] = {"outcome": outcome, "by": by, "seconds": round(time.monotonic() - begun, 1)}
        book.write_text(json.dumps(results, indent=1))
        print(f"{number:4} {outcome:8} {defect.file}:{defect.line}: {by}", flush=True)

    survivors = [
        number for number in range(len(drawn)) if results.get(str(number), {}).get("outcome") == "survived"
    ]
    tried = sum(str(number) in results for number in range(len(drawn)))
    for number in survivors:
        defect = drawn[number]
        print(f"{number}: {defect.file}:{defect.line}: {defect.old!r} -> {defect.new!r}")
    print(f"{tried - len(survivors)} of {tried} defects found, of {len(everything)} that could be made")


if __name__ == "__main__":
    main()
