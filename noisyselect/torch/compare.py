"""Several methods side by side: same data, networks, schedule and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from noisyselect.arrays import FloatArray
from noisyselect.torch.data import TrainingData, with_noise
from noisyselect.torch.settings import Method, Settings
from noisyselect.torch.trainer import NAMES, EpochResult, TrainResult, train


@dataclass(frozen=True)
class MethodSummary:
    """What one method came to over several seeds.

    Attributes
    ----------
    method : str
    seeds : tuple of int
    measures : dict of str to array of float, shape (n_seeds,)
        By seed, NaN where undefined. ``best``, ``last`` and ``last_5`` (mean of the last 5 epochs):
        test accuracy. Of the last epoch: ``fitted_wrong`` (mean of both networks), and of the
        selections ``precision_a``, ``precision_b`` and ``recall`` (mean of both).
    """

    method: Method
    seeds: tuple[int, ...]
    measures: dict[str, FloatArray]


def compare(
    data: TrainingData,
    methods: Iterable[Method],
    settings: Settings,
    out: str | Path,
    *,
    noise: Literal["sym", "asym", "human", "none"],
    rate: float = 0.0,
    seeds: Iterable[int] = (0, 1, 2),
    device: str = "auto",
    on_epoch: Callable[[Method, int, EpochResult], None] | None = None,
) -> list[MethodSummary]:
    """Train every method with every seed and summarise what each came to.

    A seed decides the wrong labels, the initialisation and the order of samples, all the same for
    every method. Runs already finished in `out` are read, not trained again.

    Parameters
    ----------
    data : TrainingData
        With labels that are taken for true.
    methods : iterable of {"vrlvmix", "dividemix", "ce"}
    settings : Settings
        Their `method` and `seed` are replaced.
    out : path
        Run directories are left in ``out/<method>-seed<seed>``.
    noise, rate
        As in `with_noise`.
    seeds : iterable of int, default=(0, 1, 2)
    device : str, default="auto"
    on_epoch : callable, optional
        Called with method, seed and `EpochResult` after each epoch.

    Returns
    -------
    list of MethodSummary
        In the order of `methods`.

    Raises
    ------
    ValueError
        If a run in `out` was made with other data or settings.
    """
    chosen = tuple(seeds)
    summaries = []
    for method in methods:
        results = [
            train(
                with_noise(data, noise, rate, seed=seed),
                replace(settings, method=method, seed=seed),
                Path(out) / f"{method}-seed{seed}",
                device=device,
                resume=True,
                on_epoch=_labelled(on_epoch, method, seed),
            )
            for seed in chosen
        ]
        summaries.append(MethodSummary(method, chosen, _measures(results)))
    return summaries


def _labelled(
    on_epoch: Callable[[Method, int, EpochResult], None] | None, method: Method, seed: int
) -> Callable[[EpochResult], None] | None:
    if on_epoch is None:
        return None
    return lambda result: on_epoch(method, seed, result)


def _measures(
    results: list[TrainResult],
) -> dict[str, FloatArray]:
    rows = [
        {
            "best": result.best,
            "last": result.last,
            "last_5": result.last_5,
            "fitted_wrong": _of_both(result, "fitted_wrong"),
            "precision_a": result.epochs[-1].measures.get("precision_a", np.nan),
            "precision_b": result.epochs[-1].measures.get("precision_b", np.nan),
            "recall": _of_both(result, "recall"),
        }
        for result in results
    ]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}


def _of_both(result: TrainResult, measure: str) -> float:
    last = result.epochs[-1].measures
    return float(np.mean([last.get(f"{measure}_{name}", np.nan) for name in NAMES]))
