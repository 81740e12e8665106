"""Dataset Cartography: how sure a network was of each label over training, and how steadily."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import lowest
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import (
    check_clean_rate,
    given_or_estimated,
    keep_all,
    require_epochs,
    warn,
)

# Share of the samples that the paper calls ambiguous.
_AMBIGUOUS = 0.33


@dataclass(frozen=True, repr=False)
class DataMapSelector(Selector, needs=("losses",)):
    r"""Keep the share of samples of whose label the network was surest over training.

    The probability of the given label has a mean over the epochs, the confidence, and a standard
    deviation, the variability. `reason` names the region of the map: ``"ambiguous"`` for the third
    of the samples with the greatest variability, and of the others ``"easy to learn"`` for those
    kept and ``"hard to learn"`` for those dropped. `score` is the confidence. A `peer` is not read.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share of samples to keep. By default the share that `GMMSelector` keeps on the last epoch
        of the same log.
    window : int, default=200
        Number of last epochs read, at most.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses, or fewer than two epochs.

    Warns
    -----
    DegenerateWarning
        If all confidences are equal: then nothing speaks against any label, and all are kept with
        score 1. Also if the share is less than one sample.

    Notes
    -----
    Section 2 of [1]_, with :math:`p_i^t = e^{-\ell_i^t}` the probability of the given label
    after epoch t of E:

    .. math:: \mu_i = \frac{1}{E} \sum_t p_i^t, \qquad
              \sigma_i = \sqrt{\frac{1}{E} \sum_t (p_i^t - \mu_i)^2}.

    Departures: the paper draws maps and trains on the ambiguous region; it finds wrong labels among
    the hard ones, by a classifier on the confidence. Keeping the most confident share is our
    reading of that. Its regions are the outer thirds of one quantity each and overlap, here they
    do not. Of equal confidences the lower variability comes first, then the smaller last loss.

    Defaults: the paper reads all epochs of its training, 6 of fine-tuning, and so does this up to
    200.

    Cost: O(n_samples n_epochs) and one sort.

    Fails where most epochs come after wrong labels were learnt by heart: both are then confident,
    and what the first epochs tell is averaged away.

    References
    ----------
    .. [1] Swayamdipta, Schwartz, Lourie, Wang, Hajishirzi, Smith and Choi, "Dataset Cartography:
       Mapping and diagnosing datasets with training dynamics", EMNLP 2020.

    Examples
    --------
    >>> losses = [[0.2, 0.9, 2.5], [0.1, 0.1, 2.0], [0.1, 1.2, 2.2]]
    >>> log = TrainingLog(labels=[0, 1, 1], losses=losses)
    >>> DataMapSelector(clean_rate=0.67).select(log).reason.tolist()
    ['easy to learn', 'ambiguous', 'hard to learn']
    """

    clean_rate: float | None = None
    window: int = 200

    def __post_init__(self) -> None:
        check_clean_rate(self.clean_rate)
        if not isinstance(self.window, Integral) or self.window < 2:
            raise ValueError(f"`window` must be at least 2 epochs, got {self.window!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        method = type(self).__name__
        require_epochs(log, method, 2)
        confidence, variability = _coordinates(log.losses[-self.window :])
        if confidence.min() == confidence.max():
            return keep_all(log, method, "all confidences are equal")
        rate = given_or_estimated(self.clean_rate, log, method)
        steadiest_first = np.lexsort((log.losses[-1], variability))
        place = np.empty(log.n_samples, dtype=int)
        place[steadiest_first] = np.arange(log.n_samples)
        clean = lowest(-confidence, round(rate * log.n_samples), ties=place)
        if not clean.any():
            warn(method, f"a share of {rate:.3g} is less than one sample; no label is kept")
        ambiguous = place >= log.n_samples - round(_AMBIGUOUS * log.n_samples)
        region = np.where(clean, "easy to learn", "hard to learn")
        return Selection(
            clean=clean, score=confidence, reason=np.where(ambiguous, "ambiguous", region)
        )


def _coordinates(
    losses: FloatArray,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return confidence and variability, in [0, 1] and [0, 0.5]."""
    # One epoch at a time: the probabilities of all would double what the log takes.
    total, square = np.zeros((2, losses.shape[1]))
    for epoch in losses:
        # Centred, so that the difference of squares below does not cancel.
        probability = np.exp(-np.maximum(epoch.astype(np.float64), 0)) - 0.5
        total += probability
        square += probability**2
    mean = total / len(losses)
    variance = np.maximum(square / len(losses) - mean**2, 0)
    return np.clip(mean + 0.5, 0, 1), np.sqrt(variance)
