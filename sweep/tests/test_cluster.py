"""Local workers: how they end."""

from pathlib import Path

import pytest
from distributed import LocalCluster

from dvc_sweep import cluster


class EndsLate(LocalCluster):
    """As where a worker takes longer to end than Dask waits."""

    def close(self, timeout: float | None = None) -> None:
        super().close(timeout)
        raise TimeoutError


def test_workers_that_end_late_are_no_fault_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "LocalCluster", EndsLate)
    with cluster.local(1, tmp_path) as address:
        assert address.startswith("tcp://")
    with pytest.raises(KeyError), cluster.local(1, tmp_path):
        raise KeyError
