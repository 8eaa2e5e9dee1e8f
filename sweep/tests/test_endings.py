"""Whatever ends, nothing is lost: workers, driver and scheduler are killed for real, a disk is full, Ctrl-C.

Scheduler and workers are processes of their own on loopback.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from digits import SWEEP, Cluster, Project, until

pytestmark = pytest.mark.integration

SLOW = SWEEP.replace("constants: {", "constants: {train.pause: 0.7, ")  # seconds for each of two epochs


def output_of(process: "subprocess.Popen[str]", seconds: float = 300) -> str:
    """What a command says until its end."""
    return process.communicate(timeout=seconds)[0]


def runs(machines: Cluster, *workers: str) -> dict[str, int]:
    """How often each experiment began to train, on any of the workers."""
    begun = [name for worker in workers for name in machines.trials(worker)]
    return {name: begun.count(name) for name in sorted(set(begun))}


def children(process: int) -> list[int]:
    """All processes below one."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in found.splitlines()]
    below, waiting = [], [process]
    while waiting:
        parent = waiting.pop()
        new = [pid for pid, ppid in pairs if ppid == parent]
        below += new
        waiting += new
    return below


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_killed_in_the_middle_of_a_trial_loses_nothing(
    project: Project, machines: Cluster, swept: tuple[Project, str]
) -> None:
    """SIGKILL; its trial and all it had started end, and run again elsewhere: same name, same hashes."""
    project.write("grid.yaml", SLOW.replace("[0.01, 0.1, 0.5]", "[0.01, 0.5]"))
    project.commit()
    victim = machines.worker("victim")
    machines.worker("other")
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--scheduler", machines.address)
    until(lambda: machines.trials("victim"))
    lost = machines.trials("victim")[-1]
    below = children(victim.pid)
    assert len(below) >= 3  # what runs dvc, dvc, the stage
    victim.kill()
    printed = output_of(driver)
    assert driver.returncode == 0 and "grid: 4 trials: 4 complete" in printed, printed
    assert lost in machines.trials("other")
    assert sorted(project.experiments()) == [f"grid-{number}" for number in range(4)]
    until(lambda: not any(map(alive, below)), 20)
    assert project.outputs("learning_rate", "l2") == swept[0].outputs("learning_rate", "l2")


def test_ctrl_c_ends_running_trials_and_keeps_finished_ones(project: Project) -> None:
    """Sent to the whole foreground, as a terminal does."""
    project.write("grid.yaml", SLOW)
    project.commit()
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--workers", "2")
    until(lambda: project.ended("grid") >= 1)
    below = children(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)
    printed = output_of(driver)
    assert driver.returncode == 130 and "Traceback" not in printed, printed
    assert re.search(
        r"grid: stopped, \d trials: \d complete, [12] running; `dvc-sweep resume grid` goes on", printed
    )  # one where the other had just ended
    until(lambda: not any(map(alive, below)), 20)
    assert 1 <= len(project.experiments()) < 6


@pytest.mark.slow
def test_ctrl_c_while_workers_start_ends_tidily(project: Project) -> None:
    for seconds in (1.0, 1.8, 2.4, 3.0, 3.6):
        driver = project.start("dvc-sweep", "run", "grid.yaml", "--name", "early", "--workers", "2")
        time.sleep(seconds)
        below = children(driver.pid)
        os.killpg(driver.pid, signal.SIGINT)
        printed = output_of(driver)
        assert driver.returncode == 130 and "Traceback" not in printed, (seconds, printed)
        until(lambda below=below: not any(map(alive, below)), 20)
        shutil.rmtree(project.root / ".dvc/tmp/sweeps", ignore_errors=True)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(project: Project) -> None:
    """Also where a trial does not heed the first one."""
    stage = (project.root / "stage.py").read_text()
    project.write("stage.py", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + stage)
    project.write("grid.yaml", SLOW.replace("pause: 0.7", "pause: 30"))
    project.run("dvc", "commit", "--force", "--quiet")
    project.commit()
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--workers", "2")
    until(lambda: len(list((project.root / ".dvc/tmp/sweeps/grid/workers").rglob("runs.txt"))) >= 2)
    below = children(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)
    time.sleep(2)
    assert driver.poll() is None
    before = time.monotonic()
    os.killpg(driver.pid, signal.SIGINT)
    driver.wait(10)
    assert driver.returncode == 130 and time.monotonic() - before < 2
    until(lambda: not any(map(alive, below)), 20)


@pytest.mark.slow
def test_a_machine_that_was_asleep_goes_on(project: Project) -> None:
    """All processes stop for longer than Dask waits for a sign of life (here a second; five minutes otherwise)."""
    project.environment["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = "1s"
    project.write("grid.yaml", SLOW)
    project.commit()
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--workers", "1")
    until(lambda: project.ended("grid") >= 1)
    everybody = [driver.pid, *children(driver.pid)]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in everybody:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        time.sleep(5)
    printed = output_of(driver)
    assert driver.returncode == 0 and "grid: 6 trials: 6 complete" in printed, printed


@pytest.mark.slow
def test_stop_and_status_from_another_terminal(project: Project) -> None:
    project.write("grid.yaml", SLOW)
    project.commit()
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--workers", "1")
    until(lambda: project.ended("grid") >= 1)
    assert re.search(rf"grid: runs \(.*, process {driver.pid}\), \d of 6 trials: ", project.sweep("status"))
    assert "runs already" in project.sweep("resume", "grid", status=2)
    assert "exists; `dvc-sweep resume grid` goes on" in project.sweep("run", "grid.yaml", status=2)
    assert "grid: stopped" in project.sweep("stop", "grid")
    assert driver.wait(20) == 143
    assert "grid: stopped, " in project.sweep("status")
    kept = project.experiments()
    assert "grid: 6 trials: 6 complete" in project.sweep("resume", "grid", "--workers", "2")
    assert {name: commit for name, commit in project.experiments().items() if name in kept} == kept
    assert "does not run" in project.sweep("stop", "grid", status=2)


@pytest.mark.slow
@pytest.mark.parametrize("embedded", [True, False])
def test_the_driver_killed_and_resumed(project: Project, machines: Cluster, embedded: bool) -> None:
    """SIGKILL, twice; no finished trial runs twice, no proposal is lost; TPE proposes what it proposes in peace."""
    text = SLOW.replace("grid", "random").replace("[0.01, 0.1, 0.5]", "{low: 0.01, high: 0.5, log: true}")
    project.write("grid.yaml", text)
    project.commit()
    where: tuple[str, ...] = ("--workers", "2")
    if not embedded:
        machines.worker("one")
        machines.worker("two")
        where = ("--scheduler", machines.address)
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--trials", "8", *where)
    seen = 0
    for _ in range(2):
        until(lambda: project.ended("grid") > seen)  # noqa: B023
        below = children(driver.pid)
        driver.kill()
        driver.wait()
        until(lambda: not any(map(alive, below)), 20)  # noqa: B023
        seen = project.ended("grid")
        if seen < 6:
            driver = project.start("dvc-sweep", "resume", "grid", *where)
    if driver.poll() is not None:
        driver = project.start("dvc-sweep", "resume", "grid", *where)
    printed = output_of(driver)
    assert driver.returncode == 0 and "grid: 8 trials: 8 complete" in printed, printed
    found = project.hashes()
    assert sorted(found) == [f"grid-{number}" for number in range(8)]
    ends = [one["trial_id"] for one in project.journal("grid") if one["op_code"] == 6 and one["state"] == 1]
    assert len(ends) == len(set(ends)) == 8
    project.run("dvc", "exp", "remove", "-A", "-q")
    shutil.rmtree(project.root / ".dvc/tmp/sweeps")
    project.sweep("run", "grid.yaml", "--trials", "8", "--workers", "2")
    assert project.hashes() == found


@pytest.mark.slow
def test_a_trial_that_finished_without_a_driver_is_not_run_again(project: Project, machines: Cluster) -> None:
    """The driver is stopped (not dead), a trial finishes, the driver is killed: the hub has the trial."""
    project.write("grid.yaml", SLOW)
    project.commit()
    machines.worker("one")
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--scheduler", machines.address)
    until(lambda: machines.trials("one") == ["grid-0"])
    os.kill(driver.pid, signal.SIGSTOP)
    hub = project.root / ".dvc/tmp/sweeps/grid/hub.git"
    until(lambda: "/grid-0" in project.run("git", "for-each-ref", cwd=hub).stdout)
    driver.kill()
    assert project.ended("grid") == 0
    printed = project.sweep("resume", "grid", "--scheduler", machines.address)
    assert "grid: 6 trials: 6 complete" in printed
    assert runs(machines, "one") == {f"grid-{number}": 1 for number in range(6)}


@pytest.mark.slow
def test_the_scheduler_killed_and_restarted(project: Project, machines: Cluster) -> None:
    """Its workers end with it, as Dask has them; who started them starts them again, and the sweep goes on."""
    project.write("grid.yaml", SLOW)
    project.commit()
    workers = [machines.worker("one"), machines.worker("two")]
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--scheduler", machines.address)
    until(lambda: project.ended("grid") >= 2)
    done = project.experiments()
    machines.scheduler.kill()
    for worker in workers:
        worker.wait(60)
    time.sleep(1)
    machines.start_scheduler()
    machines.worker("three")
    machines.worker("four")
    printed = output_of(driver)
    assert driver.returncode == 0 and "grid: 6 trials: 6 complete" in printed, printed
    assert "is gone; waiting for it" in printed and "the scheduler is back" in printed
    assert {name: commit for name, commit in project.experiments().items() if name in done} == done
    again = runs(machines, "three", "four")
    assert not set(again) & set(done)


@pytest.mark.slow
def test_a_worker_that_joins_late_gets_trials(project: Project, machines: Cluster) -> None:
    """The sweep starts without any worker."""
    project.write("grid.yaml", SLOW)
    project.commit()
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--scheduler", machines.address)
    until(lambda: (project.root / ".dvc/tmp/sweeps/grid/about.json").exists())
    machines.worker("first")
    until(lambda: project.ended("grid") >= 1)
    machines.worker("late")
    printed = output_of(driver)
    assert driver.returncode == 0 and "has no workers yet; waiting for one" in printed, printed
    ran = runs(machines, "first", "late")
    assert sorted(ran) == [f"grid-{number}" for number in range(6)] and set(ran.values()) == {1}
    assert machines.trials("late")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["from the start", "in the middle"])
def test_a_worker_whose_disk_is_full_gets_no_more_trials(
    project: Project, machines: Cluster, small_disk: Path, when: str
) -> None:
    project.write("grid.yaml", SLOW)
    project.commit()
    if when == "in the middle":
        subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    machines.worker("full", small_disk)
    machines.worker("other")
    driver = project.start("dvc-sweep", "run", "grid.yaml", "--scheduler", machines.address)
    if when == "in the middle":
        until(lambda: list(small_disk.rglob("runs.txt")))
        with open(small_disk / "ballast", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    printed = output_of(driver)
    assert driver.returncode == 0 and "grid: 6 trials: 6 complete" in printed, printed
    assert re.search(
        r"worker tcp://127.0.0.1:\d+ gets no more trials: no space left on the disk of ", printed
    )
    assert max(runs(machines, "other")) == "grid-5"


@pytest.mark.slow
def test_where_no_worker_has_space_the_sweep_waits_to_be_resumed(
    project: Project, machines: Cluster, small_disk: Path
) -> None:
    machines.worker("full", small_disk)
    done = project.start("dvc-sweep", "run", "grid.yaml", "--scheduler", machines.address)
    printed = output_of(done)
    assert done.returncode == 2, printed
    assert (
        printed.splitlines()[-1]
        == "dvc-sweep: no worker is left that can run trials; `dvc-sweep resume grid` goes on"
    )
    assert "grid: 6 trials: 6 complete" in project.sweep("resume", "grid", "--workers", "1")


@pytest.mark.slow
def test_a_trial_that_kills_its_workers_is_recorded_as_failed(project: Project, machines: Cluster) -> None:
    """Here it kills the worker, which its nanny starts again; running out of memory looks the same."""
    stage = (project.root / "stage.py").read_text()
    killer = "import psutil\n        [p.kill() for p in psutil.Process().parents() if 'spawn_main' in ' '.join(p.cmdline())]\n"
    stage = stage.replace("def train():\n    own = parameters[\"train\"]\n", f"def train():\n    own = parameters[\"train\"]\n    if own['learning_rate'] == 0.5:\n        {killer}")  # fmt: skip
    project.write("stage.py", stage)
    project.write("grid.yaml", SWEEP.replace("[0.0001, 0.01]", "[0.0001]"))
    project.run("dvc", "repro", "--quiet")
    project.commit()
    machines.worker("one", nanny=True)
    printed = project.sweep("run", "grid.yaml", "--scheduler", machines.address)
    assert "grid: 3 trials: 2 complete, 1 failed" in printed
    assert "grid-2 failed: each worker that ran it was killed, or ran out of memory" in printed


@pytest.mark.slow
def test_bad_and_diverged_trials_are_recorded_and_the_sweep_goes_on(project: Project) -> None:
    project.write(
        "grid.yaml",
        SWEEP.replace("[0.01, 0.1, 0.5]", "[-0.5, 0.1, 1.0e+308]").replace(
            "[0.0001, 0.01]", "[0.0001, 1.0e+308]"
        ),
    )
    project.commit()
    printed = project.sweep("run", "grid.yaml", "--workers", "2")
    assert re.search(r"grid-\d failed: train: params.yaml: train.learning_rate: should be above 0", printed)
    assert re.search(r"grid-\d failed: train: diverged in epoch 0", printed)
    failed = re.findall(r"^(grid-\d) failed", printed, re.MULTILINE)
    assert not set(failed) & set(project.experiments())
    assert len(failed) + len(project.experiments()) == 6
