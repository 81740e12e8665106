"""MentorNet's predefined curricula: how much each loss weighs beside a moving percentile."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from noisyselect.log import TrainingLog
from noisyselect.numeric.ranks import midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import given_or_estimated, keep_all, warn

Curriculum = Literal["mentornet-pd", "self-paced", "linear", "focal", "hard-example"]
Vector = npt.NDArray[np.float64]

# Percent of training at which MentorNet PD turns from all samples to self-paced, and to linear.
_BURN_IN, _LINEAR = 18, 90
# The last percent: percents run from 0 to 99.
_END = 99
# How much of gamma each curriculum has by default.
_GAMMA = {"focal": 2.0, "linear": 1.0, "mentornet-pd": 1.0}


@dataclass(frozen=True, repr=False)
class MentorNetSelector(Selector, needs=("losses",)):
    r"""Keep the samples to which a predefined curriculum gives a weight, by their last loss.

    Self-paced learning and its kin: a loss weighs the less, the further it lies above a moving
    percentile of the losses. `weights` are those of the curriculum, and a sample is clean when its
    weight is above 0. A `peer` is not read.

    Parameters
    ----------
    curriculum : {"mentornet-pd", "self-paced", "linear", "focal", "hard-example"}
        How the weight follows from the loss :math:`\ell` and its distance :math:`d = \ell - m` to
        the moving percentile; "mentornet-pd" by default:

        - ``"self-paced"``: 1 where :math:`d \le 0`, else 0;
        - ``"linear"``: :math:`1 - d / \gamma`, cut off at 0 and 1;
        - ``"mentornet-pd"``: 1 for all in the first 18 % of training, then self-paced, and linear
          in the last 10 %;
        - ``"focal"``: :math:`(1 - e^{-\ell})^\gamma`, which favours hard samples;
        - ``"hard-example"``: 1 where :math:`d \ge 0`, else 0: it seeks large losses, and with them
          wrong labels.
    percentile : float in (0, 1], optional
        Percentile of the losses, as a share. By default the share that `GMMSelector` keeps on the
        last epoch of the same log.
    decay : float in [0, 1), default=0.5
        Share of the moving percentile that stays from epoch to epoch.
    gamma : float > 0, optional
        :math:`\gamma`, in nats for "linear" and "mentornet-pd", where it is 1 by default; an
        exponent for "focal", where it is 2.
    total_epochs : int, optional
        Number of epochs of the whole training, for "mentornet-pd". By default it is over with the
        log.
    window : int, default=10
        Number of last epochs over which the percentile moves, at most. What lies further back
        counts for less than a thousandth by default.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all losses of the last epoch are equal: then nothing speaks against any label, and all
        are kept with score and weight 1. Also if no sample gets a weight.

    Notes
    -----
    The curricula that MentorNet [1]_ is trained to imitate, self-paced learning [2]_ among them.
    With the percentile :math:`P_p` of the losses of epoch t, m starts at the first of the window,
    and

    .. math:: m \leftarrow a m + (1 - a) P_p(\ell^t), \qquad a = \mathtt{decay}.

    `score` is the order in which the curriculum prefers samples: 1 minus the rank of the loss, or
    the rank for "focal" and "hard-example".

    Departures: the percentile is that of a mini-batch there and moves batch by batch from 0; here
    it is that of all samples, epoch by epoch. The code drops a random share of the samples besides,
    which is left to the trainer. MentorNet DD, a network trained on samples whose labels are known
    to be right or wrong, is not here.

    Defaults: on CIFAR-10 and CIFAR-100 the code has, set by hand, a percentile of 0.7 for
    self-paced learning and focal, and for PD 0.75 with 20 % and 40 % of the labels wrong and 0.5
    with 80 %; a decay of 0.5; :math:`\gamma` 1 and 2.

    Cost: O(window n) in n = n_samples, and one sort.

    Fails where losses fall fast: the moving percentile lags behind them and lets wrong labels in.
    "focal" and "hard-example" are no selectors of clean labels; they stand here for comparison.

    References
    ----------
    .. [1] Jiang, Zhou, Leung, Li and Fei-Fei, "MentorNet: Learning data-driven curriculum for very
       deep neural networks on corrupted labels", ICML 2018.
    .. [2] Kumar, Packer and Koller, "Self-paced learning for latent variable models", NeurIPS 2010.

    Examples
    --------
    The percentile is 0.3, and a loss 1 above it weighs nothing.

    >>> log = TrainingLog(labels=[0, 1, 1, 0, 0], losses=[[0.1, 0.2, 0.3, 0.8, 3.0]])
    >>> MentorNetSelector("linear", percentile=0.5).select(log).weights
    array([1. , 1. , 1. , 0.5, 0. ])
    >>> MentorNetSelector("self-paced", percentile=0.5).select(log).clean
    array([ True,  True,  True, False, False])
    """

    curriculum: Curriculum = "mentornet-pd"
    percentile: float | None = None
    decay: float = 0.5
    gamma: float | None = None
    total_epochs: int | None = None
    window: int = 10

    def __post_init__(self) -> None:
        if self.curriculum not in get_args(Curriculum):
            names = ", ".join(repr(name) for name in get_args(Curriculum))
            raise ValueError(f"`curriculum` must be one of {names}, got {self.curriculum!r}.")
        if self.percentile is not None and not 0 < self.percentile <= 1:
            raise ValueError(f"`percentile` must lie in (0, 1], got {self.percentile!r}.")
        if not 0 <= self.decay < 1:
            raise ValueError(f"`decay` must lie in [0, 1), got {self.decay!r}.")
        if self.gamma is not None and not 0 < self.gamma < np.inf:
            raise ValueError(f"`gamma` must be greater than 0, got {self.gamma!r}.")
        for name in ("total_epochs", "window"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise ValueError(f"`{name}` must be at least 1 epoch, got {value!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        method, loss = type(self).__name__, log.losses[-1].astype(np.float64)
        if loss.min() == loss.max():
            return keep_all(log, method, "all losses are equal")
        percentile = given_or_estimated(self.percentile, log, method)
        of_epochs = [
            np.quantile(epoch.astype(np.float64), percentile)
            for epoch in log.losses[-self.window :]
        ]
        moving = of_epochs[0]
        for later in of_epochs[1:]:
            moving = self.decay * moving + (1 - self.decay) * later
        weights = self._weights(loss, float(moving), self._percent(int(log.epochs[-1])))
        clean = weights > 0
        if not clean.any():
            warn(method, "no sample gets a weight; no label is kept")
        seeks_large = self.curriculum in ("focal", "hard-example")
        large = midranks(loss)
        small, rest = "small loss", "large loss"
        return Selection(
            clean=clean,
            score=large if seeks_large else 1 - large,
            weights=weights,
            reason=np.where(clean, *((rest, small) if seeks_large else (small, rest))),
        )

    def _percent(self, epoch: int) -> int:
        """Return how much of training is done, 0 to 99."""
        if self.total_epochs is None:
            return _END
        return min(100 * epoch // self.total_epochs, _END)

    def _weights(self, loss: Vector, moving: float, percent: int) -> Vector:
        distance = loss - moving
        gamma = _GAMMA.get(self.curriculum, 1.0) if self.gamma is None else self.gamma
        curriculum: str = self.curriculum
        if curriculum == "mentornet-pd":
            if percent <= _BURN_IN:
                return np.ones_like(loss)
            curriculum = "self-paced" if percent < _LINEAR else "linear"
        match curriculum:
            case "self-paced":
                return (distance <= 0).astype(np.float64)
            case "linear":
                return np.clip(1 - distance / gamma, 0, 1)
            case "focal":
                # A loss of 0 may be recorded as a little less.
                return np.maximum(-np.expm1(-loss), 0) ** gamma
            case _:
                return (distance >= 0).astype(np.float64)
