"""Which selector a run uses, and what that selector asks for."""

from __future__ import annotations

import numpy as np

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.selection import Selection
from noisyselect.selector import Combined, Complement, Selector
from noisyselect.selectors.gmm import GMMSelector
from noisyselect.selectors.vrlv import VRLVSelector
from noisyselect.selectors.vrlv_plus import VRLVPlusSelector
from noisyselect.torch.settings import Settings
from noisyselect.vote import Vote


def selector_of(settings: Settings, given: Selector | None) -> Selector | None:
    """Return the selector of a run, or refuse one that its method cannot use."""
    match settings.method:
        case "ce" | "coteaching":
            if given is not None:
                raise ValueError(
                    f"`selector` must be None with method={settings.method!r}, which has none."
                )
            return None
        case "dividemix" | "scanmix":
            return given or GMMSelector(settings.threshold)
        case "vrlvmix-plus":
            return given or VRLVPlusSelector()
        case "vrlvmix":
            if given is not None and not isinstance(given, VRLVSelector):
                raise ValueError(
                    f"`selector` must be a VRLVSelector with method='vrlvmix', got {given!r}. "
                    "method='dividemix' takes any selector."
                )
            return given or VRLVSelector(
                window=settings.vrlv_window,
                threshold=settings.threshold,
                variation="vrlv" not in settings.without,
                balance="balancing" not in settings.without,
                n_neighbors=settings.n_neighbors,
                short_history="gmm",
                random_state=settings.seed,
            )


def neighbours_needed(selector: Selector | None) -> int:
    """Return how many neighbours per sample a selector, or a part of it, reads at most."""
    match selector:
        case None:
            return 0
        case Combined():
            return max(neighbours_needed(selector.left), neighbours_needed(selector.right))
        case Complement():
            return neighbours_needed(selector.of)
        case Vote():
            return max(map(neighbours_needed, selector.selectors))
        case VRLVSelector():
            return selector.n_neighbors if selector.balance else 0
        case _:
            return int(getattr(selector, "n_neighbors", 0))


def class_weights(selection: Selection, labels: IntArray, n_classes: int) -> FloatArray:
    """Return the weights of Eq. 10 by class, shape (n_classes,), 0 for an empty class."""
    # Of one class all selected samples weigh the same, and a synthetic one has a real anchor.
    weights = np.zeros(n_classes)
    weights[labels[selection.clean]] = selection.weights[selection.clean]
    return weights
