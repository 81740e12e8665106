"""How well single kinds of evidence tell right labels from wrong ones, epoch by epoch.

Cells of `ce` and `dividemix` keep these beside them. Of runs that were kept elsewhere:

    python benchmarks/claim/scores.py RUN... --out FOLDER
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from keeping import evenly, write_json
from sklearn.metrics import roc_auc_score

from noisyselect import ConsensusSelector, open_run
from noisyselect.errors import DegenerateWarning
from noisyselect.numeric.ranks import rank_variance
from noisyselect.selectors.forgetting_events import forgetting

# Methods whose logs are scored: what plain training shows, and what selection leaves of it.
SCORED = ("ce", "dividemix")
WINDOWS = (3, 5, 10)
# Epochs of a run that are scored: of 40 all, of more so many, evenly spaced.
MOST_EPOCHS = 40
# The consensus reads all epochs anew each time: it is asked at every fifth of these.
CONSENSUS_EVERY = 5


def separation(run, neighbours=None):
    """Return the area under the ROC curve of each kind of evidence at each epoch of network a.

    Parameters
    ----------
    run : Run
        With true labels.
    neighbours : array of int, shape (n_samples, k), optional
        Row positions. By default those of the run; without any, there is no evidence of them.

    Returns
    -------
    dict
        ``"epochs"``: after how many epochs. ``"all"``: right labels against wrong ones;
        ``"large_loss"``: the same among the samples whose loss is above the median. By kind of
        evidence a number for each of these epochs, None where there is none:
        minus the `signed` or `absolute` variance of ranks over 3, 5, 10 changes; minus the
        `last_loss` or the `mean_loss` of all epochs; the mean `margin` of label and best other
        class; minus the number of `forgetting` events, of equal ones the more often learnt first;
        the share of neighbours labelled alike (`neighbour_labels`) or predicted as the sample's
        label (`neighbour_predictions`); and the score of `consensus`.
    """
    log = run.log("a")
    if neighbours is not None:
        log = replace(log, neighbours=neighbours)
    right = log.labels == run.truth
    epochs = [epoch + 1 for epoch in evenly(log.n_epochs, MOST_EPOCHS)]
    found = {"epochs": epochs, "all": {}, "large_loss": {}}
    for place, epoch in enumerate(epochs):
        seen = log.until(epoch)
        large = seen.losses[-1] > np.median(seen.losses[-1])
        scores = dict(evidence(seen))
        if place % CONSENSUS_EVERY == CONSENSUS_EVERY - 1:
            scores["consensus"] = consensus(seen)
        for kind, score in scores.items():
            for among, rows in (("all", np.ones_like(large)), ("large_loss", large)):
                curve = found[among].setdefault(kind, [None] * len(epochs))
                curve[place] = auroc(score[rows], right[rows])
    return found


def evidence(log):
    """Yield each kind of evidence that a log has, a number per sample: higher is cleaner."""
    losses, predictions, labels = log.losses, log.predictions, log.labels
    for window in WINDOWS:
        if log.n_epochs > window:
            for change in ("signed", "absolute"):
                yield f"{change}_{window}", -rank_variance(losses[-(window + 1) :], change)
    yield "last_loss", -losses[-1]
    yield "mean_loss", -losses.mean(axis=0, dtype=np.float64)
    yield "margin", _margins(losses, predictions == labels, log.confidences).mean(axis=0)
    yield "forgetting", -forgetting(predictions == labels)
    if log.neighbours is not None:
        # -1 is no neighbour: the extra last row counts for none.
        for kind, said in (("labels", labels), ("predictions", predictions[-1])):
            alike = np.append(said, -1)[log.neighbours] == labels[:, None]
            yield f"neighbour_{kind}", alike.mean(axis=1)


def consensus(log):
    """Return the score of `ConsensusSelector`, a number per sample."""
    with warnings.catch_warnings():
        # That losses of early epochs fall into one group is no news here.
        warnings.simplefilter("ignore", DegenerateWarning)
        return ConsensusSelector().select(log).score


def _margins(losses, learnt, confidences):
    """Return p[label] minus the largest other probability, or its lower bound where predicted."""
    own = np.exp(-losses.astype(np.float64))
    return np.where(learnt, np.maximum(0, 2 * own - 1), own - confidences)


def auroc(score, right):
    """Return the probability that a right label has the higher score, ties counting half."""
    undefined = right.all() or not right.any()
    return None if undefined else float(roc_auc_score(right, score))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("--out", type=Path, required=True, help="folder for a JSON file each")
    options = parser.parse_args()
    for path in options.runs:
        write_json(options.out / f"{path.name}.json", separation(open_run(path)))


if __name__ == "__main__":
    main()
