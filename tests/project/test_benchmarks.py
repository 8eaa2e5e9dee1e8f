"""The benchmark times what it says, and the README's figures of speed are those that `make bench` wrote."""

import json
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import RESULTS, comparison, measure
from benchmarks.cases import CASES
from benchmarks.tricks import DOCUMENT, LINE, RECORD, TRICKS, epoch, line, table
from mnistcore.training.settings import Examples

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_the_readme_shows_the_table_that_was_measured():
    lines = comparison(json.loads((RESULTS / "results.json").read_text(encoding="utf-8"))["results"])
    assert len(lines) == 7
    assert "\n".join(lines) in README.read_text(encoding="utf-8")
    assert "\n".join(lines) in (RESULTS / "results.md").read_text(encoding="utf-8")


def test_a_case_is_timed_round_by_round_and_the_better_number_of_threads_counts(tmp_path):
    rng = np.random.default_rng(0)
    files = [str(tmp_path / "images.npy"), str(tmp_path / "labels.npy")]
    np.save(files[0], rng.integers(0, 256, (400, 784), np.uint8))
    np.save(files[1], rng.integers(0, 10, 400, np.uint8))

    result = measure(CASES[0], ["ours", "bare-pinned"], sys.executable, 400, 1, 2, files)
    for taken in result.values():
        assert len(taken["each"]) > 1 and min(taken["each"]) > 0  # one round takes less than the two seconds
        assert abs(taken["seconds"] - statistics.median(taken["each"])) < 1e-3
        assert taken["seconds"] == min(taken["by threads"].values())
    assert set(result["ours"]["by threads"]) == {"1", "2"} and set(result["bare-pinned"]["by threads"]) == {
        "1"
    }


def test_every_trick_stands_in_the_code_with_the_gain_that_was_measured():
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    found = {}
    for path in (ROOT / "mnistcore").rglob("*.py"):
        found |= {match[1]: match[0] for match in LINE.finditer(path.read_text(encoding="utf-8"))}
    assert found == {name: line(name, recorded.get(name, {})) for name in TRICKS}
    assert "\n".join(table(recorded)) in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_can_be_done_without_and_comes_back(name):
    rng = np.random.default_rng(0)
    trick = TRICKS[name]
    for row in trick.rows:
        case = CASES[row]
        data = Examples(rng.random((150, 784)).astype(case.dtype), rng.integers(0, 10, 150))
        before = [(dict.get if isinstance(w, dict) else getattr)(w, n) for w, n, _ in trick.replaced]
        assert epoch(case, data, trick, with_it=False) > 0
        assert before == [(dict.get if isinstance(w, dict) else getattr)(w, n) for w, n, _ in trick.replaced]
