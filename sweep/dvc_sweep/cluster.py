"""Where the trials run: processes of this machine, or a Dask cluster that exists."""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dask.config
from distributed import Client, LocalCluster
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.comm.registry import get_backend

from dvc_sweep.errors import BadInput
from dvc_sweep.signals import held

CONNECT = 10.0  # seconds


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def local(workers: int, folder: Path) -> Iterator[str]:
    """Worker processes on this machine, and the address of their scheduler."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it, the driver says
    settings = {
        "distributed.nanny.pre-spawn-environ": {},
        "distributed.worker.profile.enabled": False,
        # A laptop that was asleep has been silent for hours. The end of a process here shows in its connection.
        "distributed.scheduler.worker-ttl": None,
        # What a clone of the project needs of the disk is not for Dask to judge.
        "distributed.worker.memory.spill": False,
    }
    cluster = None
    with dask.config.set(settings):
        try:
            with held():  # Dask leaves its processes behind if it is interrupted while they start
                cluster = LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0, dashboard_address=":0",
                    local_directory=str(folder), preload="dvc_sweep.cluster", silence_logs=logging.CRITICAL,
                )  # fmt: skip
            yield str(cluster.scheduler_address)  # pyright: ignore[reportAttributeAccessIssue]  (not asynchronous)
        finally:
            # On a busy machine a TimeoutError, when all trials have ended; an AssertionError, when some never began.
            with contextlib.suppress(Exception):
                if cluster is not None:
                    cluster.close()


def dask_setup(worker: object) -> None:
    """Called by Dask in each worker process of `local`: Ctrl-C is the driver's, which shares their terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def connect(address: str) -> Client:
    """A client of the scheduler at `address`."""
    try:
        scheme, place = parse_address(address)
        get_backend(scheme)
        parse_host_port(place)
    except ValueError:
        raise BadInput(f"'{address}' is no scheduler's address; give it as tcp://HOST:8786") from None
    try:
        return Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise BadInput(f"no scheduler answers at {address} ({' '.join(str(error).split())[:200]})") from None
