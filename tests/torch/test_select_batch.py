"""The form for a batch says what the selector says of a log, and never waits for the device."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from noisyselect import GMMSelector, TrainingLog
from noisyselect.checks import synthetic_log
from noisyselect.errors import MissingEvidenceError, NonFiniteWarning
from noisyselect.selectors.bare import BARESelector
from noisyselect.selectors.co_teaching import CoTeachingSelector
from noisyselect.selectors.co_teaching_plus import CoTeachingPlusSelector
from noisyselect.selectors.jo_src import JoSRCSelector
from noisyselect.selectors.jocor import JoCoRSelector
from noisyselect.selectors.small_loss import SmallLossSelector
from noisyselect.torch.select_batch import select_batch

SELECTORS = [
    SmallLossSelector(clean_rate=0.6),
    SmallLossSelector(clean_rate=0.55, per_class=True, n_gradual=20, exponent=0.5),
    CoTeachingSelector(clean_rate=0.7),
    CoTeachingSelector(clean_rate=0.2, n_gradual=0),
    CoTeachingPlusSelector(clean_rate=0.7),
    CoTeachingPlusSelector(clean_rate=0.7, n_gradual=0, init_epoch=0),
    JoCoRSelector(clean_rate=0.6),
    JoCoRSelector(clean_rate=0.35, n_gradual=30, co_lambda=0.3),
    BARESelector(),
    BARESelector(k=0.3),
    JoSRCSelector(),
    JoSRCSelector(smoothing=0.3, threshold=0.6, warm_up=3, n_epochs=30),
]


def random_log(seed, n=40, n_classes=4, epoch=11, **columns):
    """The log of one batch, with many equal losses and pairs of equal samples."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, n_classes, n // 2).repeat(2)
    p = rng.dirichlet(np.ones(n_classes), n // 2).repeat(2, axis=0)
    p[0] = np.eye(n_classes)[labels[0]]  # with probabilities of 0 and 1
    return TrainingLog(
        labels=labels,
        losses=rng.integers(1, 20, (1, n)) / 7,
        predictions=rng.integers(0, n_classes, (1, n)),
        probabilities=p[None],
        n_classes=n_classes,
        epochs=[epoch],
        **columns,
    )


def on_a_batch(selector, log, peer=None, rows=slice(None), device="cpu"):
    """Hand the last epoch of a log, or some rows of it, to `select_batch` as tensors."""
    columns = {
        name: torch.tensor(getattr(log, name)[-1][rows], device=device)
        for name in ("losses", "predictions", "probabilities")
    }
    if peer is not None:
        columns |= {
            f"peer_{name}": torch.tensor(getattr(peer, name)[-1][rows], device=device)
            for name in ("losses", "predictions", "probabilities")
        }
    columns["labels"] = torch.tensor(log.labels[rows], device=device)
    return select_batch(selector, epoch=int(log.epochs[-1]), **columns)


@pytest.mark.filterwarnings("ignore:.*no label is kept:noisyselect.errors.DegenerateWarning")
@pytest.mark.parametrize("epoch", [0, 4, 11, 25])
@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_a_batch_is_answered_as_the_log_of_it(selector, epoch):
    for seed, n in itertools.product(range(4), (4, 10, 40)):
        log, peer = random_log(seed, n, epoch=epoch), random_log(seed + 100, n, epoch=epoch)
        for other in (None, peer):
            kept = on_a_batch(selector, log, other)
            assert kept.dtype == torch.bool
            assert kept.tolist() == selector.select(log, other).clean.tolist()


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_a_batch_is_answered_as_in_a_log_with_batches(selector):
    if isinstance(selector, SmallLossSelector):
        return  # It chooses from the whole log.
    log, _ = synthetic_log(seed=3)
    peer = replace(synthetic_log(seed=4)[0], labels=log.labels)
    clean = selector.select(log, peer).clean
    for batch in range(4):
        rows = np.flatnonzero(log.batches[-1] == batch)
        assert on_a_batch(selector, log, peer, rows).tolist() == clean[rows].tolist()


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_losses_that_are_not_finite_do_not_count(selector):
    log, peer = random_log(0), random_log(100)
    losses, peer_losses = log.losses.copy(), peer.losses.copy()
    # Where the first is not finite the second has none either: the networks share their batches.
    losses[0, [3, 17, 20]] = peer_losses[0, [3, 17, 20]] = np.nan, np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        log, peer = replace(log, losses=losses), replace(peer, losses=peer_losses)
    if "losses" in selector.needs:
        kept = on_a_batch(selector, log, peer)
        assert kept.tolist() == selector.select(log, peer).clean.tolist()


def test_four_losses_worked_by_hand():
    losses, peer_losses = torch.tensor([[0.1, 2.3, 0.2, 0.3], [0.1, 0.2, 2.5, 0.3]])
    selector = CoTeachingSelector(clean_rate=0.5, n_gradual=0)
    alone = select_batch(selector, losses=losses)
    assert alone.tolist() == [True, False, True, False]
    exchanged = select_batch(selector, losses=losses, peer_losses=peer_losses)
    assert exchanged.tolist() == [True, True, False, False]


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_nothing_waits_for_the_device(selector):
    # A tensor on the device "meta" has no values: whatever asks for one fails.
    log, peer = random_log(0), random_log(100)
    kept = on_a_batch(selector, log, peer, device="meta")
    assert kept.shape == (40,)
    assert kept.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_on_a_cuda_device_the_answer_is_the_same(selector):
    log, peer = random_log(0), random_log(100)
    kept = on_a_batch(selector, log, peer, device="cuda")
    assert kept.tolist() == selector.select(log, peer).clean.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_half_precision_is_taken_as_what_it_says(selector, dtype):
    log, peer = random_log(0), random_log(100)
    rounded = [
        replace(
            each,
            losses=torch.tensor(each.losses).to(dtype).double(),
            probabilities=torch.tensor(each.probabilities).to(dtype).double(),
        )
        for each in (log, peer)
    ]
    columns = {
        "losses": torch.tensor(log.losses[0]).to(dtype),
        "predictions": torch.tensor(log.predictions[0]),
        "probabilities": torch.tensor(log.probabilities[0]).to(dtype),
        "peer_losses": torch.tensor(peer.losses[0]).to(dtype),
        "peer_predictions": torch.tensor(peer.predictions[0]),
        "peer_probabilities": torch.tensor(peer.probabilities[0]).to(dtype),
    }
    kept = select_batch(selector, labels=torch.tensor(log.labels), epoch=11, **columns)
    assert kept.tolist() == selector.select(*rounded).clean.tolist()


def test_no_gradient_is_recorded():
    losses = torch.tensor([0.1, 0.2], requires_grad=True)
    assert not select_batch(SmallLossSelector(clean_rate=0.5), losses=losses).requires_grad


@pytest.mark.parametrize(
    ("selector", "tensors", "error", "message"),
    [
        (CoTeachingSelector(), {"losses": [1.0]}, ValueError, "`clean_rate` of CoTeachingSelector"),
        (CoTeachingSelector(0.5), {}, MissingEvidenceError, "needs `losses` of the batch"),
        (
            CoTeachingSelector(0.5),
            {"losses": [1.0]},
            MissingEvidenceError,
            "changes over epochs. Pass select_batch",
        ),
        (
            CoTeachingPlusSelector(0.5, init_epoch=0, n_gradual=0),
            {"losses": [1.0], "peer_losses": [1.0], "predictions": [1]},
            MissingEvidenceError,
            "CoTeachingPlusSelector needs `peer_predictions`",
        ),
        (
            BARESelector(),
            {"probabilities": [[0.5, 0.5]]},
            MissingEvidenceError,
            "BARESelector needs `labels`",
        ),
        (
            JoSRCSelector(),
            {"probabilities": [[0.5, 0.5]], "labels": [1]},
            MissingEvidenceError,
            "changes over epochs",
        ),
        (
            SmallLossSelector(0.5),
            {"losses": [[1.0]]},
            ValueError,
            r"`losses` must have shape \(batch,\) = \(1,\), got \(1, 1\)",
        ),
        (
            BARESelector(),
            {"probabilities": [[0.5, 0.5]], "labels": [1, 0]},
            ValueError,
            r"`labels` must have shape \(batch,\) = \(1,\), got \(2,\)",
        ),
        (GMMSelector(), {"losses": [1.0]}, TypeError, "a form for a batch, such as CoTeaching"),
    ],
)
def test_what_is_lacking_is_named(selector, tensors, error, message):
    given = {name: torch.tensor(values) for name, values in tensors.items()}
    with pytest.raises(error, match=message):
        select_batch(selector, **given)
