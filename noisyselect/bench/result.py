"""What a bench finds, as values, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noisyselect.arrays import FloatArray
from noisyselect.bench.ranks import MeanRanks
from noisyselect.store.files import plain, write_file

_NAN = float("nan")


@dataclass(frozen=True)
class BenchRow:
    """One selector on one log. Measures are NaN where they are undefined.

    Attributes
    ----------
    run : str
        Path of the run directory.
    selector : str
        Name that the selector was given.
    network : str
        Network whose labels are selected.
    epoch : int
        Last epoch that the selector could see.
    n_samples : int
    n_kept : int
        0 if the selector gave no answer.
    estimated_noise_rate : float in [0, 1]
        1 - n_kept / n_samples: the share of wrong labels that the answer implies, to be compared
        with `BenchedRun.noise_rate`.
    precision, recall, f1, auroc, average_precision, brier, calibration_error : float in [0, 1]
        As in `SelectionQuality`. NaN without truth.
    small_loss_precision, hard_recall : float in [0, 1]
        As in `SelectionQuality`, with the losses of this network at this epoch. NaN without truth.
    smallest_class, largest_class, class_balance, effective_classes : float
        As in `ClassBalance`.
    stability : float in [0, 1]
        Jaccard index of the kept samples and those kept by the same selector at the epoch before.
        NaN if that epoch is not in the bench.
    seconds : float
        Processor time of the thread that selected: what a selection takes alone on an idle machine,
        whatever else runs beside it. The search for neighbours is not in it. Of a selector that
        reads no epochs and is asked once per network, the time of that selection, in all its rows.
    peak_megabytes : float
        Most memory that Python and numpy held at once for the selection, beyond the log, in 10^6
        bytes. Measured once per run: on the first network at the last epoch; elsewhere NaN.
    problem : str
        Why the selector gave no answer; empty where it did.
    """

    run: str
    selector: str
    network: str
    epoch: int
    n_samples: int
    n_kept: int = 0
    estimated_noise_rate: float = _NAN
    precision: float = _NAN
    recall: float = _NAN
    f1: float = _NAN
    auroc: float = _NAN
    average_precision: float = _NAN
    brier: float = _NAN
    calibration_error: float = _NAN
    small_loss_precision: float = _NAN
    hard_recall: float = _NAN
    smallest_class: float = _NAN
    largest_class: float = _NAN
    class_balance: float = _NAN
    effective_classes: float = _NAN
    stability: float = _NAN
    seconds: float = _NAN
    peak_megabytes: float = _NAN
    problem: str = ""


@dataclass(frozen=True)
class BenchedRun:
    """What was benched of one run.

    Attributes
    ----------
    path : str
    n_samples, n_classes : int
    networks : tuple of str
    epochs : tuple of int
    noise_rate : float in [0, 1]
        Realised share of wrong labels; NaN where the truth is not known.
    neighbour_seconds : float
        Wall time of the search for neighbours, which the selectors share; 0 where there was none.
    """

    path: str
    n_samples: int
    n_classes: int
    networks: tuple[str, ...]
    epochs: tuple[int, ...]
    noise_rate: float
    neighbour_seconds: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far selectors agree on one log.

    Attributes
    ----------
    run, network : str
    epoch : int
    selectors : tuple of str
        Those that gave an answer.
    kappa : array of float in [-1, 1], shape (n_selectors, n_selectors)
        See `kappa_matrix`.
    """

    run: str
    network: str
    epoch: int
    selectors: tuple[str, ...]
    kappa: FloatArray


@dataclass(frozen=True, eq=False)
class Bench:
    """Selectors on saved logs, side by side.

    Attributes
    ----------
    selectors : dict of str to str
        Each selector with its options, as Python writes it, by its name.
    runs : tuple of BenchedRun
    rows : tuple of BenchRow
        By run, network, epoch and selector.
    agreement : tuple of Agreement
        By run, network and epoch.
    ranks : tuple of MeanRanks
        Of F1 and of AUROC, where two runs or more have a truth.
    """

    selectors: dict[str, str]
    runs: tuple[BenchedRun, ...]
    rows: tuple[BenchRow, ...]
    agreement: tuple[Agreement, ...]
    ranks: tuple[MeanRanks, ...]

    def write_json(self, path: str | Path) -> None:
        """Write everything as strict JSON, in the form that ``docs/bench.md`` specifies."""
        content: dict[str, Any] = {"format": "noisyselect-bench", "version": 1, **asdict(self)}
        members = (f"{json.dumps(name)}: {_text(value)}" for name, value in content.items())
        out = Path(path)
        write_file(out.parent, out.name, ("{\n" + ",\n".join(members) + "\n}\n").encode())


def _text(value: Any) -> str:
    """Return a member of the file; a list with one item per line, for grep and diff."""
    if isinstance(value, tuple) and value:
        return "[\n" + ",\n".join(map(_text, value)) + "\n]"
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
