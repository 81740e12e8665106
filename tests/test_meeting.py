"""Records of several processes travel as bytes and come back as they were."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from noisyselect import MemoryBank
from noisyselect.errors import NonFiniteWarning
from noisyselect.meeting import check_alike, pack, several_processes, unpack

ARRAYS = st.dictionaries(
    st.text(),
    st.sampled_from([np.int8, np.uint16, np.int32, np.int64, np.float32, np.float64]).flatmap(
        lambda dtype: arrays_of.arrays(
            dtype, arrays_of.array_shapes(min_dims=1, max_dims=2, min_side=0)
        )
    ),
    max_size=4,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()), ARRAYS)
def test_facts_and_arrays_come_back_bit_for_bit(facts, arrays):
    packed = pack(facts, arrays)
    assert packed.dtype == np.uint8
    said, back = unpack(packed)
    assert said == facts
    assert list(back) == list(arrays)
    for name, values in arrays.items():
        assert (back[name].dtype, back[name].shape) == (values.dtype, values.shape)
        assert back[name].tobytes() == values.tobytes()


def test_rows_of_another_order_in_memory_come_back_in_order():
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    _, back = unpack(pack({}, {"values": values}))
    assert back["values"].tolist() == values.tolist()


def test_ranks_that_differ_are_named_and_one_that_does_not_know_is_no_difference():
    check_alike([{"lr": "0.1", "columns": None}, {"lr": "0.1", "columns": "losses"}])
    check_alike([{"columns": None}, {"columns": None}])
    with pytest.raises(ValueError, match=r"same lr: rank 1 has 0\.1, rank 2 has 0\.2\."):
        check_alike([{"lr": None}, {"lr": "0.1"}, {"lr": "0.2"}])


@pytest.mark.parametrize(
    ("distributed", "several"),
    [
        ({"is_available": False}, False),
        ({"is_available": True, "is_initialized": False}, False),
        ({"is_available": True, "is_initialized": True, "get_world_size": 1}, False),
        ({"is_available": True, "is_initialized": True, "get_world_size": 2}, True),
        (None, False),
    ],
)
def test_several_processes_are_those_that_torch_has_joined(monkeypatch, distributed, several):
    if distributed is None:
        monkeypatch.delitem(sys.modules, "torch.distributed", raising=False)
    else:
        answers = {name: lambda answer=value: answer for name, value in distributed.items()}
        monkeypatch.setitem(sys.modules, "torch.distributed", SimpleNamespace(**answers))
    assert several_processes() is several


class AbsentError(Exception):
    """Raised in place of a meeting."""


def close_together(banks):
    """Close the epochs of banks as if each were in a process of its own."""
    parts = []

    def listen(own):
        parts.append(own)
        raise AbsentError

    for bank in banks:
        bank.gather = listen
        with pytest.raises(AbsentError):
            bank.end_epoch()
    for bank in banks:
        bank.gather = lambda own: parts
    return [bank.end_epoch() for bank in banks]


BATCH = st.lists(st.tuples(st.integers(0, 4), st.floats(width=32)), max_size=6)


@settings(deadline=None)
@given(st.lists(st.lists(BATCH, max_size=3), min_size=1, max_size=4))
def test_any_shards_give_what_one_process_records_with_the_first_rank_last(shards):
    def record(bank, batches):
        for batch in batches:
            ids = [f"s{row}" for row, _ in batch]
            losses = np.array([loss for _, loss in batch], dtype=np.float32)
            bank.record(ids, losses=losses, predictions=[row % 3 for row, _ in batch])

    def new_bank():
        ids = [f"s{row}" for row in (3, 0, 4, 1, 2)]
        return MemoryBank([0, 1, 2, 0, 1], ids=ids, missing="unlabelled")

    banks, alone = [new_bank() for _ in shards], new_bank()
    for bank, batches in zip(banks, shards, strict=True):
        record(bank, batches)
    for batches in reversed(shards):
        record(alone, batches)
    if not any(batch for batches in shards for batch in batches):
        with pytest.raises(ValueError, match="Epoch 0 has no records"):
            close_together(banks)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        summaries, expected = close_together(banks), alone.end_epoch()
    for bank, summary in zip(banks, summaries, strict=True):
        assert repr(summary) == repr(expected)
        assert bank.log().losses.tobytes() == alone.log().losses.tobytes()
        assert bank.log().predictions.tobytes() == alone.log().predictions.tobytes()
