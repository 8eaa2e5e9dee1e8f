"""A change runs its stage and what follows it, and nothing else: by real runs, and for code."""

import shutil

import pytest
from dvc_project import dvc_within

from stages.parameters import STAGES


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
    """A stage depends on the files it imports: the figures are of no concern to training, nor is the hold-out to
    plot, nor the workers' memory to evaluate."""
    here, repo = in_process
    engine = [str(path.relative_to(here.path)) for path in here.path.glob("mnistcore/engine/*.py")]
    assert engine
    for name, expected in {
        "mnistcore/report/figures.py": {"plot"},
        "mnistcore/evaluation/metrics.py": {"evaluate", "plot"},
        "mnistcore/data/idx.py": {"fetch", "preprocess"},
        "mnistcore/data/holdout.py": {"batch"},
        "mnistcore/data/normalization.py": {"preprocess", "batch", "plot"},
        "mnistcore/training/settings.py": {"train"},
        **{name: {"train"} for name in engine},
        "stages/train.py": {"train"},
        "stages/side_by_side.py": {"train"},
        "stages/curves.py": {"train", "plot"},
        "stages/progress.py": {*STAGES} - {"plot"},
        "stages/command.py": {*STAGES},
    }.items():
        before = here.file(name).read_bytes()
        try:
            here.file(name).write_bytes(before + b"# changed\n")
            assert set(repo.status()) == expected, name
        finally:
            here.file(name).write_bytes(before)
