"""What a stage's Python processes really open and read. Runs inside them, as `sitecustomize`.

Works on the standard library alone, and changes nothing the program can see
except that a mapping parsed from a params file is a subclass of `dict`, which
notes the keys that are taken from it.

It learns from the environment: CHECKS_WATCH names a JSON file with `log` (where
to write, one JSON value a line), `roots` (folders whose files matter), `params`
(the path of each params file: the canonical text of its values), `keys` (whether
to note keys) and `environment` (whether to describe the process at its end).
"""

import atexit
import functools
import importlib.machinery
import json
import os
import sys
import threading

_settings = {}
_written = set()
_busy = threading.local()
_last_params = []  # params files in the order in which they were opened, the latest last


def start():
    """Begin to watch this process, if CHECKS_WATCH says so."""
    path = os.environ.get("CHECKS_WATCH")
    if not path:
        return
    with open(path, encoding="utf-8") as file:
        _settings.update(json.load(file))
    if _settings["roots"]:
        sys.addaudithook(_audit)
    if _settings["keys"]:
        json.loads = _recording(json.loads)
        sys.meta_path.insert(0, _Finder())
    if _settings["environment"]:
        atexit.register(_describe)


def _note(*what):
    if what in _written:
        return
    _written.add(what)
    _busy.now = True
    try:
        with open(_settings["log"], "a", encoding="utf-8", errors="surrogateescape") as log:
            log.write(json.dumps(what) + "\n")
    except OSError:
        pass
    finally:
        _busy.now = False


def _audit(event, arguments):
    if event not in ("open", "os.listdir", "os.scandir", "sqlite3.connect") or getattr(_busy, "now", False):
        return
    path = arguments[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str):
        if path is not None or event == "open":
            return
        path = "."
    try:
        path = os.path.abspath(path)
    except (OSError, ValueError):
        return
    if not path.startswith(tuple(_settings["roots"])):
        return
    if event == "open":
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        reads = flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR) and not flags & os.O_TRUNC
        if path in _settings["params"]:
            _last_params.append(path)
    else:
        reads = True
    if reads:
        _note("list" if event.startswith("os.") else "open", path)


# --- keys of params files ---------------------------------------------------------------------------


class Noted(dict):
    """A mapping parsed from a params file; notes what is taken from it."""

    def __init__(self, values, file, prefix=()):
        super().__init__(
            (key, Noted(value, file, (*prefix, str(key))) if type(value) is dict else value)
            for key, value in values.items()
        )
        self._file, self._prefix = file, prefix

    _swept = frozenset()  # keys that were listed, and so may be fetched only to look at all of them

    def _taken(self, key, value, by_name):
        """A leaf counts however it is taken; a mapping only when asked for by name."""
        if by_name or not isinstance(value, Noted):
            _note("key" if by_name else "swept", self._file, ".".join((*self._prefix, str(key))))
        return value

    def __getitem__(self, key):
        value = super().__getitem__(key)
        by_name = key not in self._swept
        if not by_name:
            self._swept = self._swept - {key}
        return self._taken(key, value, by_name)

    def get(self, key, default=None):
        return self[key] if key in self else default  # noqa: SIM401  it is what `get` is made of

    def pop(self, key, *default):
        if key in self:
            self._taken(key, super().__getitem__(key), True)
        return super().pop(key, *default)

    def setdefault(self, key, default=None):
        if key in self:
            return self[key]
        return super().setdefault(key, default)

    def __iter__(self):
        self._swept = frozenset(super().keys())
        return super().__iter__()

    def keys(self):
        self._swept = frozenset(super().keys())
        return super().keys()

    def items(self):
        for key, value in super().items():
            self._taken(key, value, False)
        return super().items()

    def values(self):
        for key, value in super().items():
            self._taken(key, value, False)
        return super().values()

    def copy(self):
        return self.__deepcopy__({})

    __copy__ = copy

    def __deepcopy__(self, memo):
        copied = Noted.__new__(Noted)
        dict.__init__(copied)
        copied._file, copied._prefix = self._file, self._prefix
        for key, value in super().items():
            dict.__setitem__(copied, key, value.__deepcopy__(memo) if isinstance(value, Noted) else value)
        return copied

    def __reduce__(self):
        return (dict, (dict(self.items()),))


def canonical(values):
    """Text that is the same for the same values, whatever parsed them."""
    return json.dumps(values, sort_keys=True, default=str)


def _noted(values):
    """The mapping that notes its reads, if these are the values of a params file."""
    if not isinstance(values, dict) or isinstance(values, Noted) or _called_by_dvc():
        return values
    try:
        text = canonical(values)
    except (TypeError, ValueError, RecursionError):
        return values
    files = [path for path, known in _settings["params"].items() if known == text]
    if not files:
        return values
    file = next((path for path in reversed(_last_params) if path in files), files[0])
    if type(values) is not dict:
        _note("unseen", file)
        return values
    _note("parsed", file)
    return Noted(values, file)


def _called_by_dvc():
    frame = sys._getframe(2)
    for _ in range(30):
        if frame is None:
            return False
        if frame.f_globals.get("__name__", "").partition(".")[0] in ("dvc", "dvc_data", "dvclive"):
            return True
        frame = frame.f_back
    return False


def _recording(function):
    @functools.wraps(function)
    def load(*arguments, **options):
        return _noted(function(*arguments, **options))

    return load


def _patch(module):
    name = module.__name__
    if name == "yaml":
        module.load = _recording(module.load)
        for dumper in (module.representer.SafeRepresenter, module.representer.Representer):
            dumper.add_representer(Noted, dumper.represent_dict)
    elif name == "ruamel.yaml":
        module.YAML.load = _recording(module.YAML.load)
        for dumper in (module.representer.SafeRepresenter, module.representer.RoundTripRepresenter):
            dumper.add_representer(Noted, dumper.represent_dict)
    elif name == "dvc.api":
        module.params_show = _recording(module.params_show)
    else:
        for function in ("load", "loads"):
            setattr(module, function, _recording(getattr(module, function)))


class _Finder:
    """Patches a parser right after it is imported."""

    names = ("yaml", "ruamel.yaml", "dvc.api", "tomllib", "tomli", "toml")

    def find_spec(self, name, path=None, target=None):
        if name not in self.names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            _patch(module)

        spec.loader.exec_module = exec_module
        return spec


# --- the process itself -----------------------------------------------------------------------------


def _describe():
    if "numpy" not in sys.modules:
        return
    described = {}
    try:
        from numpy._core._multiarray_umath import __cpu_features__

        described["numpy SIMD"] = sorted(name for name, on in __cpu_features__.items() if on)
    except Exception:  # noqa: S110  a NumPy that tells it elsewhere: the stage goes on all the same
        pass
    try:
        import threadpoolctl

        pools = threadpoolctl.threadpool_info()
        keys = ("internal_api", "version", "architecture", "num_threads", "threading_layer")
        described["BLAS and OpenMP"] = sorted(
            " ".join(str(pool[key]) for key in keys if pool.get(key) is not None) for pool in pools
        )
    except Exception:  # noqa: S110  not installed, or of another kind: likewise
        pass
    _note("environment", json.dumps(described, sort_keys=True))
