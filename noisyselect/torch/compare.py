"""Several methods side by side: same data, networks, schedule and seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from noisyselect.arrays import FloatArray
from noisyselect.torch.data import TrainingData, with_noise
from noisyselect.torch.data.noise import NoiseKind
from noisyselect.torch.distributed import started_by_torchrun
from noisyselect.torch.jobs import Job, run_jobs
from noisyselect.torch.settings import Method, Part, Settings
from noisyselect.torch.trainer import EpochResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points of test accuracy that cross-entropy falls by where it memorises wrong labels.
_FALL = 0.03


@dataclass(frozen=True)
class MethodSummary:
    """What one method came to over several seeds.

    Attributes
    ----------
    method : str
        As given to `compare`.
    seeds : tuple of int
    curves : dict of str to array of float, shape (n_seeds, n_epochs)
        Shares by seed and epoch, NaN where undefined: ``test_accuracy``, ``fitted_wrong`` (of the
        wrong labels, those that are predicted; mean of both networks), ``precision_a``,
        ``precision_b``, ``recall_a`` and ``recall_b`` of the selections.
    realised_rates : tuple of float
        By seed, the share of wrong labels; NaN where it is not known.
    """

    method: str
    seeds: tuple[int, ...]
    curves: dict[str, FloatArray]
    realised_rates: tuple[float, ...]

    @cached_property
    def measures(self) -> dict[str, FloatArray]:
        """Return what the method came to, by name an array of shape (n_seeds,).

        ``best``, ``last`` and ``last_5`` (mean of the last 5 epochs) are test accuracies. Of the
        last epoch are ``fitted_wrong`` and, of the selections, ``precision_a``, ``precision_b`` and
        ``recall`` (mean of both networks).
        """
        accuracy = self.curves["test_accuracy"]
        last = {name: values[:, -1] for name, values in self.curves.items()}
        return {
            "best": accuracy.max(axis=1),
            "last": last["test_accuracy"],
            "last_5": accuracy[:, -5:].mean(axis=1),
            "fitted_wrong": last["fitted_wrong"],
            "precision_a": last["precision_a"],
            "precision_b": last["precision_b"],
            "recall": (last["recall_a"] + last["recall_b"]) / 2,
        }


def compare(
    data: TrainingData,
    methods: Iterable[str],
    settings: Settings,
    out: str | Path,
    *,
    noise: NoiseKind | None = None,
    rate: float = 0.0,
    human_column: str = "random1",
    seeds: Iterable[int] = (0, 1, 2),
    device: str = "auto",
    jobs: int = 1,
    on_epoch: Callable[[str, int, EpochResult], None] | None = None,
) -> list[MethodSummary]:
    """Train every method with every seed and summarise what each came to.

    A seed decides the wrong labels, the initialisation and the order of samples, all the same for
    every method. Runs already finished in `out` are read, not trained again.

    Parameters
    ----------
    data : TrainingData
        With labels that are taken for true, unless `noise` is None.
    methods : iterable of str
        Methods of `Settings`, and ``"vrlvmix without scan"`` or ``"vrlvmix without balancing and
        scan"``: VRLVMix without these parts. `ablations` returns the rows of the paper's Table IV.
    settings : Settings
        Their `method`, `without` and `seed` are replaced.
    out : path
        Run directories are left in ``out/<method>-seed<seed>``, with hyphens for spaces, and what
        pre-training leaves in ``out/pretrained``, where all methods and seeds share it.
    noise, rate, human_column
        As in `with_noise`. None trains on the labels of `data` as they are.
    seeds : iterable of int, default=(0, 1, 2)
    device : str, default="auto"
    jobs : int >= 1, default=1
        Train so many at once, each in a process and with one thread. Small networks leave the
        processors idle otherwise. On a CPU the result is that of one at a time with one thread. A
        script that calls this needs ``if __name__ == "__main__":``, as always with processes.
    on_epoch : callable, optional
        Called with method, seed and `EpochResult` after each epoch.

    Returns
    -------
    list of MethodSummary
        In the order of `methods`.

    Raises
    ------
    ValueError
        If a method is unknown or stands twice, or a run in `out` was made with other data or
        settings.
    NoisySelectError
        If, with several jobs, some of them failed. The others were finished before.
    """
    if started_by_torchrun():
        raise ValueError(
            "`compare` must run as one process: start it without torchrun, and large single runs "
            "by `train` with it."
        )
    names, chosen = list(methods), tuple(seeds)
    _check_once("methods", names)
    _check_once("seeds", chosen)
    noisy = {
        seed: data
        if noise is None
        else with_noise(data, noise, rate, seed=seed, human_column=human_column)
        for seed in chosen
    }
    todo = {
        (name, seed): Job(
            noisy[seed],
            replace(variant(name, settings), seed=seed),
            Path(out) / f"{name.replace(' ', '-')}-seed{seed}",
            pretrained=Path(out) / "pretrained",
            device=device,
        )
        for name in names
        for seed in chosen
    }
    results = run_jobs(todo, jobs, on_epoch)
    rates = tuple(_realised_rate(noisy[seed]) for seed in chosen)
    return [
        MethodSummary(name, chosen, _curves([results[name, seed] for seed in chosen]), rates)
        for name in names
    ]


def _check_once(what: str, given: Iterable[Any]) -> None:
    listed = list(given)
    if not listed:
        raise ValueError(f"`{what}` must hold at least one, got none.")
    if len(set(listed)) < len(listed):
        raise ValueError(f"`{what}` must each stand once, got {listed!r}.")


def ablations(settings: Settings) -> list[str]:
    """Return the rows of the paper's Table IV, as `compare` takes methods.

    Those without semantic clustering are among them only where there may be any: elsewhere they
    would be other rows once more.
    """
    rows = ["vrlvmix without vrlv", "vrlvmix without balancing"]
    if settings.pretrain_epochs and replace(settings, method="vrlvmix", without=()).uses_scan:
        rows += ["vrlvmix without balancing and scan", "vrlvmix without scan"]
    return rows


def variant(name: str, settings: Settings) -> Settings:
    """Return the settings of a method as `compare` names them.

    Examples
    --------
    >>> variant("vrlvmix without balancing and scan", Settings()).without
    ('balancing', 'scan')
    """
    method, _, parts = name.partition(" without ")
    without = tuple(parts.split(" and ")) if parts else ()
    if method not in get_args(Method) or not set(without) <= set(get_args(Part)):
        raise ValueError(
            f"A method must be one of {', '.join(get_args(Method))}, or such as 'vrlvmix without "
            f"vrlv' or 'vrlvmix without balancing and scan'; got {name!r}."
        )
    return replace(settings, method=method, without=without)  # type: ignore[arg-type]


def _realised_rate(data: TrainingData) -> float:
    if data.true_labels is None:
        return math.nan
    return float(np.mean(data.labels != data.true_labels))


def _curves(results: list[tuple[EpochResult, ...]]) -> dict[str, FloatArray]:
    def table(of: Callable[[EpochResult], float]) -> FloatArray:
        return np.array([[of(epoch) for epoch in epochs] for epochs in results], dtype=np.float64)

    def measured(name: str) -> FloatArray:
        return table(lambda epoch: epoch.measures.get(name, math.nan))

    names = ("precision_a", "precision_b", "recall_a", "recall_b")
    return {
        "test_accuracy": table(lambda epoch: epoch.test_accuracy),
        "fitted_wrong": (measured("fitted_wrong_a") + measured("fitted_wrong_b")) / 2,
        **{name: measured(name) for name in names},
    }


def memorisation(summaries: Iterable[MethodSummary]) -> str:
    """Say whether plain cross-entropy memorised, without which a setting cannot judge any method.

    It did where the mean test accuracy of its last epochs lies at least 3 points below that of its
    best: of the last 5, or of the last quarter of a run of fewer than 20.
    """
    plain = next((summary for summary in summaries if summary.method == "ce"), None)
    if plain is None:
        return (
            "Cross-entropy (ce) was not trained, so whether wrong labels are memorised in this "
            "setting, and a method has anything to prevent, is open."
        )
    accuracy = plain.curves["test_accuracy"]
    n_last = max(1, min(5, accuracy.shape[1] // 4))
    best, last = float(accuracy.max(axis=1).mean()), float(accuracy[:, -n_last:].mean())
    over = "in the last" if n_last == 1 else f"over the last {n_last}"
    fell = f"from {best:.1%} in its best epoch to {last:.1%} {over}"
    if best - last >= _FALL:
        return f"Cross-entropy memorised: its test accuracy fell {fell}."
    return (
        f"Cross-entropy hardly memorised: its test accuracy went {fell}, less than "
        f"{100 * _FALL:g} points. So this setting cannot judge any method: train longer, with a "
        "larger network or without augmentation."
    )


def write_comparison(
    out: str | Path, summaries: list[MethodSummary], settings: Settings, data: dict[str, Any]
) -> Path:
    """Write all figures and settings of a comparison as ``compare.json``.

    Parameters
    ----------
    out : path
        Folder.
    summaries : list of MethodSummary
    settings : Settings
        Those given to `compare`.
    data : dict
        What tells which data and noise it was, as JSON can hold it.

    Returns
    -------
    Path
        Of the file.
    """
    from noisyselect.store.files import write_file

    content = {
        "data": data,
        "settings": asdict(settings),
        "seeds": list(summaries[0].seeds),
        "realised_noise_rates": _plain(np.array(summaries[0].realised_rates)),
        "memorisation": memorisation(summaries),
        "methods": [
            {
                "method": summary.method,
                "measures": {name: _plain(row) for name, row in summary.measures.items()},
                "curves": {name: _plain(table) for name, table in summary.curves.items()},
            }
            for summary in summaries
        ],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(Path(out), "compare.json", text.encode())
    return Path(out) / "compare.json"


def _plain(values: FloatArray) -> list[Any]:
    # JSON has no NaN.
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    rows: list[Any] = plain.tolist()
    return rows


def comparison_figure(summaries: list[MethodSummary], warm_up: int | None = None) -> Figure:
    """Return a figure: test accuracy over epochs and, beside it, precision and recall.

    Parameters
    ----------
    summaries : list of MethodSummary
    warm_up : int, optional
        Mark the end of so many epochs.

    Returns
    -------
    matplotlib.figure.Figure
        Precision and recall are the means of both networks' selections.
    """
    from matplotlib.figure import Figure

    from noisyselect.plots import plot_over_epochs

    names = [short_name(summary.method, summaries) for summary in summaries]

    def draw(
        place: tuple[float, float, float, float],
        title: str,
        of: Callable[[dict[str, FloatArray]], FloatArray],
    ) -> None:
        left, bottom, across, up = place
        axes = figure.add_axes((left / width, bottom / height, across / width, up / height))
        curves = {name: of(summary.curves) for name, summary in zip(names, summaries, strict=True)}
        plot_over_epochs(axes, curves, title=title, warm_up=warm_up)

    # In inches; beside each plot there is room for the longest name.
    label = 0.4 + 0.072 * max(map(len, names))
    width, height = 9.7 + 2 * label, 4.8
    figure = Figure(figsize=(width, height), dpi=150)
    beside = 6.5 + label
    title = f"Test accuracy, {_of_seeds(summaries[0].seeds)}"
    draw((0.65, 0.5, 5.2, 4.0), title, lambda of: of["test_accuracy"])
    for bottom, measure in ((2.9, "precision"), (0.5, "recall")):
        title = f"{measure.capitalize()} of the selection, mean of a and b"
        draw(
            (beside, bottom, 3.2, 1.6),
            title,
            lambda of, name=measure: (of[f"{name}_a"] + of[f"{name}_b"]) / 2,  # type: ignore[misc]
        )
    return figure


def short_name(name: str, summaries: list[MethodSummary]) -> str:
    """Return the name for tables and plots: beside VRLVMix, of ablations only what is missing."""
    if any(summary.method == "vrlvmix" for summary in summaries):
        return name.removeprefix("vrlvmix ")
    return name


def _of_seeds(seeds: tuple[int, ...]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"mean and range of {len(seeds)} seeds"
