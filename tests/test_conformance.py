"""Every public selector keeps every promise of the contract."""

import numpy as np
import pytest

from noisyselect import (
    ConfidentMarginSelector,
    ENNCleaner,
    GMMSelector,
    LossVariationSelector,
    MemoryBank,
    PredictionStabilitySelector,
    Selection,
    Selector,
    VRLVPlusSelector,
    VRLVSelector,
    check_selector,
)
from noisyselect.checks import selector_checks, synthetic_log

SELECTORS = [
    GMMSelector(),
    GMMSelector(threshold=0.8, n_average=3),
    LossVariationSelector(),
    LossVariationSelector(window=3, clean_rate=0.4, change="absolute", short_history="shrink"),
    PredictionStabilitySelector(window=3),
    PredictionStabilitySelector(window=2, adaptability="moved-and-returned", lr_change_epochs=0),
    PredictionStabilitySelector(window=3, adaptability="printed"),
    ENNCleaner(n_neighbors=5),
    ConfidentMarginSelector(),
    ConfidentMarginSelector(threshold=-0.2),
    VRLVPlusSelector(),
    VRLVSelector(),
    VRLVSelector(window=3),
    VRLVSelector(window=3, rescue="printed"),
    VRLVSelector(window=3, variation=False),
    VRLVSelector(window=3, variation=False, balance=False),
    VRLVSelector(window=3, balance=False, clean_rate=0.5),
    VRLVSelector(window=2, unsupported="drop", knn_pool="printed", unlabelled="printed"),
    VRLVSelector(window=3, gamma1=0.3, gamma2=0.8, short_history="gmm", n_neighbors=4),
    GMMSelector() & ENNCleaner(5),
    (GMMSelector() | LossVariationSelector()) - ~PredictionStabilitySelector(),
    GMMSelector() ^ VRLVSelector(),
]


@pytest.mark.parametrize("check", list(selector_checks()), ids=lambda check: check.__name__)
@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_every_selector_keeps_the_contract(selector, check):
    check(selector)


class PromiseBreaker(Selector, needs=("losses",)):
    """A selector that breaks one promise, the one it is made with."""

    def __init__(self, promise):
        self.promise = promise
        self.calls = 0

    @property
    def reads_epochs(self):
        return self.promise != "epochs"

    def _select(self, log, peer):
        self.calls += 1
        loss = log.losses[0 if self.promise == "history" else -1]
        clean = loss < 0.5
        match self.promise:
            case "nothing else":
                clean = clean ^ (np.random.random(clean.size) < 0.5)
            case "order":
                clean = clean & (np.arange(clean.size) > 0)
            case "class names":
                clean = clean & (log.labels != 0)
            case "precision":
                clean = clean & (log.losses.dtype == np.float32)
            case "degenerate":
                clean = clean & (loss / np.ptp(loss) < 2)
        return clean if self.promise == "answers a mask" else Selection(clean=clean)


@pytest.mark.parametrize(
    ("promise", "complaint"),
    [
        ("nothing else", "draw only from `random_state`"),
        ("order", "permuting the log changed `clean`"),
        ("class names", "renaming classes in the log changed `clean`"),
        ("precision", "widening the log changed `clean`"),
        ("history", "earlier epochs change the answer"),
        ("epochs", "`reads_epochs` is False, but the answer is another one"),
        ("degenerate", "divide by zero|invalid value"),
        ("documentation", "lacks the section Parameters, the section Notes"),
    ],
)
def test_a_selector_that_breaks_a_promise_is_found_out(promise, complaint):
    checks = [c for c in selector_checks() if "representation" not in c.__name__]
    with pytest.raises((AssertionError, RuntimeWarning), match=complaint):
        any(check(PromiseBreaker(promise)) for check in checks)


def test_a_class_is_no_selector_and_a_mask_no_answer():
    with pytest.raises(TypeError, match="must be an instance of a Selector"):
        check_selector(GMMSelector)
    log, _ = synthetic_log()
    with pytest.raises(TypeError, match="must return a Selection, got ndarray"):
        PromiseBreaker("answers a mask").select(log)
    with pytest.raises(TypeError, match=r"needs a TrainingLog, got MemoryBank.*bank\.log"):
        GMMSelector().select(MemoryBank([0, 1]))
    with pytest.raises(TypeError, match="must name columns of TrainingLog, got 'loss'"):
        type("Typo", (GMMSelector,), {}, needs=("loss",))


def test_a_representation_that_does_not_make_the_selector_again_is_found_out():
    with pytest.raises((AssertionError, TypeError)):
        check_selector(PromiseBreaker("representation"))
