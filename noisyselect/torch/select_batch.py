"""The rules of a mini-batch inside a training step: on tensors, which stay on their device."""

from __future__ import annotations

from math import log
from typing import Any

import torch
from torch import Tensor

from noisyselect.arrays import check_shape
from noisyselect.errors import MissingEvidenceError
from noisyselect.numeric.batches import whole_share
from noisyselect.selector import Selector
from noisyselect.selectors import bare, jocor
from noisyselect.selectors.bare import BARESelector
from noisyselect.selectors.co_teaching import CoTeachingSelector
from noisyselect.selectors.co_teaching_plus import CoTeachingPlusSelector
from noisyselect.selectors.jo_src import JoSRCSelector
from noisyselect.selectors.jocor import JoCoRSelector
from noisyselect.selectors.shares import forget_rate
from noisyselect.selectors.small_loss import SmallLossSelector


@torch.no_grad()
def select_batch(
    selector: Selector,
    *,
    losses: Tensor | None = None,
    predictions: Tensor | None = None,
    probabilities: Tensor | None = None,
    labels: Tensor | None = None,
    peer_losses: Tensor | None = None,
    peer_predictions: Tensor | None = None,
    peer_probabilities: Tensor | None = None,
    epoch: int | None = None,
) -> Tensor:
    """Return a mask of the samples of a mini-batch whose labels to trust.

    It is what `selector` keeps of a log with this batch alone; and but for `SmallLossSelector`,
    which chooses from whole logs, what it keeps of the batch within a log with `batches`. Nothing
    is copied to the host and nothing waits for the device.

    Parameters
    ----------
    selector : Selector
        `SmallLossSelector`, `CoTeachingSelector`, `CoTeachingPlusSelector`, `JoCoRSelector`,
        `BARESelector` or `JoSRCSelector`. Where it has a `clean_rate`, that must be given: one
        batch is too little to estimate it from.
    losses : Tensor of float, shape (batch,)
        Cross-entropy of the given labels, in nats.
    predictions : Tensor of int, shape (batch,)
        Predicted classes.
    probabilities : Tensor of float, shape (batch, n_classes)
        Softmax outputs.
    labels : Tensor of int64, shape (batch,)
        Given labels; for rules of probabilities, and for small losses per class.
    peer_losses, peer_predictions, peer_probabilities : Tensor, optional
        The same of the second network, where the method has two. As in
        ``selector.select(log, peer)``, the answer is what the first one trains on.
    epoch : int, optional
        Number of the epoch, from 0, for rules that change over epochs.

    Returns
    -------
    Tensor of bool, shape (batch,)

    Raises
    ------
    MissingEvidenceError
        If a tensor that the rule needs was not given, or the epoch.
    ValueError
        If `clean_rate` is not known, or shapes disagree.
    TypeError
        If the selector has no form for a batch.

    Notes
    -----
    Samples whose loss is not finite are not kept and do not count. Equal losses share their fate,
    see the selectors. Degenerate evidence has no answer of its own here, and there is no warning:
    to find out would be to wait for the device. So would be to index by the mask; a mean of what is
    kept, if anything, is ``torch.where(kept, losses, 0).sum() / kept.sum().clamp(min=1)``.

    Cost: one sort of the batch where losses are ranked; `SmallLossSelector` compares all pairs.

    Examples
    --------
    >>> losses = torch.tensor([0.1, 2.3, 0.2, 0.3])
    >>> select_batch(CoTeachingSelector(clean_rate=0.5), losses=losses, epoch=20)
    tensor([ True, False,  True, False])
    """
    tensors = {
        "losses": losses,
        "predictions": predictions,
        "probabilities": probabilities,
        "labels": labels,
        "peer_losses": peer_losses,
        "peer_predictions": peer_predictions,
        "peer_probabilities": peer_probabilities,
    }
    _check_one_batch(tensors)

    def need(column: str) -> Tensor:
        tensor = tensors[column]
        if tensor is None:
            raise MissingEvidenceError(
                f"{type(selector).__name__} needs `{column}` of the batch. "
                f"Pass select_batch(..., {column}=...)."
            )
        return tensor

    match selector:
        case SmallLossSelector():
            classes = need("labels") if selector.per_class else None
            return _small_losses(need("losses"), _share(selector, epoch), classes)
        case CoTeachingPlusSelector() if peer_losses is not None and not _plain(selector, epoch):
            differ = need("predictions") != need("peer_predictions")
            return _lowest(peer_losses, _share(selector, epoch), among=differ)
        case CoTeachingSelector() | CoTeachingPlusSelector():
            chooser = need("losses") if peer_losses is None else peer_losses
            return _lowest(chooser, _share(selector, epoch))
        case JoCoRSelector():
            own = need("probabilities")
            other = own if peer_probabilities is None else peer_probabilities
            joint = _joint_loss(own, other, need("labels"), selector.co_lambda)
            return _lowest(joint, _share(selector, epoch))
        case BARESelector():
            return _stands_out(need("probabilities"), need("labels"), selector.k)
        case JoSRCSelector():
            likelihood = _likelihood(need("probabilities"), need("labels"), selector.smoothing)
            changes = selector.warm_up > 0 or selector.n_epochs is not None
            return likelihood >= selector.threshold_at(_number(selector, epoch, changes))
        case _:
            raise TypeError(
                "`selector` must be one with a form for a batch, such as CoTeachingSelector, got "
                f"{selector!r}. Let it select from a log: selector.select(bank.log())."
            )


def _check_one_batch(tensors: dict[str, Any]) -> None:
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    batch = next((len(tensor) for tensor in given.values() if tensor.ndim), None)
    for name, tensor in given.items():
        classes = {"n_classes": None} if name.endswith("probabilities") else {}
        check_shape(name, tensor, {"batch": batch, **classes}, "All tensors are of one batch.")


def _number(selector: Selector, epoch: int | None, changes: bool) -> int:
    """Return the number of the epoch, which matters only if the rule `changes` over epochs."""
    if changes and epoch is None:
        raise MissingEvidenceError(
            f"{selector!r} changes over epochs. Pass select_batch(..., epoch=...)."
        )
    return epoch or 0


def _share(
    selector: SmallLossSelector | CoTeachingSelector | CoTeachingPlusSelector | JoCoRSelector,
    epoch: int | None,
) -> float:
    """Return the share of the batch to keep."""
    if selector.clean_rate is None:
        raise ValueError(
            f"`clean_rate` of {selector!r} must be given: one batch is too little to estimate it "
            "from. Take the share that GMMSelector keeps of a whole epoch."
        )
    exponent = selector.exponent if isinstance(selector, SmallLossSelector) else 1.0
    number = _number(selector, epoch, changes=selector.n_gradual > 0)
    return 1 - forget_rate(number, 1 - selector.clean_rate, selector.n_gradual, exponent)


def _plain(selector: CoTeachingPlusSelector, epoch: int | None) -> bool:
    """Whether Co-teaching+ is still Co-teaching."""
    return _number(selector, epoch, changes=selector.init_epoch > 0) < selector.init_epoch


def _small_losses(losses: Tensor, share: float, classes: Tensor | None) -> Tensor:
    """Return the small losses of the batch, or of each class in it."""
    usable = losses.isfinite()
    same = usable.expand(len(losses), -1)
    if classes is not None:
        same = same & (classes == classes[:, None])
    below = (same & (losses < losses[:, None])).sum(dim=1)
    # In double precision, as Python rounds.
    return usable & (below < (share * same.sum(dim=1).double()).round())


def _lowest(values: Tensor, share: float, among: Tensor | None = None) -> Tensor:
    """Return the smallest values, in which equal ones share their fate; all or `among` some."""
    usable = values.isfinite() if among is None else values.isfinite() & among
    counted = values.masked_fill(~usable, torch.inf)
    below = torch.searchsorted(counted.sort().values, counted)
    n_kept: Tensor = whole_share(share, usable.sum()).clamp(min=1)
    return usable & (below < n_kept)


def _joint_loss(own: Tensor, other: Tensor, labels: Tensor, co_lambda: float) -> Tensor:
    """Return JoCoR's loss of both networks, in nats."""
    p, q = (_wide(each).clamp(min=jocor.LEAST) for each in (own, other))
    log_p, log_q = p.log(), q.log()
    fit = -(log_p + log_q).gather(1, labels[:, None])[:, 0]
    divergence = ((p - q) * (log_p - log_q)).sum(dim=1)
    return (1 - co_lambda) * fit + co_lambda * divergence


def _stands_out(probabilities: Tensor, labels: Tensor, k: float) -> Tensor:
    """Return BARE's mask."""
    p = _wide(probabilities).clamp(bare.LEAST, 1 - bare.LEAST)
    # Counted from the least, so that equal probabilities have exactly their mean.
    above = p - p.amin(dim=0)
    excess = above - above.mean(dim=0)
    deviation = (excess.square().sum(dim=0) / max(len(p) - 1, 1)).sqrt()
    return (excess >= k * deviation).gather(1, labels[:, None])[:, 0]


def _likelihood(probabilities: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return Jo-SRC's likelihood that a label is right."""
    p = _wide(probabilities)
    spread = smoothing / (p.shape[1] - 1) if p.shape[1] > 1 else 0.0
    smoothed = torch.full_like(p, spread)
    smoothed.scatter_(1, labels[:, None], 1 - spread * (p.shape[1] - 1))
    middle = (p + smoothed) / 2
    # xlogy(0, 0) is 0, as the divergence has it.
    both = [torch.xlogy(each, each) - torch.xlogy(each, middle) for each in (p, smoothed)]
    return 1 - (both[0] + both[1]).sum(dim=1) / (2 * log(2))


def _wide(probabilities: Tensor) -> Tensor:
    """Return half precision as single."""
    return probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
