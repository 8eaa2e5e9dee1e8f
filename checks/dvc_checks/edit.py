"""Edits the `deps` lists of a dvc.yaml and nothing else: comments, order and formatting stay as they are."""

import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from dvc_checks.deps import Verdict


@dataclass
class Edited:
    """What was changed in one dvc.yaml, and what has to be done by hand."""

    added: int = 0
    removed: int = 0
    by_hand: list[str] = field(default_factory=list)


def fix(file: Path, verdicts: list[Verdict]) -> Edited:
    """Add the missing and remove the needless code dependencies of the stages of one dvc.yaml.

    A stage with `foreach` or `matrix` is one entry in the file, so only what is
    missing (or needless) in every stage expanded from it can be written there;
    the rest is returned in `by_hand`.
    """
    edited = Edited()
    text = file.read_bytes().decode("utf-8")  # with the line ends it has
    for entry in dict.fromkeys(verdict.stage.entry for verdict in verdicts):
        group = [verdict for verdict in verdicts if verdict.stage.entry == entry]
        if all(verdict.right for verdict in group):
            continue
        change = _Change(text, entry, group)
        text = change.apply()
        edited.added += change.added
        edited.removed += change.removed
        edited.by_hand += change.by_hand
    if edited.added or edited.removed:
        file.write_bytes(text.encode("utf-8"))
    return edited


def _load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def _value(mapping: Any, key: str) -> Any:
    """The node of a key in a composed mapping; None if it is not there."""
    return next((value for name, value in mapping.value if name.value == key), None)


class _Change:
    """The change of one entry of `stages`."""

    def __init__(self, text: str, entry: str, group: list[Verdict]) -> None:
        self.text, self.entry, self.group = text, entry, group
        self.added = self.removed = 0
        self.by_hand: list[str] = []

    def apply(self) -> str:
        """Return the new text, checked to differ from the old in this one list alone."""
        written = self._body(_load(self.text)).get("deps")
        if not isinstance(written, list | None):
            self._give_up("its deps are not a list written out in dvc.yaml")
            return self.text
        paths = [next(iter(item)) if isinstance(item, dict) else item for item in written or []]
        remove = self._needless(paths)
        add = self._missing()
        if not add and not remove:
            return self.text
        wanted = self._merge(paths, add, remove)
        new = self._write(paths, wanted)
        if new is None or not self._only_this_changed(new, wanted):
            self._give_up(
                "its deps are shared with another stage, or written in a form that is not edited here"
            )
            return self.text
        self.added += len(add)
        self.removed += len(remove)
        return new

    def _body(self, document: Any) -> Any:
        entry = document["stages"][self.entry]
        return entry["do"] if "foreach" in entry else entry

    def _give_up(self, why: str) -> None:
        self.by_hand.append(f"{self.entry}: {why}")

    def _needless(self, paths: list[str]) -> list[int]:
        """The places in the list that are needless for every stage expanded from this entry."""
        counts = []
        for verdict in self.group:
            written = [dep.written for dep in verdict.stage.deps]
            if len(written) != len(paths):
                return []
            bad = {dep.written for dep in verdict.stage.deps if dep.path in verdict.needless}
            counts.append({place for place, path in enumerate(written) if path in bad})
        common = set.intersection(*counts)
        for place in sorted(set.union(*counts) - common):
            self._give_up(f"{paths[place]} is needless for some of the stages expanded from it, not for all")
        return sorted(common)

    def _missing(self) -> list[str]:
        """The paths, as they have to be written, that every stage expanded from this entry misses."""
        wanted = []
        for verdict in self.group:
            wdir = verdict.stage.wdir
            wanted.append({posixpath.relpath(file, wdir) for file in verdict.missing})
        common = set.intersection(*wanted)
        for path in sorted(set.union(*wanted) - common):
            names = [v.stage.name for v, paths in zip(self.group, wanted, strict=True) if path in paths]
            self._give_up(f"{path} is missing for {', '.join(names)} alone")
        return sorted(common)

    @staticmethod
    def _merge(paths: list[str], add: list[str], remove: list[int]) -> list[tuple[int | None, str]]:
        """The new list as (old place, path): sorted if the old one was, else new paths after the scripts."""
        kept: list[tuple[int | None, str]] = [(i, path) for i, path in enumerate(paths) if i not in remove]
        if paths == sorted(paths):
            return sorted([*kept, *((None, path) for path in add)], key=lambda item: item[1])
        scripts = [place for place, (_, path) in enumerate(kept) if path.endswith(".py")]
        after = scripts[-1] + 1 if scripts else len(kept)
        return [*kept[:after], *((None, path) for path in add), *kept[after:]]

    def _write(self, paths: list[str], wanted: list[tuple[int | None, str]]) -> str | None:
        """The new text; None where the list is written in a way that is not understood."""
        entry = _value(_value(YAML(typ="rt", pure=True).compose(self.text), "stages"), self.entry)
        body = _value(entry, "do") or entry
        written = _value(body, "deps")
        if written is None:
            return self._insert(body, [path for _, path in wanted])
        if not isinstance(written, SequenceNode) or len(written.value) != len(paths):
            return None
        if written.flow_style:
            items = [self.text[item.start_mark.index : item.end_mark.index] for item in written.value]
            new = [items[place] if place is not None else _quoted(path) for place, path in wanted]
            start, end = written.start_mark.index, written.end_mark.index
            return f"{self.text[:start]}[{', '.join(new)}]{self.text[end:]}"
        return self._write_block(written, wanted)

    def _write_block(self, written: SequenceNode, wanted: list[tuple[int | None, str]]) -> str | None:
        """Edit a list written one item a line; comments stand where they stood."""
        lines = self.text.splitlines(keepends=True)
        starts = [item.start_mark.line for item in written.value]
        indent = lines[starts[0]][: len(lines[starts[0]]) - len(lines[starts[0]].lstrip())]
        if any(not lines[line].startswith(f"{indent}-") for line in starts):
            return None
        first, last = starts[0], starts[-1] + 1
        if not lines[last - 1].endswith("\n"):
            lines[last - 1] += self._line_end
        blocks = [lines[start:end] for start, end in zip(starts, [*starts[1:], last], strict=True)]
        kept = {place for place, _ in wanted}
        new = []
        for place, path in wanted:
            new += blocks[place] if place is not None else [f"{indent}- {_quoted(path)}{self._line_end}"]
        for place, block in enumerate(blocks):  # comments between the items outlive the item above them
            new += block[1:] if place not in kept else []
        return "".join([*lines[:first], *new, *lines[last:]])

    def _insert(self, body: MappingNode, paths: list[str]) -> str | None:
        """Give an entry that has no deps a list, after its command."""
        keys = [key.value for key, _ in body.value]
        after = keys.index("cmd") + 1
        if body.flow_style:
            end = body.value[after - 1][1].end_mark.index
            return f"{self.text[:end]}, deps: [{', '.join(map(_quoted, paths))}]{self.text[end:]}"
        lines = self.text.splitlines(keepends=True)
        key, command = body.value[after - 1]
        if lines[key.start_mark.line][: key.start_mark.column].strip():
            return None
        if command.style in ("|", ">"):  # where such a text ends is told by what follows it
            line = body.value[after][0].start_mark.line if after < len(keys) else key.start_mark.line
        else:
            line = command.end_mark.line + 1
            if not lines[line - 1].endswith("\n"):
                lines[line - 1] += self._line_end
        indent = " " * key.start_mark.column
        new = [f"{indent}deps:{self._line_end}"]
        new += [f"{indent}  - {_quoted(path)}{self._line_end}" for path in paths]
        return "".join([*lines[:line], *new, *lines[line:]])

    @property
    def _line_end(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _only_this_changed(self, new: str, wanted: list[tuple[int | None, str]]) -> bool:
        old = _load(self.text)
        try:
            document = _load(new)
        except YAMLError:
            return False
        before = self._body(old).get("deps") or []
        after = [before[place] if place is not None else path for place, path in wanted]
        if (self._body(document).get("deps") or []) != after:
            return False
        self._body(document)["deps"] = self._body(old)["deps"] = None
        return document == old


def _quoted(path: str) -> str:
    plain = _load(f"- {path}\n") if path.isprintable() and not path.startswith(("-", " ")) else None
    return path if plain == [path] else "'" + path.replace("'", "''") + "'"
