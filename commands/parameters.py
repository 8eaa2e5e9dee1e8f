"""Would every stage take its section of params.yaml? Asked before `make repro` and before a sweep runs; data are not
looked at."""

import importlib
import sys

from mnistcore.errors import InputError
from stages.parameters import STAGES, read_section


def main() -> None:
    """Print nothing, or the one line with which the first stage would end, and exit with status 2."""
    try:
        for name in STAGES:
            read_section(name, getattr(importlib.import_module(f"stages.{name}"), name.capitalize()))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
