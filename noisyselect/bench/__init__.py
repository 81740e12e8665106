"""Selectors on saved training logs, side by side."""

from noisyselect.bench.table import BenchRow, named_selectors, run_bench

__all__ = ["BenchRow", "named_selectors", "run_bench"]
