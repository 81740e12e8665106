"""Confident learning as the package cleanlab computes it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from threading import Lock
from typing import Literal, get_args

import numpy as np

from noisyselect.arrays import BoolArray, FloatArray, IntArray
from noisyselect.errors import DegenerateWarning, MissingDependencyError
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.confident_margin import last_probabilities

FilterBy = Literal[
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
]

# One call at a time: cleanlab hands probabilities to itself through global variables.
_CLEANLAB = Lock()
_KEPT, _DROPPED = "cleanlab finds no issue", "cleanlab finds an issue"


@dataclass(frozen=True, repr=False)
class ConfidentLearningSelector(Selector, needs=("probabilities",)):
    r"""Keep the samples in whose label the package cleanlab finds no issue.

    The rule and its implementation are cleanlab's, an optional extra: ``pip install
    'noisyselect[cleanlab]'``. It is meant for probabilities from networks that did not train on the
    sample, as `noisyselect.torch.audit` records them: of networks that did, the given label is the
    likeliest class once it is memorised. The last epoch counts, and where there is a `peer`, the
    mean of both networks.

    Parameters
    ----------
    filter_by : str, default="prune_by_noise_rate"
        Which of cleanlab's filters: ``"prune_by_noise_rate"``, ``"prune_by_class"``, ``"both"``,
        ``"confident_learning"``, ``"predicted_neq_given"``, ``"low_normalized_margin"`` or
        ``"low_self_confidence"``; see ``cleanlab.filter.find_label_issues``.

    Raises
    ------
    ValueError
        If there is no such filter.
    MissingEvidenceError
        If the log has no probabilities.
    MissingDependencyError
        If cleanlab is not installed.

    Warns
    -----
    DegenerateWarning
        If all labels are of one class: then none can be confused with another, and all are kept
        with score 1.

    Notes
    -----
    With :math:`p_{ij}` the probability of class j for sample i, :math:`y_i` its given label and
    :math:`t_j` the mean of :math:`p_{ij}` over the labels of class j, confident learning [1]_
    counts how often one class is labelled as another in the confident joint,

    .. math:: C_{jk} = \big|\{i : y_i = j,\ p_{ik} \ge t_k,\
              k = \arg\max_{l : p_{il} \ge t_l} p_{il}\}\big|,

    scales its rows to the number of labels of each class, and drops of each pair
    :math:`j \ne k` as many labels j as were counted, those of largest :math:`p_{ik} - p_{ij}`.
    `score` is cleanlab's normalized margin, :math:`(1 + p_{i y_i} - \max_{k \ne y_i} p_{ik}) / 2`.
    `ConfidentMarginSelector` is ours and not cleanlab's: it compares each class with the same means
    and decides sample by sample, without counting.

    Departures: cleanlab gets the samples by id and the classes in the order of their first label,
    so that neither order decides its ties and the rounding of its counts; in another order its
    answer may differ by single samples. A class with a single label keeps it. Where all
    probabilities are equal, all are kept with score one half.

    Defaults: cleanlab's.

    Cost: O(n_samples n_classes log n_samples) on one core; the first call imports cleanlab, which
    takes longer.

    Fails where the networks have memorised the wrong labels: then nothing is an issue.

    References
    ----------
    .. [1] Northcutt, Jiang and Chuang, "Confident learning: Estimating uncertainty in dataset
       labels", Journal of Artificial Intelligence Research, 2021.

    Examples
    --------
    >>> probabilities = [[[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]]]
    >>> log = TrainingLog(labels=[0, 0, 0, 1, 1], probabilities=probabilities)
    >>> ConfidentLearningSelector().select(log).clean
    array([ True,  True, False,  True,  True])
    """

    filter_by: FilterBy = "prune_by_noise_rate"

    def __post_init__(self) -> None:
        if self.filter_by not in get_args(FilterBy):
            names = ", ".join(map(repr, get_args(FilterBy)))
            raise ValueError(f"`filter_by` must be one of {names}, got {self.filter_by!r}.")

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        probabilities = last_probabilities(log, peer)
        if np.all(log.labels == log.labels[0]):
            warnings.warn(
                "ConfidentLearningSelector: all labels are of one class; every label is kept.",
                DegenerateWarning,
                stacklevel=5,
            )
            return Selection(
                clean=np.ones(log.n_samples, dtype=bool), reason=np.full(log.n_samples, _KEPT)
            )
        rows, classes = np.argsort(log.ids), _classes_by_first_label(log)
        name_of = np.argsort(classes)
        clean, score = np.empty(log.n_samples, dtype=bool), np.empty(log.n_samples)
        clean[rows], score[rows] = _ask(
            name_of[log.labels[rows]], probabilities[rows][:, classes], self.filter_by
        )
        return Selection(clean=clean, score=score, reason=np.where(clean, _KEPT, _DROPPED))


def _classes_by_first_label(log: TrainingLog) -> IntArray:
    """Return the classes in the order in which they come first among the samples by id."""
    present, rows = np.unique(log.labels[np.argsort(log.ids)], return_index=True)
    first = np.full(log.n_classes, log.n_samples)
    first[present] = rows
    return np.argsort(first, kind="stable")


def _ask(
    labels: IntArray, probabilities: FloatArray, filter_by: FilterBy
) -> tuple[BoolArray, FloatArray]:
    """Return cleanlab's answer: where it finds no issue, and its normalized margin."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise MissingDependencyError(
            "ConfidentLearningSelector needs cleanlab, an optional extra: "
            "pip install 'noisyselect[cleanlab]'."
        ) from error
    with _CLEANLAB, warnings.catch_warnings():
        # Of a class with one label or none; the docstring says what becomes of it.
        warnings.filterwarnings("ignore", "May not flag all label issues in class")
        issues = find_label_issues(labels, probabilities, filter_by=filter_by, n_jobs=1)
    score = get_label_quality_scores(labels, probabilities, method="normalized_margin")
    # Rounding may lead out of the interval by a digit.
    return ~issues, np.clip(score, 0, 1)
