"""The figures of speed in the README are those that `make bench` wrote."""

import json
from pathlib import Path

from benchmarks.__main__ import RESULTS, comparison

README = Path(__file__).parent.parent / "README.md"


def test_the_readme_shows_the_table_that_was_measured():
    lines = comparison(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["results"])
    assert len(lines) == 7
    assert "\n".join(lines) in README.read_text(encoding="utf-8")
    assert "\n".join(lines) in (RESULTS / "results.md").read_text(encoding="utf-8")
