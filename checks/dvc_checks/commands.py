"""Which Python programs a stage's `cmd` starts, read from its text as a shell would.

A program is a script, a module, a notebook, or a command that a pyproject.toml of the
project declares. A shell script that is no more than a list of commands is read, too;
one with branches, loops or arguments is named, for what it runs depends on them.
"""

import os
import posixpath
import re
import shlex
import tomllib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

PYTHON = re.compile(r"(.*[/\\])?(python|pypy)[\d.]*(\.exe)?$|\$\{?PYTHON\}?$", re.IGNORECASE)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
RUNNERS = {
    "poetry",
    "uv",
    "pdm",
    "pipenv",
    "hatch",
    "rye",
    "pixi",
}  # `poetry run` and the like change nothing
SHELLS = {"bash", "sh", "zsh", "dash"}
# What a shell script does not hold if it is a plain list of commands: branches, loops, functions, arguments.
NOT_PLAIN = re.compile(
    r"\b(if|for|while|until|case|select|function|eval|source|trap|exit|return)\b|\$[\d@*#{(]|[`{}]|^\s*\.\s|<<"
)
SEPARATORS = {"&&", "||", ";", "|", "&", "(", ")", ";;", "|&"}
# Commands that cannot run a project file given to them as an argument.
INERT = {
    *(
        "[",
        "cat",
        "cd",
        "chmod",
        "cmp",
        "cp",
        "curl",
        "date",
        "diff",
        "du",
        "echo",
        "export",
        "false",
        "grep",
    ),
    *(
        "gunzip",
        "gzip",
        "head",
        "ln",
        "ls",
        "mkdir",
        "mv",
        "printf",
        "pwd",
        "rm",
        "rmdir",
        "sed",
        "set",
        "sleep",
    ),
    *("sort", "tail", "tar", "tee", "test", "touch", "tr", "true", "unset", "unzip", "wc", "wget", "zip"),
}


@dataclass(frozen=True)
class Program:
    """One Python program: a script or a notebook (path relative to the root), a module, or code given with `-c`."""

    kind: str
    target: str
    wdir: str
    paths: tuple[str, ...] = ()  # PYTHONPATH set in the command, relative to the root


@dataclass
class Commands:
    """What a stage's commands start."""

    programs: list[Program] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)  # commands whose code cannot be told from their text
    absent: list[str] = field(default_factory=list)  # scripts that do not exist
    named: set[str] = field(default_factory=set)  # project files named as arguments
    scripts: list[str] = field(default_factory=list)  # shell scripts of the project
    tools: list[str] = field(default_factory=list)  # commands of others that run a program of the project


def read(commands: tuple[str, ...], wdir: str, root: Path, repository: Path) -> Commands:
    """Read the commands of a stage that runs in `wdir` (relative to `root`, a folder of `repository`).

    DVC runs each line on its own; within a line `cd` and `export PYTHONPATH` last.
    """
    found = Commands()
    for command in commands:
        if not isinstance(command, str):  # DVC lets a null in a list of commands pass
            found.unseen.append(str(command))
            continue
        for line in command.replace("\\\n", " ").splitlines():
            _read_line(line, _Place(wdir, (), root, repository), found)
    return found


def _read_line(line: str, place: "_Place", found: Commands) -> "_Place":
    """Read one line; return where the next one of the same shell runs."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:
        found.unseen.append(line.strip())
        return place
    start = 0
    for end in range(len(tokens) + 1):
        if end == len(tokens) or tokens[end] in SEPARATORS:
            place = _read_simple(_without_redirections(tokens[start:end]), place, found)
            start = end + 1
    return place


@dataclass(frozen=True)
class _Place:
    wdir: str
    paths: tuple[str, ...]
    root: Path
    repository: Path

    def relative(self, path: str) -> str:
        if posixpath.isabs(path):
            return Path(os.path.relpath(path, self.root)).as_posix()
        return posixpath.normpath(posixpath.join(self.wdir, path))

    def is_file(self, path: str) -> bool:
        if "\0" in path:
            return False
        file = os.path.normpath(self.root / self.relative(path))
        return os.path.isfile(file) and Path(file).is_relative_to(self.repository)

    def with_assignment(self, name: str, value: str) -> "_Place":
        if name != "PYTHONPATH":
            return self
        parts = [part for part in value.split(":") if part and "$" not in part]
        return replace(self, paths=tuple(self.relative(part) for part in parts))


def _without_redirections(tokens: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for token in tokens:
        if skip:
            skip = False
        elif set(token) <= set("<>&") and token:
            skip = True
            if kept and kept[-1].isdigit():
                kept.pop()
        else:
            kept.append(token)
    return kept


def _read_simple(words: list[str], place: _Place, found: Commands) -> _Place:
    """Read one simple command; return where the next one on the line runs."""
    for word in words:
        for part in {word, word.partition("=")[2]} - {""}:
            if place.is_file(part):
                found.named.add(place.relative(part))
    here = place
    index = 0
    while index < len(words):
        assignment = ASSIGNMENT.fullmatch(words[index])
        if assignment:
            here = here.with_assignment(*assignment.groups())
        elif words[index] not in ("env", "exec", "time", "nohup", "command"):
            break
        index += 1
    words = words[index:]
    if len(words) > 2 and posixpath.basename(words[0]) in RUNNERS and words[1] == "run":
        words = words[2:]
    if not words:
        return place
    name = posixpath.basename(words[0])
    if name == "cd":
        target = words[1] if len(words) > 1 else ""
        if not target or target.startswith(("$", "~", "-")):
            found.unseen.append(shlex.join(words))
            return place
        return replace(place, wdir=place.relative(target))
    if name == "export":
        for word in words[1:]:
            if assignment := ASSIGNMENT.fullmatch(word):
                place = place.with_assignment(*assignment.groups())
        return place
    if name not in INERT:
        _read_program(words, here, found)
    return place


def _read_program(words: list[str], place: _Place, found: Commands) -> None:
    interpreter = next((index for index, word in enumerate(words) if PYTHON.match(word)), None)
    if interpreter is None:
        shell = words[1:] if words[0] in SHELLS else words
        if shell and place.is_file(shell[0]) and _is_shell(place, shell[0], words[0] in SHELLS):
            _read_shell(shell, words, place, found)
        elif not _declared(words[0], place, found) and not _script_among(words, place, found):
            found.unseen.append(shlex.join(words))
        return
    arguments = iter(words[interpreter + 1 :])
    for word in arguments:
        if not word.startswith("-") or word == "-":
            break
        if word == "--check-hash-based-pycs":
            next(arguments, None)
            continue
        for position, letter in enumerate(word[1:], 1):
            if word.startswith("--"):
                break
            if letter in "cmWX":
                value = word[position + 1 :] or next(arguments, "")
                if letter == "c":
                    found.programs.append(Program("code", value, place.wdir, place.paths))
                    return
                if letter == "m":
                    found.programs.append(Program("module", value, place.wdir, place.paths))
                    _script_among(list(arguments), place, found)  # python -m coverage run script.py
                    return
                break
    else:
        word = ""
    if word and place.is_file(word):
        found.programs.append(Program("script", place.relative(word), place.wdir, place.paths))
    elif word and place.is_file(posixpath.join(word, "__main__.py")):
        main = place.relative(posixpath.join(word, "__main__.py"))
        found.programs.append(Program("script", main, place.wdir, place.paths))
    elif word.endswith(".py") and "$" not in word and not posixpath.isabs(word):
        found.absent.append(place.relative(word))
    else:
        found.unseen.append(shlex.join(words))


def _is_shell(place: _Place, path: str, by_shell: bool) -> bool:
    """Whether a file is a shell script: run by a shell, or named or opened as one."""
    if by_shell or path.endswith(".sh"):
        return not path.endswith((".py", ".ipynb"))
    with open(place.root / place.relative(path), "rb") as file:
        return re.match(rb"#!.*\b(bash|sh|zsh|dash)\b", file.readline()) is not None


def _read_shell(script: list[str], words: list[str], place: _Place, found: Commands) -> None:
    """Read a shell script of the project, if it is no more than a list of commands."""
    path = place.relative(script[0])
    known = path in found.scripts
    found.scripts.append(path)
    text = (place.root / path).read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not re.match(r"\s*(#|$)", line)]
    if known or len(script) > 1 or any(NOT_PLAIN.search(line) for line in lines):
        found.unseen.append(shlex.join(words))
        return
    for line in lines:
        place = _read_line(line, place, found)


def _declared(name: str, place: _Place, found: Commands) -> bool:
    """Take a command that a pyproject.toml of the project declares: it imports one of its modules."""
    for folder in dict.fromkeys((place.repository, place.root)):
        for file in (folder / "pyproject.toml", *sorted(folder.glob("*/pyproject.toml"))):
            if module := _entry_points(file).get(name):
                base = Path(os.path.relpath(file.parent, place.root)).as_posix()
                paths = (base, posixpath.normpath(posixpath.join(base, "src")), *place.paths)
                found.programs.append(Program("code", f"import {module}", place.wdir, paths))
                return True
    return False


@lru_cache(maxsize=256)
def _entry_points(file: Path) -> dict[str, str]:
    """The commands that a pyproject.toml declares, and the modules they import."""
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    declared = settings.get("project", {}).get("scripts", {})
    declared |= settings.get("tool", {}).get("poetry", {}).get("scripts", {})
    modules = {name: str(value).partition(":")[0].strip() for name, value in declared.items()}
    return {name: module for name, module in modules.items() if re.fullmatch(r"[\w.]+", module)}


def _script_among(words: list[str], place: _Place, found: Commands) -> bool:
    """Take the first project script or notebook among the words: `torchrun train.py`, `papermill train.ipynb`."""
    for word in words:
        if word.endswith(".ipynb") and place.is_file(word):
            path = place.relative(word)  # nbconvert runs it in its own folder, papermill in the current one
            beside = words[0] == "jupyter" or "nbconvert" in words
            wdir = posixpath.dirname(path) or "." if beside else place.wdir
            found.programs.append(Program("notebook", path, wdir, place.paths))
            found.tools.append(shlex.join(words))
            return True
        if word.endswith(".py") and place.is_file(word):
            found.programs.append(Program("script", place.relative(word), place.wdir, place.paths))
            return True
    return False
