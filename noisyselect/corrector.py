"""LabelCorrector: frozen hyper-parameters and one public method, and the labels it answers with."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    AnyArray,
    BoolArray,
    FloatArray,
    IntArray,
    check_classes,
    check_shape,
    floats,
    integers,
    read_only,
    sample_ids,
)
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.rule import Rule

# What rounding in float32 may leave of a sum of probabilities.
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class CorrectedLabels:
    """The label of each sample after correction, as an immutable value.

    Parameters
    ----------
    given : array of int in [0, n_classes), shape (n_samples,)
        Given labels.
    probabilities : array of float in [0, 1], shape (n_samples, n_classes)
        Soft labels: how much each class is believed. Rows sum to 1.
    ids : array of int or str, shape (n_samples,), optional
        Sample ids. By default 0, 1, ...

    Raises
    ------
    ValueError
        If shapes disagree, a label is out of range, or a row is no distribution.

    Examples
    --------
    >>> corrected = CorrectedLabels(given=[0, 1], probabilities=[[0.7, 0.3], [0.8, 0.2]])
    >>> corrected.labels
    array([0, 0])
    >>> corrected.changed
    array([False,  True])
    """

    given: IntArray
    probabilities: FloatArray
    ids: AnyArray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        given = integers("given", self.given)
        check_shape("given", given, {"n_samples": None})
        probabilities = floats("probabilities", self.probabilities)
        shape = {"n_samples": given.size, "n_classes": None}
        check_shape("probabilities", probabilities, shape, "It must match `given`.")
        check_classes("given", given, probabilities.shape[1])
        # Written so that NaN fails too.
        distribution = (probabilities >= 0).all(axis=1) & (
            np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE
        )
        if not distribution.all():
            raise ValueError(
                "Rows of `probabilities` must be at least 0 and sum to 1, got "
                f"{int((~distribution).sum())} that are not, the first in row "
                f"{int(np.argmin(distribution))}."
            )
        # Copies, for a value must not change when the caller's array does.
        object.__setattr__(self, "given", read_only(given.copy()))
        object.__setattr__(self, "probabilities", read_only(probabilities.copy()))
        object.__setattr__(self, "ids", read_only(sample_ids(self.ids, given.size).copy()))

    @cached_property
    def labels(self) -> IntArray:
        """Corrected labels, shape (n_samples,): the likeliest class.

        Of classes equally likely the given one, else the first.
        """
        best = self.probabilities.max(axis=1)
        kept = self.probabilities[np.arange(self.given.size), self.given] == best
        return read_only(np.where(kept, self.given, self.probabilities.argmax(axis=1)))

    @property
    def changed(self) -> BoolArray:
        """Where the corrected label is not the given one, shape (n_samples,)."""
        changed: BoolArray = self.labels != self.given
        return changed

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CorrectedLabels):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<CorrectedLabels: {int(self.changed.sum())} of {self.given.size} changed>"


class LabelCorrector(Rule, ABC):
    """A rule that reads a training log and says what the label of each sample should be.

    A corrector is a frozen dataclass of hyper-parameters (``@dataclass(frozen=True, repr=False)``).
    It declares the columns it needs and implements `_correct`; `correct` checks the log, sets aside
    samples without a valid record, and names the answer's samples. Nothing is kept between calls:
    in a training loop call it after each epoch, on the log as it stands.
    """

    def correct(self, log: TrainingLog, peer: TrainingLog | None = None) -> CorrectedLabels:
        """Correct the labels of `log`.

        Parameters
        ----------
        log : TrainingLog
            What the network has shown.
        peer : TrainingLog, optional
            What the second network has shown of the same samples, for methods that have two.

        Returns
        -------
        CorrectedLabels
            Over the samples of `log`, in its order. A sample whose loss is not finite, or whose
            prediction is missing, in one of the last `history` epochs keeps its given label, with
            probability 1.

        Raises
        ------
        MissingEvidenceError
            If the log lacks a column that the rule needs.
        ValueError
            If `peer` is of other samples.

        Warns
        -----
        DegenerateWarning
            If no sample has a valid record.
        """
        usable = self._usable(log, peer)
        probabilities: FloatArray = one_hot(log.labels, log.n_classes)
        if usable.all():
            probabilities = self._correct(log, peer)
        elif usable.any():
            rows = np.flatnonzero(usable)
            probabilities[rows] = self._correct(
                log.take(rows), None if peer is None else peer.take(rows)
            )
        else:
            warnings.warn(
                f"{type(self).__name__}: no sample has a valid record in the last {self.history} "
                "epochs. Every label stays.",
                DegenerateWarning,
                stacklevel=2,
            )
        # Of probabilities recorded in half precision the sum is only nearly 1.
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
        return CorrectedLabels(given=log.labels, probabilities=probabilities, ids=log.ids)

    @abstractmethod
    def _correct(self, log: TrainingLog, peer: TrainingLog | None) -> FloatArray:
        """Return soft labels, shape (n_samples, n_classes), of a log that has what is needed."""


def one_hot(labels: IntArray, n_classes: int) -> npt.NDArray[np.float64]:
    """Return 1 in the column of each label and 0 elsewhere, shape (n_labels, n_classes)."""
    return np.eye(n_classes)[labels]
