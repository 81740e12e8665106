"""CNLCU's choice: the lower bound of what a loss may be, so that rare samples get a chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import BoolArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.outliers import local_outliers
from noisyselect.numeric.ranks import lowest_per_group, midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import (
    check_clean_rate,
    forget_rate,
    given_or_estimated,
    keep_all,
)

Vector = npt.NDArray[np.float64]
# Lower bounds from the losses so far (n_epochs, n_samples), how often each sample was chosen, and
# the number of the epoch.
Bound = Callable[[Vector, Vector, int], Vector]

# Fewer losses than this have no outlier, as in CNLCU's code.
_FEWEST = 5


@dataclass(frozen=True, repr=False)
class CNLCUSoftSelector(Selector, needs=("losses",)):
    r"""Keep the share of samples with the smallest lower bound of their damped mean loss.

    The mean over some epochs is lowered by a bonus, the larger the more rarely the sample was
    chosen: a hard sample is tried before it is given up. Two networks exchange what they choose:
    the answer is what the network of `log` trains on, chosen by `peer` where there is one.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` of samples to keep. By default the share that `GMMSelector` keeps on
        the last epoch of the log that chooses.
    window : int, default=3
        Number of last epochs whose losses count, at most.
    sigma2 : float in [0, 1], default=1e-4
        Variance :math:`\sigma^2` that the bound allows for. 0 gives no bonus.
    decay_epochs : int, default=80
        Number of the first epochs, over which `sigma2` falls linearly to 0.
    n_gradual : int, default=10
        Number of the first epochs, over which the share left out rises from 0 to :math:`\tau`.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If in every epoch all losses are equal: then nothing speaks against any label, and all are
        kept with score 1.

    Notes
    -----
    The criterion of [1]_ with soft truncation, for s losses in the window and :math:`n_i` the
    number of times that sample i was chosen in it, plus 1:

    .. math:: \mu_i = \frac{1}{s} \sum_t \log(1 + \ell_i^t + (\ell_i^t)^2 / 2), \qquad
              b_i = \mu_i - \frac{\sigma^2 (s + \sigma^2 \log(2s) / s^2)}{n_i + 1 - \sigma^2}.

    Of a batch of B samples those :math:`\lfloor (1 - R(t)) B \rfloor` with the smallest
    :math:`b_i` are chosen, all if that is none; :math:`R(t)` is Co-teaching's schedule, see
    `SmallLossSelector`. The choices of the earlier epochs in the window are made again from the
    log, each from the losses up to it, and counted. Batches are those of `batches` in each epoch,
    samples without one being a batch of their own; without that column an epoch is one batch.
    `score` is 1 minus the rank of :math:`b_i`; of equal bounds the smaller last loss comes first.

    Departures: in the published code a shape goes wrong and every sample gets the bonus of the
    first of its batch, so that only :math:`\mu_i` acts; here each gets its own. The code cuts
    :math:`b_i` off at 0, which makes ties; here it stays as it is. The window slides, where the
    code starts afresh every `window` epochs, and s counts its losses, where the code counts all
    epochs. Losses may be measured after an epoch and not in the batch.

    Defaults: those of the code for MNIST, F-MNIST, CIFAR-10 and CIFAR-100, which is told the noise
    rate. A `sigma2` of 1e-4 changes the order of nearly equal means only.

    Cost: O(window n log n) in n = n_samples.

    Fails where wrong labels had small losses before the window and in it, as once they are learnt
    by heart; with a `sigma2` near 1 also where there are many wrong labels, since these are the
    samples that are chosen rarely.

    References
    ----------
    .. [1] Xia, Liu, Han, Gong, Yu, Niu and Sugiyama, "Sample selection with uncertainty of losses
       for learning with noisy labels", ICLR 2022.

    Examples
    --------
    The third sample was not chosen at first, and is tried now.

    >>> log = TrainingLog(labels=[0, 1, 1], losses=[[0.1, 0.5, 1.0], [0.1, 0.5, 1.0]])
    >>> CNLCUSoftSelector(clean_rate=0.67, sigma2=0.9, n_gradual=0).select(log).clean
    array([ True, False,  True])
    >>> CNLCUSoftSelector(clean_rate=0.67, sigma2=0.0, n_gradual=0).select(log).clean
    array([ True,  True, False])
    """

    clean_rate: float | None = None
    window: int = 3
    sigma2: float = 1e-4
    decay_epochs: int = 80
    n_gradual: int = 10

    def __post_init__(self) -> None:
        _check_options(self)
        if not 0 <= self.sigma2 <= 1:
            raise ValueError(f"`sigma2` must lie in [0, 1], got {self.sigma2!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        return _select(self, log if peer is None else peer, self._bound)

    def _bound(self, losses: Vector, chosen: Vector, epoch: int) -> Vector:
        s, sigma2 = len(losses), self.sigma2 * _decay(epoch, self.decay_epochs)
        damped = np.log1p(losses + losses**2 / 2)
        bonus = sigma2 * (s + sigma2 * np.log(2 * s) / s**2) / (chosen + 1 - sigma2)
        bound: Vector = damped.mean(axis=0) - bonus
        return bound


@dataclass(frozen=True, repr=False)
class CNLCUHardSelector(Selector, needs=("losses",)):
    r"""Keep the share of samples with the smallest lower bound of their mean loss without outliers.

    As `CNLCUSoftSelector`, but outlying losses of a sample are left out of its mean instead of
    being damped. The answer is what the network of `log` trains on, chosen by `peer` where there
    is one.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` of samples to keep. By default the share that `GMMSelector` keeps on
        the last epoch of the log that chooses.
    window : int, default=7
        Number of last epochs whose losses count, at most. Of fewer than 5 none is an outlier.
    t_min : float >= 0, default=1e-4
        Mixing time :math:`\tau_{\min}` of training, the strength of the bonus. 0 gives none.
    loss_bound : float > 0, default=2.0
        Bound L of the losses, in nats.
    decay_epochs : int, default=80
        Number of the first epochs, over which `t_min` falls linearly to 0.
    n_gradual : int, default=10
        Number of the first epochs, over which the share left out rises from 0 to :math:`\tau`.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If in every epoch all losses are equal: then nothing speaks against any label, and all are
        kept with score 1.

    Notes
    -----
    The criterion of [1]_ with hard truncation, for s losses in the window, :math:`t_o` outliers
    among those of sample i, :math:`\mu_i` the mean of the others and :math:`n_i` the number of
    times that the sample was chosen, plus 1:

    .. math:: b_i = \mu_i - \frac{2 \sqrt{2 \tau_{\min}} L (s + \sqrt 2 t_o)}{(s - t_o) \sqrt s}
              \sqrt{\frac{\log(4s)}{n_i}}.

    Outliers are found by `local_outliers`, with 2 neighbours and the outlying tenth: one of 5 to 10
    losses. Choice, counts and `score` are those of `CNLCUSoftSelector`.

    Departures: the published code leaves out what is *not* outlying, and counts it as
    :math:`t_o`, because its detector answers +1 for an inlier; here it is as in the paper. The
    other departures are those of `CNLCUSoftSelector`.

    Defaults: those of the code for MNIST, F-MNIST, CIFAR-10 and CIFAR-100, which is told the noise
    rate.

    Cost: O(window^3 n + window n log n) in n = n_samples.

    Fails where the losses that tell are the outliers: a wrong label whose loss is large in one
    epoch of the window only is taken for clean.

    References
    ----------
    .. [1] Xia, Liu, Han, Gong, Yu, Niu and Sugiyama, "Sample selection with uncertainty of losses
       for learning with noisy labels", ICLR 2022.

    Examples
    --------
    The loss of the first sample leaps once, which is forgiven.

    >>> losses = [[0.1, 0.5], [0.1, 0.6], [0.2, 0.5], [0.2, 0.6], [9.0, 0.5]]
    >>> log = TrainingLog(labels=[0, 1], losses=losses)
    >>> CNLCUHardSelector(clean_rate=0.5, n_gradual=0).select(log).clean
    array([ True, False])
    """

    clean_rate: float | None = None
    window: int = 7
    t_min: float = 1e-4
    loss_bound: float = 2.0
    decay_epochs: int = 80
    n_gradual: int = 10

    def __post_init__(self) -> None:
        _check_options(self)
        for name in ("t_min", "loss_bound"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        return _select(self, log if peer is None else peer, self._bound)

    def _bound(self, losses: Vector, chosen: Vector, epoch: int) -> Vector:
        s, t_min = len(losses), self.t_min * _decay(epoch, self.decay_epochs)
        outlying = local_outliers(losses) if s >= _FEWEST else np.zeros(losses.shape, dtype=bool)
        n_outliers = outlying.sum(axis=0)
        mean = np.where(outlying, 0, losses).sum(axis=0) / (s - n_outliers)
        width = (s + np.sqrt(2) * n_outliers) / ((s - n_outliers) * np.sqrt(s))
        bonus = 2 * np.sqrt(2 * t_min) * self.loss_bound * width * np.sqrt(np.log(4 * s) / chosen)
        bound: Vector = mean - bonus
        return bound


def _check_options(selector: CNLCUSoftSelector | CNLCUHardSelector) -> None:
    check_clean_rate(selector.clean_rate)
    for name, least in (("window", 1), ("decay_epochs", 1), ("n_gradual", 0)):
        value = getattr(selector, name)
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"`{name}` must be at least {least} epochs, got {value!r}.")


def _decay(epoch: int, decay_epochs: int) -> float:
    """Return the share of the bonus that is left at `epoch`."""
    return 1 - epoch / max(decay_epochs - 1, 1) if epoch < decay_epochs else 0.0


def _select(
    selector: CNLCUSoftSelector | CNLCUHardSelector, chooser: TrainingLog, bound: Bound
) -> Selection:
    """Make the choices of the window again, counting them, and return the last one."""
    assert chooser.losses is not None
    method = type(selector).__name__
    losses = chooser.losses[-selector.window :].astype(np.float64)
    if (losses == losses[:, :1]).all():
        return keep_all(chooser, method, "all losses are equal", depth=1)
    rate = given_or_estimated(selector.clean_rate, chooser, method)
    first = chooser.n_epochs - len(losses)
    chosen = np.ones(chooser.n_samples)
    for t in range(len(losses)):
        epoch = int(chooser.epochs[first + t])
        value = bound(losses[: t + 1], chosen, epoch)
        keep_rate = 1 - forget_rate(epoch, 1 - rate, selector.n_gradual)
        clean = _lowest_of_each_batch(value, keep_rate, chooser, first + t)
        chosen += clean
    return Selection(
        clean=clean,
        score=1 - midranks(value),
        reason=np.where(clean, "small lower bound of the loss", "large lower bound of the loss"),
    )


def _lowest_of_each_batch(
    value: Vector, keep_rate: float, log: TrainingLog, position: int
) -> BoolArray:
    assert log.losses is not None
    batches = np.zeros(log.n_samples, dtype=int) if log.batches is None else log.batches[position]
    _, batch, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    # What is added absorbs the error of 1 - R(t): 0.7 of 10 samples are 7.
    n_keep = np.floor(keep_rate * sizes + 1e-9).astype(int)
    n_keep[n_keep == 0] = sizes[n_keep == 0]
    return lowest_per_group(value, batch, n_keep, ties=log.losses[position])
