"""What is kept of a sweep, damaged or not there."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from digits import Project

from dvc_sweep import __main__ as command
from dvc_sweep.errors import BadInput
from dvc_sweep.folder import Folder, check_name


def test_names_that_experiments_cannot_have_are_refused() -> None:
    for name in ("a" * 101, "", "a/b", "a..b", "a.lock", "-a", "a."):
        with pytest.raises(BadInput, match="cannot be a name for experiments"):
            check_name(name)
    check_name("a" * 100)


def test_a_sweep_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "s")
    with pytest.raises(BadInput, match="no hub"), folder.driving():
        raise BadInput("no hub")
    assert not folder.path.exists()
    with folder.driving():
        folder.begin(folder.plan("s.yaml", "0" * 40, None, 3), "space: {}\n")
    assert folder.about.trials == 3


@pytest.mark.integration
@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("about.json", '{"name": "gr', "about.json: is damaged; remove "),
        ("about.json", '{"name": "grid", "more": 1}', "about.json: is damaged; remove "),
        ("journal.log", None, "journal.log: is not there; `dvc-sweep resume other` makes it from the hub"),
        ("journal.log", '{"op_code": 0}\nnonsense\n', "journal.log: is damaged; remove "),
        ("sweep.yaml", "train.l2", "has another space than the trials"),
    ],
)
def test_a_damaged_sweep_is_one_line_and_no_matter_of_the_others(
    swept: tuple[Project, str], file: str, content: str | None, line: str
) -> None:
    sweeps = swept[0].root / ".dvc/tmp/sweeps"
    other = sweeps / "other"
    other.mkdir()
    try:
        for path in (sweeps / "grid").glob("*.*"):
            if path.is_file():
                (other / path.name).write_bytes(path.read_bytes())
        if content is None:
            (other / file).unlink()
        elif file == "sweep.yaml":
            text = (other / file).read_text()
            (other / file).write_text(text.replace(content, "train.epochs").replace("constants:", "# "))
        else:
            (other / file).write_text(content)
        all_of_them = CliRunner().invoke(command.main, ["-C", str(swept[0].root), "status"])
        assert all_of_them.stdout.startswith("grid: done, 6 of 6 trials") and line in all_of_them.stderr
        for name in ("show", "resume") if content else ("show",):  # resume finds in the hub what was done
            one = CliRunner().invoke(command.main, ["-C", str(swept[0].root), name, "other"])
            assert one.exit_code == 2 and line in one.stderr and one.stderr.count("\n") == 1, one.output
    finally:
        shutil.rmtree(other)
    assert json.loads((sweeps / "grid" / "about.json").read_text())["name"] == "grid"
