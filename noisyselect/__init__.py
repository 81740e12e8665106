"""Sample selectors for training on partly wrong labels.

Record what training shows in a `MemoryBank`, hand its log to a selector, train on the selection::

    bank.record(ids, losses=losses, predictions=predictions)   # per batch
    bank.end_epoch(lr=lr)
    selection = VRLVSelector().select(bank.log())

Importing this package imports numpy and little else; each name below is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisyselect.balance.enn import ENNCleaner as ENNCleaner
    from noisyselect.balance.knn_mixup import KNNMixupOversampler as KNNMixupOversampler
    from noisyselect.bank import MemoryBank as MemoryBank
    from noisyselect.checks import check_selector as check_selector
    from noisyselect.log import TrainingLog as TrainingLog
    from noisyselect.selection import MixupRecipes as MixupRecipes
    from noisyselect.selection import Selection as Selection
    from noisyselect.selector import Selector as Selector
    from noisyselect.selectors.confident_margin import (
        ConfidentMarginSelector as ConfidentMarginSelector,
    )
    from noisyselect.selectors.gmm import GMMSelector as GMMSelector
    from noisyselect.selectors.loss_variation import LossVariationSelector as LossVariationSelector
    from noisyselect.selectors.prediction_stability import (
        PredictionStabilitySelector as PredictionStabilitySelector,
    )
    from noisyselect.selectors.vrlv import VRLVSelector as VRLVSelector
    from noisyselect.store import open_run as open_run

__version__ = "0.1.0"

_HOMES = {
    "ConfidentMarginSelector": "noisyselect.selectors.confident_margin",
    "ENNCleaner": "noisyselect.balance.enn",
    "GMMSelector": "noisyselect.selectors.gmm",
    "KNNMixupOversampler": "noisyselect.balance.knn_mixup",
    "LossVariationSelector": "noisyselect.selectors.loss_variation",
    "MemoryBank": "noisyselect.bank",
    "MixupRecipes": "noisyselect.selection",
    "PredictionStabilitySelector": "noisyselect.selectors.prediction_stability",
    "Selection": "noisyselect.selection",
    "Selector": "noisyselect.selector",
    "TrainingLog": "noisyselect.log",
    "VRLVSelector": "noisyselect.selectors.vrlv",
    "check_selector": "noisyselect.checks",
    "open_run": "noisyselect.store",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 (computed, so that it cannot go stale)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'noisyselect' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
