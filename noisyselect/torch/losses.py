"""The terms of the losses: small functions of logits and targets."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def negative_entropy(logits: Tensor) -> Tensor:
    r"""Return :math:`\frac1n \sum_i \sum_c p_{ic} \log p_{ic}`, in nats.

    Added to cross-entropy in warm-up it penalises confidence, which under asymmetric noise sets in
    within a few epochs and leaves no gap between the losses of clean and wrong labels (DivideMix,
    section 3.2).

    Parameters
    ----------
    logits : Tensor of shape (batch, n_classes)
    """
    log_p = functional.log_softmax(logits, dim=1)
    return (log_p.exp() * log_p).sum(dim=1).mean()


def soft_cross_entropy(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    r"""Return the mean of :math:`-\omega_i \sum_c q_{ic} \log p_{ic}` over the batch, in nats.

    Parameters
    ----------
    logits : Tensor of shape (batch, n_classes)
    targets : Tensor of shape (batch, n_classes)
        Rows sum to 1.
    class_weights : Tensor of shape (n_classes,), optional
        Gives a row the weight :math:`\omega_i = \sum_c q_{ic} w_c`; else :math:`\omega_i = 1`.

    Notes
    -----
    Eq. 10 of VRLVMix leaves open which class a mixed sample has; this is its linear reading, which
    for a hard target is :math:`w_{y_i}`.
    """
    losses = -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)
    return losses.mean() if class_weights is None else (losses * (targets @ class_weights)).mean()


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of the probabilities, a mean over rows and classes.

    Parameters
    ----------
    logits, targets : Tensor of shape (batch, n_classes)
    """
    return functional.mse_loss(logits.softmax(dim=1), targets)


def prior_divergence(logits: Tensor) -> Tensor:
    r"""Return :math:`\sum_c \pi_c \log(\pi_c / \bar p_c)`, in nats.

    It keeps a network from giving every sample to one class; :math:`\pi` is the uniform prior and
    :math:`\bar p` the mean prediction of the batch.

    Parameters
    ----------
    logits : Tensor of shape (batch, n_classes)
    """
    n, n_classes = logits.shape
    # In logarithms, so that a class nobody predicts costs much and not infinity.
    log_mean = functional.log_softmax(logits, dim=1).logsumexp(dim=0) - math.log(n)
    return -log_mean.mean() - math.log(n_classes)
