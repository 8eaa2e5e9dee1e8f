"""YAML as ruamel.yaml means it, many times as fast: libyaml reads, ruamel.yaml says what it means.

DVC reads a dvc.lock of 40,000 lines in ten seconds, nearly all of them in ruamel.yaml's
scanner, which is written in Python. PyYAML, which every DVC brings along, has one
written in C. Which text is a number is still ruamel.yaml's to say, once for each text.
A document with tags, anchors, or keys that stand twice or are no text is built by
ruamel.yaml, and what libyaml does not like is for it to read.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from ruamel.yaml import YAML, events, nodes
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tag import Tag

DEPTH = 100  # of a document that is built here
VALUES = 2_000_000  # that a document may stand for
NESTED = 10_000  # brackets that ruamel.yaml would take minutes to go into
MINUTES = 1_000_000  # characters from which on ruamel.yaml would read for minutes


class _Parser:
    """What ruamel.yaml's composer asks for events; they come from libyaml."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        loader._parser = self
        self.events: Iterator[Any] = iter(())
        self.next: Any = None

    def read(self, text: str) -> None:
        import yaml

        self.events = map(_translated, yaml.parse(text, Loader=yaml.CLoader))

    def peek_event(self) -> Any:
        if self.next is None:
            self.next = next(self.events, None)
        return self.next

    def check_event(self, *kinds: Any) -> bool:
        event = self.peek_event()
        return event is not None and (not kinds or isinstance(event, kinds))

    def get_event(self) -> Any:
        event = self.peek_event()
        self.next = None
        return event

    def dispose(self) -> None:
        pass


def _translated(event: Any) -> Any:
    """An event of PyYAML's as one of ruamel.yaml's; the names of the two are the same."""
    kind = getattr(events, type(event).__name__)
    start, end = event.start_mark, event.end_mark
    if kind is events.ScalarEvent:
        return kind(event.anchor, _tag(event.tag), event.implicit, event.value, start, end, event.style)
    if kind in (events.SequenceStartEvent, events.MappingStartEvent):
        return kind(event.anchor, _tag(event.tag), event.implicit, start, end, event.flow_style)
    if kind is events.AliasEvent:
        return kind(event.anchor, start, end)
    return kind(start, end)


def _tag(text: str | None) -> Any:
    return Tag(suffix=text) if text is not None else None


def load(text: str) -> Any:
    """The values in a text.

    Raises
    ------
    YAMLError : for what is no YAML, is nested too deeply, or stands for too much
    """
    try:
        return _plain(text)
    except Exception:  # tags, anchors and the like, or no YAML: for ruamel.yaml to say
        node, constructor = _read(text)
    try:
        return constructor.construct_document(node) if node is not None else None
    except RecursionError:
        raise YAMLError("nested too deeply to be read") from None
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise YAMLError(f"holds a value that cannot be read: {error}") from None


def _plain(text: str) -> Any:
    """The values of a document in which nothing but texts, numbers, lists and mappings stands; raises for others."""
    import yaml

    if _for_ruamel(text):
        raise _Unusual
    meaning = _meanings()
    root: list[Any] = []
    within: list[Any] = []  # what is open around `holder`
    holder: Any = root
    key = None
    event: Any
    for event in iter(yaml.CLoader(text).get_event, None):
        kind = type(event)
        if kind is yaml.ScalarEvent:
            value = meaning(event.value) if event.implicit[0] else event.value
        elif kind is yaml.MappingStartEvent:
            value = {}
        elif kind is yaml.SequenceStartEvent:
            value = []
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            holder = within.pop()
            continue
        elif kind is yaml.AliasEvent:
            raise _Unusual
        else:
            continue  # of the stream, or the document
        if event.tag is not None or event.anchor is not None:
            raise _Unusual
        if isinstance(holder, list):
            holder.append(value)
        elif key is None:
            if type(value) is not str or value in holder:
                raise _Unusual
            key = value
            continue
        else:
            holder[key] = value
            key = None
        if kind is not yaml.ScalarEvent:
            within.append(holder)
            holder = value
            if len(within) > DEPTH:
                raise _Unusual
    if len(root) > 1:
        raise _Unusual
    return root[0] if root else None


class _Unusual(Exception):
    """A document is not to be built here."""


def _meanings() -> Callable[[str], Any]:
    """What an unquoted text stands for: a text, a number, a truth value or null."""
    ruamel = YAML(typ="safe", pure=True)
    constructor, _ = ruamel.get_constructor_parser("")

    @cache
    def meaning(text: str) -> Any:
        tag = ruamel.resolver.resolve(nodes.ScalarNode, text, (True, False))
        if str(tag).rpartition(":")[2] not in ("str", "int", "float", "bool", "null"):
            raise _Unusual  # a date, or a merge
        return constructor.construct_object(nodes.ScalarNode(tag, text))

    return meaning


def _for_ruamel(text: str) -> bool:
    """A directive may change what the text means, and of tabs and Unicode's line ends the two think differently."""
    return "\n%" in f"\n{text}" or any(mark in text for mark in "\t\x85\u2028\u2029")


def compose(text: str) -> Any:
    """The nodes of a text, with their lines; None for an empty one. Raises as `load` does."""
    return _read(text)[0]


def _read(text: str) -> tuple[Any, Any]:
    try:
        try:
            found = _composed(text)
        except YAMLError:
            raise
        except Exception as error:  # libyaml's own: ruamel.yaml may say more, or see it another way
            if len(text) > MINUTES or text.count("[") + text.count("{") > NESTED:
                raise YAMLError(" ".join(str(error).split())) from None
            ruamel = YAML(typ="safe", pure=True)
            constructor, _ = ruamel.get_constructor_parser(text)
            found = constructor.composer.get_single_node(), constructor
    except (RecursionError, MemoryError):
        raise YAMLError("nested too deeply to be read") from None
    if "*" in text:
        _bound(found[0])
    return found


def _composed(text: str) -> tuple[Any, Any]:
    if _for_ruamel(text):
        raise ValueError("a text for ruamel.yaml")
    ruamel = YAML(typ="safe", pure=True)
    ruamel.Parser = _Parser
    constructor, parser = ruamel.get_constructor_parser("")
    parser.read(text)
    return constructor.composer.get_single_node(), constructor


def _bound(root: Any) -> None:
    """Refuse nodes that hold themselves, and aliases that make few lines stand for more than memory holds."""
    sizes: dict[int, int] = {}
    waiting: list[tuple[Any, bool]] = [(root, False)]
    while waiting:
        node, done = waiting.pop()
        below = _below(node)
        if done:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in below)
            if sizes[id(node)] > VALUES:
                raise YAMLError(f"its aliases stand for more than {VALUES:,} values")
        elif id(node) not in sizes:
            sizes[id(node)] = VALUES  # as long as it is open; whoever meets it then is inside it
            waiting.append((node, True))
            waiting += [(child, False) for child in below]


def _below(node: Any) -> list[Any]:
    if node is None or not isinstance(node.value, list):
        return []
    return [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
