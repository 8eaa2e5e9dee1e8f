"""The import walk agrees with Python: on the files it names, and on those it does not."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dvc_checks import commands, imports
from dvc_checks.commands import Program


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def walk(root: Path, command: str, wdir: str = ".") -> imports.Imported:
    started = commands.read((command,), wdir, root, root)
    assert len(started.programs) == 1, started
    return imports.walk(started.programs[0], imports.Code(root, root))


# Each case: the files, the command, and every file that has to be found besides the script itself.
CASES = {
    "a plain module beside the script": (
        {"s.py": "import a", "a.py": "import b.c", "b/__init__.py": "", "b/c.py": "", "b/d.py": ""},
        "python s.py",
        {"a.py", "b/__init__.py", "b/c.py"},
    ),
    "every package on the way to a module runs": (
        {
            "s.py": "import p.q.r",
            "p/__init__.py": "import x",
            "p/q/__init__.py": "",
            "p/q/r.py": "",
            "x.py": "",
        },
        "python s.py",
        {"p/__init__.py", "p/q/__init__.py", "p/q/r.py", "x.py"},
    ),
    "from a package, its submodule": (
        {"s.py": "from p import m", "p/__init__.py": "", "p/m.py": "", "p/n.py": ""},
        "python s.py",
        {"p/__init__.py", "p/m.py"},
    ),
    "from a package, a name that it binds": (
        {"s.py": "from p import m", "p/__init__.py": "def m(): pass", "p/m.py": ""},
        "python s.py",
        {"p/__init__.py"},
    ),
    "a star takes what __all__ lists": (
        {"s.py": "from p import *", "p/__init__.py": "__all__ = ['m']", "p/m.py": "", "p/n.py": ""},
        "python s.py",
        {"p/__init__.py", "p/m.py"},
    ),
    "a star without __all__ takes no submodule": (
        {"s.py": "from p import *", "p/__init__.py": "", "p/m.py": ""},
        "python s.py",
        {"p/__init__.py"},
    ),
    "relative imports": (
        {
            "p/__init__.py": "",
            "p/a.py": "from . import b\nfrom .q import c\nfrom .q.d import x",
            "p/b.py": "",
            "p/q/__init__.py": "",
            "p/q/c.py": "from ..e import y",
            "p/q/d.py": "x = 1",
            "p/e.py": "y = 1",
            "s.py": "import p.a",
        },
        "python s.py",
        {"p/__init__.py", "p/a.py", "p/b.py", "p/q/__init__.py", "p/q/c.py", "p/q/d.py", "p/e.py"},
    ),
    "python -m module": (
        {"p/__init__.py": "", "p/run.py": "from . import a", "p/a.py": ""},
        "python -m p.run",
        {"p/__init__.py", "p/run.py", "p/a.py"},
    ),
    "python -m package": (
        {"p/__init__.py": "", "p/__main__.py": "from p.a import x", "p/a.py": "x = 1"},
        "python -m p",
        {"p/__init__.py", "p/__main__.py", "p/a.py"},
    ),
    "a namespace package has no file": (
        {"s.py": "import n.m", "n/m.py": ""},
        "python s.py",
        {"n/m.py"},
    ),
    "inside functions, loops, try and with": (
        {
            "s.py": "def f():\n  import a\ntry:\n  import b\nexcept ImportError:\n  import c\n"
            "else:\n  import d\nfinally:\n  import e\nwith open(__file__):\n  import g\nf()\nimport c",
            **{f"{name}.py": "" for name in "abcdeg"},
        },
        "python s.py",
        {f"{name}.py" for name in "abcdeg"},
    ),
    "type checking is not running": (
        {
            "s.py": "from typing import TYPE_CHECKING\nimport typing as t\nif TYPE_CHECKING:\n  import a\n"
            "else:\n  import b\nif t.TYPE_CHECKING:\n  import c\nif not TYPE_CHECKING:\n  import d",
            **{f"{name}.py": "" for name in "abcd"},
        },
        "python s.py",
        {"b.py", "d.py"},
    ),
    "the main block of an imported module does not run": (
        {
            "s.py": "import a\nif __name__ == '__main__':\n  import b",
            "a.py": "if __name__ == '__main__':\n  import c",
        }
        | {"b.py": "", "c.py": ""},
        "python s.py",
        {"a.py", "b.py"},
    ),
    "import_module with a constant": (
        {"s.py": "import importlib\nimportlib.import_module('p.a')\n__import__('b')", "p/__init__.py": ""}
        | {"p/a.py": "", "b.py": ""},
        "python s.py",
        {"p/__init__.py", "p/a.py", "b.py"},
    ),
    "import cycles": (
        {"s.py": "import a", "a.py": "import b", "b.py": "import a"},
        "python s.py",
        {"a.py", "b.py"},
    ),
    "a package found through PYTHONPATH in the command": (
        {"code/s.py": "import a", "lib/a.py": "import b", "lib/b.py": ""},
        "PYTHONPATH=lib python code/s.py",
        {"lib/a.py", "lib/b.py"},
    ),
    "sys.path extended from the script's own place": (
        {
            "code/s.py": "import sys\nfrom pathlib import Path\nTOP = Path(__file__).resolve().parents[1]\n"
            "sys.path.insert(0, str(TOP / 'lib'))\nimport a",
            "lib/a.py": "",
        },
        "python code/s.py",
        {"lib/a.py"},
    ),
    "the script's folder hides the standard library": (
        {"s.py": "import statistics, colorsys, time", "statistics.py": "", "colorsys.py": "", "time.py": ""},
        "python s.py",
        {"statistics.py", "colorsys.py"},  # time is built into the interpreter
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_walk_finds_exactly_what_python_imports(name: str, tmp_path: Path) -> None:
    files, command, expected = CASES[name]
    write(tmp_path, files)
    found = walk(tmp_path, command)
    script = {file for file in found.files if found.files[file] is None}
    assert set(found.files) - script | {f for f in expected if f in script} == expected
    assert not found.dynamic
    loaded = really_loaded(tmp_path, command)
    assert loaded - script == expected - script


def really_loaded(root: Path, command: str) -> set[str]:
    """The project files that Python itself loads for the command, as its own audit events tell."""
    hook = root.parent / f"{root.name}-hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"root, log = {str(root)!r}, {str(hook / 'log')!r}\n"
        "def hear(event, arguments):\n"
        "    if event == 'open' and isinstance(arguments[0], str):\n"
        "        path = os.path.abspath(arguments[0])\n"
        "        if path.startswith(root + os.sep) and path.endswith('.py'):\n"
        "            os.write(descriptor, (path + '\\n').encode())\n"
        "descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)\n"
        "sys.addaudithook(hear)\n"
    )
    words = command.replace("python", shlex.quote(sys.executable), 1)
    if words.startswith("PYTHONPATH="):
        words = words.replace("PYTHONPATH=", f"PYTHONPATH={shlex.quote(str(hook))}:", 1)
    else:
        words = f"PYTHONPATH={shlex.quote(str(hook))} {words}"
    subprocess.run(  # noqa: S602  by a shell, as DVC runs a stage
        words,
        shell=True,
        cwd=root,
        check=True,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    return {str(Path(line).relative_to(root)) for line in (hook / "log").read_text().splitlines()}


def test_both_sides_of_a_try_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"s.py": "try:\n  import fast\nexcept ImportError:\n  import slow", "fast.py": "", "slow.py": ""},
    )
    assert set(walk(tmp_path, "python s.py").files) == {"s.py", "fast.py", "slow.py"}


def test_what_only_a_run_can_tell_is_named_and_not_guessed(tmp_path: Path) -> None:
    lines = [
        "import importlib, runpy, sys",
        "from importlib import import_module as load",
        "importlib.import_module('plugins.' + sys.argv[1])",
        "load(sys.argv[1])",
        "__import__(sys.argv[1])",
        "runpy.run_path('other.py')",
        "exec(open('other.py').read())",
        "sys.path.append(sys.argv[2])",
    ]
    write(tmp_path, {"s.py": "\n".join(lines), "other.py": "", "plugins/a.py": ""})
    found = walk(tmp_path, "python s.py")
    assert set(found.files) == {"s.py"}
    assert sorted(place.line for place in found.dynamic) == [3, 4, 5, 6, 7, 8]


def test_src_layout_and_pyproject_name_the_import_roots(tmp_path: Path) -> None:
    write(tmp_path, {"src/p/__init__.py": "", "scripts/s.py": "import p, q", "lib/q.py": ""})
    write(tmp_path, {"pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'})
    assert imports.import_roots(tmp_path, tmp_path) == [".", "src", "lib"]
    assert set(walk(tmp_path, "python scripts/s.py").files) == {
        "scripts/s.py",
        "src/p/__init__.py",
        "lib/q.py",
    }


def test_a_package_from_outside_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, {"s.py": "import numpy.linalg, json, os.path", "json/readme.txt": ""})
    found = walk(tmp_path, "python s.py")
    assert set(found.files) == {"s.py"}
    assert "numpy" in found.packages


def test_a_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"s.py": "import a", "a.py": "def (:"})
    found = walk(tmp_path, "python s.py")
    assert set(found.files) == {"s.py", "a.py"}
    assert [place.file for place in found.broken] == ["a.py"]


def test_a_very_deep_expression_does_not_break_the_walk(tmp_path: Path) -> None:
    write(tmp_path, {"s.py": "import a", "a.py": "x = " + "-" * 5000 + "1"})
    assert set(walk(tmp_path, "python s.py").files) == {"s.py", "a.py"}


COMMANDS = {
    "python a/s.py --x 1": Program("script", "a/s.py", "."),
    "python3.11 -u -W ignore -X dev a/s.py": Program("script", "a/s.py", "."),
    "OMP_NUM_THREADS=1 exec /usr/bin/env python -B a/s.py > log 2>&1": Program("script", "a/s.py", "."),
    "python -um a.s --flag": Program("module", "a.s", "."),
    "cd a && python s.py": Program("script", "a/s.py", "a"),
    "mkdir -p out; python a/s.py | tee log": Program("script", "a/s.py", "."),
    "torchrun --nproc 2 a/s.py": Program("script", "a/s.py", "."),
    "poetry run python a/s.py": Program("script", "a/s.py", "."),
    "export PYTHONPATH=lib:x; python a/s.py": Program("script", "a/s.py", ".", ("lib", "x")),
    "PYTHONPATH=$PYTHONPATH:lib python a/s.py": Program("script", "a/s.py", ".", ("lib",)),
    "python -c 'import a.s'": Program("code", "import a.s", "."),
    "python a": Program("script", "a/__main__.py", "."),
    "./a/s.py": Program("script", "a/s.py", "."),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_program_is_read_from_the_command(command: str, tmp_path: Path) -> None:
    write(tmp_path, {"a/s.py": "", "a/__main__.py": ""})
    found = commands.read((command,), ".", tmp_path, tmp_path)
    assert found.programs == [COMMANDS[command]]
    assert not [text for text in found.unseen if "tee" not in text]


@pytest.mark.parametrize(
    "command", ["bash run.sh", "python $SCRIPT", "make train", "python 'unclosed", "jupyter x"]
)
def test_a_command_that_hides_its_code_is_named(command: str, tmp_path: Path) -> None:
    found = commands.read((command,), ".", tmp_path, tmp_path)
    assert found.unseen and not found.programs


def test_several_commands_and_lines_are_all_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", "b.py": "", "c.py": "", "sub/d.py": ""})
    found = commands.read(
        ("python a.py && python b.py", "cd sub\npython c.py\ncd sub; python d.py"), ".", tmp_path, tmp_path
    )
    assert [program.target for program in found.programs] == ["a.py", "b.py", "c.py", "sub/d.py"]


@pytest.mark.parametrize(
    "call",
    [
        *("__import__", "importlib.import_module", "sys.path.append", "sys . path.append"),
        *("hydra.utils.instantiate", *imports.DYNAMIC, *imports.LOADERS),
    ],
)
def test_a_call_that_imports_is_seen_where_no_other_is(tmp_path: Path, call: str) -> None:
    """Expressions are gone into only in a file that holds such a word."""
    module = call.partition(".")[0].strip() if "." in call else "os"
    write(tmp_path, {"s.py": f"import {module}\nif (lambda: 1)():\n    print({call}(name))\n"})
    assert walk(tmp_path, "python s.py").dynamic
