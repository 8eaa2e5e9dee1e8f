"""Local workers: how they end."""

from pathlib import Path

import pytest
from distributed import LocalCluster

from dvc_sweep import cluster
from dvc_sweep.errors import BadInput


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


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "nonsense://x:1", "", "tcp://h:port"])
def test_what_is_no_address_is_refused_before_anybody_is_asked(address: str) -> None:
    with pytest.raises(BadInput, match="is no scheduler's address; give it as tcp://HOST:8786"):
        cluster.connect(address)
