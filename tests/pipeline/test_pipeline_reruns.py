"""A change runs its stage and what follows it, and nothing else: by real runs, and for code."""

import shutil

import pytest
from dvc.exceptions import ReproductionError
from dvc_project import dvc_within

from stages.parameters import STAGES

pytestmark = pytest.mark.integration


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


def test_a_refused_value_costs_nothing_that_git_tracks(in_process):
    """DVC removes a stage's outputs before it runs, save those that dvc.yaml says to keep."""
    here, repo = in_process
    for out in repo.index.outs:
        assert out.persist is not out.use_cache, out
    before = here.file("params.yaml").read_bytes()
    reports = {path: path.read_bytes() for path in here.file("reports").rglob("*") if path.is_file()}
    assert len(reports) > 10
    stranger = here.file("reports/curves/plots/metrics/stranger.tsv")
    try:
        here.change("train.epochs", "many")
        with pytest.raises(ReproductionError):
            repo.reproduce("train")
        assert {path: path.read_bytes() for path in reports if path.exists()} == reports
        stranger.write_text("step\tstranger\n0\t1\n")
    finally:
        here.file("params.yaml").write_bytes(before)
        repo.reproduce()
    assert not stranger.exists() and all(path.exists() for path in reports)
    assert repo.status() == {}


def test_changed_code_runs_the_stages_that_use_it(in_process):
    """A stage depends on the files it imports: the figures are of no concern to training, nor is the hold-out to
    plot, nor the workers' memory to evaluate."""
    here, repo = in_process
    engine = [str(path.relative_to(here.path)) for path in here.path.glob("mnistcore/engine/*.py")]
    assert engine
    for names, expected in {
        "mnistcore/report/figures.py": {"plot"},
        "mnistcore/evaluation/metrics.py": {"evaluate", "plot"},
        "mnistcore/data/idx.py": {"fetch", "preprocess"},
        "mnistcore/data/holdout.py": {"batch"},
        "mnistcore/data/normalization.py": {"preprocess", "batch", "plot"},
        "mnistcore/training/settings.py": {"train"},
        " ".join(engine): {"train"},
        "stages/train.py": {"train"},
        "stages/side_by_side.py": {"train"},
        "stages/curves.py": {"train", "plot"},
        "stages/progress.py": {*STAGES} - {"plot"},
        "stages/command.py": {*STAGES},
    }.items():
        before = {path: path.read_bytes() for path in map(here.file, names.split())}
        try:
            for path, text in before.items():
                path.write_bytes(text + b"# changed\n")
            assert set(repo.status()) == expected, names
        finally:
            for path, text in before.items():
                path.write_bytes(text)
