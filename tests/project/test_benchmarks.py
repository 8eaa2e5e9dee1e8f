"""The benchmark times what it says, and the README's figures of speed are those that `make bench` wrote."""

import json
import statistics
import sys
from pathlib import Path

import numpy as np

from benchmarks.__main__ import RESULTS, comparison, measure
from benchmarks.cases import CASES

README = Path(__file__).parents[2] / "README.md"


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
