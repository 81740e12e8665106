"""The most suspicious samples: which they are, and what speaks against their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import FloatArray
from noisyselect.report.evidence import Evidence
from noisyselect.report.wording import clause, sentence

# More rows than anybody looks through, and few enough for a page of some megabytes.
N_SHOWN = 1000


@dataclass(frozen=True)
class Suspect:
    """A sample whose label the selector distrusts.

    Attributes
    ----------
    id : str
    given : str
        Name of the given class.
    predicted : str
        Name of the class predicted most often; empty if none is known.
    n_predicted : int
        In how many epochs.
    true : str
        Name of the true class; empty if it is not known.
    wrong : bool
        Whether the given label is known to be wrong.
    trust : float in [0, 1]
        Mean probability of the given label over epochs; NaN if not known.
    loss : float
        At the last epoch, in nats; NaN if not known.
    score : float in [0, 1]
        Of the selector.
    n_against : int
        How many selectors drop the sample, this one included.
    why : str
        Their reasons, as a sentence.
    thumbnail : str
        The image as a ``data:`` address; empty if there is none.
    """

    id: str
    given: str
    predicted: str
    n_predicted: int
    true: str
    wrong: bool
    trust: float
    loss: float
    score: float
    n_against: int
    why: str
    thumbnail: str = ""


def suspicious_rows(evidence: Evidence) -> npt.NDArray[np.intp]:
    """Return the rows of all samples that the selector drops, the most suspicious first.

    That is the least probability of the given label in the mean over epochs, which finds wrong
    labels among the dropped better than the scores of the last epochs do; without losses, and of
    equal ones, the lowest score. Samples that could not be judged are not among them: nothing
    speaks against their label.
    """
    selection = evidence.selection
    rows = np.flatnonzero(~selection.clean & evidence.judged)
    trust = _values(evidence.mean_trust, selection.clean.size)[rows]
    # NaN sorts last.
    return rows[np.lexsort((selection.score[rows], trust))]


def describe(
    evidence: Evidence, rows: npt.NDArray[np.intp], names: list[str], thumbnails: dict[int, str]
) -> list[Suspect]:
    """Return what there is to say of the samples in these rows.

    Parameters
    ----------
    evidence : Evidence
    rows : array of int, shape (n,)
    names : list of str
        Of the classes.
    thumbnails : dict of int to str
        By row.
    """
    run, log, selection = evidence.run, evidence.log, evidence.selection
    trust = _values(evidence.mean_trust, log.n_samples)
    loss = _values(None if log.losses is None else log.losses[-1], log.n_samples)
    predicted = evidence.predicted
    suspects = []
    for row in rows.tolist():
        against = _against(evidence, row)
        guess = -1 if predicted is None else int(predicted.label[row])
        suspects.append(
            Suspect(
                id=str(run.ids[row]),
                given=names[run.labels[row]],
                predicted=names[guess] if guess >= 0 else "",
                n_predicted=0 if predicted is None else int(predicted.n_epochs[row]),
                true="" if run.truth is None else names[run.truth[row]],
                wrong=run.truth is not None and bool(run.truth[row] != run.labels[row]),
                trust=float(trust[row]),
                loss=float(loss[row]),
                score=float(selection.score[row]),
                n_against=len(against),
                why=sentence([clause(reason) for reason in _telling(against)]),
                thumbnail=thumbnails.get(row, ""),
            )
        )
    return suspects


def _against(evidence: Evidence, row: int) -> list[str]:
    """Return the reasons of the selectors that drop a sample, that of the one shown first."""
    return [
        str(evidence.selections[rule].reason[row])
        for rule in evidence.rules
        if not evidence.selections[rule].clean[row]
    ]


def _telling(reasons: list[str]) -> list[str]:
    """Return the reasons without VRLV's sum of all evidence, where its parts say more."""
    parts = [reason for reason in reasons if reason != "dropped"]
    return parts or reasons


def _values(values: FloatArray | None, n_samples: int) -> FloatArray:
    return np.full(n_samples, np.nan) if values is None else values
