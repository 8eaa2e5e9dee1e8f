"""Ended at random moments, by SIGKILL, SIGINT or SIGTERM; the next `dvc repro` makes what a run left in peace makes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dvc_project import Project
from repro import Repro, forget, hashes, leftovers
from small import PARAMETERS, everything, works, write_tiny_raw

from stages.parameters import STAGES

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
KILLS = 34  # of each stage, in the slow part
PARTS = 2  # that the slow part is cut into, to run side by side


def seconds(project: Project, stage: str) -> float:
    """How long `dvc repro` takes from the start of `stage` to its own end, where only that stage has to run."""
    forget(project, (stage,))
    calm = Repro(project)
    calm.wait_for(stage)
    started = time.monotonic()
    calm.process.communicate(timeout=300)
    return time.monotonic() - started


def repro_again(project: Project) -> None:
    """`dvc repro`; where a kill met DVC while it wrote a file of its own in place, `dvc-checks mend` goes first, as in
    `make repro`."""
    run = Repro(project)
    run.printed += run.process.communicate(timeout=300)[0]
    if run.process.returncode:
        assert "Running stage" not in run.printed, run.printed
        mended = subprocess.run(
            [sys.executable, "-m", "dvc_checks", "-C", project.path, "mend"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert mended.returncode == 0, run.printed + mended.stdout + mended.stderr
        project.dvc("repro")


def kill_often(project: Project, stage: str, kills: int, chance: random.Random) -> None:
    """Kill `dvc repro` while it runs `stage`, `kills` times, and see each time that the next one puts it right."""
    wanted = hashes(project)
    longest = seconds(project, stage)
    done = 0
    for _ in range(3 * kills):
        forget(project, (stage,))
        run = Repro(project)
        run.wait_for(stage)
        time.sleep(chance.uniform(0, longest))
        done += run.end(signal.SIGKILL)
        repro_again(project)
        assert hashes(project) == wanted, f"kill {done} of {stage}\n{run.printed}"
        assert not leftovers(project), f"kill {done} of {stage}"
        if done == kills:
            return
    pytest.fail(f"{stage} ended before it was killed {3 * kills - done} times")


@pytest.mark.fault(
    "Killed",
    "`dvc repro` and all its processes killed (SIGKILL) in one stage after the other, each time run again",
    "nothing; it ends with the very hashes of a run left in peace, and no temporary file remains",
    times=len(STAGES),
)
def test_killed_in_every_stage_it_still_gets_there(prepared, tmp_path) -> None:
    project = prepared.copy_to(tmp_path / "project")
    wanted = hashes(project)
    forget(project, STAGES)
    chance = random.Random(0)
    for stage in STAGES:
        run = Repro(project)
        run.wait_for(stage)
        time.sleep(chance.uniform(0.05, 0.35))  # well before DVC records it
        assert run.end(signal.SIGKILL), run.printed
    repro_again(project)
    assert hashes(project) == wanted
    assert not leftovers(project)


@pytest.mark.slow
@pytest.mark.fault(
    "Killed",
    "`dvc repro` and all its processes killed (SIGKILL) at a random moment of one stage, each stage in turn",
    "nothing; the next `dvc repro` ends with the very hashes of a run left in peace, and no temporary file remains but, "
    "rarely, one of DVC's own in its cache of runs",
    times=KILLS // PARTS,
)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_often_is_put_right_each_time(prepared, tmp_path, stage, part) -> None:
    kill_often(
        prepared.copy_to(tmp_path / "project"), stage, KILLS // PARTS, random.Random(f"{stage} {part}")
    )


@pytest.mark.fault(
    "Killed",
    "the kill meets DVC while it writes `dvc.lock` or `.dvc/tmp/rwlock`, which it does in place: half of it is left",
    "DVC's own `'./dvc.lock' is invalid.`, `'./dvc.lock' validation failed.` or `Unable to read RWLock-file`; "
    "`make repro` mends both and goes on, "
    "`dvc-checks mend` does it for `dvc repro`",
)
@pytest.mark.parametrize(
    ("name", "half", "message"),
    [
        ("dvc.lock", lambda whole: whole[: whole.rindex(b"md5: ") + 2], "dvc.lock' is invalid"),
        ("dvc.lock", lambda whole: b"", "required key not provided"),
        (".dvc/tmp/rwlock", lambda whole: b"", "Unable to read RWLock-file"),
    ],
)
def test_half_a_file_of_dvc_is_mended(prepared, tmp_path, name, half, message) -> None:
    project = prepared.copy_to(tmp_path / "project")
    wanted = hashes(project)
    file = project.file(name)
    file.write_bytes(half(file.read_bytes() if file.exists() else b""))
    assert message in project.dvc("repro", "--force", status=255)
    repro_again(project)
    assert hashes(project) == wanted


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for the signal (Linux tells)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def interrupt_often(stage: str, number: int, times: int) -> None:
    """Run a stage here and end it by the signal, `times` times at random moments after its first import."""
    works(stage)
    whole = everything()
    started = time.monotonic()
    command, environment = (
        [sys.executable, ROOT / "stages" / f"{stage}.py"],
        os.environ | {"PYTHONPATH": str(ROOT)},
    )
    subprocess.run(command, env=environment, check=True, capture_output=True)
    longest, chance, done = time.monotonic() - started, random.Random(f"{stage} {number}"), 0
    for _ in range(4 * times):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and not catches(process.pid, signal.SIGTERM):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, longest / 2))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        if process.returncode == 0:
            continue  # it was quicker
        word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
        assert process.returncode == 128 + number, err
        assert err == f"{stage}: {word}; run it again to continue\n"
        assert not [name for name in everything() if name.endswith(".partial")]
        done += 1
        if done == times:
            break
    else:
        pytest.fail(f"{stage} ended before the signal came")
    works(stage)
    shutil.rmtree("checkpoints", ignore_errors=True)
    assert everything().keys() == whole.keys()


SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTS = 5  # of each stage by each signal, in the slow part
SEES = "`…: interrupted; run it again to continue`, exit status 130, or `…: terminated; …`, 143; no temporary file remains"


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMETERS)
    write_tiny_raw()
    for stage in ("preprocess", "batch", "train", "evaluate"):
        works(stage)


def cases(times: int) -> pytest.MarkDecorator:
    return pytest.mark.fault(
        "Killed", "SIGINT or SIGTERM at a random moment, from a stage's first import on", SEES, times=times
    )


@cases(1)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whether a signal is caught")
@pytest.mark.parametrize(("stage", "number"), [("preprocess", signal.SIGINT), ("evaluate", signal.SIGTERM)])
def test_a_signal_ends_a_stage_with_one_line(tiny, stage, number) -> None:
    interrupt_often(stage, number, 1)


@pytest.mark.slow
@cases(INTERRUPTS)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whether a signal is caught")
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_a_stage_with_one_line_at_any_moment(tiny, stage, number) -> None:
    if stage == "fetch":
        shutil.rmtree("data")
    interrupt_often(stage, number, INTERRUPTS)
