"""A foreign repository is hostile input: one line, soon, in little memory, and nothing of it is run."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML, YAMLError
from small_dvc import Project, isolate

from dvc_checks import fastyaml, imports, pipeline
from dvc_checks.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

FILES = {
    "lib.py": "",
    "make.py": "import lib\n",
    "params.yaml": "make:\n  n: 3\n",
    "dvc.yaml": "stages:\n  make:\n    cmd: python make.py\n    deps: [make.py, lib.py]\n    params: [make]\n    outs: [out]\n",
    "dvc.lock": "schema: '2.0'\nstages:\n  make:\n    cmd: python make.py\n",
}
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}\n" for n in range(1, 12)
)
DEEP = "[" * 100_000
HOSTILE = {
    "aliases in params.yaml": {"params.yaml": BOMB + "make: {n: 3}\n"},
    "merge keys in params.yaml": {"params.yaml": MERGES + "make: {n: 3}\n"},
    "aliases in dvc.yaml": {"dvc.yaml": BOMB + FILES["dvc.yaml"]},
    "aliases in dvc.lock": {"dvc.lock": BOMB + FILES["dvc.lock"]},
    "an alias that holds itself": {"params.yaml": "make: &m\n  n: *m\n"},
    "deep YAML": {"params.yaml": f"make: {DEEP}"},
    "deep dvc.yaml": {"dvc.yaml": f"stages: {DEEP}"},
    "deep dvc.lock": {"dvc.lock": f"stages: {DEEP}"},
    "deep JSON": {"params.json": '{"a":' * 100_000, "dvc.yaml": FILES["dvc.yaml"].replace("[make]", "[{params.json: [a]}]")},
    "deep TOML": {"pyproject.toml": f"a = {DEEP}"},
    "100,000 minus signs": {"lib.py": "x = " + "-" * 100_000 + "1\n"},
    "a long sum": {"lib.py": "x = " + "+".join(["1"] * 50_000) + "\n"},
    "deep Python": {"lib.py": "(" * 100_000},
    "no Python at all": {"lib.py": "\0\udcff\n"},
    "code in cmd": {"dvc.yaml": FILES["dvc.yaml"].replace("python make.py", f"python -c '{'-' * 5000}1'")},
    "null among commands": {"dvc.yaml": FILES["dvc.yaml"].replace("python make.py", "[python make.py, null]")},
    "a list among commands": {"dvc.yaml": FILES["dvc.yaml"].replace("python make.py", "[python make.py, [a]]")},
    "no command": {"dvc.yaml": FILES["dvc.yaml"].replace("python make.py", "null")},
    "a config that is no INI": {".dvc/config": "[core\n<html>"},
    "a config of other shape": {".dvc/config": "core = 1\nremote = 2\n"},
    "a config that is no text": {".dvc/config": "\udcff\udcfe\n"},
    "a lock of another shape": {"dvc.lock": "schema: '2.0'\nstages:\n  make: {cmd: 3, deps: 4, outs: {a: b}}\n"},
    "a lock that is a list": {"dvc.lock": "- 1\n"},
    "a date for a hash": {"dvc.lock": FILES["dvc.lock"] + "    deps:\n    - path: lib.py\n      md5: 2024-01-01\n"},
    "params that are a list": {"params.yaml": "- 1\n"},
    "params that are no text": {"params.yaml": "\udcff"},
    "a number where keys stand": {"params.yaml": "1: {2: 3}\nmake: {n: 3}\n"},
    "setuptools is a list": {"pyproject.toml": "[tool]\nsetuptools = [1]\n"},
    "package-dir is text": {"pyproject.toml": "[tool.setuptools]\npackage-dir = 'x'\n"},
    "find is a list": {"pyproject.toml": "[tool.setuptools.packages]\nfind = [1]\n"},
    "where is a table": {"pyproject.toml": "[tool.setuptools.packages.find]\nwhere = {a = 1}\n"},
    "poetry is a number": {"pyproject.toml": "[tool]\npoetry = 1\n"},
    "poetry's packages are a number": {"pyproject.toml": "[tool.poetry]\npackages = 1\n"},
    "hatch is text": {"pyproject.toml": "[tool]\nhatch = 'x'\n"},
    "hatch's packages are numbers": {"pyproject.toml": "[tool.hatch.build.targets.wheel]\npackages = [1]\n"},
    "pdm and uv are text": {"pyproject.toml": "[tool]\npdm = 'x'\nuv = 'y'\n"},
    "tool is text": {"pyproject.toml": "tool = 'x'\n"},
    "a name that is no UTF-8": {"\udcff.py": "", "make.py": "import lib\n"},
    "a name of two lines": {"a\nb: c\x1b[31m.py": "", "make.py": "import lib\n"},
}  # fmt: skip


def write(project: Project, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = os.path.join(os.fsencode(project.root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    isolate(monkeypatch, tmp_path / "home")
    return Project(tmp_path / "project").write(FILES)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_ends_in_lines_and_soon(project: Project, name: str) -> None:
    write(project, HOSTILE[name])
    project.git("add", "--all", ".")
    for command in ("deps", "effects", "lock"):
        started = time.process_time()
        found = project.check(command, "--github")  # an exception would come through
        assert time.process_time() - started < 20
        assert found.exit_code in (0, 1, 2), found.output
        assert found.exit_code < 2 or found.stderr.count("\n") == 1, found.stderr
        assert "\x1b" not in found.output


@pytest.mark.parametrize("file", ["params.yaml", "dvc.yaml", "dvc.lock"])
def test_aliases_for_gigabytes_take_little_memory(project: Project, file: str) -> None:
    write(project, {file: BOMB + FILES[file]})
    limit = 2 * 1024**3

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "dvc_checks", "-C", str(project.root), "lock"],
        preexec_fn=bound,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


def test_what_a_remote_would_run_is_not_run(project: Project, tmp_path: Path) -> None:
    """AWS's configuration and WebDAV's token name programs: from .dvc/config, they are not asked for."""
    value = "a" * 32
    locked = (
        FILES["dvc.lock"]
        + f"    outs:\n    - path: out\n      hash: md5\n      md5: {value}\n      size: 1\n"
    )
    for setting in ("configpath = ../aws", f"bearer_token_command = touch {tmp_path}/run"):
        kind = "s3://bucket/x" if "configpath" in setting else "webdavs://127.0.0.1/x"
        write(project, {
            "dvc.lock": locked,
            "aws": f"[default]\ncredential_process = touch {tmp_path}/run\n",
            ".dvc/config": f"[core]\nremote = r\n['remote \"r\"']\nurl = {kind}\n{setting}\n",
        })  # fmt: skip
        found = project.check("lock")
        older = "extra keys not allowed" in found.output  # DVCs that know no such setting
        assert "which may run a command" in found.stdout or older, found.output
        assert not (tmp_path / "run").exists()


def test_damaged_arrays_are_no_pictures(tmp_path: Path) -> None:
    from dvc_checks import pictures

    path = tmp_path / "a.npy"
    for header in (b"{'descr': (((", b"{'descr': '<f8', 'shape': (1" + b"(" * 3000, b"\xff" * 40, b""):
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        assert not pictures.holds(path, 10)


TABLES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["src", "..", "a/b", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["setuptools", "packages", "find", "where", "poetry", "from", "hatch", "build", "targets"]
            )
            | st.sampled_from(
                ["wheel", "pdm", "uv", "package-dir", "build-backend", "module-root", "tool", ""]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLES)
def test_pyproject_of_any_shape_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: Any) -> None:
    monkeypatch.setattr(imports.tomllib, "loads", lambda _: {"tool": tables})
    (tmp_path / "pyproject.toml").write_text("")
    found = imports.import_roots(tmp_path, tmp_path)
    assert found and all(isinstance(root, str) for root in found)


# Pieces of YAML in which the two parsers, and the two versions of YAML, might not agree.
PIECES = st.lists(
    st.sampled_from(
        [
            *("a", "b", "1", "0o7", "010", "1e3", "1_000", "1:30", "yes", "on", "null", "~", "<<", "=", ".inf", "-"),
            *("- ", ": ", ":", "?", "? ", "[", "]", "{", "}", ",", ", ", "\n", "\n  ", "\n- ", "&x ", "*x", "!!str "),
            *("!t ", "'", '"', "|\n ", ">\n ", "#", " #", "%", "---\n", "...\n", "2024-01-01", "\t", "\\n", "é"),
            *("\u2028", "@", "`", "${a.b}"),
        ]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def both(text: str) -> tuple[Any, Any]:
    def value(read: Any) -> Any:
        try:
            return repr(read(text))
        except (YAMLError, ValueError, TypeError, AttributeError, KeyError):
            return "refused"

    return value(fastyaml.load), value(YAML(typ="safe", pure=True).load)


@settings(max_examples=500, deadline=None)
@given(PIECES)
@example("\n- \u2028-")
@example("a: {b: 1, c: [x, 1e3, 0o7, 'y']}\nd:\n- {}\n- e: ~\n")
@example("a: 1\na: 2\n")
@example("a: 1\n---\nb: 2\n")
def test_yaml_means_what_ruamel_says(text: str) -> None:
    """No value is another. A few oddities that ruamel.yaml refuses, and DVC with it, are values to libyaml."""
    fast, slow = both(text)
    assert fast == slow or "holds itself" in fast or slow == "refused"


def replay(project: Project, name: str, content: bytes) -> None:
    """Put this into a file of the project, and check that reading it ends as it should."""
    path = project.root / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        pipeline.load(project.root)
    except BadInput as error:
        assert error.message
    finally:
        path.write_bytes(before) if before is not None else path.unlink()


SEEDS = {
    "dvc.yaml": FILES["dvc.yaml"],
    "dvc.lock": FILES["dvc.lock"],
    ".dvc/config": "[core]\n    remote = r\n['remote \"r\"']\n    url = ../store\n",
    "pyproject.toml": "[tool.setuptools.packages.find]\nwhere = ['src']\n[tool.poetry]\npackages = [{from = 'a'}]\n",
}


def mutated(seed: bytes, random: Any) -> bytes:
    """The seed with a few of its parts cut, doubled, or exchanged for others."""
    tokens = [
        b"\0",
        b"\xff",
        b"[",
        b"{",
        b"]",
        b"}",
        b":",
        b": ",
        b"-",
        b"\n",
        b"&a ",
        b"*a",
        b"null",
        b"${",
        b"1e999",
        b"'",
    ]
    text = bytearray(seed)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(text) + 1)
        to = min(len(text), at + random.choice((0, 1, 1, 4, 20)))
        text[at:to] = random.choice([b"", random.choice(tokens), bytes(text[at:to]) * 2, random.randbytes(2)])
    return bytes(text)


@pytest.mark.parametrize(
    ("count", "seconds"), [(40, 60), pytest.param(1_000_000, 240, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", SEEDS)
def test_mutated_files_of_a_project(project: Project, name: str, count: int, seconds: float) -> None:
    """So many, or as many as the time lets be; FUZZ_SEED chooses others."""
    import random

    generator = random.Random(int(os.environ.get("FUZZ_SEED", "0")))
    until = time.monotonic() + seconds
    write(project, {name: SEEDS[name]})
    for number in range(count):
        content = mutated(SEEDS[name].encode(), generator)
        try:
            replay(project, name, content)
            if name == "pyproject.toml":
                (project.root / name).write_bytes(content)
                imports.import_roots(project.root, project.root)
        except Exception as error:
            pytest.fail(f"input {number}, {content!r}: {type(error).__name__}: {error}")
        if time.monotonic() > until:
            break
    print(f"{name}: {number + 1:,} inputs")


class Trap:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_nothing_of_a_foreign_repository_is_executed(project: Project, tmp_path: Path, alone: bool) -> None:
    """Its commands, modules under names that a tool imports, settings of Git that name programs, pickles.

    In this process, or, as a user has it, each command in one of its own.
    """
    import numpy

    sprung = tmp_path / "sprung"
    trap = f"open({str(sprung)!r}, 'w').close()\n"
    shell = tmp_path / "trap.sh"
    shell.write_text(f"#!/bin/sh\ntouch {sprung}\nexit 1\n")
    shell.chmod(0o755)
    names = (
        "sitecustomize",
        "usercustomize",
        "conftest",
        "setup",
        "yaml",
        "json",
        "click",
        "dvc",
        "numpy",
        "dvc_checks",
    )
    pipeline = FILES["dvc.yaml"].replace(
        "python make.py", f"sh {shell}; python make.py; $(touch {sprung}) `touch {sprung}`"
    )
    write(project, {
        **{f"{name}.py": trap for name in names}, "lib.py": trap, "make.py": trap + "import lib, json, yaml\n",
        "dvc.yaml": pipeline + "    plots: [predictions.csv]\n",
        "params.py": trap, "predictions.csv": "actual,predicted\n1,1\n", ".gitattributes": "* filter=trap diff=trap merge=trap\n",
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'setup'\nbackend-path = ['.']\n",
    })  # fmt: skip
    numpy.save(project.root / "images.npy", numpy.array([Trap(sprung)], object), allow_pickle=True)
    project.commit()
    write(project, {"predictions.csv": "actual,predicted\n1,0\n"})
    project.commit()
    write(project, {"predictions.csv": "actual,predicted\n0,0\n"})
    settings = ("core.fsmonitor", "diff.external", "diff.trap.command", "diff.trap.textconv", "filter.trap.smudge", "filter.trap.clean",
                "filter.trap.process", "merge.trap.driver", "core.pager", "core.editor", "core.sshCommand")  # fmt: skip
    for setting in settings:
        project.git("config", setting, str(shell))
    for hook in (
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "pre-auto-gc",
        "fsmonitor-watchman",
    ):
        target = project.root / ".git" / "hooks" / hook
        target.parent.mkdir(exist_ok=True)
        target.write_text(shell.read_text())
        target.chmod(0o755)
    program = Path(sys.executable).with_name("dvc-checks")
    commands = (
        ["deps"],
        ["effects"],
        ["lock"],
        ["compare", "HEAD~1", "HEAD", "--markdown"],
        ["compare", "HEAD"],
    )
    for command in commands:
        if alone:
            done = subprocess.run(
                [program, *command], cwd=project.root, capture_output=True, text=True, timeout=100
            )
            status, message = done.returncode, done.stderr
        else:
            found = project.check(*command)
            status, message = found.exit_code, found.stderr
        assert status in (0, 1, 2) and "Traceback" not in message, message
        assert not sprung.exists(), command
    subprocess.run(
        ["git", "status"], cwd=project.root, capture_output=True
    )  # what asks Git as usual does execute it
    assert sprung.exists()
