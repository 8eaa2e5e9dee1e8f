"""reports/curves/params.yaml: what the network was trained with, as DVCLive wrote it beside the curves. For plot."""

import sys
import warnings
from pathlib import Path
from typing import Any

from mnistcore.arguments import shown
from mnistcore.errors import InputError
from mnistcore.files import read_text

LONGEST = 1 << 16  # bytes
# What ruamel.yaml lets out for text that looks like a date, a number or a key, and is none.
NOT_A_VALUE = (ValueError, TypeError, AttributeError, KeyError, OverflowError)


def read_parameters(folder: Path) -> dict[str, Any]:
    """What the writer was given as `parameters`; nothing, of a run that gave nothing.

    Raises
    ------
    InputError : not what DVCLive writes
    """
    from ruamel.yaml import YAML  # DVCLive writes YAML
    from ruamel.yaml.error import YAMLError, YAMLWarning
    from ruamel.yaml.events import AliasEvent

    path = folder / "params.yaml"
    if not path.exists():
        return {}
    text = read_text(path, "train", LONGEST)
    yaml = YAML(typ="safe", pure=True)
    try:
        # DVCLive writes none. With them a few lines stand for gigabytes, or hold themselves.
        if "*" in text and any(isinstance(event, AliasEvent) for event in yaml.parse(text)):
            raise InputError(f"{path}: has an alias; run train again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", YAMLWarning)
            logged = yaml.load(text)
    except (YAMLError, RecursionError, *NOT_A_VALUE):
        raise InputError(f"{path}: not readable as YAML; run train again") from None
    if not isinstance(logged, dict):
        raise InputError(f"{path}: should be keys and values; run train again")
    waiting: list[Any] = [logged]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [part for pair in value.items() for part in pair]
        elif isinstance(value, list):
            waiting += value
        elif not (
            value is None
            or (type(value) in (int, float, bool) and abs(value) <= sys.float_info.max)
            or (type(value) is str and value.isprintable())
        ):
            raise InputError(f"{path}: {shown(value)} is no parameter; run train again")
    return logged
