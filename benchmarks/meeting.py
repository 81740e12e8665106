"""Time and traffic of a meeting: what ranks over gloo exchange where an epoch ends.

Loss, prediction and confidence of every sample, in equal shards; each rank is a process of this
machine. Beside the whole `end_epoch`, the exchange alone. Run:
OMP_NUM_THREADS=1 python benchmarks/meeting.py
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from torch import distributed

from noisyselect import MemoryBank
from noisyselect.torch import AllRanks


class Timed:
    """What gathers for a bank, with the seconds and the bytes that come from the others."""

    def __init__(self):
        self.ranks = AllRanks(timeout=120)

    def __call__(self, own):
        """Exchange as `AllRanks` does."""
        distributed.barrier()  # Or the others would be waited for, which is not the exchange.
        begun = time.perf_counter()
        parts = self.ranks(own)
        self.seconds = time.perf_counter() - begun
        self.n_bytes = sum(part.size for part in parts) - own.size
        return parts


def rank_of(rank, world, store, n_samples, turns, answers):
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world
    )
    timed = Timed()
    bank = MemoryBank(np.arange(n_samples) % 100, window=1, gather=timed)
    own = np.arange(n_samples)[rank::world]
    values = np.random.default_rng(rank).random(own.size).astype(np.float32)
    whole, exchange = [], []
    for _ in range(turns):
        bank.record(own, losses=values, predictions=own % 100, confidences=values)
        distributed.barrier()
        begun = time.perf_counter()
        bank.end_epoch()
        whole.append(time.perf_counter() - begun)
        exchange.append(timed.seconds)
    if rank == 0:
        answers.put((np.quantile(whole, [0, 0.5, 1]), np.median(exchange), timed.n_bytes))
    distributed.destroy_process_group()


def measure(world, n_samples, turns):
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world, Path(folder) / "store", n_samples, turns, answers)
        ranks = [context.Process(target=rank_of, args=(rank, *arguments)) for rank in range(world)]
        for rank in ranks:
            rank.start()
        answer = answers.get()
        for rank in ranks:
            rank.join()
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--samples", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    given = parser.parse_args()
    print("  samples  ranks  end_epoch ms [least, most]  exchange ms  MB to each rank")
    for n_samples in given.samples:
        for world in given.ranks:
            (least, median, most), exchange, n_bytes = measure(world, n_samples, given.turns)
            print(
                f"{n_samples:9,}  {world:5}  {1e3 * median:9.1f} "
                f"{f'[{1e3 * least:.1f}, {1e3 * most:.1f}]':>16}  {1e3 * exchange:11.1f}  "
                f"{n_bytes / 1e6:15.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
