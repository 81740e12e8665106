"""Several processes as one: the same batches, the same selections."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import several_processes
import torch

from noisyselect import open_run
from noisyselect.torch.distributed import Shards, _with_shared_statistics


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one process selected, and what two under torchrun did."""
    folder = tmp_path_factory.mktemp("processes")
    script = Path(several_processes.__file__)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(script), str(folder),
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [dict(np.load(folder / f"rank{rank}.npz")) for rank in (0, 1)]
    alone = several_processes.run_all(folder / "alone")
    return alone, ranks, folder


@pytest.mark.parametrize("name", several_processes.RUNS)
def test_two_processes_select_what_one_does(answers, name):
    alone, ranks, _ = answers
    assert alone[name].any()
    assert not alone[name].all()
    for rank in ranks:
        assert np.array_equal(rank[name], alone[name])


@pytest.mark.parametrize("name", several_processes.RUNS)
def test_two_processes_end_with_the_weights_of_one_but_for_rounding(answers, name):
    alone, ranks, _ = answers
    weights = f"{name}: weights"
    assert np.array_equal(ranks[0][weights], ranks[1][weights])
    np.testing.assert_allclose(ranks[0][weights], alone[weights], rtol=2e-3, atol=2e-4)


@pytest.mark.filterwarnings("ignore:`losses` has")  # of samples that are in no pool
def test_the_first_process_alone_writes_the_run(answers):
    _, _, folder = answers
    for name in several_processes.RUNS:
        two, one = (open_run(folder / place / name).log("b") for place in ("runs", "alone"))
        assert two.n_epochs == one.n_epochs
        np.testing.assert_allclose(two.losses, one.losses, rtol=5e-3, atol=5e-4)


def test_two_processes_record_what_one_does(answers):
    _, _, folder = answers
    for name in "ab":
        two, one = (open_run(folder / place / "vrlvmix").log(name) for place in ("runs", "alone"))
        assert np.array_equal(two.batches, one.batches)
        for column in ("probabilities", "second_view", "features"):
            first, second = getattr(two, column), getattr(one, column)
            np.testing.assert_allclose(first, second, rtol=5e-2, atol=5e-3, err_msg=column)
        # Augmented by the same draws: other ones would have other answers.
        assert np.abs(one.second_view - one.probabilities).max() > 0.1


def test_one_process_has_the_whole_batch():
    batch = torch.arange(5.0, requires_grad=True)
    shards = Shards()
    assert shards.gather(shards.own(batch), 5) is batch


def test_shares_of_a_batch_are_disjoint_and_complete():
    shares = [Shards(rank, 3).own(torch.arange(7)).tolist() for rank in range(3)]
    assert sorted(row for share in shares for row in share) == list(range(7))
    assert {len(share) for share in shares} == {2, 3}


def test_shared_normalisation_is_that_of_torch_where_there_is_one_process(monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda _: None)
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    shared = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    shared.load_state_dict(plain.state_dict())
    shared = _with_shared_statistics(shared)
    batch, direction = torch.randn(5, 2, 4, 4), torch.randn(5, 3, 4, 4)
    answers = []
    for network in (plain, shared):
        network.train()
        answer = network(batch)
        (answer * direction).sum().backward()
        answers.append((answer, network[0].weight.grad, network.eval()(batch)))
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.state_dict(), shared.state_dict())
