"""The anatomy of a run's selections: what each set holds, epoch by epoch, by the true labels.

Nothing here is seen by a method. The selections are made once more from the log that the run has
written, so that every selector can be taken apart; that they are those that were trained on is
checked by their size.
"""

from dataclasses import replace

import numpy as np
from keeping import evenly

from noisyselect import VRLVSelector
from noisyselect.selectors.gmm import GMMSelector

# Selections of a run that are taken apart: of 30 all, of more so many, evenly spaced.
MOST_EPOCHS = 30
NETWORKS = ("a", "b")


def anatomy(run, selector, warm_up):
    """Return the measures of each set over epochs.

    Parameters
    ----------
    run : Run
    selector : Selector, optional
        That of the run as it was before warm-up. Without one there is what the trainer measured.
    warm_up : int
        Epochs of warm-up.

    Returns
    -------
    dict
        ``epochs`` that were taken apart; of VRLVMix ``after_change``, whether the second case of
        Eq. 6 held in each; and ``sets``: by name of the set and measure a list with a number per
        epoch. The sets of VRLVMix are ``G_l``, ``V_c``, ``D_c``, ``rescued`` (of D_c,
        outside G_l), ``fill_a``, ``synthetic_a``, ``D_x_a`` and those of b; of other methods only
        ``D_x_a`` and ``D_x_b``, what each network is trained on. Measures are described at
        `measures` and `of_synthetic`.
    """
    epochs = range(warm_up, run.n_epochs)
    epochs = [epochs[place] for place in evenly(len(epochs), MOST_EPOCHS)]
    if selector is None:
        return {"epochs": epochs, "sets": _measured(run, epochs)}
    if isinstance(selector, VRLVSelector) and selector.clean_rate is None:
        # Fixed by the trainer at the end of warm-up.
        noise_rate = run.epochs[warm_up - 1]["metrics"]["noise_rate"]
        selector = replace(selector, clean_rate=(1 - noise_rate) or None)
    logs = [run.log(name) for name in NETWORKS]
    sets, after_change = {}, []
    for place, epoch in enumerate(epochs):
        log_a, log_b = (log.until(epoch) for log in logs)
        found = taken_apart(selector, log_a, log_b, run.truth)
        trained_on = [run.epochs[epoch]["metrics"][f"labelled_{name}"] for name in NETWORKS]
        again = [found[f"D_x_{name}"]["size"] for name in NETWORKS]
        if trained_on != again:
            raise RuntimeError(
                f"Epoch {epoch}: trained on {trained_on} samples, but the log gives {again}."
            )
        for name, of_set in found.items():
            columns = sets.setdefault(name, {measure: [None] * len(epochs) for measure in of_set})
            for measure, value in of_set.items():
                columns[measure][place] = value
        if isinstance(selector, VRLVSelector):
            holds = selector.variation and selector._stability.after_change(log_b.lr)
            after_change.append(int(holds))
    of_vrlv = {"after_change": after_change} if after_change else {}
    return {"epochs": epochs, **of_vrlv, "sets": sets}


def _measured(run, epochs):
    """Return the measures of the trainer, of a method that selects in every batch."""
    names = {"labelled": "size", "precision": "precision", "recall": "recall"}
    rows = [run.epochs[epoch]["metrics"] for epoch in epochs]
    return {
        f"D_x_{network}": {
            ours: [row.get(f"{theirs}_{network}") for row in rows] for theirs, ours in names.items()
        }
        for network in NETWORKS
        if rows and f"labelled_{network}" in rows[0]
    }


def taken_apart(selector, log_a, log_b, truth):
    """Return the measures of each set that a selector makes of both logs."""
    known = _Known(log_a, log_b, truth)
    if not isinstance(selector, VRLVSelector):
        # As in DivideMix, each network is trained on what the other's log says.
        pair = selector.select(log_b, log_a), selector.select(log_a, log_b)
        return {
            f"D_x_{name}": known.measures(selection.clean)
            for name, selection in zip(NETWORKS, pair, strict=True)
        }
    pair = selector.select_pair(log_a, log_b)
    small_loss = GMMSelector(selector.threshold).select(log_a).clean
    found = {"G_l": known.measures(small_loss)}
    # Otherwise the history was too short, and the mixture has answered.
    has_core = "core" in pair[0].reasons.names
    if has_core:
        core = pair[0].reason == "core"
        found["V_c"] = known.measures(_stable(selector, log_a, log_b))
        found["D_c"] = known.measures(core)
        found["rescued"] = known.measures(core & ~small_loss)
    for name, selection in zip(NETWORKS, pair, strict=True):
        recipes = selection.synthetic
        if has_core:
            found[f"fill_{name}"] = known.measures(selection.reason == "fill")
            found[f"synthetic_{name}"] = known.of_synthetic(recipes, selection)
        made = () if recipes is None else recipes.labels
        found[f"D_x_{name}"] = known.measures(selection.clean, made)
    return found


def _stable(selector, log_a, log_b):
    """Return V_c, or without variation what stands in its place."""
    if selector.variation:
        return selector._gather(log_a, log_b).stable
    return selector._small_losses_of_both(log_a, log_b).stable


class _Known:
    """What the truth says of sets of samples.

    Large is a loss, mean of both networks in the last epoch, above the median of all.
    """

    def __init__(self, log_a, log_b, truth):
        self.labels, self.truth, self.n_classes = log_a.labels, truth, log_a.n_classes
        self.right = self.labels == truth
        loss = log_a.losses[-1].astype(np.float64) + log_b.losses[-1]
        self.hard = self.right & (loss > np.median(loss))

    def measures(self, mask, synthetic=()):
        """Return what a set holds.

        Returns
        -------
        dict
            ``size``; ``precision``, share of right labels in it; ``recall``, share of all right
            labels that are in it; ``hard``, the same of those of large loss; ``balance``, size of
            the smallest class by that of the largest, by given label, `synthetic` labels included.
        """
        counts = np.bincount(self.labels[mask], minlength=self.n_classes)
        counts += np.bincount(np.asarray(synthetic, dtype=int), minlength=self.n_classes)
        return {
            "size": int(np.count_nonzero(mask)),
            "precision": _share(self.right, mask),
            "recall": _share(mask, self.right),
            "hard": _share(mask, self.hard),
            "balance": _balance(counts),
        }

    def of_synthetic(self, recipes, selection):
        """Return what synthetic samples are made of.

        Returns
        -------
        dict
            ``size``; ``precision``, share of anchors whose label is right; ``partner``, share of
            partners whose true class is that label; ``balance`` as in `measures`.
        """
        if recipes is None or not len(recipes):
            return {"size": 0, "precision": None, "partner": None, "balance": None}
        anchors, partners = selection.rows(recipes.anchors), selection.rows(recipes.partners)
        return {
            "size": len(recipes),
            "precision": float(self.right[anchors].mean()),
            "partner": float(np.mean(self.truth[partners] == recipes.labels)),
            "balance": _balance(np.bincount(recipes.labels, minlength=self.n_classes)),
        }


def _share(part, whole):
    return float(part[whole].mean()) if whole.any() else None


def _balance(counts):
    return float(counts.min() / counts.max()) if counts.any() else None
