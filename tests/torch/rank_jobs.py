"""What the ranks of a job do, and how to start them: each in a process of its own, over gloo."""

import multiprocessing
import os
import signal
import time
import warnings

import numpy as np
from torch import distributed
from torch.utils.data import DistributedSampler

from noisyselect import MemoryBank, VRLVSelector
from noisyselect.errors import NonFiniteWarning
from noisyselect.torch import AllRanks

N, EPOCHS = 103, 5
LABELS = np.arange(N) % 3
IDS = np.array([f"photo {7 * row % N}" for row in range(N)])

# A server loads all that is slow to load, once, and the ranks are forked from it.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["noisyselect.torch", "noisyselect.selectors.vrlv", "faiss"])


def run(job, world, folder, *arguments):
    """Run a job on several ranks; return what each of them returned, None where it was killed."""
    pipes = [_CONTEXT.Pipe(duplex=False) for _ in range(world)]
    ranks = [
        _CONTEXT.Process(
            target=_rank, args=(sender, job, rank, world, folder / "store", arguments), daemon=True
        )
        for rank, (_, sender) in enumerate(pipes)
    ]
    for rank, (_, sender) in zip(ranks, pipes, strict=True):
        rank.start()
        sender.close()
    answers = [_answer(receiver) for receiver, _ in pipes]
    for rank in ranks:
        rank.join(20)
        assert rank.exitcode is not None, "A rank has answered and does not end."
    return answers


def _answer(receiver):
    try:
        return receiver.recv() if receiver.poll(60) else "does not answer"
    except EOFError:
        return None


def _rank(sender, job, rank, world, store, arguments):
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world
    )
    # Or one that is done may leave while others still connect.
    distributed.barrier()
    try:
        sender.send(job(rank, world, *arguments))
    finally:
        distributed.destroy_process_group()


def caught(action):
    """Return the name and text of the error that an action ends with, and its seconds."""
    begun = time.monotonic()
    try:
        action()
    except (ValueError, RuntimeError) as error:
        return type(error).__name__, str(error), time.monotonic() - begun
    return None


def shown(epoch):
    """Return what a network shows of all samples, once NaN and once infinite losses among it."""
    rng = np.random.default_rng(epoch)
    losses = rng.random(N).astype(np.float32)
    losses[epoch], losses[2 * epoch] = np.nan, np.inf
    return {
        "losses": losses,
        "probabilities": rng.dirichlet(np.ones(3), N).astype(np.float32),
        "second_view": rng.dirichlet(np.ones(3), N).astype(np.float32),
        "batches": rng.integers(-1, 9, N),
        "features": rng.normal(size=(N, 4)).astype(np.float32) + 3 * np.eye(3, 4)[LABELS],
    }


def record(bank, epoch, rows, size=16):
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        bank.record(IDS[batch], **{name: values[batch] for name, values in shown(epoch).items()})


def shares(kind, world, epoch):
    """Return the rows that each rank records, in its order."""
    if kind == "sampler":
        samplers = [DistributedSampler(range(N), world, rank) for rank in range(world)]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        return [np.array(list(sampler)) for sampler in samplers]
    if kind == "all by one":
        return [np.arange(N) if rank == 1 else np.zeros(0, dtype=int) for rank in range(world)]
    rng = np.random.default_rng(epoch)
    cuts = np.sort(rng.integers(0, N, world - 1))
    parts = np.split(rng.permutation(N), cuts)
    # Each has some of another's twice.
    return [np.append(part, rng.integers(0, N, rng.integers(0, 9))) for part in parts]


def outcome(bank, summaries):
    """Return all that selectors and people see of a bank."""
    log = bank.log()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selection = VRLVSelector(window=3).select(log, log)
    columns = {name: np.asarray(getattr(log, name)).tobytes() for name in log.columns}
    return columns, repr(summaries), selection.clean.tobytes(), selection.score.tobytes()


def all_epochs(rank, world, kind):
    """Record a shard in every epoch; return the outcome."""
    warnings.simplefilter("ignore", NonFiniteWarning)
    bank = MemoryBank(LABELS, ids=IDS, gather=AllRanks(timeout=30))
    summaries = []
    for epoch in range(EPOCHS):
        rows = shares(kind, world, epoch)[rank]
        record(bank, epoch, rows)
        if not len(rows):
            # A loader without samples may hand out an empty batch, whose columns say nothing.
            bank.record([], losses=[])
        summaries.append(bank.end_epoch(lr=0.1 / (epoch + 1), phase="training"))
    return outcome(bank, summaries)


def bytes_of_all(rank, _):
    """Exchange no byte, and then some, over two groups of the same ranks."""
    first, second = AllRanks(timeout=30), AllRanks(timeout=30)
    nothing = [part.size for part in first(np.zeros(0, dtype=np.uint8))]
    return nothing, [part.tolist() for part in second(np.arange(3 * rank, dtype=np.uint8))]


def first_record_stays(rank, world):
    """Every rank records every sample, the losses its own number."""
    bank = MemoryBank(LABELS, gather=AllRanks(timeout=30))
    bank.record(range(N), losses=np.full(N, float(rank)))
    summary = bank.end_epoch()
    return set(bank.log().losses.ravel().tolist()), summary.n_duplicates


def one_differs(rank, _, labels, columns, lr, epochs):
    """Rank 1 comes with something else than the others; all close the epoch again afterwards."""
    odd = rank == 1
    bank = MemoryBank(labels if odd else LABELS, n_classes=3, gather=AllRanks(timeout=30))
    with_others, bank.gather = bank.gather, None
    for _ in range(epochs if odd else 0):
        bank.record(range(N), losses=np.zeros(N))
        bank.end_epoch()
    bank.gather = with_others
    bank.record(range(N), **{name: shown(0)[name] for name in (columns if odd else ["losses"])})
    return caught(lambda: bank.end_epoch(lr=lr if odd else 0.1))


def repaired(rank, world):
    """A sample is recorded by none; rank 0 makes up for it."""
    bank = MemoryBank(LABELS, gather=AllRanks(timeout=30))
    rows = np.arange(1, N)[rank::world]
    bank.record(rows, losses=rows)
    refused = caught(bank.end_epoch)
    if rank == 0:
        bank.record([0], losses=[0.0])
    return refused, bank.end_epoch().n_duplicates, bank.log().losses.ravel().tolist()


def not_gathered(rank, world, missing):
    bank = MemoryBank(LABELS, missing=missing)
    bank.record(range(rank, N, world), losses=np.zeros(len(range(rank, N, world))))
    return caught(bank.end_epoch)


def one_does_not_come(rank, _, who, how, timeout):
    """One rank ends or hangs after the first meeting; return what the others are told."""
    bank = MemoryBank(LABELS, gather=AllRanks(timeout=timeout))
    bank.record(range(N), losses=np.zeros(N))
    bank.end_epoch()
    bank.record(range(N), losses=np.ones(N))
    if rank == who:
        _leave(how, timeout)
    answer = caught(bank.end_epoch)
    return answer, bank.epoch


def _leave(how, timeout):
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raises":
        MemoryBank(LABELS).record([0], losses=["a", "b"])
    if how == "hangs":
        time.sleep(timeout + 4)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "killed in the meeting":
        distributed.all_gather = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)


def of_a_group(rank, _):
    """Ranks 2 and 0 meet; rank 1 does something else."""
    group = distributed.new_group([0, 2])
    if rank == 1:
        return caught(lambda: AllRanks(group))
    bank = MemoryBank(LABELS, gather=AllRanks(group, timeout=30))
    rows = np.arange(N)[rank // 2 :: 2]
    bank.record(rows, losses=rows)
    bank.end_epoch()
    return bank.log().losses.ravel().tolist()


def one_makes_no_ranks(rank, _):
    if rank == 1:
        time.sleep(4)
        return None
    return caught(lambda: AllRanks(timeout=2))
