"""Selectors on saved training logs, side by side."""

from noisyselect.bench.ranks import MeanRanks, mean_ranks
from noisyselect.bench.result import Agreement, Bench, BenchedRun, BenchRow
from noisyselect.bench.table import named_selectors, run_bench

__all__ = [
    "Agreement",
    "Bench",
    "BenchRow",
    "BenchedRun",
    "MeanRanks",
    "mean_ranks",
    "named_selectors",
    "run_bench",
]
