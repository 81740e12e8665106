"""Two workers, each a process, for all tests here; and a run in many parts."""

import distributed
import many_parts
import pytest


@pytest.fixture(scope="session")
def client():
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="2GiB", dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks where the real ones would be one, and counted ranks in memory as well."""
    monkeypatch.setattr("noisyselect.dask.blocks.BLOCK_ROWS", 12_000)
    monkeypatch.setattr("noisyselect.numeric.ranks._MANY", 1)


@pytest.fixture(scope="session")
def logs():
    return many_parts.make_logs(40_000)


@pytest.fixture(scope="session")
def run(logs, tmp_path_factory):
    labels, losses, predictions = logs
    root = tmp_path_factory.mktemp("dask") / "run"
    return many_parts.write_run(root, labels, {"a": (losses, predictions)})
