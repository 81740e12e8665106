"""What every rank of torch.distributed recorded, brought to all of them, or an error in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from noisyselect.errors import MeetingError
from noisyselect.meeting import Bytes, several_processes
from noisyselect.torch.distributed import started_by_torchrun

_WAY_OUT = (
    "If a rank ended, its own output says why; for slow ranks, AllRanks(timeout=...) waits longer."
)
_TOO_EARLY = "AllRanks must be made after torch.distributed.init_process_group, on every rank."


class AllRanks:
    """Lets a `MemoryBank` close its epochs over all ranks of a torch.distributed job.

    Each rank records its shard of the samples and closes the epoch; there the ranks meet, and all
    go on with the same log, bit for bit. In a single process nothing is exchanged, so a script runs
    with and without ``torchrun``.

    Parameters
    ----------
    group : ProcessGroup, optional
        The ranks that meet. By default all.
    timeout : float, default=600
        Seconds for which ranks wait for others: at a meeting, and where this object is made.

    Raises
    ------
    MeetingError
        At a meeting, on every rank that came, if one has ended or lets the others wait for longer
        than `timeout`. The bank is unchanged, but these ranks cannot meet again: end the job.
    RuntimeError
        If it is made before `torch.distributed.init_process_group` joins several processes.
    ValueError
        If `timeout` is not positive, or this rank not in `group`.

    Notes
    -----
    Make it on every rank of the group, in the same order as other groups. The records are in the
    memory of the host, so they travel there, over a gloo group of its own, whatever the backend of
    the job: a meeting neither waits for an accelerator nor leaves NCCL's queue in disorder when a
    rank is missing. A meeting is a roll-call, one small message between each two ranks, and one
    gathering of as many bytes for each rank as the largest shard has.

    Examples
    --------
    >>> from noisyselect import MemoryBank
    >>> bank = MemoryBank(labels=[0, 1, 1], gather=AllRanks(timeout=60))
    >>> bank.record([0, 1, 2], losses=[0.1, 0.2, 1.9])  # each rank its own
    >>> bank.end_epoch().n_recorded
    3
    """

    def __init__(
        self, group: distributed.ProcessGroup | None = None, *, timeout: float = 600
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"`timeout` must be a positive number of seconds, got {timeout!r}.")
        self.timeout = timeout
        # By their numbers in the whole job, as the user knows them.
        self._ranks = _ranks_of(group)
        self._group: distributed.ProcessGroup | None = None
        if len(self._ranks) > 1:
            self._group = self._own_group()

    def __call__(self, own: Bytes) -> list[Bytes]:
        """Return the bytes of every rank, in the order of the ranks.

        Parameters
        ----------
        own : array of uint8, shape (n_bytes,)
            The bytes of this rank.
        """
        if self._group is None:
            if not self._ranks and several_processes():
                raise RuntimeError(_TOO_EARLY)
            return [own]
        sizes = self._call_roll(own.size)
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded.numpy()[: own.size] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        try:
            distributed.all_gather(parts, padded, group=self._group)
        except RuntimeError as error:
            raise MeetingError(
                f"A rank left the meeting of the {len(sizes)} ranks, or let it wait for more than "
                f"{self.timeout:g} s. {_WAY_OUT}"
            ) from error
        return [part.numpy()[:size] for part, size in zip(parts, sizes, strict=True)]

    def _own_group(self) -> distributed.ProcessGroup:
        try:
            group = distributed.new_group(
                self._ranks,
                backend="gloo",
                timeout=timedelta(seconds=self.timeout),
                use_local_synchronization=True,
            )
        except RuntimeError as error:
            raise MeetingError(
                f"{_text(self._ranks)} must all make an AllRanks, and not all did within "
                f"{self.timeout:g} s. {_WAY_OUT}"
            ) from error
        assert isinstance(group, distributed.ProcessGroup)
        return group

    def _call_roll(self, n_bytes: int) -> list[int]:
        """Tell every rank how many bytes are to come, and return what all of them say.

        Everybody asks everybody: after a barrier most ranks would not know who is missing.
        """
        own = torch.tensor([n_bytes])
        said = {rank: own.clone() for rank in self._ranks}
        deadline = time.monotonic() + self.timeout
        asked: dict[int, list[distributed.Work | None]] = {}
        missing: dict[int, RuntimeError] = {}
        for rank in self._ranks:
            if rank != distributed.get_rank():
                with _noting(missing, rank):
                    asked[rank] = [
                        distributed.irecv(said[rank], rank, self._group),
                        distributed.isend(own, rank, self._group),
                    ]
        for rank, works in asked.items():
            with _noting(missing, rank):
                for work in works:
                    assert work is not None
                    # Zero would stand for no limit.
                    work.wait(timedelta(seconds=max(deadline - time.monotonic(), 0.001)))
        if missing:
            ranks = sorted(missing)
            raise MeetingError(
                f"{_text(ranks)} of {len(said)} did not come to the meeting at the end of an "
                f"epoch: ended, or late by more than {self.timeout:g} s. {_WAY_OUT}"
            ) from missing[ranks[0]]
        return [int(size) for size in said.values()]


@contextmanager
def _noting(missing: dict[int, RuntimeError], rank: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        missing[rank] = error


def _ranks_of(group: distributed.ProcessGroup | None) -> list[int]:
    """Return the numbers in the whole job of the ranks of a group; none where there is no job."""
    if not (distributed.is_available() and distributed.is_initialized()):
        if started_by_torchrun():
            raise RuntimeError(_TOO_EARLY)
        return []
    if distributed.get_rank(group) < 0:
        raise ValueError("`group` must be one that this rank is in; make an AllRanks in those.")
    return distributed.get_process_group_ranks(group or distributed.group.WORLD)


def _text(ranks: list[int]) -> str:
    numbers = ", ".join(str(rank) for rank in ranks)
    return f"Rank {numbers}" if len(ranks) == 1 else f"Ranks {numbers}"
