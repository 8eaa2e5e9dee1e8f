"""What every command hands back, and its forms: a terminal's, JSON for machines, and GitHub's annotations.

The JSON is described in README.md. Its `schema` changes when a key goes or means
something else; keys may be added.
"""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import click

from dvc_checks.output import as_json, count, printable, say

SCHEMA = "dvc-checks/1"
MARK = "<!-- dvc-checks -->"  # by which the one comment on a pull request is known
SHOWN = 50  # findings that GitHub is told of, one by one
COMMENT = 60_000  # characters; GitHub takes 65,536


@dataclass(frozen=True)
class Location:
    """A value in a YAML file: the keys that lead to it, the last of which may be an item of a list."""

    file: str  # relative to the project's root
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that was found, or is to be known."""

    where: str  # mostly a stage
    what: str
    place: Location | None = None


@dataclass
class Report:
    """The result of one command."""

    command: str
    summary: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    text: list[str] = field(default_factory=list)  # what a terminal shows below the summary
    data: dict[str, Any] = field(default_factory=dict)  # what the JSON holds besides
    markdown: list[str] | None = None  # what a comment shows, if not the findings
    root: Path = Path()
    lines: dict[Location, int] = field(default_factory=dict)
    ends: int | None = None  # the exit status, if findings do not decide it

    @property
    def status(self) -> int:
        return self.ends if self.ends is not None else int(bool(self.findings))

    def locate(self, root: Path) -> "Report":
        """Look up the lines of all places, while the files are there."""
        self.root = root
        self.lines = {f.place: line_of(root, f.place) for f in self.findings if f.place}
        return self

    def add(self, other: "Report") -> None:
        """Take another report, on a further question to the same command, into this one."""
        self.text += [f"{other.command}: {other.summary}", *other.text]
        self.findings += other.findings
        self.notes += other.notes
        self.lines |= other.lines
        self.data[other.command] = {"summary": other.summary, **other.data}

    def as_data(self) -> dict[str, Any]:
        """What the JSON holds."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            "status": self.status,
            "summary": self.summary,
            "findings": [self._finding(finding) for finding in self.findings],
            "notes": [{"where": note.where, "what": note.what} for note in self.notes],
            **self.data,
        }

    def _finding(self, finding: Finding) -> dict[str, Any]:
        place = finding.place
        return {
            "where": finding.where,
            "what": finding.what,
            "file": place.file if place else None,
            "line": (self.lines.get(place) or None) if place else None,
        }

    def show(self, form: str | None) -> None:
        """Print it: for a terminal, as "json", or for "github", with the summary of the job."""
        if form == "json":
            click.echo(as_json(self.as_data()))
            return
        say(f"{self.command}: {self.summary}")
        for line in self.text:
            say(line)
        if form == "github":
            for line in self.annotations():
                say(line)
            self._summarise()

    def annotations(self) -> list[str]:
        """GitHub's workflow commands: an error at the line of each finding."""
        prefix = _prefix(self.root)
        lines = []
        for finding in self.findings[:SHOWN]:
            marks = [f"title={_escaped(f'dvc-checks {self.command}', ':', ',')}"]
            if place := finding.place:
                at = [f"file={_escaped(prefix + place.file, ':', ',')}"]
                marks = [*at, *([f"line={line}"] if (line := self.lines.get(place)) else []), *marks]
            lines.append(f"::error {','.join(marks)}::{_escaped(f'{finding.where}: {finding.what}')}")
        if len(self.findings) > SHOWN:
            lines.append(f"::error::dvc-checks {self.command}: {len(self.findings) - SHOWN} more findings")
        return lines

    def section(self) -> list[str]:
        """A section of a comment, in Markdown."""
        sign = "❌" if self.findings else "✅"
        lines = [f"{sign} **{self.command}**: {_inline(self.summary)}"]
        if self.markdown is not None:
            return [*lines, "", *self.markdown, ""]
        lines += [f"- `{_inline(f.where)}` {_inline(f.what)}" for f in self.findings[:SHOWN]]
        if len(self.findings) > SHOWN:
            lines.append(f"- and {count(len(self.findings) - SHOWN, 'more finding')}")
        if self.notes:
            title = f"<details><summary>{count(len(self.notes), 'note')}</summary>"
            notes = [f"- `{_inline(note.where)}` {_inline(note.what)}" for note in self.notes[:SHOWN]]
            lines += ["", title, "", *notes, "", "</details>"]
        return [*lines, ""]

    def _summarise(self) -> None:
        text = "\n".join(self.section()) + "\n"
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with open(path, "a", encoding="utf-8", errors="replace") as file:
                file.write(text)
        if path := os.environ.get("DVC_CHECKS_COMMENT"):
            _add_to_comment(Path(path), text)


def failed(command: str, message: str, form: str | None) -> None:
    """Tell a machine that the input could not be judged; people are told on standard error."""
    if form == "json":
        click.echo(
            as_json({"schema": SCHEMA, "command": command, "status": 2, "error": " ".join(message.split())})
        )
    elif form == "github":
        say(f"::error title=dvc-checks {command}::{_escaped(' '.join(message.split()))}")
        text = f"❌ **{command}**: could not be judged: {_inline(message)}\n\n"
        for name in ("GITHUB_STEP_SUMMARY", "DVC_CHECKS_COMMENT"):
            if path := os.environ.get(name):
                with open(path, "a", encoding="utf-8", errors="replace") as file:
                    file.write(text)


def _add_to_comment(path: Path, text: str) -> None:
    before = path.read_text(encoding="utf-8") if path.exists() else f"{MARK}\n"
    space = COMMENT - len(before)
    if len(text) > space:
        text = text[: max(space, 0)].rpartition("\n")[0] + "\n\n… the rest is in the summary of the job.\n"
    path.write_text(before + text, encoding="utf-8", errors="replace")


def _escaped(text: str, *more: str) -> str:
    """As GitHub's workflow commands want it; what they are told cannot begin another command."""
    for character in ("%", "\r", "\n", *more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _inline(text: str) -> str:
    """Text in one line of Markdown, in which nothing of a foreign name is markup or calls anybody."""
    text = printable(" ".join(text.split())).replace("`", "'")
    for character in ("&", "<", ">", "|"):
        text = text.replace(character, f"&#{ord(character)};")
    return text.replace("@", "@\u200b")


def _prefix(root: Path) -> str:
    """The folder of the project in its repository, with a slash; "" at its top."""
    run = subprocess.run(["git", "rev-parse", "--show-prefix"], cwd=root, capture_output=True, text=True)
    return run.stdout.strip() if run.returncode == 0 else ""


def line_of(root: Path, place: Location) -> int:
    """The line (from 1) of the last key of a place that is in the file; 0 if that cannot be told."""
    path = root / place.file
    node = _node(os.fspath(path), path.stat().st_mtime_ns) if path.is_file() else None
    if node is None:
        return 0
    line = node.start_mark.line
    for key in place.keys:
        found = _below(node, key)
        if found is None and (generated := _below(node, "do")):  # of a foreach
            found = _below(generated[1], key)
        if found is None:
            break
        at, node = found
        line = at.start_mark.line
    return line + 1


def _below(node: Any, key: str) -> tuple[Any, Any] | None:
    """The node of a key, or of an item of a list, and that of its value."""
    if not isinstance(node.value, list):
        return None
    for item in node.value:
        at, value = item if isinstance(item, tuple) else (item, item)
        if at.value == key:
            return at, value
        if isinstance(at.value, list) and len(at.value) == 1 and isinstance(at.value[0], tuple):
            only = at.value[0][0]  # an item such as `- metrics.json: {cache: false}`
            if only.value == key:
                return only, at.value[0][1]
    return None


@lru_cache(maxsize=64)
def _node(path: str, _: int) -> Any:
    from ruamel.yaml.error import YAMLError

    from dvc_checks import fastyaml

    if not path.endswith((".yaml", ".yml", ".json")):
        return None
    try:
        return fastyaml.compose(Path(path).read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError, OSError):
        return None


def together(reports: Iterable[Report]) -> Report:
    """The one verdict of several reports."""
    each = list(reports)
    found = [report.command for report in each if report.findings]
    whole = Report("all", "something was found by " + ", ".join(found) if found else "all is well")
    whole.data = {"reports": [report.as_data() for report in each]}
    whole.findings = [finding for report in each for finding in report.findings]
    for report in each:
        whole.lines |= report.lines
        whole.root = report.root
    return whole
