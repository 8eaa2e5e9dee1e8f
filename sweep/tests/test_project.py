"""Whether a sweep fits the pipeline is told in one line, before anything runs and with nothing left behind."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from digits import SWEEP, Project
from dvc.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from dvc_sweep import project as projects
from dvc_sweep import space
from dvc_sweep.__main__ import main
from dvc_sweep.errors import BadInput


@pytest.fixture(scope="module")
def shared(original: Project) -> Project:
    """The original project, which these tests do not change."""
    return original


def refused(project: Project, text: str, *options: str) -> str:
    """The one line with which `run` refuses a sweep."""
    file = project.root.parent / "sweep.yaml"
    file.write_text(text)
    before = project.git("for-each-ref"), project.git("status", "--porcelain")
    with contextlib.chdir(project.root):
        result = CliRunner().invoke(main, ["run", str(file), *options], catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert not result.stdout
    assert before == (project.git("for-each-ref"), project.git("status", "--porcelain"))
    assert not (project.root / ".dvc/tmp/sweeps/sweep").exists()
    [line] = result.stderr.splitlines()
    return line.removeprefix("dvc-sweep: ")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("train.learning_rate", "train.learningrate", "space: train.learningrate: params.yaml has no such key; did you mean 'train.learning_rate'?"),
        ("train.learning_rate", "other.yaml:rate", "space: other.yaml:rate: other.yaml cannot be read: "),
        ("train.epochs", "train.epoch", "constants: train.epoch: params.yaml has no such key; did you mean 'train.epochs'?"),
        ("sampler: grid", "target: split\nsampler: grid", "space: train.learning_rate: no stage of split depends on it"),
        ("sampler: grid", "target: evaluat\nsampler: grid", "target: evaluat: "),
        ("metrics.json", "metric.json", "objective: file: metric.json: no stage of the target writes it; did you mean 'metrics.json'?"),
        ("held_out.accuracy", "held_out.acuracy", "objective: key: metrics.json has no 'held_out.acuracy'; did you mean 'held_out.accuracy'?"),
        ("key: held_out.accuracy", "key: held_out", "objective: key: metrics.json held_out is no number"),
        ("sampler: grid", "sampler: grid\npruning: {curve: curv.tsv}", "pruning: curve: curv.tsv: no stage of the target writes it; did you mean 'curve.tsv'?"),
        ("train.l2: [0.0001, 0.01]", "split: [{nope: 1}]", 'split: dvc refuses {"nope": 1}: '),
        ("sampler: grid", "sampler: grid\ncheck: grep -q 'rate.*0.0*1' params.yaml || { echo the rate is refused; false; }", "space: the check refuses it: the rate is refused"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_pipeline_is_refused(shared: Project, old: str, new: str, line: str) -> None:
    assert old in SWEEP
    assert refused(shared, SWEEP.replace(old, new)).removeprefix(f"{shared.root.parent}/").startswith(line)


def test_options_that_do_not_fit_are_refused(shared: Project) -> None:
    assert refused(shared, SWEEP.replace("grid", "random")) == "say how many trials: --trials N"
    assert "cannot be a name" in refused(shared, SWEEP, "--name", "a b")
    assert "cannot be a name" in refused(shared, SWEEP, "--name", "../x")
    assert "need a DVC remote" in refused(shared, SWEEP, "--hub", "hub.git")


def test_a_scheduler_that_does_not_answer_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvc_sweep.cluster.CONNECT", 0.5)
    (project.root.parent / "sweep.yaml").write_text(SWEEP)
    with contextlib.chdir(project.root):
        result = CliRunner().invoke(main, ["run", "../sweep.yaml", "--scheduler", "tcp://127.0.0.1:1"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("dvc-sweep: no scheduler answers at tcp://127.0.0.1:1")
    assert len(result.stderr.splitlines()) == 1
    assert not (project.root / ".dvc/tmp/sweeps/sweep/about.json").exists()


def test_changes_without_a_commit_names_in_use_and_other_folders_are_refused(
    project: Project, tmp_path: Path
) -> None:
    project.write("params.yaml", (project.root / "params.yaml").read_text() + "more: 1\n")
    assert refused(project, SWEEP) == "trials start from a commit, and not committed yet: params.yaml"
    project.git("checkout", "--quiet", "params.yaml")
    project.git("update-ref", f"refs/exps/{project.git('rev-parse', 'HEAD')[:2]}/{'0' * 38}/sweep-3", "HEAD")
    assert refused(project, SWEEP) == "an experiment called sweep-3 exists; give another --name"
    with contextlib.chdir(tmp_path):
        (tmp_path / "sweep.yaml").write_text(SWEEP)
        result = CliRunner().invoke(main, ["run", "sweep.yaml"])
    assert result.stderr == "dvc-sweep: .: is not in a DVC project; `dvc init` makes one\n"


def test_other_commands_name_what_there_is(shared: Project) -> None:
    with contextlib.chdir(shared.root):
        for command in ("show", "resume", "stop"):
            result = CliRunner().invoke(main, [command, "nothing"])
            assert (result.exit_code, result.stderr) == (
                2,
                "dvc-sweep: no sweep is called 'nothing'; there is none yet\n",
            )
        assert CliRunner().invoke(main, ["status"]).stdout == "no sweep has been run here\n"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="$\n\r", exclude_categories=["C", "Zl", "Zp"]), max_size=12),
    lambda below: st.lists(below, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(values)
@settings(max_examples=60, deadline=None)
def test_values_arrive_as_they_are(value: Any) -> None:
    """Written by DVC's own override into a file with comments, and read back by DVC."""
    with tempfile.TemporaryDirectory() as folder:
        root, copy = Path(folder) / "root", Path(folder) / "copy"
        root.mkdir()
        (root / "params.yaml").write_text("a:  # the first\n  b: 1\n")
        projects.apply(root, {"a.b": value}, copy)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of one stage in the subfolder `inner` of a Git repository, and this process in it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "outer/inner").mkdir(parents=True)
    project = Project(tmp_path / "outer/inner", tmp_path / "home")
    project.run("git", "init", "--quiet", "--initial-branch=main", cwd=tmp_path / "outer")
    project.dvc("init", "--quiet", "--subdir")
    for name, text in {
        "dvc.yaml": "stages: {one: {cmd: 'true', params: [a, ../shared.yaml: [c]], metrics: [m.json: {cache: false}]}}",
        "params.yaml": "{a: 1, b: 2}\n",
        "../shared.yaml": "c: 3\n",
        "m.json": '{"x": 1}',
    }.items():
        project.write(name, text)
    project.commit()
    monkeypatch.chdir(project.root)
    return project


def fits(project: Project, more: str) -> None:
    """Check a sweep of the small project: its space, and what else is to be in it."""
    sweep = project.root.parent.parent / "sweep.yaml"
    sweep.write_text(f"objective: {{file: m.json, key: x, direction: maximize}}\n{more}\n")
    found = projects.find(str(project.root))
    projects.require_commit(found)
    projects.check(found, space.read(sweep))
    projects.ask_pipeline(found, space.read(sweep))


def unfit(project: Project, more: str) -> str:
    """The line with which that sweep is refused, without the name of its file."""
    with pytest.raises(BadInput) as caught:
        fits(project, more)
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{project.root.parent.parent / 'sweep.yaml'}: ")


def test_the_check_writes_nothing_outside_of_its_folder(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = small.root.parent.parent / "temporary"
    temporary.mkdir()
    (temporary / "shared.yaml").write_text("c: mine\n")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    check = "grep -q '[56]' ../shared.yaml && grep -q 7 params.yaml"
    fits(small, f'space: {{"../shared.yaml:c": [5, 6], a: [7]}}\ncheck: {check}')
    assert [file.name for file in temporary.iterdir()] == ["shared.yaml"]
    assert (temporary / "shared.yaml").read_text() == "c: mine\n"
    assert small.git("status", "--porcelain") == ""


def test_the_pipelines_own_check_does_not_wait_for_input(small: Project) -> None:
    never, writer = os.pipe()  # of which nothing ever comes
    terminal = os.dup(0)
    os.dup2(never, 0)
    try:
        fits(small, "space: {a: [1]}\ncheck: timeout 5 cat")
    finally:
        os.dup2(terminal, 0)
        for descriptor in (never, writer, terminal):
            os.close(descriptor)


@pytest.mark.parametrize("file", ["params.yaml", "../shared.yaml", "dvc.yaml"])
def test_what_is_not_committed_is_refused(small: Project, file: str) -> None:
    small.git("rm", "--quiet", "--cached", file)
    small.git("commit", "--quiet", "--message", "without it")
    assert unfit(small, 'space: {a: [1], "../shared.yaml:c": [2]}') == (
        f"{file} is not committed, and trials run from the commit; `git add {file}`, and commit"
    )


def test_a_project_without_scm_is_refused(small: Project) -> None:
    small.dvc("config", "core.no_scm", "true")
    small.commit()
    line = "the project has core.no_scm, and DVC's experiments need Git; take that setting out"
    assert unfit(small, "space: {a: [1]}") == line


def test_parameter_files_that_a_clone_shares_are_refused(small: Project, tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text("d: 1\n")
    (small.root / "link.yaml").symlink_to("../../far.yaml")
    (small.root / "absolute.yaml").symlink_to(small.root / "params.yaml")
    outside = "is outside of the Git repository, and trials have clones of that"
    absolute = "has an absolute path; give it relative to the project"
    for file, line in (
        ("../../far.yaml", outside),
        ("link.yaml", outside),
        ("absolute.yaml", absolute),
        (f"{small.root}/params.yaml", absolute),
    ):
        assert unfit(small, f'space: {{"{file}:a": [1]}}') == f"space: {file}:a: {file} {line}"


def test_a_target_that_is_an_output_is_refused_with_its_stage(small: Project) -> None:
    assert unfit(small, "target: m.json\nspace: {a: [1]}").endswith("; it is an output of 'one'")


def test_a_pipeline_that_cannot_be_read_is_refused_in_one_line(small: Project) -> None:
    small.write("dvc.yaml", "stages: {one: {cmd: 'echo ${a b}'}}")
    small.commit()
    for target in ("target: one\n", ""):
        assert unfit(small, target + "space: {a: [1]}").startswith("target: ")


def test_a_frozen_stage_does_not_count(small: Project) -> None:
    text = (small.root / "dvc.yaml").read_text().replace("{one: {", "{one: {frozen: true, ")
    more = (
        "two: {cmd: 'echo ${b}', outs: [o.txt]}, three: {frozen: true, cmd: 'echo ${b} ${a}', outs: [p.txt]}}"
    )
    small.write("dvc.yaml", text.removesuffix("}") + ", " + more)
    small.commit()
    assert unfit(small, "space: {a: [1]}") == (
        "space: a: no stage of the pipeline depends on it, frozen ones aside"
    )
    fits(small, "space: {b: [1]}")


TEMPLATES = """\
vars: [other.yaml, {given: 0}]
stages:
  one: {cmd: 'echo ${rate} ${given} ${optimizer}', metrics: [m.json: {cache: false}]}
  each: {foreach: '${models}', do: {cmd: 'echo ${item.size}', outs: ['${key}.txt']}}
  matrix: {matrix: {x: '${sizes}'}, cmd: 'echo ${item.x}', outs: ['x${item.x}.txt']}
  own: {cmd: 'echo ${depth}', wdir: inner, vars: ['third.yaml:depth'], outs: [o.txt]}
"""


@pytest.mark.parametrize(
    ("target", "key", "line"),
    [
        ("one", "other.yaml:rate", ""),
        ("one", "other.yaml:optimizer.beta", ""),
        ("one", "other.yaml:models", "space: other.yaml:models: no stage of one depends on it"),
        ("one", "a", "space: a: no stage of one depends on it"),
        ("each@us", "other.yaml:models.us.size", ""),
        ("each", "other.yaml:sizes", "space: other.yaml:sizes: no stage of each depends on it"),
        ("matrix", "other.yaml:sizes.0", ""),
        ("own", "inner/third.yaml:depth", ""),
        ("own", "inner/third.yaml:width", "space: inner/third.yaml:width: no stage of own depends on it"),
        ("deeper/dvc.yaml:deep", "deeper/params.yaml:c", ""),
        ("deeper/dvc.yaml:deep", "c", "space: c: no stage of deeper/dvc.yaml:deep depends on it"),
    ],
)
def test_a_template_depends_on_what_it_takes(small: Project, target: str, key: str, line: str) -> None:
    for folder in ("inner", "deeper"):
        (small.root / folder).mkdir()
    for name, text in {
        "dvc.yaml": TEMPLATES,
        "deeper/dvc.yaml": "stages: {deep: {cmd: 'echo ${c}', metrics: [../n.json: {cache: false}]}}",
        "deeper/params.yaml": "c: 1\n",
        "inner/third.yaml": "{depth: 1, width: 2}\n",
        "params.yaml": "{a: 1, c: 2}\n",
        "other.yaml": "{rate: 1, optimizer: {beta: 1}, models: {us: {size: 1}, eu: {size: 2}}, sizes: [1, 2]}\n",
    }.items():
        small.write(name, text)
    small.commit()
    # If the key is fine, the next line is refused.
    file = small.root.parent.parent / "sweep.yaml"
    file.write_text(
        f"objective: {{file: none, key: x, direction: maximize}}\ntarget: {target}\nspace: {{'{key}': [1]}}"
    )
    with pytest.raises(BadInput) as caught:
        projects.check(projects.find("."), space.read(file))
    assert caught.value.message.startswith(line or "objective: file: none")


def test_a_curve_may_be_in_a_folder_that_git_ignores(project: Project) -> None:
    pruned = SWEEP.replace(
        "sampler: grid", "sampler: random\npruning: {curve: __pycache__/live/accuracy.tsv}"
    )
    projects.check(projects.find(str(project.root)), space.read(project.write("s.yaml", pruned)))


def test_the_settings_of_the_clones_have_absolute_paths(project: Project, tmp_path: Path) -> None:
    project.run("dvc", "remote", "add", "--default", "near", "../storage")
    project.run("dvc", "remote", "add", "--local", "far", "s3://bucket/x")
    project.run("dvc", "remote", "modify", "--local", "far", "secret_access_key", "x%y")
    file = tmp_path / "config"
    projects.write_config(projects.find(str(project.root)), file)
    assert file.stat().st_mode & 0o077 == 0
    text = file.read_text()
    assert f"url = {os.path.realpath(project.root.parent / 'storage')}" in text
    assert "url = s3://bucket/x" in text and "secret_access_key = x%y" in text


def test_dvc_reads_the_settings_of_the_clones_as_they_were(small: Project, tmp_path: Path) -> None:
    options = {"url": "s3://bucket/a, b#c", "secret_access_key": 'x#y, %z = "w', "profile": "Zoë"}
    with (small.root / ".dvc/config.local").open("w", encoding="utf-8") as local:
        local.write(
            '[\'remote "far"\']\nurl = "s3://bucket/a, b#c"\nsecret_access_key = \'x#y, %z = "w\'\nprofile = Zoë\n'
        )
        local.write("[cache]\ntype = reflink,copy\n")
    file = tmp_path / "config"
    projects.write_config(projects.find("."), file)
    found = Config.load_file(str(file))
    assert (found["remote"]["far"], found["cache"]["type"]) == (options, ["reflink", "copy"])
