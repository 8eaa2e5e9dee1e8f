"""A change runs its stage and what follows it, and nothing else: by real runs, and for code."""

# ruff: noqa: F811  (a fixture is imported, and then named by the test that takes it)
import shutil

import pytest
from dvc_project import dvc_within, prepared  # noqa: F401

STAGES = ["fetch", "preprocess", "batch", "train", "evaluate", "plot"]


@pytest.fixture(scope="module")
def in_process(prepared, tmp_path_factory):
    here = prepared.copy_to(tmp_path_factory.mktemp("reruns") / "project")
    with dvc_within(here) as repo:
        yield here, repo


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        # The same files from another source: what follows would read the very same bytes, so it is not run.
        ("fetch.source", "{raw}", ["fetch"]),
        ("preprocess.divisor", 15, ["preprocess", "batch", "train", "evaluate", "plot"]),
        # batch and train: in test_pipeline.py, where something is made of the result
        ("evaluate.calibration_bins", 7, ["evaluate", "plot"]),
        ("plot.mistakes", 3, ["plot"]),
    ],
)
def test_a_changed_section_runs_its_stage_and_what_follows(in_process, where, value, expected):
    here, repo = in_process
    if value == "{raw}":
        value = str(here.path.parent / "raw")
        shutil.copytree(here.file("data/raw"), value)
    here.change(where, value)
    assert [stage.name for stage in repo.reproduce()] == expected
    assert repo.status() == {}


def test_changed_code_runs_the_stages_that_use_it(in_process):
    """A stage depends on the files it imports: the figures are of no concern to training."""
    here, repo = in_process
    for name, expected in {
        "mnistcore/report/figures.py": {"plot"},
        "mnistcore/evaluation/metrics.py": {"evaluate", "plot"},
        "mnistcore/data/idx.py": {"fetch", "preprocess"},
        "stages/train.py": {"train"},
        "stages/stage.py": set(STAGES),
    }.items():
        before = here.file(name).read_bytes()
        try:
            here.file(name).write_bytes(before + b"# changed\n")
            assert set(repo.status()) == expected, name
        finally:
            here.file(name).write_bytes(before)
