"""What code in the path of data may not do: run what came with data, build shell commands, trust a connection.

Everything the six stages import of this project, what predict and the checks import, and the recipes, is read as a
syntax tree and searched for the forbidden.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dvc_checks.commands import Program
from dvc_checks.imports import Code, walk
from mnistcore.data.datasets import TABLE
from stages.parameters import STAGES

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "ftplib",
}
NAMES = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp"),
    *(
        "shutil.unpack_archive",
        "np.fromregex",
        "ssl._create_unverified_context",
        "asyncio.create_subprocess_shell",
    ),
    *("pandas.read_pickle", "pd.read_pickle", "torch.load", "os.execl", "os.spawnl"),
}
METHODS = {"extractall", "extract"}  # of archives; extractfile opens a member and writes nothing
NEEDED = {
    "np.load": ("allow_pickle", "False"),  # NumPy's own default, said where it is relied upon
    "np.lib.format.read_array": ("allow_pickle", "False"),
    "jinja2.Environment": ("autoescape", "True"),
}
# What looks forbidden and is not, and why.
ARGUED = {
    "checks/dvc_checks/fastyaml.py:import of yaml",  # its parser's events alone; nothing is constructed by it
    "mnistcore/report/card.py:jinja2.Environment without autoescape=True",  # Markdown, from our own template
}
PLAIN_URL = re.compile(r"http://(?!(www\.w3\.org/|localhost\b|127\.0\.0\.1\b|\[::1\]))[\w.-]")


def forbidden(source: str) -> Iterator[str]:
    """What in `source` is forbidden, with its line."""
    tree = ast.parse(source)
    texts = {id(node.body[0].value) for node in ast.walk(tree) if _has_docstring(node)}
    for node in ast.walk(tree):
        for problem in _problems(node, texts):
            yield f"{node.lineno}: {problem}"


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None


def _problems(node: ast.AST, docstrings: set[int]) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
        yield from (f"import of {name}" for name in names if name.partition(".")[0] in MODULES)
        yield from (
            f"import of {alias.name}" for alias in node.names if alias.name in NAMES | {"system", "popen"}
        )
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield node.id
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
        if PLAIN_URL.search(node.value):
            yield f"unprotected {node.value}"
    elif isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context"):
        yield node.attr
    elif isinstance(node, ast.Call):
        called, given = (
            ast.unparse(node.func),
            {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords},
        )
        if called in CALLS or (isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            yield called
        if given.get("shell", "False") != "False":
            yield f"{called} with a shell"
        if given.get("verify") == "False" or given.get("check_hostname") == "False":
            yield f"{called} of an unverified connection"
        if given.get("typ", "'rt'") not in ("'safe'", "'rt'") and called.endswith("YAML"):
            yield f"{called} that may make any object"
        if called in NEEDED and given.get(NEEDED[called][0]) != NEEDED[called][1]:
            yield f"{called} without {'='.join(NEEDED[called])}"
        if given.get("allow_pickle", "False") != "False":
            yield f"{called} that may unpickle"


def programs() -> list[str]:
    return [
        *(f"stages/{name}.py" for name in STAGES),
        "commands/predict.py",
        "commands/summary.py",
        "checks/dvc_checks/__main__.py",
        "recipes/__main__.py",
    ]


@pytest.mark.parametrize("program", programs())
@pytest.mark.fault(
    "Security",
    "all code of the project that a stage, `predict`, the checks or the recipes import searched for pickle, eval, exec, "
    "shell commands, unpacking by name, unverified or unprotected connections",
    "nothing of the kind is there",
)
def test_nothing_forbidden_is_imported(program: str) -> None:
    found = walk(Program("script", program, ".", paths=("checks",)), Code(ROOT, ROOT))
    files = {file for file in found.files if file.endswith(".py")} | {program}
    assert len(files) > 1 or program == "commands/summary.py"
    problems = [
        f"{file}:{what}"
        for file in sorted(files)
        for what in forbidden((ROOT / file).read_text("utf-8"))
        if f"{file}:{what.partition(': ')[2]}" not in ARGUED
    ]
    assert not problems


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import yaml",
        "from os import system",
        "eval(text)",
        "run = exec",
        "compile(text, '', 'exec')",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=shell)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.savez(path, allow_pickle=True)",
        "archive.extractall(folder)",
        "archive.extract(member, folder, filter='data')",
        "shutil.unpack_archive(path)",
        "requests.get(url, verify=False)",
        "context.verify_mode = ssl.CERT_NONE",
        "BASE = 'http://example.org/mnist/'",
        "YAML(typ='unsafe')",
        "jinja2.Environment(loader=loader)",
        "def f():\n    import marshal",
    ],
)
def test_what_is_forbidden_is_found(source: str) -> None:
    assert list(forbidden(source))


@pytest.mark.parametrize(
    "source",
    ["re.compile(text)", "np.load(path, allow_pickle=False)", "subprocess.run([a, b])", "'''see http://example.org'''",
     "YAML(typ='safe', pure=True)", "BASE = 'https://example.org'", "model.load(path)"],
)  # fmt: skip
def test_what_is_harmless_is_left_alone(source: str) -> None:
    assert not list(forbidden(source))


def test_public_sources_are_encrypted() -> None:
    mirrors = [mirror for dataset in TABLE.values() for mirror in dataset.mirrors]
    assert mirrors and all(mirror.startswith("https://") for mirror in mirrors)
