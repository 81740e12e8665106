"""M-correction's split: two beta distributions on the losses, the low one is clean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray
from noisyselect.log import TrainingLog
from noisyselect.numeric.beta_mixture import fit_two_betas, high_mean_posterior
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import keep_all, warn

# Percentiles of the losses between which the mixture is fitted; those outside are outliers.
_LOW, _HIGH = 5, 95
# No label is trusted or distrusted altogether.
_LEAST_TRUST = 1e-4


@dataclass(frozen=True, repr=False)
class BetaMixtureSelector(Selector, needs=("losses",)):
    r"""Keep the samples whose loss belongs to the lower of two beta distributions.

    The losses of the last epoch are mapped onto [0, 1], two beta distributions are fitted to them,
    and a sample is clean when its posterior of the one with the smaller mean exceeds `threshold`.
    `score` and `trust` are that posterior.

    Parameters
    ----------
    threshold : float in [0, 1), default=0.5
        Least posterior of a clean sample, exclusive.
    n_steps : int, default=10
        Number of steps of the fit.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses.

    Warns
    -----
    DegenerateWarning
        If all losses are equal, one component is empty or both coincide: then nothing speaks
        against any label, and all are kept with score 1. Also if nothing is kept.

    Notes
    -----
    Section 3.1 of [1]_. With the 5th and 95th percentiles :math:`\ell_{5}, \ell_{95}` of the
    losses, and beta densities :math:`p_0, p_1` with shares :math:`\lambda_0, \lambda_1`,

    .. math:: x_i = \frac{\ell_i - \ell_5}{\ell_{95} - \ell_5}, \qquad
              B_i = \frac{\lambda_1 p_1(x_i)}{\lambda_0 p_0(x_i) + \lambda_1 p_1(x_i)},

    fitted to the :math:`x_i` in [0, 1] by 10 steps of `fit_two_betas`; :math:`1 - B_i` is the
    posterior of a clean label, at least 0.0001 and at most 0.9999. Where it falls to its least it
    stays for all larger losses.

    Departures: the paper does not drop samples but weights, in its loss, the given label by
    :math:`1 - B_i` and the predicted one by :math:`B_i`, which is `trust`; the threshold is ours.
    Its code takes the second component for the noisy one by how the fit starts, here it is the one
    with the larger mean; looks the posterior up in a table of 100 entries, here it is computed at
    the loss itself; holds it at its peak wherever that lies, which trusts nobody if the peak is at
    loss 0, here the peak is looked for above the mean of the noisy component; and adds constants of
    1e-5 and 1e-6 nats, which matter once all losses are as small. Where both percentiles coincide,
    the smallest and largest loss stand in. The losses of the paper are of augmented images.

    Defaults: 10 steps on CIFAR-10, CIFAR-100 and TinyImageNet; the paper corrects its loss from
    epoch 106 of 300 on.

    Cost: O(n) per step in n = n_samples, and one search for percentiles.

    Fails where the losses are a single heap: two distributions always find two groups in it, and
    about the half of larger losses is dropped, whether or not their labels are wrong.

    References
    ----------
    .. [1] Arazo, Ortego, Albert, O'Connor and McGuinness, "Unsupervised label noise modeling and
       loss correction", ICML 2019.

    Examples
    --------
    >>> losses = [[0.1, 0.12, 0.2, 0.3, 2.3, 2.4]]
    >>> log = TrainingLog(labels=[0, 1, 1, 0, 1, 0], losses=losses)
    >>> BetaMixtureSelector().select(log).clean
    array([ True,  True,  True,  True, False, False])
    """

    threshold: float = 0.5
    n_steps: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"`threshold` must lie in [0, 1), got {self.threshold!r}.")
        if self.n_steps < 1:
            raise ValueError(f"`n_steps` must be at least 1, got {self.n_steps!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        assert log.losses is not None
        method, loss = type(self).__name__, log.losses[-1]
        if loss.min() == loss.max():
            return keep_all(log, method, "all losses are equal")
        unit = _unit(loss)
        mixture = fit_two_betas(unit[(unit >= 0) & (unit <= 1)], self.n_steps)
        if mixture.collapsed:
            return keep_all(log, method, "the losses do not fall into two groups")
        posterior = 1 - high_mean_posterior(unit, mixture)
        posterior = np.clip(posterior, _LEAST_TRUST, 1 - _LEAST_TRUST)
        clean = posterior > self.threshold
        if not clean.any():
            warn(method, f"no posterior exceeds {self.threshold}; no label is kept")
        return Selection(
            clean=clean,
            score=posterior,
            trust=posterior,
            reason=np.where(clean, "small loss", "large loss"),
        )


def _unit(loss: FloatArray) -> npt.NDArray[np.float64]:
    """Return the losses with their percentiles at 0 and 1."""
    wide = loss.astype(np.float64)
    # Of a few losses none is an outlier: rounded outwards, the percentiles leave in what they cut.
    low = np.percentile(wide, _LOW, method="lower")
    high = np.percentile(wide, _HIGH, method="higher")
    if low == high:
        low, high = wide.min(), wide.max()
    unit: npt.NDArray[np.float64] = (wide - low) / (high - low)
    return unit
