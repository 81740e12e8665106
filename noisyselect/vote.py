"""Vote: keep what enough of several selectors keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np

from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector


@dataclass(frozen=True, repr=False)
class Vote(Selector):
    r"""Keep the samples that at least so many of several selectors keep.

    The signs ``&`` and ``|`` for any number of selectors, and what lies between: all must agree, or
    one is enough, or a majority.

    Parameters
    ----------
    selectors : sequence of Selector
        At least one. Each has one vote.
    at_least : int or "majority", default="majority"
        Votes that keep a sample, from 1 to the number of selectors; ``"majority"`` is more than
        half of them.

    Raises
    ------
    ValueError
        If there is no selector, or `at_least` is out of range.
    TypeError
        If something else than selectors is given.
    MissingEvidenceError
        From `select`, if the log lacks what one of the selectors needs.

    Notes
    -----
    `score` and `trust` of a sample are the k-th largest among the selectors, with k votes needed,
    as the algebra of selections has them for its signs, with maximum and minimum. So the laws hold
    for whole selections: with n selectors ``at_least=1`` is ``f | g | ...``, ``at_least=n`` is
    ``f & g & ...``, the order of the selectors does not matter, and the complement of a vote of k
    is the vote of n - k + 1 of the complements.

    A sample without a valid record for one selector lacks its vote and may have the others'.

    Examples
    --------
    The second label has a large loss, but its neighbour and its probability speak for it.

    >>> from noisyselect import ConfidentMarginSelector, ENNCleaner, GMMSelector
    >>> log = TrainingLog(
    ...     labels=[0, 0, 1, 1],
    ...     losses=[[0.1, 2.0, 0.2, 2.3]],
    ...     neighbours=[[1], [0], [3], [1]],
    ...     probabilities=[[[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.9, 0.1]]],
    ... )
    >>> Vote([GMMSelector(), ENNCleaner(1), ConfidentMarginSelector()]).select(log).clean
    array([ True,  True,  True, False])
    """

    selectors: Sequence[Selector]
    at_least: int | Literal["majority"] = "majority"

    def __post_init__(self) -> None:
        object.__setattr__(self, "selectors", tuple(self.selectors))
        for selector in self.selectors:
            if not isinstance(selector, Selector):
                raise TypeError(f"`selectors` must be selectors, got {selector!r}.")
        n_selectors = len(self.selectors)
        if n_selectors == 0:
            raise ValueError("`selectors` must hold at least one selector, got none.")
        if self.at_least == "majority":
            return
        if not isinstance(self.at_least, Integral) or not 1 <= self.at_least <= n_selectors:
            raise ValueError(
                f"`at_least` must be 'majority' or from 1 to the number of selectors, "
                f"{n_selectors}, got {self.at_least!r}."
            )

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns that any of the rules needs."""
        return tuple(dict.fromkeys(name for each in self.selectors for name in each.needs))

    @property
    def probability_window(self) -> int:
        """Number of last epochs of which any rule reads class probabilities at most."""
        return max(selector.probability_window for selector in self.selectors)

    @property
    def history(self) -> int:
        """Number of last epochs that any of the rules reads at most."""
        return max(selector.history for selector in self.selectors)

    @property
    def votes_needed(self) -> int:
        """Number of votes that keep a sample."""
        return len(self.selectors) // 2 + 1 if self.at_least == "majority" else self.at_least

    def select(self, log: TrainingLog, peer: TrainingLog | None = None) -> Selection:
        """Let each selector decide, and count; see `Selector`."""
        return self._select(log, peer)

    def _select(self, log: TrainingLog, peer: TrainingLog | None) -> Selection:
        answers = [selector.select(log, peer) for selector in self.selectors]
        votes = np.sum([answer.clean for answer in answers], axis=0)
        place = -self.votes_needed
        return Selection(
            clean=votes >= self.votes_needed,
            score=np.sort([answer.score for answer in answers], axis=0)[place],
            trust=np.sort([answer.trust for answer in answers], axis=0)[place],
            ids=log.ids,
        )

    def __repr__(self) -> str:
        needed = "" if self.at_least == "majority" else f", at_least={self.at_least!r}"
        return f"Vote([{', '.join(map(repr, self.selectors))}]{needed})"
