"""Which files of a project a Python program imports, told from its source without running it.

The walk follows Python's own rules: importing `a.b.c` runs `a/__init__.py` and
`a/b/__init__.py` first; `from a import b` is the attribute `b` of `a` if
`a/__init__.py` binds one, otherwise the submodule; a namespace package has no
file of its own. Imports inside functions count, and so do both sides of a
`try`; what stands under `TYPE_CHECKING`, and what stands under
`__name__ == "__main__"` in a module that is only imported, does not. What can
be known only by running (`import_module(name)`) is reported, not guessed.
"""

import ast
import json
import os
import posixpath
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from dvc_checks.commands import Program


@dataclass(frozen=True)
class Place:
    """A line in a file (relative to the root)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class Imported:
    """What a walk found."""

    files: dict[str, Place | None] = field(default_factory=dict)  # file: where it is first imported
    dynamic: dict[Place, str] = field(default_factory=dict)  # imports only a run can tell
    broken: dict[Place, str] = field(default_factory=dict)  # files that are not valid Python
    packages: set[str] = field(default_factory=set)  # top-level names from outside the project
    foreign: dict[str, "Foreign"] = field(default_factory=dict)  # `a.b.c` as it is imported from outside
    found: bool = True  # whether the program itself is a file of the project


@dataclass(frozen=True)
class Foreign:
    """Where something outside the project and Python itself is imported."""

    place: Place | None  # None: the program of the command
    optional: bool = False  # in a `try` that goes on without it
    perhaps: bool = False  # a folder of the project has the same name; an installed package goes before it


@dataclass(frozen=True)
class _Import:
    """One imported module: `module` alone, or the names taken from it."""

    module: str
    level: int  # leading dots
    names: tuple[str, ...]  # empty for `import module`; ("*",) for a star
    line: int
    main_only: bool  # under `if __name__ == "__main__"`
    optional: bool  # in a `try` that catches ImportError


@dataclass(frozen=True)
class _Folder:
    """A folder written in a source: relative to the file's own folder, or to where the program runs."""

    path: str
    beside_file: bool


@dataclass
class _Source:
    """What one file says, independent of who imports it."""

    imports: list[_Import] = field(default_factory=list)
    dynamic: list[tuple[int, str, bool]] = field(default_factory=list)
    search: list[tuple[int, "_Folder | None"]] = field(
        default_factory=list
    )  # sys.path additions; None: unknown
    bound: set[str] = field(default_factory=set)  # names bound at top level
    exported: tuple[str, ...] = ()  # a literal __all__
    open_ended: bool = False  # a star import binds names not listed in `bound`
    error: tuple[int, str] | None = None


def walk(program: Program, code: "Code") -> Imported:
    """Follow the imports of a program: a script, a module or code, with paths relative to the project's root."""
    walker = _Walker(code, program)
    if program.kind == "code":
        walker.visit_code(program.target)
    elif program.kind in ("script", "notebook"):
        walker.visit(program.target, package=None, why=None, main=True)
    else:
        walker.run_module(program.target)
    return walker.result


def import_roots(root: Path, repository: Path) -> list[str]:
    """The folders from which the project's packages are imported, relative to its root.

    The root itself, `src`, what the build's settings name, and what PYTHONPATH has of it; the same of the
    repository around it.
    """
    roots: list[str] = []
    for folder in dict.fromkeys([root, repository]):
        roots += [Path(os.path.relpath(folder / name, root)).as_posix() for name in _import_roots(folder)]
    return list(dict.fromkeys(roots))


def _import_roots(root: Path) -> list[str]:
    roots = ["."]
    for entry in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        inside = os.path.relpath(os.path.abspath(entry), root)
        if not inside.startswith("..") and inside not in roots:
            roots.append(Path(inside).as_posix())
    if (root / "src").is_dir() and not (root / "src" / "__init__.py").exists():
        roots.append("src")
    try:
        tool: Any = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return roots
    named = [_at(tool, "tool", "setuptools", "package-dir", "")]
    where = _at(tool, "tool", "setuptools", "packages", "find", "where")
    named += where if isinstance(where, list) else [where]
    named += [_at(entry, "from") for entry in _list(_at(tool, "tool", "poetry", "packages"))]
    for package in _list(_at(tool, "tool", "hatch", "build", "targets", "wheel", "packages")):
        named.append(posixpath.dirname(package) or "." if isinstance(package, str) else None)
    named.append(_at(tool, "tool", "pdm", "build", "package-dir"))
    named.append(_at(tool, "tool", "uv", "build-backend", "module-root"))
    for name in named:
        if (
            isinstance(name, str)
            and name
            and "\0" not in name
            and posixpath.normpath(name) not in roots
            and (root / name).is_dir()
        ):
            roots.append(posixpath.normpath(name))
    return roots


def _at(values: Any, *keys: str) -> Any:
    """The value at these keys of nested tables, if that is what they are."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


@dataclass(frozen=True)
class _Module:
    """A module found in the project: its file, or the folders of a namespace package."""

    file: str | None
    folders: tuple[str, ...]  # where its submodules are; empty for a plain module


class Code:
    """The code of a project, of which each file is looked for and read once, however many programs import it.

    Parameters
    ----------
    root : the project
    repository : the Git repository that the project is in; nothing outside is followed
    """

    def __init__(self, root: Path, repository: Path) -> None:
        self.root, self.repository = root, repository
        self.roots = import_roots(root, repository)
        self.find = lru_cache(maxsize=None)(self._find)
        self.source = lru_cache(maxsize=None)(self._source)

    def _find(self, name: str, folders: tuple[str, ...], namespaces: bool = True) -> _Module | None:
        """The module of this name in these folders, which are relative to the root."""
        portions = []
        for folder in folders:
            base = posixpath.normpath(posixpath.join(folder, name))
            there = os.path.join(self.root, base)
            if os.path.isfile(os.path.join(there, "__init__.py")):
                return _Module(posixpath.join(base, "__init__.py"), (base,))
            if os.path.isfile(f"{there}.py"):
                return _Module(f"{base}.py", ())
            if namespaces and os.path.isdir(there):
                portions.append(base)
        return _Module(None, tuple(portions)) if portions else None

    def _source(self, file: str) -> _Source:
        path = os.path.join(self.root, file)
        try:
            return _read(path, os.stat(path).st_mtime_ns)
        except OSError as error:
            return _Source(error=(1, error.strerror or "cannot be read"))


class _Walker:
    def __init__(self, code: Code, program: Program) -> None:
        self.code = code
        self.result = Imported()
        self.wdir = program.wdir
        first = posixpath.dirname(program.target) or "." if program.kind == "script" else program.wdir
        self.before_stdlib = list(dict.fromkeys([first, *program.paths]))
        self.after_stdlib = [folder for folder in code.roots if folder not in self.before_stdlib]
        self.seen: set[tuple[str, str | None, bool]] = set()

    def run_module(self, name: str) -> None:
        module = self.import_module(name, None)
        if module is None or (module.file is None and not module.folders):
            self.result.found = False
            self._note_foreign(_Import(name, 0, (), 0, main_only=True, optional=False), None)
            return
        if module.folders:  # `python -m package` runs package/__main__.py
            module = self.import_module(f"{name}.__main__", None)
            if module is None:
                self.result.found = False
                return
            name = f"{name}.__main__"
        if module.file:
            self.visit(module.file, name.rpartition(".")[0], None, main=True)

    def visit_code(self, text: str) -> None:
        source = _parsed(text)
        self._follow(source, "-c", package=None, main=True)

    def visit(self, file: str, package: str | None, why: Place | None, main: bool = False) -> None:
        """Take a file into the result and follow its imports; `package` is its `__package__`."""
        self.result.files.setdefault(file, why)
        if (file, package, main) in self.seen:
            return
        self.seen.add((file, package, main))
        source = self.code.source(file)
        if source.error:
            self.result.broken[Place(file, source.error[0])] = source.error[1]
        self._follow(source, file, package, main)

    def _follow(self, source: _Source, file: str, package: str | None, main: bool) -> None:
        for line, folder in source.search:
            if folder is None:
                self.result.dynamic[Place(file, line)] = "sys.path is changed in a way only a run can tell"
            else:
                base = posixpath.dirname(file) if folder.beside_file else self.wdir
                inside = posixpath.normpath(posixpath.join(base, folder.path))
                folder_there = Path(os.path.normpath(self.code.root / inside))
                if folder_there.is_relative_to(self.code.repository) and inside not in self.before_stdlib:
                    self.before_stdlib.append(inside)
        for line, what, main_only in source.dynamic:
            if main or not main_only:
                self.result.dynamic[Place(file, line)] = what
        for item in source.imports:
            if main or not item.main_only:
                self._import(item, file, package)

    def _import(self, item: _Import, file: str, package: str | None) -> None:
        why = Place(file, item.line)
        name = item.module
        if item.level:
            if not package:
                self.result.dynamic[why] = "a relative import outside a package"
                return
            parts = package.split(".")
            if item.level > len(parts):
                return
            name = ".".join([*parts[: len(parts) - item.level + 1], *filter(None, [item.module])])
        module = self.import_module(name, why)
        if not item.level:
            self._note_foreign(item, why)
        if module is None or not item.names or not module.folders:
            return
        own = module.file == file  # a package taking its own submodule: the name is bound by that very import
        source = self.code.source(module.file) if module.file else _Source()
        names = source.exported if item.names == ("*",) else item.names
        for wanted in names:
            if own or source.open_ended or wanted not in source.bound:
                self.import_module(f"{name}.{wanted}", why)

    def _note_foreign(self, item: _Import, why: Place | None) -> None:
        """Keep what comes from outside under its full name: of a namespace package only that tells whose it is."""
        top = item.module.partition(".")[0]
        if top in sys.builtin_module_names or top in sys.stdlib_module_names:
            return
        found = self._top_level(top)
        if found is None or found.file is None:
            for name in item.names or ("",):
                dotted = f"{item.module}.{name}" if name and name != "*" else item.module
                known = self.result.foreign.get(dotted)
                if known is None or known.optional:
                    self.result.foreign[dotted] = Foreign(why, item.optional, found is not None)

    def import_module(self, name: str, why: Place | None) -> _Module | None:
        """Import a dotted name as Python would, with every package on the way; None if it is foreign."""
        module: _Module | None = None
        package = ""
        parts = name.split(".")
        for index, part in enumerate(parts):
            if module is None:
                module = self._top_level(part)
                if module is None and why is not None:
                    self.result.packages.add(part)
            elif not module.folders:
                return None  # an attribute of a module
            else:
                module = self.code.find(part, module.folders)
            if module is None:
                return None
            dotted = f"{package}.{part}" if package else part
            if module.file:
                self.visit(module.file, dotted if module.folders else package, why)
            package = dotted if index < len(parts) else package
        return module

    def _top_level(self, name: str) -> _Module | None:
        if name in sys.builtin_module_names:
            return None
        if name in sys.stdlib_module_names:
            return self.code.find(name, tuple(self.before_stdlib), namespaces=False)
        return self.code.find(name, (*self.before_stdlib, *self.after_stdlib))


@lru_cache(maxsize=4096)
def _read(path: str, modified: int) -> _Source:
    return _parsed(Path(path).read_bytes(), notebook=path.endswith(".ipynb"))


def _parsed(text: str | bytes, notebook: bool = False) -> _Source:
    try:
        return _parse_notebook(text) if notebook and isinstance(text, bytes) else _parse(text)
    except (RecursionError, MemoryError):  # so ends Python's parser on 100,000 minus signs
        return _Source(error=(1, "nested too deeply to be read"))


def _parse_notebook(text: bytes) -> _Source:
    """The code cells of a notebook as one file; lines for IPython itself are left out, and told if they run code."""
    try:
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        lines = [line for cell in cells for line in [*"".join(cell["source"]).splitlines(), ""]]
    except (ValueError, KeyError, TypeError):
        return _Source(error=(1, "not a notebook"))
    own = [re.match(r"\s*([%!?])", line) is not None for line in lines]
    source = _parse("\n".join("" if out else line for line, out in zip(lines, own, strict=True)))
    source.dynamic += [
        (number, line.strip(), False)
        for number, line in enumerate(lines, 1)
        if re.match(r"\s*(!|%run\b|%%(bash|sh|script)\b)", line)
    ]
    return source


def _parse(text: str | bytes) -> _Source:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return _Source(error=(getattr(error, "lineno", None) or 1, getattr(error, "msg", None) or str(error)))
    source = _Source()
    calls = CALLING.search(text if isinstance(text, str) else text.decode("latin-1")) is not None
    _Reader(source, calls).visit(tree)
    for name in _bound(tree.body):
        if name == "*":
            source.open_ended = True
        else:
            source.bound.add(name)
    return source


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    """The names that statements bind at the level at which they stand; "*" for a star import."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Import):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _bound(node.orelse)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    yield from _bound([child])
                elif isinstance(child, ast.ExceptHandler):
                    yield from _bound(child.body)
                elif isinstance(child, ast.expr):
                    yield from (
                        name.id
                        for name in ast.walk(child)
                        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
                    )


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of a name with its attributes; what is no name is a question mark."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    names.append(node.id if isinstance(node, ast.Name) else "?")
    return ".".join(reversed(names))


def _is_type_checking(test: ast.expr) -> bool:
    return _dotted(test).rpartition(".")[2] == "TYPE_CHECKING" or (
        isinstance(test, ast.Constant) and not test.value
    )


def _is_main_guard(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Compare)
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.Eq)
        and {ast.unparse(test.left), ast.unparse(test.comparators[0])} == {"__name__", "'__main__'"}
    )


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else "Exception"
    return any(name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception"))


DYNAMIC = ("exec", "runpy.run_path", "runpy.run_module", "pydoc.locate", "pkgutil.iter_modules")
LOADERS = ("spec_from_file_location", "SourceFileLoader", "execute_notebook")
# A file in which a call imports something, or changes where imports look, holds one of these.
CALLING = re.compile(
    "|".join(name.rpartition(".")[2] for name in (*DYNAMIC, *LOADERS))
    + r"|__import__|import_module|sys\W+path|hydra"
)
HYDRA = (
    "instantiate",
    "call",
    "get_class",
    "get_method",
    "get_object",
)  # what imports the `_target_` of a YAML file


class _Reader(ast.NodeVisitor):
    """Collects the imports of one file; without `calls` it does not go into expressions."""

    def __init__(self, source: _Source, calls: bool) -> None:
        self.source = source
        self.calls = calls
        self.main_only = False
        self.optional = False
        self.importlib = {"importlib"}  # names that mean the module importlib
        self.import_module = {"__import__"}  # names that mean import_module
        self.from_hydra: set[str] = set()  # names that import what a configuration of Hydra's says
        self.assigned: dict[str, ast.expr] = {}  # names given a value at top level, for paths built in steps

    def generic_visit(self, node: ast.AST) -> None:
        if self.calls:
            super().generic_visit(node)
        elif not isinstance(node, ast.expr):
            for part in ("body", "handlers", "orelse", "finalbody", "cases"):
                for child in getattr(node, part, ()):
                    if not isinstance(child, (ast.Expr, ast.Return)):  # most, and nothing in them
                        self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, 0, (), node.lineno)
            if alias.name.partition(".")[0] == "hydra":
                self.from_hydra |= set(HYDRA)
            if alias.name == "importlib":
                self.importlib.add(alias.asname or alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._add(node.module or "", node.level, tuple(alias.name for alias in node.names), node.lineno)
        if node.module == "hydra.utils":
            self.from_hydra |= {alias.asname or alias.name for alias in node.names if alias.name in HYDRA}
        elif node.module == "hydra":  # `from hydra import utils`
            self.from_hydra |= set(HYDRA)
        if node.module == "importlib" and not node.level:
            for alias in node.names:
                if alias.name == "import_module":
                    self.import_module.add(alias.asname or alias.name)

    def _add(self, module: str, level: int, names: tuple[str, ...], line: int) -> None:
        self.source.imports.append(_Import(module, level, names, line, self.main_only, self.optional))

    def visit_Try(self, node: ast.Try) -> None:
        outer = self.optional
        self.optional = outer or any(_catches_import_error(handler) for handler in node.handlers)
        for child in node.body:
            self.visit(child)
        self.optional = outer
        for child in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(child)

    def visit_If(self, node: ast.If) -> None:
        if _is_type_checking(node.test):
            body: list[ast.stmt] = []
        elif isinstance(node.test, ast.UnaryOp) and _is_type_checking(node.test.operand):
            body, node.orelse = node.body, []
        else:
            self.visit(node.test)
            body = node.body
        outer = self.main_only
        self.main_only = outer or _is_main_guard(node.test)
        for child in body:
            self.visit(child)
        self.main_only = outer
        for child in node.orelse:
            self.visit(child)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            try:
                names = ast.literal_eval(node.value)
                self.source.exported = tuple(name for name in names if isinstance(name, str))
            except (ValueError, TypeError):
                self.source.dynamic.append((node.lineno, "__all__ is computed", self.main_only))
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.assigned[target.id] = node.value
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = _dotted(node.func)
        module, _, function = called.rpartition(".")
        if called in self.import_module or (module in self.importlib and function == "import_module"):
            self._import_by_name(node)
        elif (
            called in DYNAMIC
            or function in LOADERS
            or ((called if not module else function) in self.from_hydra and (not module or "utils" in module))
        ):
            self._dynamic(node)
        elif called in ("sys.path.append", "sys.path.insert") and node.args:
            self.source.search.append((node.lineno, _folder(node.args[-1], self.assigned)))
        elif called == "sys.path.extend" and node.args:
            items = node.args[0].elts if isinstance(node.args[0], (ast.List, ast.Tuple)) else [None]
            self.source.search += [
                (node.lineno, _folder(item, self.assigned) if item else None) for item in items
            ]
        self.generic_visit(node)

    def _import_by_name(self, node: ast.Call) -> None:
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            level = len(name.value) - len(name.value.lstrip("."))
            if not level or (
                len(node.args) == 2 and ast.unparse(node.args[1]) in ("__package__", "__name__")
            ):
                self._add(name.value.lstrip("."), level, (), node.lineno)
                return
        self._dynamic(node)

    def _dynamic(self, node: ast.Call) -> None:
        text = " ".join(ast.unparse(node).split())
        self.source.dynamic.append(
            (node.lineno, text if len(text) <= 70 else text[:69] + "…", self.main_only)
        )


def _folder(node: ast.expr, assigned: dict[str, ast.expr]) -> _Folder | None:
    """The folder that an expression such as `Path(__file__).parents[1]` means; None if it cannot be told."""
    reader = _PathReader(assigned)
    try:
        path = reader.read(node)
    except (ValueError, TypeError, IndexError, RecursionError):
        return None
    return None if path.startswith("/") else _Folder(path, reader.beside_file)


class _PathReader:
    """Evaluates a path expression in which `__file__` stands for a file in the current folder."""

    def __init__(self, assigned: dict[str, ast.expr]) -> None:
        self.assigned = assigned
        self.beside_file = False

    def read(self, node: ast.expr) -> str:
        """Return the path; raise ValueError for an expression that is not understood."""
        match node:
            case ast.Name(id="__file__"):
                self.beside_file = True
                return "file"
            case ast.Name(id=name) if name in self.assigned:
                return self.read(self.assigned[name])
            case ast.Constant(value=str(text)):
                return text
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return _joined(self.read(left), self.read(right))
            case ast.Attribute(value=inner, attr="parent"):
                return _joined(self.read(inner), "..")
            case ast.Attribute(attr="pardir"):
                return ".."
            case ast.Subscript(value=ast.Attribute(value=inner, attr="parents"), slice=depth):
                return _joined(self.read(inner), *[".."] * (ast.literal_eval(depth) + 1))
            case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute" | "as_posix"), args=[]):
                return self.read(inner)
            case ast.Call(func=ast.Attribute(attr="dirname"), args=[inner]):
                return _joined(self.read(inner), "..")
            case ast.Call(func=ast.Attribute(attr="join"), args=[first, *rest]) if ast.unparse(node.func) in (
                "os.path.join",
                "path.join",
            ):
                return _joined(self.read(first), *(self.read(part) for part in rest))
            case ast.Call(func=function, args=[inner]) if ast.unparse(function).rpartition(".")[2] in (
                *("Path", "PurePath", "str", "fspath"),
                *("abspath", "realpath", "normpath"),
            ):
                return self.read(inner)
        raise ValueError("not a path that can be told from the source")


def _joined(*parts: str) -> str:
    return posixpath.normpath(posixpath.join(*parts))
