"""The sweep file: what is read, and the one line for each thing that can be wrong with it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvc_sweep import space
from dvc_sweep.errors import BadInput
from dvc_sweep.space import Choices, Objective, Pruning, Range

GOOD = """\
objective: {file: metrics.json, key: validation.accuracy, direction: maximize}
space:
  train.rate: {low: 0.05, high: 0.5, log: true}
  train.epochs: [6, 12]
"""


def read(tmp_path: Path, text: str) -> space.Sweep:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    return space.read(file)


def test_a_sweep_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        GOOD + "target: evaluate\nconstants: {batch.seed: 3}\npruning: {curve: c.tsv, warmup_steps: 2}\n",
    )
    assert found.objective == Objective("metrics.json", "validation.accuracy", "maximize")
    assert found.space == {"train.rate": Range(0.05, 0.5, log=True), "train.epochs": Choices((6, 12))}
    assert found.constants == {"batch.seed": 3}
    assert found.pruning == Pruning("c.tsv", "median", {"warmup_steps": 2})
    assert (found.target, found.sampler, found.seed) == ("evaluate", "tpe", 0)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("space:", "spaces:"), "unknown key \"spaces\"; did you mean 'space'?"),
        (("key: validation.accuracy, ", ""), "objective: has no 'key'"),
        (("maximize", "up"), 'objective: direction: should be minimize or maximize, is "up"'),
        (("low: 0.05", "low: 0.5"), "space: train.rate: low should be below high, but 0.5 is not below 0.5"),
        (("low: 0.05", "low: 0"), "space: train.rate: low: should be above 0 where log is true, is 0"),
        (("low: 0.05", "low: true"), "space: train.rate: low: should be a finite number, is true"),
        (("low: 0.05", "low: .nan"), "space: train.rate: low: should be a finite number, is NaN"),
        (("log: true", "log: 1"), "space: train.rate: log: should be true or false, is 1"),
        (("log: true", "step: 1"), "space: train.rate: step: should be above 0 and at most high - low, is 1"),
        (("log: true", "step: 1.0e-300"), "space: train.rate: step: is too small for a range from 0.05 to 0.5, is 1e-300"),
        (("log: true", "lag: true"), "space: train.rate: unknown key \"lag\"; did you mean 'log'?"),
        (("[6, 12]", "[]"), "space: train.epochs: the list is empty"),
        (("[6, 12]", "[1, true]"), "space: train.epochs: DVC and Optuna take 1 and true for the same; take one of the two out"),
        (("[6, 12]", "[6, 1, 1]"), "space: train.epochs: 1 is there twice"),
        (("[6, 12]", "6"), "space: train.epochs: should be a list of values or a range {low: …, high: …}, is 6"),
        (("[6, 12]", "['${x}']"), "space: train.epochs: \"${x}\" has '${' or a line break in it, which dvc does not take"),
        (("[6, 12]", "[2020-01-01]"), "space: train.epochs: should be a number, text, true, false, null, or a list or map of them, is 2020-01-01"),
        (("[6, 12]", "[6, 12"), "line 5: not readable as YAML: expected ',' or ']', but got '<stream end>'"),
        (("[6, 12]", "[6, 12]\nsampler: best"), 'sampler: should be one of tpe, random, grid, is "best"'),
        (("[6, 12]", "[6, 12]\nsampler: grid"), "space: train.rate: a grid needs a list of values, or a range with a step"),
        (("[6, 12]", "[6, 12]\nseed: -1"), "seed: should be an integer from 0 to 4294967295, is -1"),
        (("[6, 12]", "[6, 12]\nconstants: {train.epochs: 8}"), "constants: train.epochs: is the same as train.epochs in the space; take one of the two out"),
        (("[6, 12]", "[6, 12]\nconstants: {'params.yaml:train.epochs': 8}"), "constants: params.yaml:train.epochs: is the same as train.epochs in the space; take one of the two out"),
        (("[6, 12]", "[6, 12]\n  ./params.yaml:train.epochs: [1]"), "space: ./params.yaml:train.epochs: is the same as train.epochs in the space; take one of the two out"),
        (("[6, 12]", "[6, 12]\n  train.epochs.x: [1]"), "space: train.epochs.x: is a part of train.epochs in the space; take one of the two out"),
        (("[6, 12]", "[6, 12]\n  train: [{a: 1}]"), "space: train: has train.rate of the space in it; take one of the two out"),
        (("[6, 12]", "[6, 12]\npruning: {}"), "pruning: has no 'curve'"),
        (("[6, 12]", "[6, 12]\npruning: {curve: c, pruner: hyper}"), 'pruning: pruner: should be one of median, hyperband, is "hyper"'),
        (("[6, 12]", "&x [6, *x]"), "nested too deeply; does an alias stand for a list or map that it is in?"),
        (("[6, 12]", "[" * 3000), "not readable as YAML: nested too deeply"),
        (("high: 0.5, log: true", f"high: 1{'0' * 400}"), f"space: train.rate: high: should be a finite number, is 1{'0' * 56}…"),
        (("[6, 12]", f"[1{'0' * 400}]"), f"space: train.epochs: should be a number, text, true, false, null, or a list or map of them, is 1{'0' * 56}…"),
        (("low: 0.05, high: 0.5, log: true", "low: -1.0e308, high: 1.0e308"), "space: train.rate: high - low should be a finite number, but -1e+308 and 1e+308 are too far apart"),
        (("[6, 12]", "[6, 12]\npruning: {curve: c, pruner: [median]}"), 'pruning: pruner: should be one of median, hyperband, is ["median"]'),
        (("[6, 12]", "[6, 12]\npruning: {curve: c, pruner: hyperband, min_resource: 10, max_resource: 1}"), "pruning: max_resource: should be min_resource (10) or more, is 1"),
        (("[6, 12]", "[6, 12]\npruning: {curve: c, max_resource: 3}"), "pruning: max_resource: is not of the pruner median, which has startup_trials, warmup_steps"),
        (("[6, 12]", "[6, 12]\npruning: {curve: c, warmup_steps: x}"), 'pruning: warmup_steps: should be an integer of 0 or more, is "x"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, change: tuple[str, str], line: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(BadInput) as caught:
        read(tmp_path, GOOD.replace(*change))
    assert caught.value.message == f"{tmp_path / 'sweep.yaml'}: {line}"
    assert caught.value.exit_code == 2


def test_the_same_name_in_two_files_and_names_that_begin_alike_are_fine(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD + "  other.yaml:train.epochs: [1]\n  train.epochs_more: [2]\n")
    assert len(found.space) == 4


def test_a_missing_file_an_empty_one_and_other_bytes_are_told(tmp_path: Path) -> None:
    for content, line in (
        (None, "No such file or directory"),
        (b"", "should have the keys"),
        (b"\xff", "not readable"),
    ):
        file = tmp_path / "sweep.yaml"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(BadInput, match=line):
            space.read(file)


def test_a_grid_has_every_point_once_the_last_key_fastest(tmp_path: Path) -> None:
    text = (
        GOOD.replace("log: true", "step: 0.15").replace("[6, 12]", "{low: 6, high: 12, step: 3}")
        + "sampler: grid\n"
    )
    points = read(tmp_path, text).grid()
    assert [tuple(point.values()) for point in points] == [
        (rate, epochs) for rate in (0.05, 0.2, 0.35, 0.5) for epochs in (6, 9, 12)
    ]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["low", "high", "log", "step", "space", "objective", "file", "key", "direction"]), below, max_size=4)))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_nothing_in_a_file_ends_in_a_traceback(document: object) -> None:
    with pytest.raises(BadInput) as caught:
        space._sweep(document)
    assert caught.value.message


def test_corners_have_every_choice_and_both_ends(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD.replace("[6, 12]", "[6, 7, 12]") + "constants: {a: 1}\n").corners()
    assert found == [
        {"train.rate": 0.05, "train.epochs": 6, "a": 1},
        {"train.rate": 0.5, "train.epochs": 7, "a": 1},
        {"train.rate": 0.5, "train.epochs": 12, "a": 1},
    ]
