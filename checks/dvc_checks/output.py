"""How the checks speak: a first line that says what was found, then tables, as text, Markdown or JSON."""

import json
import math
from typing import Any

import click


def say(line: str = "") -> None:
    """Print one line of the result; a foreign name in it can neither make two of it nor colour it."""
    click.echo(printable(line))


def printable(text: str) -> str:
    """The text with an escape for each character that is none: of control, or no Unicode."""
    return "".join(
        char if char.isprintable() or char in "\t\u200b" else char.encode("unicode_escape").decode()
        for char in text
    )


def count(number: int, what: str, plural: str | None = None) -> str:
    """`1 stage`, `2 stages`."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def as_json(value: Any) -> str:
    """JSON for machines: keys in the order given; what JSON cannot say (NaN, dates) as text."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def table(header: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> list[str]:
    """Align columns for a terminal; `right` names the columns of figures."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def markdown_table(header: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> list[str]:
    """The same table for GitHub."""
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("|" + "|".join("---:" if column in right else "---" for column in range(len(header))) + "|")
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return lines
