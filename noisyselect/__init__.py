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
    from noisyselect.checks import check_corrector as check_corrector
    from noisyselect.checks import check_selector as check_selector
    from noisyselect.corrector import CorrectedLabels as CorrectedLabels
    from noisyselect.corrector import LabelCorrector as LabelCorrector
    from noisyselect.correctors.elr import ELRCorrector as ELRCorrector
    from noisyselect.correctors.joint_optimization import (
        JointOptimizationCorrector as JointOptimizationCorrector,
    )
    from noisyselect.correctors.plc import PLCCorrector as PLCCorrector
    from noisyselect.correctors.selc import SELCCorrector as SELCCorrector
    from noisyselect.log import TrainingLog as TrainingLog
    from noisyselect.selection import MixupRecipes as MixupRecipes
    from noisyselect.selection import Selection as Selection
    from noisyselect.selector import Selector as Selector
    from noisyselect.selectors.aum import AUMSelector as AUMSelector
    from noisyselect.selectors.bare import BARESelector as BARESelector
    from noisyselect.selectors.beta_mixture import BetaMixtureSelector as BetaMixtureSelector
    from noisyselect.selectors.cnlcu import CNLCUHardSelector as CNLCUHardSelector
    from noisyselect.selectors.cnlcu import CNLCUSoftSelector as CNLCUSoftSelector
    from noisyselect.selectors.co_teaching import CoTeachingSelector as CoTeachingSelector
    from noisyselect.selectors.co_teaching_plus import (
        CoTeachingPlusSelector as CoTeachingPlusSelector,
    )
    from noisyselect.selectors.confident_learning import (
        ConfidentLearningSelector as ConfidentLearningSelector,
    )
    from noisyselect.selectors.confident_margin import (
        ConfidentMarginSelector as ConfidentMarginSelector,
    )
    from noisyselect.selectors.consensus import ConsensusSelector as ConsensusSelector
    from noisyselect.selectors.curriculum_net import CurriculumNetSelector as CurriculumNetSelector
    from noisyselect.selectors.data_map import DataMapSelector as DataMapSelector
    from noisyselect.selectors.fine import FINESelector as FINESelector
    from noisyselect.selectors.forgetting_events import (
        ForgettingEventsSelector as ForgettingEventsSelector,
    )
    from noisyselect.selectors.gmm import GMMSelector as GMMSelector
    from noisyselect.selectors.jo_src import JoSRCSelector as JoSRCSelector
    from noisyselect.selectors.jocor import JoCoRSelector as JoCoRSelector
    from noisyselect.selectors.loss_variation import LossVariationSelector as LossVariationSelector
    from noisyselect.selectors.mentornet import MentorNetSelector as MentorNetSelector
    from noisyselect.selectors.moit import MOITSelector as MOITSelector
    from noisyselect.selectors.nlnl import NLNLSelector as NLNLSelector
    from noisyselect.selectors.o2u_net import O2UNetSelector as O2UNetSelector
    from noisyselect.selectors.prediction_stability import (
        PredictionStabilitySelector as PredictionStabilitySelector,
    )
    from noisyselect.selectors.promix import ProMixSelector as ProMixSelector
    from noisyselect.selectors.sel_cl import SelCLSelector as SelCLSelector
    from noisyselect.selectors.self_ensemble import SELFSelector as SELFSelector
    from noisyselect.selectors.selfie import SELFIESelector as SELFIESelector
    from noisyselect.selectors.small_loss import SmallLossSelector as SmallLossSelector
    from noisyselect.selectors.tcl import TCLSelector as TCLSelector
    from noisyselect.selectors.truncated_gce import TruncatedGCESelector as TruncatedGCESelector
    from noisyselect.selectors.unicon import UNICONSelector as UNICONSelector
    from noisyselect.selectors.vrlv import VRLVSelector as VRLVSelector
    from noisyselect.selectors.vrlv_plus import VRLVPlusSelector as VRLVPlusSelector
    from noisyselect.store import open_run as open_run
    from noisyselect.vote import Vote as Vote

__version__ = "0.1.0"

_HOMES = {
    "AUMSelector": "noisyselect.selectors.aum",
    "BARESelector": "noisyselect.selectors.bare",
    "BetaMixtureSelector": "noisyselect.selectors.beta_mixture",
    "CNLCUHardSelector": "noisyselect.selectors.cnlcu",
    "CNLCUSoftSelector": "noisyselect.selectors.cnlcu",
    "CoTeachingPlusSelector": "noisyselect.selectors.co_teaching_plus",
    "CoTeachingSelector": "noisyselect.selectors.co_teaching",
    "ConfidentLearningSelector": "noisyselect.selectors.confident_learning",
    "ConfidentMarginSelector": "noisyselect.selectors.confident_margin",
    "ConsensusSelector": "noisyselect.selectors.consensus",
    "CorrectedLabels": "noisyselect.corrector",
    "CurriculumNetSelector": "noisyselect.selectors.curriculum_net",
    "DataMapSelector": "noisyselect.selectors.data_map",
    "ELRCorrector": "noisyselect.correctors.elr",
    "ENNCleaner": "noisyselect.balance.enn",
    "FINESelector": "noisyselect.selectors.fine",
    "ForgettingEventsSelector": "noisyselect.selectors.forgetting_events",
    "GMMSelector": "noisyselect.selectors.gmm",
    "JoCoRSelector": "noisyselect.selectors.jocor",
    "JoSRCSelector": "noisyselect.selectors.jo_src",
    "JointOptimizationCorrector": "noisyselect.correctors.joint_optimization",
    "KNNMixupOversampler": "noisyselect.balance.knn_mixup",
    "LabelCorrector": "noisyselect.corrector",
    "LossVariationSelector": "noisyselect.selectors.loss_variation",
    "MOITSelector": "noisyselect.selectors.moit",
    "MemoryBank": "noisyselect.bank",
    "MentorNetSelector": "noisyselect.selectors.mentornet",
    "MixupRecipes": "noisyselect.selection",
    "NLNLSelector": "noisyselect.selectors.nlnl",
    "O2UNetSelector": "noisyselect.selectors.o2u_net",
    "PLCCorrector": "noisyselect.correctors.plc",
    "PredictionStabilitySelector": "noisyselect.selectors.prediction_stability",
    "ProMixSelector": "noisyselect.selectors.promix",
    "SELCCorrector": "noisyselect.correctors.selc",
    "SELFIESelector": "noisyselect.selectors.selfie",
    "SELFSelector": "noisyselect.selectors.self_ensemble",
    "SelCLSelector": "noisyselect.selectors.sel_cl",
    "Selection": "noisyselect.selection",
    "Selector": "noisyselect.selector",
    "SmallLossSelector": "noisyselect.selectors.small_loss",
    "TCLSelector": "noisyselect.selectors.tcl",
    "TrainingLog": "noisyselect.log",
    "TruncatedGCESelector": "noisyselect.selectors.truncated_gce",
    "UNICONSelector": "noisyselect.selectors.unicon",
    "VRLVPlusSelector": "noisyselect.selectors.vrlv_plus",
    "VRLVSelector": "noisyselect.selectors.vrlv",
    "Vote": "noisyselect.vote",
    "check_corrector": "noisyselect.checks",
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
