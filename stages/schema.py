"""A section of params.yaml as the dataclass that it stands for, the core's own among them, and the other way round.

The dataclasses say which keys there are, of what types, and what holds where a key is left out; they hold their
fields to it themselves (`mnistcore.arguments`). Here mappings become dataclasses, and lists tuples.
"""

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

from mnistcore.arguments import ArgumentError, Named, Path, check, kinds, shown

Made = TypeVar("Made")


@dataclass(eq=False)
class Inline:
    """Noted beside a field that is a dataclass: its fields are keys beside those of the section itself.

    without : those that come from elsewhere, each with the section's own key that stands in its place, or None
    """

    without: Mapping[str, str | None]


class Key(NamedTuple):
    """A key of a mapping: the type of its value, the field it goes to, and whether it may be left out."""

    kind: Any
    inside: str | None  # the field, noted as inline, that it is a field of
    optional: bool


def build(kind: type[Made], value: Any) -> Made:
    """The dataclass `kind` of what YAML has read. Its attribute `written` names keys that no default makes optional.

    Raises
    ------
    ArgumentError : names the key, as a path from here
    """
    return _made(kind, value, (), getattr(kind, "written", frozenset()))


def _built(kind: Any, value: Any, path: Path, written: frozenset[str]) -> Any:
    """`value` as what `kind` asks for, as far as its form goes; else as it is, for the dataclass around to refuse."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        named = _named(kind)
        return _chosen(named, value, path, written) if named else _built(parts[0], value, path, written)
    if origin in (Union, types.UnionType) and value is not None:
        return _built(next(part for part in parts if part is not type(None)), value, path, written)
    if origin is tuple and isinstance(value, list):
        return tuple(_built(parts[0], item, (*path, at), written) for at, item in enumerate(value))
    return _made(kind, value, path, written) if is_dataclass(kind) else value


def _chosen(named: Named, value: Any, path: Path, written: frozenset[str]) -> Any:
    """An object of the class that the key `name` chooses."""
    if not isinstance(value, dict) or "name" not in value:
        raise ArgumentError("", path, "should have a name and what belongs to it", value)
    name, values = value["name"], {key: item for key, item in value.items() if key != "name"}
    if not isinstance(name, str) or name not in named.classes:
        names = ", ".join(map(repr, named.classes))
        raise ArgumentError("", (*path, "name"), f"should be one of {names}", name)
    return _made(named.classes[name], values, path, written)


def _made(kind: Any, value: Any, path: Path, written: frozenset[str]) -> Any:
    if not isinstance(value, dict):
        raise ArgumentError("", path, "should be keys and values", value)
    keys = _keys(kind)
    # A misspelt key is both unknown and missing; the unknown one is what its writer will recognise.
    for key in value:
        if not isinstance(key, str):
            raise ArgumentError("", (*path, _cut(key)), f"Keys should be strings, is {shown(key)}")
        if key not in keys:
            raise ArgumentError("", (*path, _cut(key)), f"unknown key{nearest(key, keys)}")
    built = {}
    for key, (wanted, _, optional) in keys.items():  # in their order, so that the first problem is told
        if key in value:
            built[key] = check(wanted, _built(wanted, value[key], (*path, key), written), "", *path, key)
        elif not optional or key in written:
            raise ArgumentError("", (*path, key), "missing")
    own = {key: item for key, item in built.items() if not keys[key].inside}
    try:
        for name, (inline, _) in _inlined(kind).items():
            own[name] = inline(**{key: item for key, item in built.items() if keys[key].inside == name})
        return kind(**own)
    except ArgumentError as error:
        raise ArgumentError("", (*path, *error.path), error.problem, error.value) from None


def _inlined(kind: Any) -> dict[str, tuple[Any, Inline]]:
    """The fields noted as inline, each with its dataclass and its note."""
    parts = {name: get_args(field) for name, field in kinds(kind).items() if get_origin(field) is Annotated}
    return {name: (of[0], of[1]) for name, of in parts.items() if isinstance(of[1], Inline)}


def _keys(kind: Any) -> dict[str, Key]:
    """The keys of the mapping that stands for a dataclass, those of inline fields among them, in their order."""
    own, inlined, keys = kinds(kind), _inlined(kind), {}
    optional = {field.name: field.default is not MISSING for field in fields(kind)}
    for name in own:
        if name not in inlined:
            keys.setdefault(name, Key(own[name], None, optional[name]))
            continue
        inline, note = inlined[name]
        for field in fields(inline):
            if field.name not in note.without:
                keys[field.name] = Key(kinds(inline)[field.name], name, field.default is not MISSING)
            elif key := note.without[field.name]:
                keys[key] = Key(own[key], None, optional[key])
    return keys


def written(section: Any) -> dict[str, Any]:
    """What `build` would make `section` of, with every key written out."""
    return {
        key: _plain(getattr(getattr(section, inside) if inside else section, key), _named(kind))
        for key, (kind, inside, _) in _keys(type(section)).items()
    }


def _named(kind: Any) -> Named | None:
    """The names noted beside a type, or beside what it is a union of."""
    for part in get_args(kind):
        if found := part if isinstance(part, Named) else _named(part):
            return found
    return None


def _plain(value: Any, named: Named | None = None) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not is_dataclass(value):
        return value
    name = {} if named is None else {"name": next(k for k, v in named.classes.items() if v is type(value))}
    return name | written(value)


def nearest(key: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Which of the known keys may have been meant, as the end of a sentence; empty: none."""
    close = difflib.get_close_matches(_cut(key), sorted(known), n=1, cutoff=cutoff)
    return f"; did you mean '{close[0]}'?" if close else ""


def _cut(key: Any) -> str:
    return key if isinstance(key, str) and len(key) <= 40 and key.isprintable() else shown(key)
