"""Makes docs/faults.md from the tests that carry the marker `fault` (see conftest.py)."""

import pytest

ROOMS = (
    "IDX files",
    "Fetch",
    "params.yaml",
    "Between the stages",
    "Killed",
    "The machine",
    "Training",
    "Security",
)
HEAD = """\
# What was done to it, and what the user sees

Made from the tests by `python -m pytest --faults-page=docs/faults.md`; a test fails when it is out of date.
Each row is a test that runs: with `make test`, with `make test-integration`, or, where it says so, with `make test-slow`.
A line of the pipeline's own is quoted as it is printed, with `…` for what depends on the machine or the case. Bad input
ends a stage with exit status 2 and nothing written, unless a row says otherwise.
"""


def page(items: list[pytest.Item]) -> str:
    """The page in Markdown, rows in the order of the tests."""
    rooms: dict[str, dict[tuple[str, str, str], dict[bool, int]]] = {room: {} for room in ROOMS}
    for item in items:
        for mark in item.iter_markers("fault"):
            room, done, sees = mark.args
            row = rooms[room].setdefault((done, sees, item.location[0]), {})
            slow = item.get_closest_marker("slow") is not None
            row[slow] = row.get(slow, 0) + _times(item, mark)
    lines = [HEAD]
    for room, rows in rooms.items():
        lines += [
            f"## {room}",
            "",
            "| what was done | how often | what the user sees | test |",
            "|---|---|---|---|",
        ]
        for (done, sees, file), counts in rows.items():
            often = ", ".join(f"{counts[slow]:,}{' (slow)' if slow else ''}" for slow in sorted(counts))
            name = file.rpartition("/")[2]
            lines.append(f"| {_cell(done)} | {often} | {_cell(sees)} | [{name}](../{file}) |")
        lines.append("")
    return "\n".join(lines)


def _times(item: pytest.Item, mark: pytest.Mark) -> int:
    if "times" in mark.kwargs:
        return mark.kwargs["times"]
    settings = getattr(item.function, "_hypothesis_internal_use_settings", None)
    return settings.max_examples if settings else 1


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
