"""Every label corrector keeps every promise of the contract, and who breaks one is found out."""

import numpy as np
import pytest

from noisyselect import TrainingLog
from noisyselect.checks import check_corrector, corrector_checks
from noisyselect.corrector import LabelCorrector
from noisyselect.correctors.elr import ELRCorrector
from noisyselect.correctors.joint_optimization import JointOptimizationCorrector
from noisyselect.correctors.plc import PLCCorrector
from noisyselect.correctors.selc import SELCCorrector

CORRECTORS = [
    ELRCorrector(),
    ELRCorrector(beta=0.9, window=3),
    JointOptimizationCorrector(),
    JointOptimizationCorrector(window=1),
    PLCCorrector(),
    PLCCorrector(delta=0.5, increment=0.2, window=3, rounds=4),
    SELCCorrector(),
    SELCCorrector(alpha=0.5, window=2),
]


@pytest.mark.parametrize("check", list(corrector_checks()), ids=lambda check: check.__name__)
@pytest.mark.parametrize("corrector", CORRECTORS, ids=repr)
def test_every_corrector_keeps_the_contract(corrector, check):
    check(corrector)


class PromiseBreaker(LabelCorrector, needs=("probabilities",)):
    """A corrector that breaks one promise, the one it is made with."""

    def __init__(self, promise):
        self.promise = promise

    def correct(self, log, peer=None):
        if self.promise == "answers":
            return log.labels
        if self.promise == "valid records":
            return super().correct(without_losses(log))
        return super().correct(log, peer)

    def _correct(self, log, peer):
        soft = log.probabilities[0 if self.promise == "history" else -1].astype(np.float64)
        match self.promise:
            case "nothing else":
                soft = soft[:, np.random.permutation(soft.shape[1])]
            case "order":
                soft[0] = soft[0, ::-1]
            case "class names":
                soft = soft + np.eye(soft.shape[1])[0]
            case "degenerate":
                soft = soft / (soft[:, :1] != soft[:, 1:2])
        return soft


def without_losses(log):
    return TrainingLog(labels=log.labels, probabilities=log.probabilities, ids=log.ids)


@pytest.mark.parametrize(
    ("promise", "complaint"),
    [
        ("answers", "must return CorrectedLabels"),
        ("nothing else", "draw only from `random_state`"),
        ("order", "permuting the log changed"),
        ("class names", "renaming classes in the log changed"),
        ("history", "earlier epochs change the answer"),
        ("valid records", "Samples with non-finite losses were corrected"),
        ("degenerate", "divide by zero"),
        ("documentation", "lacks the section Parameters, the section Notes"),
    ],
)
def test_a_corrector_that_breaks_a_promise_is_found_out(promise, complaint):
    checks = [c for c in corrector_checks() if "representation" not in c.__name__]
    with pytest.raises((AssertionError, RuntimeWarning), match=complaint):
        any(check(PromiseBreaker(promise)) for check in checks)


def test_a_representation_that_does_not_make_the_corrector_again_is_found_out():
    with pytest.raises((AssertionError, TypeError)):
        check_corrector(PromiseBreaker("representation"))


def test_a_class_is_no_corrector():
    with pytest.raises(TypeError, match="must be an instance of a LabelCorrector"):
        check_corrector(PLCCorrector)
