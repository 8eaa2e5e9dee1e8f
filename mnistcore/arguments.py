"""Arguments, held to what they can mean at the door: by the object that was given them, before any work.

What a field may be is said once, in its type: `Positive`, `Literal["mean", "sum"]`, `tuple[Count, ...]`.
A dataclass that is `Checked` holds its fields to that whenever one is made. So whoever writes Python and
whoever writes a file of parameters, from which the same dataclass is built, are told the same.
"""

import dataclasses
import functools
import math
import numbers
import reprlib
import types
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from mnistcore.errors import InputError

LARGEST = 2**63 - 1  # numbers go into arrays, whose integers have 64 bits
NOTHING = object()

Path = tuple[Any, ...]


def shown(value: object) -> str:
    """`value` in one short line; a few lines of a file, or an array, can stand for gigabytes."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape and dtype is not None and not isinstance(value, type):
        return f"an array {shape} of {dtype}"
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 1, 60, 60
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 6
    try:
        return " ".join(short.repr(value).split())
    except Exception:  # (5,000 digits have no text; somebody's own object may fail in any way)
        return f"of type {type(value).__name__}"


class ArgumentError(InputError):
    """An argument that cannot be meant.

    owner : what it was given to, such as "Momentum"
    path : names and places that lead to it from there, such as ("layers", 0, "units")
    problem : what it should be
    value : what it is, where the problem does not say so
    """

    def __init__(self, owner: str, path: Path, problem: str, value: object = NOTHING) -> None:
        self.path, self.problem, self.value = path, problem, value
        super().__init__(self.line(owner, shown))

    def line(self, owner: str = "", shown: Callable[[object], str] = shown) -> str:
        """The line, as of another owner, and with the value shown otherwise."""
        value = (
            [*self.value] if isinstance(self.value, tuple) else self.value
        )  # as its writer may have written it
        tail = "" if value is NOTHING else f", is {shown(value)}"
        where = ".".join(filter(None, [owner, *map(str, self.path)]))
        return f"{where}: {self.problem}{tail}" if where else f"{self.problem}{tail}"


@dataclasses.dataclass(frozen=True)
class Bounds:
    """A number between bounds, each of them open (`above`, `below`) or closed (`least`, `most`)."""

    above: float = -math.inf
    least: float = -math.inf
    below: float = math.inf
    most: float = math.inf

    def problem(self, value: float) -> str | None:
        """What a number should be instead; None: nothing."""
        if value <= self.above:
            return f"should be greater than {self.above}"
        if value < self.least:
            return f"should be greater than or equal to {self.least}"
        if value >= self.below:
            return f"should be less than {self.below}"
        if value > self.most:
            return f"should be less than or equal to {self.most}"
        return None


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """A list of at least so many items."""

    items: int

    def problem(self, value: Collection[object]) -> str | None:
        """What a list should be instead; None: nothing."""
        if len(value) >= self.items:
            return None
        return f"should have at least {self.items} item{'s' * (self.items != 1)}"


@dataclasses.dataclass(eq=False)
class OneOf:
    """A name among those of a table."""

    names: Collection[str]

    def problem(self, value: object) -> str | None:
        """What a name should be instead; None: nothing."""
        if isinstance(value, str) and value in self.names:
            return None
        *others, last = (repr(name) for name in self.names)
        return f"should be {', '.join(others)} or {last}" if others else f"should be {last}"


@dataclasses.dataclass(eq=False)
class Named:
    """An object of one of several classes, which a file of parameters chooses by these names."""

    classes: Mapping[str, type]


Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(least=0)]
Part = Annotated[float, Bounds(least=0, below=1)]  # of a whole, but not all of it
Count = Annotated[int, Bounds(least=1)]
Precision = Literal["float32", "float64"]
Whole = Annotated[int, Bounds(least=0)]


class Checked:
    """A dataclass whose fields are held to their types when one is made.

    A list becomes a tuple then, and a whole number that is to be a float a float. What a class asks beyond that, it
    checks in a `__post_init__` of its own, after this one.

    Raises
    ------
    ArgumentError : for the first field that is not what its type says
    """

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            object.__setattr__(self, name, check(kind, getattr(self, name), type(self).__name__, name))


@functools.cache
def kinds(owner: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with all that is noted beside them."""
    hints = get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}


def check(kind: Any, value: Any, owner: str, *path: Any) -> Any:
    """`value`, as what `kind` asks for: a type, a literal, a union with None, a tuple, or one of these with limits.

    Raises
    ------
    ArgumentError : it is something else
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        by_name = any(isinstance(note, OneOf) for note in parts[1:])
        value = value if by_name else check(parts[0], value, owner, *path)
        for note in parts[1:]:
            if isinstance(note, Bounds | AtLeast | OneOf) and (problem := note.problem(value)):
                raise ArgumentError(owner, path, problem, value)
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        classes = [part for part in parts if part is not type(None)]
        if any(isinstance(value, part) for part in classes[1:]):
            return value
        return check(classes[0], value, owner, *path)
    if origin is Literal:
        kind = Annotated[str, OneOf(parts)]
        return check(kind, value, owner, *path)
    if origin is tuple:
        return _tuple(parts, value, owner, path)
    if kind in _SIMPLE:
        return _SIMPLE[kind](value, owner, path)
    if origin is Callable:
        if not callable(value):
            raise ArgumentError(owner, path, "should be something to call", value)
    elif kind is not Any and (isinstance(value, type) or not isinstance(value, kind)):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ArgumentError(owner, path, f"should be {article} {kind.__name__}", value)
    return value


def check_dtype(value: Any, owner: str) -> np.dtype:
    """float32 or float64, however NumPy lets one name them.

    Raises
    ------
    ArgumentError : it is something else
    """
    try:
        dtype = np.dtype(value if value is not None else "")
    except Exception:  # somebody's own object may fail in any way
        raise ArgumentError(owner, ("dtype",), "should be 'float32' or 'float64'", value) from None
    check(Precision, dtype.name if dtype.isnative else dtype.str, owner, "dtype")
    return dtype


def check_array(
    value: Any, owner: str, name: str, *, kinds: str, shape: tuple[int | None, ...]
) -> np.ndarray:
    """`value`, if it is a NumPy array whose dtype is of one of `kinds`, NumPy's letters for them, and of that shape.

    shape : the length of each axis; None: any

    Raises
    ------
    ArgumentError : it is something else; a masked array or a matrix, which compute otherwise, among others
    """
    if type(value) not in (np.ndarray, np.memmap):
        raise ArgumentError(owner, (name,), "should be a NumPy array", value)
    if value.dtype.kind not in kinds:
        wanted = " or ".join(words for letters, words in _KINDS.items() if set(letters) <= set(kinds))
        raise ArgumentError(owner, (name,), f"should be {wanted}, is {value.dtype}")
    if len(value.shape) != len(shape) or any(
        want not in (None, have) for have, want in zip(value.shape, shape, strict=True)
    ):
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ArgumentError(owner, (name,), f"should have shape ({wanted}), has {value.shape}")
    return value


_KINDS = {"f": "floats", "iu": "integers", "b": "booleans"}


def _tuple(parts: tuple[Any, ...], value: Any, owner: str, path: Path) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ArgumentError(owner, path, "should be a valid list", value)
    if parts[-1] is Ellipsis:
        parts = parts[:1] * len(value)
    if len(parts) != len(value):
        raise ArgumentError(owner, path, f"should have {len(parts)} items", value)
    return tuple(
        check(part, item, owner, *path, place)
        for place, (part, item) in enumerate(zip(parts, value, strict=True))
    )


def _boolean(value: Any, owner: str, path: Path) -> bool:
    if not isinstance(value, bool):
        raise ArgumentError(owner, path, "should be a valid boolean", value)
    return value


def _integer(value: Any, owner: str, path: Path) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ArgumentError(owner, path, "should be a valid integer", value)
    value = int(value)
    if abs(value) > LARGEST:
        raise ArgumentError(owner, path, "too large for an integer of 64 bits")
    return value


def _number(value: Any, owner: str, path: Path) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ArgumentError(owner, path, "should be a valid number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ArgumentError(owner, path, "should be a finite number", value)
    return number


def _text(value: Any, owner: str, path: Path) -> str:
    if not isinstance(value, str):
        raise ArgumentError(owner, path, "should be a valid string", value)
    return value


_SIMPLE: dict[Any, Callable[[Any, str, Path], Any]] = {
    bool: _boolean,
    int: _integer,
    float: _number,
    str: _text,
}
