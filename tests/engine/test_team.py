"""Processes that work side by side: what each sees of the others, and what happens when one is gone."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mnistcore.engine import shared_memory
from mnistcore.engine.team import Team
from mnistcore.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a team is one process")


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_after_waiting_each_sees_what_the_others_wrote(workers):
    steps, shards = 300, 7
    written = shared_memory.zeros((shards,), np.int64)
    seen = shared_memory.zeros((workers, steps), np.int64)
    with Team(workers) as team:
        for step in range(steps):
            for shard in team.own(shards):
                written[shard] += shard + 1
            team.barrier()
            seen[team.rank, step] = written.sum()
            team.barrier()
    assert (seen == 28 * np.arange(1, steps + 1)).all()


@pytest.fixture
def forked(monkeypatch):
    """The numbers of the processes forked in the test; the other children of the test run are not its matter."""
    numbers, fork = [], os.fork

    def noted_fork():
        number = fork()
        numbers.append(number)
        return number

    monkeypatch.setattr(os, "fork", noted_fork)
    return numbers


def _none_is_left(numbers: list[int]) -> bool:
    for number in numbers:
        with pytest.raises(ChildProcessError):  # no child any more, not even a finished one
            os.waitpid(number, os.WNOHANG)
    return True


def test_only_the_first_process_leaves(forked):
    with Team(3) as team:
        team.barrier()
    assert team.leads and team.rank == 0
    assert len(forked) == 2 and _none_is_left(forked)


def test_a_team_leaves_no_file_open():
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with Team(2) as team:
            team.barrier()
    assert os.listdir("/proc/self/fd") == before


def test_signals_are_left_to_the_first_process():
    """Ctrl-C reaches all of a terminal's processes at once."""
    ignored = shared_memory.zeros((2, 2), bool)
    with Team(2) as team:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        ignored[team.rank] = [handler == signal.SIG_IGN for handler in handlers]
        team.barrier()
    assert ignored.tolist() == [[False, False], [True, True]]


def test_another_process_goes_no_further_than_the_block():
    further = shared_memory.zeros((), np.int64)
    with Team(2) as team:
        if team.leads:
            time.sleep(0.2)
    if not team.leads:
        further[...] = 1
        os._exit(0)
    assert not further


def test_a_signal_that_comes_while_the_team_forms_leaves_no_process(forked, monkeypatch):
    fork = os.fork

    def interrupted_fork():
        signal.raise_signal(
            signal.SIGINT
        )  # has to wait until all are there; to this thread, if there are others
        return fork()

    monkeypatch.setattr(os, "fork", interrupted_fork)

    def work():
        with Team(3) as team:
            team.barrier()
            pytest.fail("the signal was lost")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(forked) == 2 and _none_is_left(forked)


def test_an_error_of_the_first_process_is_its_own_and_ends_the_others(forked):
    def work():
        with Team(2) as team:
            if team.leads:
                raise KeyError("mine")
            team.barrier()

    with pytest.raises(KeyError, match="mine"):
        work()
    assert len(forked) == 1 and _none_is_left(forked)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(5, "Input/output error", "images.npy"),
            (InputError, "a worker ended: OSError: .*images.npy"),
        ),
        (MemoryError("no room"), (MemoryError, "no room")),
    ],
)
def test_an_error_of_another_process_reaches_the_first(error, expected):
    def work():
        with Team(2) as team:
            if not team.leads:
                raise error
            team.barrier()

    kind, text = expected
    with pytest.raises(kind, match=text):
        work()


def test_a_killed_worker_is_reported():
    def work():
        with Team(2) as team:
            if not team.leads:
                os.kill(os.getpid(), signal.SIGKILL)
            team.barrier()

    with pytest.raises(InputError, match="a worker ended: status -9; the system may have run out of memory"):
        work()


def test_workers_end_when_the_first_process_is_killed():
    script = """if True:
        import os, time
        from mnistcore.engine.team import Team
        with Team(3) as team:
            os.write(1, f"{os.getpid()}\\n".encode())
            team.barrier()
            if team.leads:
                time.sleep(60)
            team.barrier()
    """
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        numbers = [int(process.stdout.readline()) for _ in range(3)]
        process.kill()
        assert process.stdout.read() == ""  # ends when the last of the three has closed it
    assert process.pid in numbers
    deadline = time.monotonic() + 10
    while any(_lives(number) for number in numbers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_where_no_process_can_be_added_the_first_works_alone(monkeypatch):
    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    with Team(4) as team:
        assert team.workers == 1 and list(team.own(3)) == [0, 1, 2]
        team.barrier()


def test_shared_memory_is_recognised():
    array = shared_memory.zeros((3, 4), "float32")
    assert array.flags.writeable and array.flags.c_contiguous and not array.any()
    assert shared_memory.is_shared(array) and shared_memory.is_shared(array[1:].T)
    assert not shared_memory.is_shared(np.zeros(3)) and not shared_memory.is_shared(array.copy())
    assert shared_memory.zeros((0, 5), "float64").shape == (0, 5)


def test_more_memory_than_there_is():
    with pytest.raises(MemoryError, match=r"no memory for an array of shape \(1152921504606846976,\)"):
        shared_memory.zeros((1 << 60,), "float64")
