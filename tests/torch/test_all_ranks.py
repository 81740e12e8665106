"""Each rank records its shard, and all have the log and the selection of a single process."""

import re
import warnings

import numpy as np
import pytest
import rank_jobs
from rank_jobs import EPOCHS, IDS, LABELS, N, run
from torch import distributed

from noisyselect import MemoryBank
from noisyselect.errors import NonFiniteWarning
from noisyselect.torch import AllRanks

RANKS = pytest.mark.parametrize("world", [2, 3, 4])


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def of_one_process(kind, world):
    """The same records in one process, those of the first rank last."""
    warnings.simplefilter("ignore", NonFiniteWarning)
    bank = MemoryBank(LABELS, ids=IDS)
    summaries = []
    for epoch in range(EPOCHS):
        for rows in reversed(rank_jobs.shares(kind, world, epoch)):
            rank_jobs.record(bank, epoch, rows)
        summaries.append(bank.end_epoch(lr=0.1 / (epoch + 1), phase="training"))
    return rank_jobs.outcome(bank, summaries)


@RANKS
@pytest.mark.parametrize("kind", ["sampler", "ragged", "all by one"])
def test_every_rank_has_the_log_and_the_selection_of_one_process(world, kind, tmp_path):
    alone = of_one_process(kind, world)
    assert {"losses", "probabilities", "second_view", "batches", "features"} <= set(alone[0])
    assert run(rank_jobs.all_epochs, world, tmp_path, kind) == [alone] * world


@RANKS
def test_bytes_come_back_in_the_order_of_the_ranks(world, tmp_path):
    expected = [0] * world, [list(range(3 * rank)) for rank in range(world)]
    assert run(rank_jobs.bytes_of_all, world, tmp_path) == [expected] * world


@RANKS
def test_of_several_records_that_of_the_first_rank_stays(world, tmp_path):
    answers = run(rank_jobs.first_record_stays, world, tmp_path)
    assert answers == [({0.0}, (world - 1) * N)] * world


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"columns": ["losses", "batches"]}, r"same columns: rank 0 has.*losses.*rank 1 has.*batc"),
        ({"lr": 0.2}, r"same lr: rank 0 has 0\.1, rank 1 has 0\.2"),
        ({"labels": (LABELS + 1) % 3}, "same labels, ids and classes: rank 0"),
        ({"epochs": 2}, "same number of the epoch: rank 0 has 0, rank 1 has 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_odd_on_one_rank_is_an_error_on_all(odd, message, tmp_path):
    usual = {"labels": LABELS, "columns": ["losses"], "lr": 0.1, "epochs": 0}
    answers = run(rank_jobs.one_differs, 3, tmp_path, *(usual | odd).values())
    for name, text, _ in answers:
        assert name == "ValueError"
        assert re.search(message, text)


def test_a_refused_epoch_stays_open_on_every_rank(tmp_path):
    for refused, n_duplicates, losses in run(rank_jobs.repaired, 2, tmp_path):
        assert "lacks 1 of 103 samples, ids 0." in refused[1]
        assert n_duplicates == 0
        assert losses == list(range(N))


@pytest.mark.parametrize("missing", ["error", "unlabelled"])
def test_a_bank_that_knows_of_no_other_rank_refuses_an_incomplete_epoch(missing, tmp_path):
    for name, text, _ in run(rank_jobs.not_gathered, 2, tmp_path, missing):
        assert name == "ValueError"
        assert re.search(r"one of several processes.*gather=noisyselect\.torch\.AllRanks", text)


@RANKS
@pytest.mark.parametrize("who", [0, 1])
def test_a_rank_that_was_killed_ends_the_others_at_once(world, who, tmp_path):
    check_ended(run(rank_jobs.one_does_not_come, world, tmp_path, who, "killed", 30), who, 10)


def test_an_error_in_the_loop_of_one_rank_ends_the_others(tmp_path):
    check_ended(run(rank_jobs.one_does_not_come, 3, tmp_path, 1, "raises", 30), 1, 10)


def test_a_rank_that_hangs_ends_the_others_in_time(tmp_path):
    answers = run(rank_jobs.one_does_not_come, 3, tmp_path, 0, "hangs", 3)
    # It is killed after 7 seconds.
    check_ended(answers, 0, 6.5)


def check_ended(answers, who, seconds):
    assert answers.pop(who) is None
    for (name, text, waited), epoch in answers:
        assert name == "MeetingError"
        # One that raised this before has ended, too.
        assert re.match(rf"Ranks? [\d, ]*\b{who}\b[\d, ]* of \d did not come to the meeting", text)
        assert waited < seconds
        assert epoch == 1


def test_a_rank_that_is_killed_in_the_meeting_ends_the_others(tmp_path):
    answers = run(rank_jobs.one_does_not_come, 3, tmp_path, 1, "killed in the meeting", 30)
    assert answers.pop(1) is None
    for (name, text, waited), epoch in answers:
        assert name == "MeetingError"
        assert "A rank left the meeting of the 3 ranks" in text
        assert waited < 10
        assert epoch == 1


def test_ranks_of_a_group_meet_without_the_others(tmp_path):
    first, other, second = run(rank_jobs.of_a_group, 3, tmp_path)
    assert first == second == list(range(N))
    assert other[0] == "ValueError"
    assert "that this rank is in" in other[1]


def test_a_rank_that_makes_no_all_ranks_ends_the_others_in_time(tmp_path):
    name, text, waited = run(rank_jobs.one_makes_no_ranks, 2, tmp_path)[0]
    assert name == "MeetingError"
    assert text.startswith("Ranks 0, 1 must all make an AllRanks")
    assert waited < 5


def test_a_single_process_meets_nobody():
    own = np.arange(5, dtype=np.uint8)
    (back,) = AllRanks()(own)
    assert back is own


def test_the_process_group_comes_first(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not distributed.is_initialized()
    with pytest.raises(RuntimeError, match=r"after torch\.distributed\.init_process_group"):
        AllRanks()


def test_the_process_group_comes_first_without_torchrun_too(monkeypatch):
    early = AllRanks()
    monkeypatch.setattr("noisyselect.torch.all_ranks.several_processes", lambda: True)
    with pytest.raises(RuntimeError, match=r"after torch\.distributed\.init_process_group"):
        early(np.zeros(1, dtype=np.uint8))


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_positive(timeout):
    with pytest.raises(ValueError, match="positive number of seconds"):
        AllRanks(timeout=timeout)
