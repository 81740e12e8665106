"""Selector: frozen hyper-parameters and one public method, and the signs that combine selectors."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from noisyselect.arrays import BoolArray
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.rule import Rule
from noisyselect.selection import Reasons, Selection


class Selector(Rule, ABC):
    """A rule that reads a training log and says which labels to trust.

    A selector is a frozen dataclass of hyper-parameters (``@dataclass(frozen=True, repr=False)``;
    the representation here shows what differs from the defaults). It declares the columns it needs
    (``class MySelector(Selector, needs=("losses",))``) and implements `_select`; `select` checks
    the log, sets aside samples without a valid record, and names the answer's samples.
    Selecting twice gives the same answer: all randomness comes from a `random_state` field.

    Selectors combine with the signs of selections, under one law:
    ``(f & g).select(log) == f.select(log) & g.select(log)``, and likewise for ``|``, ``-``, ``^``
    and ``~``.
    """

    reads_epochs: ClassVar[bool] = True
    """Whether an answer may differ from one epoch to the next. Not so for a rule of labels,
    features and neighbours alone: it says False, and the bench asks it once for all epochs."""

    def select(self, log: TrainingLog, peer: TrainingLog | None = None) -> Selection:
        """Decide which labels of `log` to trust.

        Parameters
        ----------
        log : TrainingLog
            What the network has shown.
        peer : TrainingLog, optional
            What the second network has shown of the same samples, for methods that have two.

        Returns
        -------
        Selection
            Over the samples of `log`, in its order. A sample whose loss is not finite, or whose
            prediction is missing, in one of the last `history` epochs is not clean, has score 0
            and the reason ``"no valid record"``.

        Raises
        ------
        MissingEvidenceError
            If the log lacks a column or epochs that the rule needs.
        ValueError
            If `peer` is of other samples.
        """
        return self._answer(log, peer, lambda *logs: (self._select(*logs),))[0]

    @abstractmethod
    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        """Apply the rule to a log that has what it needs, all of it finite."""

    def _answer(
        self,
        log: TrainingLog,
        peer: TrainingLog | None,
        rule: Callable[[TrainingLog, TrainingLog | None], tuple[Selection, ...]],
        n_answers: int = 1,
    ) -> tuple[Selection, ...]:
        usable = self._usable(log, peer)
        if usable.all():
            return tuple(_checked(part, self).over(log.ids) for part in rule(log, peer))
        if not usable.any():
            warnings.warn(
                f"{type(self).__name__}: no sample has a valid record in the last "
                f"{min(self.history, log.n_epochs)} epochs. Nothing is selected.",
                DegenerateWarning,
                stacklevel=3,
            )
            return (_spread(None, usable, log),) * n_answers
        rows = np.flatnonzero(usable)
        parts = rule(log.take(rows), None if peer is None else peer.take(rows))
        return tuple(_spread(_checked(part, self), usable, log) for part in parts)

    def __and__(self, other: Selector) -> Selector:
        return Combined("&", self, other) if isinstance(other, Selector) else NotImplemented

    def __or__(self, other: Selector) -> Selector:
        return Combined("|", self, other) if isinstance(other, Selector) else NotImplemented

    def __sub__(self, other: Selector) -> Selector:
        return Combined("-", self, other) if isinstance(other, Selector) else NotImplemented

    def __xor__(self, other: Selector) -> Selector:
        return Combined("^", self, other) if isinstance(other, Selector) else NotImplemented

    def __invert__(self) -> Selector:
        return Complement(self)


def _checked(part: object, selector: Selector) -> Selection:
    if not isinstance(part, Selection):
        raise TypeError(
            f"{type(selector).__name__}._select must return a Selection, got {type(part).__name__}."
        )
    return part


def _spread(part: Selection | None, usable: BoolArray, log: TrainingLog) -> Selection:
    """Return `part`, decided on the `usable` samples alone, as a selection over all of `log`."""
    clean = np.zeros(log.n_samples, dtype=bool)
    score, trust, weights = np.zeros((3, log.n_samples))
    names = () if part is None else part.reasons.names
    codes = np.full(log.n_samples, len(names), dtype=np.min_scalar_type(len(names)))
    # A sample without a valid record still has pixels: it can serve without its label.
    unlabelled = np.ones(log.n_samples, dtype=bool)
    if part is not None:
        clean[usable] = part.clean
        score[usable] = part.score
        trust[usable] = part.trust
        weights[usable] = part.weights
        codes[usable] = part.reasons.codes
        unlabelled[usable] = part.unlabelled_mask
    return Selection(
        clean=clean,
        score=score,
        ids=log.ids,
        trust=trust,
        weights=weights,
        reason=Reasons(codes, (*names, "no valid record")),
        synthetic=part.synthetic if part is not None else None,
        unlabelled_mask=unlabelled,
    )


@dataclass(frozen=True, repr=False)
class Combined(Selector):
    """Two selectors joined by a sign; made by ``f & g``, ``f | g``, ``f - g`` or ``f ^ g``."""

    sign: str
    left: Selector
    right: Selector

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns that either rule needs."""
        return tuple(dict.fromkeys((*self.left.needs, *self.right.needs)))

    @property
    def history(self) -> int:
        """Number of last epochs that either rule reads at most."""
        return max(self.left.history, self.right.history)

    @property
    def probability_window(self) -> int:
        """Number of last epochs of which either rule reads class probabilities at most."""
        return max(self.left.probability_window, self.right.probability_window)

    def select(self, log: TrainingLog, peer: TrainingLog | None = None) -> Selection:
        """Apply the law, see `Selector`."""
        return self._select(log, peer)

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        left, right = self.left.select(log, peer), self.right.select(log, peer)
        match self.sign:
            case "&":
                return left & right
            case "|":
                return left | right
            case "-":
                return left - right
            case _:
                return left ^ right

    def __repr__(self) -> str:
        return f"({self.left!r} {self.sign} {self.right!r})"


@dataclass(frozen=True, repr=False)
class Complement(Selector):
    """What a selector leaves out; made by writing ``~f``.

    By the law, this includes the samples without a valid record.
    """

    of: Selector

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns that the rule needs."""
        return self.of.needs

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most."""
        return self.of.history

    @property
    def probability_window(self) -> int:
        """Number of last epochs of which the rule reads class probabilities at most."""
        return self.of.probability_window

    def select(self, log: TrainingLog, peer: TrainingLog | None = None) -> Selection:
        """Apply the law, see `Selector`."""
        return self._select(log, peer)

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        return ~self.of.select(log, peer)

    def __repr__(self) -> str:
        return f"~{self.of!r}"
