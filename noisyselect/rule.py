"""Rule: what selectors and label correctors share, columns needed and epochs read."""

from __future__ import annotations

import inspect
from dataclasses import Field
from typing import Any, ClassVar

import numpy as np

from noisyselect.arrays import BoolArray
from noisyselect.errors import MissingEvidenceError
from noisyselect.log import TrainingLog

# How each column of a log comes about, for the error that names the way out.
_WAYS_OUT = {
    "losses": "bank.record(ids, losses=...)",
    "predictions": "bank.record(ids, predictions=...)",
    "probabilities": "bank.record(ids, probabilities=...)",
    "features": "bank.record(ids, features=...)",
    "lr": "bank.end_epoch(lr=...)",
    "batches": "bank.record(ids, batches=...)",
    "second_view": "bank.record(ids, second_view=...)",
}


class Rule:
    """Frozen hyper-parameters that read a training log.

    A rule declares the columns it needs, ``class MySelector(Selector, needs=("losses",))``, and how
    many of the last epochs it reads; its representation shows what differs from the defaults.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, needs: tuple[str, ...] | None = None) -> None:
        super().__init_subclass__()
        unknown = [name for name in needs or () if name not in TrainingLog.__dataclass_fields__]
        if unknown:
            raise TypeError(
                f"{cls.__name__}: `needs` must name columns of TrainingLog, got {unknown[0]!r}."
            )
        if needs is not None:
            cls.needs = needs

    @property
    def history(self) -> int:
        """Number of last epochs that the rule reads at most: the least window of a memory bank."""
        return 1

    @property
    def probability_window(self) -> int:
        """Number of last epochs of which the rule reads class probabilities, of either view.

        `history` for a rule that needs them; one for a rule that does without.
        """
        return self.history if {"probabilities", "second_view"} & set(self.needs) else 1

    @property
    def summary(self) -> str:
        """What the rule does, in one sentence: the first line of the class's docstring."""
        return (inspect.getdoc(type(self)) or "").split("\n", 1)[0]

    def _usable(self, log: TrainingLog, peer: TrainingLog | None) -> BoolArray:
        """Return which samples have a valid record in the epochs read, or refuse the logs."""
        self._require(log)
        usable = log.valid_in_last(self.history)
        if peer is not None:
            self._require(peer)
            if not np.array_equal(log.epochs[-1:], peer.epochs[-1:]):
                raise ValueError(
                    f"`peer` must end with the same epoch as `log`, got {peer.epochs[-1:]} and "
                    f"{log.epochs[-1:]}. Cut the longer one with `until`."
                )
            if not (np.array_equal(log.ids, peer.ids) and np.array_equal(log.labels, peer.labels)):
                raise ValueError(
                    "`peer` must be the log of a second network over the same samples in the same "
                    "order, got other ids or labels."
                )
            usable = usable & peer.valid_in_last(self.history)
        return usable

    def _require(self, log: TrainingLog) -> None:
        if not isinstance(log, TrainingLog):
            raise TypeError(
                f"{type(self).__name__} needs a TrainingLog, got {type(log).__name__}. A "
                "MemoryBank hands one out: bank.log()."
            )
        for name in self.needs:
            if getattr(log, name) is None:
                raise MissingEvidenceError(
                    f"{type(self).__name__} needs `{name}`, but this log has only "
                    f"{', '.join(log.columns)}. Record it with {_WAYS_OUT[name]}, or pass "
                    f"`{name}=` to TrainingLog."
                )

    def __repr__(self) -> str:
        known: dict[str, Field[Any]] = getattr(self, "__dataclass_fields__", {})
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, field in known.items()
            if getattr(self, name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"
