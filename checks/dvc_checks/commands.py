"""Which Python programs a stage's `cmd` starts, read from its text as a shell would."""

import os
import posixpath
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

PYTHON = re.compile(r"(.*[/\\])?(python|pypy)[\d.]*(\.exe)?$|\$\{?PYTHON\}?$", re.IGNORECASE)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
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
    """One Python program: a script (path relative to the root), a module, or code given with `-c`."""

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


def read(commands: tuple[str, ...], wdir: str, root: Path, repository: Path) -> Commands:
    """Read the commands of a stage that runs in `wdir` (relative to `root`, a folder of `repository`).

    DVC runs each line on its own; within a line `cd` and `export PYTHONPATH` last.
    """
    found = Commands()
    for command in commands:
        for line in command.replace("\\\n", " ").splitlines():
            _read_line(line, _Place(wdir, (), root, repository), found)
    return found


def _read_line(line: str, place: "_Place", found: Commands) -> None:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:
        found.unseen.append(line.strip())
        return
    start = 0
    for end in range(len(tokens) + 1):
        if end == len(tokens) or tokens[end] in SEPARATORS:
            place = _read_simple(_without_redirections(tokens[start:end]), place, found)
            start = end + 1


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
        return Path(file).is_relative_to(self.repository) and os.path.isfile(file)

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
        if not _script_among(words, place, found):
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


def _script_among(words: list[str], place: _Place, found: Commands) -> bool:
    """Take the first project script among the words: `./train.py`, `torchrun train.py`."""
    for word in words:
        if word.endswith(".py") and place.is_file(word):
            found.programs.append(Program("script", place.relative(word), place.wdir, place.paths))
            return True
    return False
