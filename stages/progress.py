"""How far a stage is: a bar on a terminal, plain lines where there is none."""

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """A progress bar on a terminal; a plain line every few seconds when there is none.

    Use as a context manager; call `update` with the units done since the last call.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._bar: tqdm | None = None
        self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from tqdm import tqdm

            unit = f" {self.unit}"
            self._bar = tqdm(total=self.total, desc=self.label, unit=unit, unit_scale=True, leave=False)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, units: int, note: str = "") -> None:
        """Count `units` as done; `note` says what they were of."""
        self.done += units
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            tail = f"; {note}" if note else ""
            click.echo(f"{self.label}: {self.done:,} of {self.total:,} {self.unit}{tail}", err=True)
