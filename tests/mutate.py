"""Defects on purpose: does a test notice? By hand, not in CI: `python tests/mutate.py --count 200 --seed 0`.

Small random changes (another operator, a constant, a condition turned round, a statement left out) are made one at
a time in a copy of the project, over the rooms of the core named below. Each is run against the tests that execute
the changed line, quickest first, until one fails. Which test executes which line is measured once, and kept in the
folder with the copy and the results: a run that was stopped goes on where it was, over the same code.
"""

import argparse
import ast
import contextlib
import json
import os
import random
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
# Tests that run the core in processes of their own are not seen by the measurement; a room's are tried in the end.
TESTS = {room: [f"tests/{room}"] for room in ROOMS}
TESTS["engine"].append("tests/training")
TESTS["network"] += ["tests/training/test_gradients.py", "tests/engine/test_against_textbook.py"]
LIMIT = 240  # seconds for one defect: what hangs is found

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


# --- which test executes which line ----------------------------------------------------------------


class Lines:
    """A pytest plugin: the lines of the core that each test executes, and how long it takes."""

    def __init__(self, folder: Path) -> None:
        self.core, self.found = str(folder / "mnistcore") + os.sep, {}

    def pytest_runtest_protocol(self, item, nextitem):
        from _pytest.runner import runtestprotocol

        lines: set[tuple[str, int]] = set()

        def local(frame, event, argument):
            if event == "line":
                lines.add((frame.f_code.co_filename, frame.f_lineno))
            return local

        def trace(frame, event, argument):
            if frame.f_code.co_filename.startswith(self.core):
                lines.add((frame.f_code.co_filename, frame.f_lineno))
                return local
            return None

        begun = time.monotonic()
        sys.settrace(trace)
        try:
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            reports = runtestprotocol(item, nextitem=nextitem, log=True)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        finally:
            sys.settrace(None)
        if all(report.passed for report in reports):
            places = sorted(f"mnistcore/{file.removeprefix(self.core)}:{line}" for file, line in lines)
            self.found[item.nodeid] = {"seconds": time.monotonic() - begun, "lines": places}
        return True


def measure(copy: Path, rooms: list[str]) -> dict[str, dict]:
    """Run all tests of the rooms once, in a process forked from this one."""
    lines = Lines(copy)
    out = copy.parent / "lines.json"
    if not out.exists():
        paths = [path for room in rooms for path in TESTS[room]]

        def run() -> int:
            import pytest

            status = pytest.main(["-q", "-p", "no:cacheprovider", *dict.fromkeys(paths)], plugins=[lines])
            out.write_text(json.dumps(lines.found))
            return status

        print("measuring which test executes which line", flush=True)
        in_a_fork(run, copy, copy.parent / "lines.log", limit=3600)
    return json.loads(out.read_text())


def in_a_fork(run, folder: Path, log: Path, limit: float) -> int | None:
    """What `run` returns, in a process of its own that has imported all that is slow to; None past the limit."""
    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.path[:] = [
            str(folder),
            *(path for path in sys.path if path not in (str(ROOT), str(ROOT / "tests"), "")),
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


# --- one defect after the other --------------------------------------------------------------------


def try_one(defect: Defect, copy: Path, measured: dict[str, dict]) -> tuple[str, str]:
    """ "found" or "survived", and by what."""
    place = f"{defect.file}:{defect.line}"
    room = defect.file.split("/")[1]
    seeing = sorted((test["seconds"], name) for name, test in measured.items() if place in test["lines"])
    quick = [name for _, name in seeing]
    path = copy / defect.file
    source = path.read_bytes()
    log = copy.parent / "last.log"
    try:
        path.write_bytes(source[: defect.start] + defect.new.encode() + source[defect.end :])
        for tests in (quick, TESTS[room]):
            if not tests:
                continue

            def run(tests: list[str] = tests) -> int:
                import pytest

                return pytest.main(
                    ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=no", *tests]
                )

            status = in_a_fork(run, copy, log, LIMIT)
            if status is None:
                return "found", "a hang"
            if status != 0:
                lines = [
                    line
                    for line in log.read_text(errors="replace").splitlines()
                    if line.startswith(("FAILED", "ERROR"))
                ]
                return "found", lines[0][:160] if lines else f"status {status}"
        return "survived", f"{len(quick)} tests execute the line"
    finally:
        path.write_bytes(source)


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
    measured = measure(copy, rooms)

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
        outcome, by = try_one(defect, copy, measured)
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
