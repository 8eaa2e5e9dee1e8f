"""The fingerprint of a checkpoint: what a run of training is computed from. Another one means another result."""

import functools
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def fingerprint(parameters: Any, files: tuple[Path, ...]) -> str:
    """A SHA-256 of the parameters (as for JSON), the files of data, the code in use, and NumPy's version."""
    everything = [parameters, _of_files(files), _of_code(), np.__version__]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


@functools.cache  # the data do not change while they are trained on
def _of_files(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@functools.cache
def _of_code() -> str:
    """Of all modules of the core, and of the stage that uses them."""
    digest = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        if name.startswith(("mnistcore.", "stages.")) and module.__file__:
            digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()
