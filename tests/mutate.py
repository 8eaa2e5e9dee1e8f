"""Defects on purpose: does a test notice? By hand, not in CI: `python tests/mutate.py --count 200 --seed 0`.

Small random changes (another operator, a constant, a condition turned round, a statement left out) are made one at
a time in a copy of the project, over the rooms of the core named below. Each test is run once before, to see which
functions it calls; a defect is then run against those that call the function it is in, the quickest first, until one
fails. Copy and results stay in a folder: a run that was stopped goes on where it was, over the same code.
"""

import argparse
import ast
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("network", "training", "engine", "data", "evaluation")
ELSEWHERE = (
    "pipeline",
    "project",
    "report",
    "commands",
)  # folders of tests that run other rooms, or other processes
SLOW_TO_IMPORT = (
    "hypothesis.extra.numpy", "numpy", "pytest", "sklearn.datasets", "sklearn.neural_network", "sklearn.utils",
    "scipy.ndimage", "click.testing", "ruamel.yaml", "tqdm", "jinja2", "PIL.Image", "requests",
)  # fmt: skip
QUICK = 5.0  # seconds of tests that are run first, by themselves
MOST = 90.0  # seconds of tests for one defect
SILENCE = 60.0  # seconds of one test beyond what is usual for it, after which it hangs

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
    """A change of one piece of source text: `start` and `end` are offsets into the UTF-8 of the file.

    function : the line that the function around it begins at; 0: no function
    """

    file: str
    line: int
    function: int
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
    functions = _functions(tree)
    for node in ast.walk(tree):
        if id(node) in skipped or not hasattr(node, "lineno"):
            continue
        start, end = (
            starts[node.lineno - 1] + node.col_offset,
            starts[node.end_lineno - 1] + node.end_col_offset,
        )
        for new in _changed(node):
            function = functions.get(id(node), 0)
            yield Defect(file, node.lineno, function, start, end, data[start:end].decode(), new)


def _functions(tree: ast.AST) -> dict[int, int]:
    """For each node in a function, by its id, the line that the innermost function begins at, as in its code."""
    found = {}
    for node in ast.walk(tree):  # from the outermost on
        if isinstance(node, ast.FunctionDef):
            line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found |= {id(inner): line for statement in node.body for inner in ast.walk(statement)}
    return found


def _not_behaviour(tree: ast.AST) -> Iterator[ast.AST]:
    """Annotations, imports, texts of errors, docstrings, what only a type checker runs, and whether `zip` is strict."""
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
            or (isinstance(node, ast.keyword) and node.arg == "strict")
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
    elif isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
        yield "return None"
    elif isinstance(node, ast.Break):
        yield "continue"
    elif isinstance(node, ast.Continue):
        yield "break"


# --- the tests, each in a process that has imported all that is slow to -----------------------------


class Tests:
    """A plugin of pytest's: runs some tests alone, in their order, and notes what each of them calls.

    wanted : their ids; None: all of them
    calls : for each test, its seconds and the functions of the core that it called, as "file:line"
    """

    def __init__(self, folder: Path, wanted: list[str] | None = None) -> None:
        self.wanted, self.calls = wanted, dict[str, tuple[float, list[str]]]()
        self._core, self._beat = f"{folder}/mnistcore/", folder.parent / "beat"

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self.wanted is not None:
            places = {name: place for place, name in enumerate(self.wanted)}
            items[:] = sorted((i for i in items if i.nodeid in places), key=lambda item: places[item.nodeid])

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool:
        from _pytest.runner import runtestprotocol

        self._beat.touch()
        codes, begun = set(), time.monotonic()
        if self.wanted is None:
            sys.setprofile(
                lambda frame, event, argument: codes.add(frame.f_code) if event == "call" else None
            )
        try:
            reports = runtestprotocol(item, nextitem=nextitem)
        finally:
            sys.setprofile(None)
        if all(report.passed for report in reports):
            functions = {
                f"{code.co_filename.removeprefix(self._core)}:{code.co_firstlineno}"
                for code in codes
                if code.co_filename.startswith(self._core)
            }
            self.calls[item.nodeid] = (time.monotonic() - begun, sorted(functions))
        return True


def run_tests(copy: Path, files: list[str], wanted: list[str] | None, usual: float) -> tuple[int | None, str]:
    """The status of pytest, or None for a hang, and its output; `calls.json` says what was called if all were wanted."""
    log, beat, calls = copy.parent / "last.log", copy.parent / "beat", copy.parent / "calls.json"
    calls.unlink(missing_ok=True)

    def run() -> int:
        import hypothesis
        import pytest

        hypothesis.settings.register_profile(
            "defects",
            database=None,
            derandomize=True,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("defects")
        tests = Tests(copy, wanted)
        options = ["-q", "-p", "no:cacheprovider", "--tb=no", *(["-x"] if wanted is not None else [])]
        status = pytest.main([*options, *files], plugins=[tests])
        calls.write_text(json.dumps(tests.calls))
        return int(status)

    beat.touch()
    status = _in_a_fork(run, copy, log, beat, usual)
    return status, log.read_text(errors="replace")


def _in_a_fork(run: Callable[[], int], folder: Path, log: Path, beat: Path, usual: float) -> int | None:
    """What `run` returns, in a process of its own; None: it hangs."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setsid()
            limit = int(SILENCE + 5 * usual)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(folder)
            mine = (str(ROOT), str(ROOT / "tests"), "")
            sys.path[:] = [str(folder), *(path for path in sys.path if path not in mine)]
            os.environ["PYTHONPATH"] = str(folder)
            status = run()
        finally:
            os._exit(status)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done or time.time() - beat.stat().st_mtime > SILENCE + 10 * usual:
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what a test may have left running, too
    if not done:
        os.waitpid(child, 0)
        return None
    status = os.waitstatus_to_exitcode(status)
    return None if status == -signal.SIGXCPU else status


def known_tests(copy: Path) -> dict[str, tuple[float, list[str]]]:
    """For each test, its seconds and the functions that it calls; run again if its file has changed."""
    book = copy.parent / "tests.json"
    known = json.loads(book.read_text()) if book.exists() else {}
    files = [
        str(path.relative_to(copy))
        for path in sorted(copy.glob("tests/**/test_*.py"))
        if path.relative_to(copy).parts[1] not in ELSEWHERE
    ]
    for file in files:
        digest = hashlib.sha256((copy / file).read_bytes()).hexdigest()
        if file in known and known[file]["digest"] == digest:
            continue
        status, log = run_tests(copy, [file], None, 60)
        calls = copy.parent / "calls.json"
        if status not in (0, 1) or not calls.exists():
            print(f"{file}: left out, status {status}: {log[-300:]}", flush=True)
            known[file] = {"digest": digest, "tests": {}}
        else:
            known[file] = {"digest": digest, "tests": json.loads(calls.read_text())}
        seconds = sum(seconds for seconds, _ in known[file]["tests"].values())
        print(f"{file}: {len(known[file]['tests'])} tests, {seconds:.0f} s", flush=True)
        book.write_text(json.dumps(known, indent=1))
    return {name: test for file in files for name, test in known[file]["tests"].items()}


# --- one defect after the other -------------------------------------------------------------------


def tests_for(defect: Defect, tests: dict[str, tuple[float, list[str]]]) -> list[str]:
    """Those that call the function, then those that call others of its module, or else those of its room.

    Processes that a test forks are not watched: what only they call is found by the second kind. A default or a
    constant is of no function: those of the module's own test file, and of all constructors, come first.
    """
    file = defect.file.removeprefix("mnistcore/")
    room = f"tests/{file.partition('/')[0]}/"

    def quickest_first(chosen: Iterable[str]) -> list[str]:
        # Those of the same room before others that take as long: they are written for it.
        return sorted(chosen, key=lambda name: tests[name][0] * (1 if name.startswith(room) else 3))

    module = {
        name for name, (_, calls) in tests.items() if any(call.startswith(f"{file}:") for call in calls)
    }
    callers = {name for name in module if f"{file}:{defect.function}" in tests[name][1]}
    if not defect.function:
        own = (f"{room}test_{Path(file).stem}.py::", "tests/test_from_python.py::")
        callers |= {name for name in tests if name.startswith(own)}
    chosen = quickest_first(callers) + quickest_first(module - callers)
    return chosen or quickest_first(name for name in tests if name.startswith(room))


def groups(names: list[str], tests: dict[str, tuple[float, list[str]]]) -> Iterator[tuple[list[str], float]]:
    """The tests for a defect, the quick ones and the rest, with the seconds of each group."""
    total, group, begun = 0.0, list[str](), 0.0
    for name in names:
        total += tests[name][0]
        if total > MOST and group:
            break
        group.append(name)
        if begun == 0.0 and total > QUICK:
            yield group, total
            group, begun = [], total
    if group:
        yield group, total - begun


def try_one(defect: Defect, copy: Path, tests: dict[str, tuple[float, list[str]]]) -> tuple[str, str]:
    """ "found" or "survived", and by what."""
    path = copy / defect.file
    source = path.read_bytes()
    try:
        path.write_bytes(source[: defect.start] + defect.new.encode() + source[defect.end :])
        for names, seconds in groups(tests_for(defect, tests), tests):
            files = sorted({name.partition("::")[0] for name in names})
            status, log = run_tests(copy, files, names, seconds)
            if status is None:
                return "found", "a hang"
            if not (copy.parent / "calls.json").exists():
                return "found", f"pytest was ended, with status {status}"
            # Of pytest: tests failed, they could not be imported, or conftest.py could not.
            if status in (1, 2, 4):
                failed = [line for line in log.splitlines() if line.startswith(("FAILED", "ERROR"))]
                return "found", failed[0][:160] if failed else f"status {status}"
            if status < 0 or status == 70:
                return "found", f"status {status}"
            if status:
                raise SystemExit(f"pytest ended with {status}: {log[-2000:]}")
    finally:
        path.write_bytes(source)
    return "survived", ""


def copied(folder: Path, again: bool) -> Path:
    """A copy of the files that Git knows, made once; the tests once more if they are to be tried again."""
    copy = folder / "copy"
    fresh = not copy.exists()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (fresh or (again and name.startswith("tests/"))) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def prepare() -> None:
    """Import here what the forks then have, with the kernels of the project."""
    sys.path.insert(0, str(ROOT))
    for name in ("mnistcore.reproducible", *SLOW_TO_IMPORT):
        __import__(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mnistcore"]:
        del sys.modules[name]
    os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many defects, of all possible ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--room", action="append", choices=ROOMS, help="in these rooms only; may be repeated")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this long; run again to go on")
    parser.add_argument("--folder", type=Path, default=ROOT / "tmp" / "defects")
    parser.add_argument("--again", action="store_true", help="those that survived once more, with new tests")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    prepare()
    copy = copied(options.folder.resolve(), options.again)
    tests = known_tests(copy)

    everything = [
        defect
        for room in options.room or ROOMS
        for path in sorted((copy / "mnistcore" / room).glob("*.py"))
        for defect in defects(f"mnistcore/{room}/{path.name}", path.read_text(encoding="utf-8"))
    ]
    random.Random(options.seed).shuffle(everything)
    drawn = {f"{one.file}:{one.start}-{one.end}: {one.new}": one for one in everything[: options.count]}
    book = options.folder / f"results-{options.seed}.json"
    results = json.loads(book.read_text()) if book.exists() else {}
    for number, (key, defect) in enumerate(drawn.items()):
        known = results.get(key)
        if time.monotonic() > end or (known and not (options.again and known["outcome"] == "survived")):
            continue
        begun = time.monotonic()
        outcome, by = try_one(defect, copy, tests)
        results[key] = {"outcome": outcome, "by": by, "seconds": round(time.monotonic() - begun, 1)}
        book.write_text(json.dumps(results, indent=1))
        print(f"{number:4} {outcome:8} {defect.file}:{defect.line}: {by}", flush=True)

    tried = [key for key in drawn if key in results]
    survived = [key for key in tried if results[key]["outcome"] == "survived"]
    for key in survived:
        defect = drawn[key]
        print(f"{defect.file}:{defect.line}: {defect.old!r} -> {defect.new!r}")
    found, all_of_them = len(tried) - len(survived), len(everything)
    print(f"{found} of {len(tried)} defects found, of {all_of_them} that could be made")


if __name__ == "__main__":
    main()
