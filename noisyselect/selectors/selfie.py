"""SELFIE: small losses, and labels that the predictions of many epochs agree on."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.errors import MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.numeric.batches import last_batches, lowest_of_batches
from noisyselect.numeric.ranks import midranks
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.shares import check_clean_rate, given_or_estimated, keep_all


@dataclass(frozen=True, repr=False)
class SELFIESelector(Selector, needs=("losses", "predictions")):
    r"""Keep the labels that were predicted steadily, and small losses where no class was.

    The method gives samples of steady predictions the label predicted: it *refurbishes* them, and
    trains on these and on small losses. Here a refurbished sample is kept if its new label is the
    given one, and else it is not: what could be trained on is then its new label. A batch is one of
    the last epoch. A log without `batches` is taken as one batch, and so are the samples that no
    batch was recorded of. A `peer` is not read.

    Parameters
    ----------
    clean_rate : float in (0, 1], optional
        Share :math:`1 - \tau` of small losses in each batch. By default the share that
        `GMMSelector` keeps on the last epoch of the same log.
    window : int, default=15
        Number :math:`q` of last predictions of a sample, one an epoch.
    threshold : float in [0, 1], default=0.05
        Greatest uncertainty :math:`\epsilon` of a refurbished sample. Of 15 predictions of up to
        134 classes, the default asks that all are the same.

    Raises
    ------
    ValueError
        If an option is out of range.
    MissingEvidenceError
        If the log has no losses, no predictions, or fewer than `window` epochs.

    Warns
    -----
    DegenerateWarning
        If all losses are equal and no sample is predicted steadily as another class: then nothing
        speaks against any label, and all are kept with score 1.

    Notes
    -----
    The rule of [1]_: with :math:`h_{ic}` the share of class c among the last :math:`q` predictions
    of sample i, its uncertainty and its new label are

    .. math:: u_i = -\frac{1}{\log C} \sum_c h_{ic} \log h_{ic}, \qquad
              \hat y_i = \operatorname{arg\,max}_c h_{ic}.

    A sample with :math:`u_i \le \epsilon` is refurbished, and kept if :math:`\hat y_i = y_i`; any
    other is kept if it is among the :math:`(1 - \tau) |B|` smallest losses of its batch. `score` is
    a rank: first samples of steady prediction of the given label, then those without a steady one,
    then those of another, and by smaller loss among each.

    Departures: the noise rate :math:`\tau` is given to the published method and estimated here; the
    code lowers it when it trains anew, by the share that it has refurbished. There a sample once
    refurbished stays so; here the last `window` epochs decide. There predictions are those of
    training steps, and before a sample has :math:`q` of them the rest are taken as class 0; here
    they are one an epoch, and fewer are refused. Of equally frequent classes the one predicted last
    is :math:`\hat y_i`, there the one of the lowest number. As in the code, counts are rounded up;
    but rounding errors do not count, and equal losses share their fate: all that equal the largest
    kept one are kept.

    Defaults: :math:`q = 15` and :math:`\epsilon = 0.05` on CIFAR-10, CIFAR-100, Tiny-ImageNet and
    ANIMAL-10N, by grid search, with 25 epochs of warm-up and mini-batches of 128 samples.

    Cost: O(n_samples (window^2 + log n_samples)), of the last `window` epochs.

    Fails where wrong labels were memorised more than `window` epochs ago: their prediction is
    steadily the given label.

    References
    ----------
    .. [1] Song, Kim and Lee, "SELFIE: Refurbishing unclean samples for robust deep learning",
       ICML 2019.

    Examples
    --------
    The second label is of large loss, yet predicted steadily; the third is of small loss, after
    another class was predicted steadily.

    >>> predictions = [[0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0]]
    >>> losses = [[0.1, 0.7, 0.7, 0.7], [0.1, 0.7, 0.7, 0.9], [0.1, 0.7, 0.6, 2.0]]
    >>> log = TrainingLog([0, 1, 1, 1], losses=losses, predictions=predictions)
    >>> SELFIESelector(clean_rate=0.5, window=3).select(log).clean
    array([ True,  True, False, False])
    """

    clean_rate: float | None = None
    window: int = 15
    threshold: float = 0.05

    def __post_init__(self) -> None:
        check_clean_rate(self.clean_rate)
        if not isinstance(self.window, Integral) or self.window < 2:
            raise ValueError(f"`window` must be at least 2 epochs, got {self.window!r}.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"`threshold` must lie in [0, 1], got {self.threshold!r}.")

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads."""
        return self.window

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        if log.n_epochs < self.window:
            raise MissingEvidenceError(
                f"SELFIESelector needs {self.window} epochs of predictions (`window`), got "
                f"{log.n_epochs}. Record more (and keep them: `window` of the bank), or make "
                "`window` smaller."
            )
        assert log.losses is not None
        assert log.predictions is not None
        losses = log.losses[-1]
        label, uncertainty = _steadiest(log.predictions[-self.window :], log.n_classes)
        refurbished, given = uncertainty <= self.threshold, label == log.labels
        if losses.min() == losses.max() and not (refurbished & ~given).any():
            return keep_all(log, type(self).__name__, "all losses are equal")
        rate = given_or_estimated(self.clean_rate, log, type(self).__name__)
        batches = last_batches(log.batches, log.n_samples)
        small = lowest_of_batches(losses, batches, rate, round_up=True)
        tier = np.where(refurbished, np.where(given, 2, 0), 1)
        return Selection(
            clean=np.where(refurbished, given, small),
            # Half a tier at most, so that no rank crosses into the next.
            score=midranks(tier - midranks(losses) / 2),
            reason=np.select(
                [tier == 2, tier == 0, small],
                [
                    "given class is predicted steadily",
                    "another class is predicted steadily",
                    "small loss",
                ],
                "large loss",
            ),
        )


def _steadiest(predictions: IntArray, n_classes: int) -> tuple[IntArray, FloatArray]:
    """Return the most frequent prediction of each sample, the last of equals, and how uncertain."""
    label, most = predictions[0], np.zeros(predictions.shape[1])
    uncertainty = np.zeros(predictions.shape[1])
    for row in predictions:
        # A class of share h is met h q times: the mean of -log h over the rows is the entropy.
        share = np.mean(predictions == row, axis=0)
        uncertainty -= np.log(share) / len(predictions)
        label, most = np.where(share >= most, row, label), np.maximum(share, most)
    return label, uncertainty / np.log(max(n_classes, 2))
