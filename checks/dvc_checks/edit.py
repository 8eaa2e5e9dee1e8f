"""Edits the `deps` and `params` lists of a dvc.yaml and nothing else: comments, order and form stay as they are."""

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from dvc_checks.deps import Verdict
from dvc_checks.stages import Stage

SHARED = "are shared with another stage, or written in a form that is not edited here"
Wanted = list[tuple[int | None, Any]]  # a list to be: the place of an old item, or None and a new one


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
    """The change of the code dependencies of one entry of `stages`."""

    def __init__(self, text: str, entry: str, group: list[Verdict]) -> None:
        self.entry, self.group = entry, group
        self.list = _List(text, entry, "deps")
        self.added = self.removed = 0
        self.by_hand: list[str] = []

    def apply(self) -> str:
        """Return the new text, checked to differ from the old in this one list alone."""
        written = self.list.written
        if written is None:
            self._give_up("its deps are not a list written out in dvc.yaml")
            return self.list.text
        paths = [next(iter(item)) if isinstance(item, dict) else item for item in written]
        remove = self._needless(paths)
        add = self._missing()
        if not add and not remove:
            return self.list.text
        new = self.list.rewritten(self._merge(paths, add, remove))
        if new is None:
            self._give_up(f"its deps {SHARED}")
            return self.list.text
        self.added += len(add)
        self.removed += len(remove)
        return new

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
    def _merge(paths: list[str], add: list[str], remove: list[int]) -> Wanted:
        """The new list as (old place, path): sorted if the old one was, else new paths after the scripts."""
        kept: Wanted = [(i, path) for i, path in enumerate(paths) if i not in remove]
        if paths == sorted(paths):
            return sorted([*kept, *((None, path) for path in add)], key=lambda item: item[1])
        scripts = [place for place, (_, path) in enumerate(kept) if path.endswith(".py")]
        after = scripts[-1] + 1 if scripts else len(kept)
        return [*kept[:after], *((None, path) for path in add), *kept[after:]]


class _List:
    """A list (`deps`, `params`) of one entry of `stages`, and its text in a dvc.yaml."""

    def __init__(self, text: str, entry: str, key: str) -> None:
        self.text, self.entry, self.key = text, entry, key
        written = self._body(_load(text)).get(key)
        self.written: list[Any] | None = (
            [] if written is None else written if isinstance(written, list) else None
        )

    def _body(self, document: Any) -> Any:
        entry = document["stages"][self.entry]
        return entry["do"] if "foreach" in entry else entry

    def rewritten(self, wanted: Wanted) -> str | None:
        """The text with these items in the list, checked to differ in this list alone; None if it cannot be."""
        entry = _value(_value(YAML(typ="rt", pure=True).compose(self.text), "stages"), self.entry)
        body = _value(entry, "do") or entry
        node = _value(body, self.key)
        if node is None:
            new = self._insert(body, [item for _, item in wanted])
        elif (
            not isinstance(node, SequenceNode) or self.written is None or len(node.value) != len(self.written)
        ):
            return None
        elif node.flow_style:
            items = [self.text[item.start_mark.index : item.end_mark.index] for item in node.value]
            inner = ", ".join(items[place] if place is not None else _inline(item) for place, item in wanted)
            new = f"{self.text[: node.start_mark.index]}[{inner}]{self.text[node.end_mark.index :]}"
        else:
            new = self._write_block(body, node, wanted)
        return new if new is not None and self._only_this_changed(new, wanted) else None

    def _write_block(self, body: MappingNode, node: SequenceNode, wanted: Wanted) -> str | None:
        """Edit a list written one item a line; comments stand where they stood."""
        lines = self.text.splitlines(keepends=True)
        starts = [item.start_mark.line for item in node.value]
        indent = lines[starts[0]][: len(lines[starts[0]]) - len(lines[starts[0]].lstrip())]
        if any(not lines[line].startswith(f"{indent}-") for line in starts):
            return None
        first, last = starts[0], self._end(node.value[-1], lines)
        if not lines[last - 1].endswith("\n"):
            lines[last - 1] += self._line_end
        blocks = [lines[start:end] for start, end in zip(starts, [*starts[1:], last], strict=True)]
        kept = {place for place, _ in wanted}
        new: list[str] = []
        for place, item in wanted:
            new += blocks[place] if place is not None else self._block(indent, item)
        for place, block in enumerate(blocks):  # comments between the items outlive the item above them
            inside = self._end(node.value[place], lines) - starts[place]
            new += block[inside:] if place not in kept else []
        if not wanted:  # a key with nothing after it would not be a list
            key = next(key for key, value in body.value if value is node)
            lines[key.start_mark.line] = f"{lines[key.start_mark.line].rstrip()} []{self._line_end}"
        return "".join([*lines[:first], *new, *lines[last:]])

    def _end(self, node: Any, lines: list[str]) -> int:
        """The line after the last one of an item; a block ends where the next thing starts."""
        end = node.end_mark
        line = end.line + 1 if end.column and lines[end.line][: end.column].strip() else end.line
        while line > node.start_mark.line + 1 and re.match(r"\s*(#|$)", lines[line - 1]):
            line -= 1
        return max(line, node.start_mark.line + 1)

    def _block(self, indent: str, item: Any) -> list[str]:
        if isinstance(item, str):
            return [f"{indent}- {_quoted(item)}{self._line_end}"]
        lines = []
        for key, values in item.items():
            lines.append(f"{indent}- {_quoted(key)}:{self._line_end}")
            lines += [f"{indent}    - {_quoted(value)}{self._line_end}" for value in values]
        return lines

    def _insert(self, body: MappingNode, items: list[Any]) -> str | None:
        """Give an entry that has no such list one: `deps` after its command, `params` after `deps`."""
        keys = [key.value for key, _ in body.value]
        before = "deps" if self.key == "params" and "deps" in keys else "cmd"
        after = keys.index(before) + 1
        if body.flow_style:
            end = body.value[after - 1][1].end_mark.index
            inner = ", ".join(map(_inline, items))
            return f"{self.text[:end]}, {self.key}: [{inner}]{self.text[end:]}"
        lines = self.text.splitlines(keepends=True)
        key, value = body.value[after - 1]
        if lines[key.start_mark.line][: key.start_mark.column].strip():
            return None
        if getattr(value, "style", None) in ("|", ">"):  # where such a text ends is told by what follows it
            line = body.value[after][0].start_mark.line if after < len(keys) else key.start_mark.line
        else:
            last = value.value[-1] if isinstance(value, SequenceNode) and not value.flow_style else value
            line = self._end(last, lines)
            if not lines[line - 1].endswith("\n"):
                lines[line - 1] += self._line_end
        indent = " " * key.start_mark.column
        new = [f"{indent}{self.key}:{self._line_end}"]
        for item in items:
            new += self._block(f"{indent}  ", item)
        return "".join([*lines[:line], *new, *lines[line:]])

    @property
    def _line_end(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _only_this_changed(self, new: str, wanted: Wanted) -> bool:
        old = _load(self.text)
        try:
            document = _load(new)
        except YAMLError:
            return False
        before = self._body(old).get(self.key) or []
        after = [before[place] if place is not None else item for place, item in wanted]
        if (self._body(document).get(self.key) or []) != after:
            return False
        self._body(document)[self.key] = self._body(old)[self.key] = None
        return document == old


def _inline(item: Any) -> str:
    if isinstance(item, str):
        return _quoted(item)
    return (
        "{" + ", ".join(f"{_quoted(key)}: [{', '.join(map(_quoted, of))}]" for key, of in item.items()) + "}"
    )


def declare(file: Path, wanted: dict[str, list[tuple[Stage, list[str]]]], name: str) -> Edited:
    """Declare for the stages of one dvc.yaml exactly these keys of the params file `name`, at the root.

    Parameters
    ----------
    wanted : for each entry of `stages`, the stages expanded from it with the keys of each
    """
    edited = Edited()
    text = file.read_bytes().decode("utf-8")
    for entry, group in wanted.items():
        paths = {posixpath.relpath(name, stage.wdir) for stage, _ in group}
        if len({tuple(keys) for _, keys in group}) > 1 or len(paths) > 1:
            edited.by_hand.append(f"{entry}: the stages expanded from it import different libraries")
            continue
        path, keys = paths.pop(), group[0][1]
        params = _List(text, entry, "params")
        items = params.written or []
        names = [next(iter(item)) if isinstance(item, dict) and len(item) == 1 else "" for item in items]
        new = [(None, {path: keys})] if keys else []
        if path in names:
            place = names.index(path)
            now: Wanted = [(i, None) for i in range(len(items))]
            now[place : place + 1] = new
        else:
            now = [*((i, None) for i in range(len(items))), *new]
        changed = params.rewritten(now) if params.written is not None else None
        if changed is None:
            edited.by_hand.append(f"{entry}: its params {SHARED}: {path}: [{', '.join(keys)}]")
            continue
        text = changed
        edited.added += 1
    if edited.added:
        file.write_bytes(text.encode("utf-8"))
    return edited


def _quoted(path: str) -> str:
    plain = _load(f"- {path}\n") if path.isprintable() and not path.startswith(("-", " ")) else None
    return path if plain == [path] else "'" + path.replace("'", "''") + "'"
