"""Selection: which labels to trust, as an immutable value with the algebra of sets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    AnyArray,
    BoolArray,
    FloatArray,
    IntArray,
    check_shape,
    first,
    floats,
    frozen,
    integers,
    is_frozen,
    read_only,
    sample_ids,
    to_numpy,
)
from noisyselect.numeric.blocks import blocks


def _within(values: FloatArray, top: float) -> bool:
    """Return whether all values lie in [0, top]; NaN does not."""
    return all(
        values[block].min() >= 0 and values[block].max() <= top for block in blocks(values.size)
    )


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return a == b


@dataclass(frozen=True, eq=False)
class MixupRecipes:
    """How to make synthetic samples, ``lam * x[anchor] + (1 - lam) * x[partner]``: no pixels.

    Parameters
    ----------
    anchors, partners : array of shape (n_synthetic,)
        Sample ids of both parents.
    lam : array of float in [0, 1], shape (n_synthetic,)
        Share of the anchor.
    labels : array of int, shape (n_synthetic,)
        Label of the synthetic sample.
    """

    anchors: AnyArray
    partners: AnyArray
    lam: FloatArray
    labels: IntArray

    def __post_init__(self) -> None:
        columns: dict[str, AnyArray] = {
            "anchors": to_numpy(self.anchors),
            "partners": to_numpy(self.partners),
            "lam": floats("lam", self.lam),
            "labels": integers("labels", self.labels),
        }
        for name, values in columns.items():
            check_shape(name, values, {"n_synthetic": columns["anchors"].size})
            object.__setattr__(self, name, read_only(values.copy()))
        if not ((self.lam >= 0) & (self.lam <= 1)).all():  # NaN fails too
            raise ValueError("`lam` must lie in [0, 1].")

    def __len__(self) -> int:
        return int(self.anchors.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MixupRecipes):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<MixupRecipes: {len(self)} synthetic samples>"


class Reasons(NamedTuple):
    """A few reasons, and which of them each sample has: one byte per sample instead of a text.

    Attributes
    ----------
    codes : array of unsigned int, shape (n_samples,)
        Position of the sample's reason in `names`.
    names : tuple of str

    Examples
    --------
    >>> Reasons.either(np.array([True, False]), "small loss", "large loss").spelled_out()
    array(['small loss', 'large loss'], dtype='<U10')
    """

    codes: npt.NDArray[np.unsignedinteger[Any]]
    names: tuple[str, ...]

    @classmethod
    def either(cls, clean: BoolArray, kept: str, dropped: str) -> Reasons:
        """Return one reason for the clean samples and one for the others."""
        return cls(clean.astype(np.uint8), (dropped, kept))

    def spelled_out(self) -> npt.NDArray[np.str_]:
        """Return the reason of each sample, shape (n_samples,)."""
        spelled: npt.NDArray[np.str_] = np.array(self.names)[self.codes]
        return spelled


class _ReasonColumn:
    """`Selection.reason`: text to its readers, whatever it was given as."""

    def __get__(self, selection: Selection | None, owner: type) -> npt.NDArray[np.str_]:
        if selection is None:
            return None  # type: ignore[return-value]  # the default of the field
        kept: Reasons | npt.NDArray[np.str_] = selection.__dict__["_reason"]
        if isinstance(kept, Reasons):
            kept = kept.spelled_out()
            kept.flags.writeable = False
        return kept

    def __set__(self, selection: Selection, given: Reasons | npt.NDArray[np.str_] | None) -> None:
        selection.__dict__["_reason"] = given


@dataclass(frozen=True, eq=False)
class Selection:
    r"""Which samples carry a label worth trusting, and how much.

    An immutable value; arrays that can still be written to are copied. ``a & b``, ``a | b``,
    ``a - b``, ``a ^ b`` and ``~a`` combine selections of the same samples as fuzzy sets do: masks
    by the Boolean operation, `score` and `trust` by minimum, maximum and ``1 - s``. So
    commutativity, associativity, idempotence, absorption and De Morgan's laws hold for the scores
    as they do for the masks. ``len(a)`` counts the clean samples, ``i in a`` asks for an id,
    ``a <= b`` means that every sample of `a` is in `b`, and ``a == b`` compares everything, weights
    and recipes included.

    `weights`, `reason`, `synthetic` and `unlabelled_mask` say how one method wants *its* selection
    trained on; they mean nothing for a combination and fall back to their defaults there.

    Parameters
    ----------
    clean : array of bool, shape (n_samples,)
        True where the given label is to be trusted.
    score : array of float in [0, 1], shape (n_samples,), optional
        Higher is cleaner. By default 1 where clean, else 0.
    ids : array of int or str, shape (n_samples,), optional
        Sample ids. By default 0, 1, ...
    trust : array of float in [0, 1], shape (n_samples,), optional
        Weight :math:`w` of the given label in label refinement, :math:`w y + (1-w) p`. By default
        1 where clean, else 0.
    weights : array of float >= 0, shape (n_samples,), optional
        Loss weight of each sample. By default 1 where clean, else 0.
    reason : array of str, shape (n_samples,), or Reasons, optional
        The rule that kept or dropped each sample, an array of str when read. By default
        ``"kept"`` and ``"dropped"``.
    synthetic : MixupRecipes, optional
        Samples to be made from pairs of real ones.
    unlabelled_mask : array of bool, shape (n_samples,), optional
        Samples to be used without their label. By default those not clean.

    Raises
    ------
    ValueError
        If shapes disagree or a score, trust or weight lies outside its range.

    Examples
    --------
    >>> small_loss = Selection(clean=[True, True, False], score=[0.9, 0.8, 0.1])
    >>> stable = Selection(clean=[True, False, False], score=[0.7, 0.2, 0.3])
    >>> (small_loss & stable).labelled
    array([0])
    >>> (small_loss - stable).score
    array([0.3, 0.8, 0.1])
    >>> ~(small_loss & stable) == ~small_loss | ~stable
    True
    """

    clean: BoolArray
    score: FloatArray = None  # type: ignore[assignment]
    ids: AnyArray = None  # type: ignore[assignment]
    trust: FloatArray = None  # type: ignore[assignment]
    weights: FloatArray = None  # type: ignore[assignment]
    reason: _ReasonColumn = _ReasonColumn()
    synthetic: MixupRecipes | None = None
    unlabelled_mask: BoolArray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        clean = to_numpy(self.clean)
        if clean.dtype != np.bool_:
            raise TypeError(f"`clean` must be a mask of bools, got dtype {clean.dtype}.")
        check_shape("clean", clean, {"n_samples": None})
        n_samples = {"n_samples": clean.size}

        def column(name: str, given: Any, dtype: Any) -> AnyArray:
            values = to_numpy(given)
            check_shape(name, values, n_samples, "It must match `clean`.")
            # A copy, for a value must not change when the caller's array does.
            same = values.dtype == dtype and is_frozen(values)
            return values if same else frozen(values.astype(dtype))

        reason: Any = self.__dict__["_reason"]
        if reason is None:
            reason = Reasons.either(clean, "kept", "dropped")
        elif isinstance(reason, Reasons):
            reason = reason._replace(codes=column("reason", reason.codes, reason.codes.dtype))
        else:
            reason = column("reason", reason, np.str_)
        unlabelled = ~clean if self.unlabelled_mask is None else self.unlabelled_mask
        values: dict[str, AnyArray] = {
            "clean": column("clean", clean, np.bool_),
            "ids": read_only(sample_ids(self.ids, clean.size)),
            "unlabelled_mask": column("unlabelled_mask", unlabelled, np.bool_),
        }
        for name, top in (("score", 1.0), ("trust", 1.0), ("weights", np.inf)):
            given = getattr(self, name)
            values[name] = column(name, clean if given is None else given, np.float64)
            if not _within(values[name], top):
                raise ValueError(f"`{name}` must lie in [0, {top:g}] and be finite.")
        if np.isinf(values["weights"].max(initial=0.0)):
            raise ValueError("`weights` must be finite.")
        for name, array in {**values, "reason": reason}.items():
            object.__setattr__(self, name, array)

    @property
    def labelled(self) -> AnyArray:
        """Ids of the samples to train on with their given label, shape (n_clean,)."""
        return self.ids[self.clean]

    @property
    def unlabelled(self) -> AnyArray:
        """Ids of the samples to train on without their label, shape (n_unlabelled,)."""
        return self.ids[self.unlabelled_mask]

    @property
    def reasons(self) -> Reasons:
        """`reason` as codes and names."""
        kept = self.__dict__["_reason"]
        if isinstance(kept, Reasons):
            return kept
        names, codes = np.unique(kept, return_inverse=True)
        return Reasons(codes.astype(np.min_scalar_type(names.size)), tuple(names.tolist()))

    def over(self, ids: AnyArray) -> Selection:
        """Return this selection with the ids of a log, which has checked them. Copies nothing."""
        if self.clean.size != ids.size:
            raise ValueError(f"A selection of {self.clean.size} samples has no {ids.size} ids.")
        renamed = object.__new__(Selection)
        renamed.__dict__.update(self.__dict__, ids=read_only(ids))
        return renamed

    def __len__(self) -> int:
        return int(np.count_nonzero(self.clean))

    def __bool__(self) -> bool:
        raise TypeError("A selection is neither true nor false: ask for len(selection) > 0.")

    def rows(self, ids: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the row of each id: `weights`, `trust` and the other columns are by row.

        Parameters
        ----------
        ids : array of int or str, shape (n,)
            For example of a batch.

        Raises
        ------
        ValueError
            If an id is not one of this selection.
        """
        wanted = to_numpy(ids)
        order = np.argsort(self.ids, kind="stable")
        place = np.searchsorted(self.ids, wanted, sorter=order).clip(max=self.ids.size - 1)
        rows: npt.NDArray[np.intp] = order[place]
        unknown = wanted[self.ids[rows] != wanted]
        if unknown.size:
            raise ValueError(
                f"`ids` must be of this selection, got {unknown.size} unknown: {first(unknown)}."
            )
        return rows

    def __contains__(self, sample_id: object) -> bool:
        return bool(np.any(self.labelled == sample_id))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _check_same_samples(self, other: Selection) -> None:
        if not np.array_equal(self.ids, other.ids):
            raise ValueError(
                "Selections combine only over the same samples in the same order, got "
                f"{self.ids.size} and {other.ids.size} ids that differ. Select both from one log."
            )

    def __and__(self, other: Selection) -> Selection:
        if not isinstance(other, Selection):
            return NotImplemented
        self._check_same_samples(other)
        return Selection(
            clean=self.clean & other.clean,
            score=np.minimum(self.score, other.score),
            trust=np.minimum(self.trust, other.trust),
            ids=self.ids,
        )

    def __or__(self, other: Selection) -> Selection:
        if not isinstance(other, Selection):
            return NotImplemented
        self._check_same_samples(other)
        return Selection(
            clean=self.clean | other.clean,
            score=np.maximum(self.score, other.score),
            trust=np.maximum(self.trust, other.trust),
            ids=self.ids,
        )

    def __invert__(self) -> Selection:
        return Selection(
            clean=~self.clean, score=1 - self.score, trust=1 - self.trust, ids=self.ids
        )

    def __sub__(self, other: Selection) -> Selection:
        if not isinstance(other, Selection):
            return NotImplemented
        return self & ~other

    def __xor__(self, other: Selection) -> Selection:
        if not isinstance(other, Selection):
            return NotImplemented
        return (self - other) | (other - self)

    def __le__(self, other: Selection) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        self._check_same_samples(other)
        return bool((~self.clean | other.clean).all())

    def __lt__(self, other: Selection) -> bool:
        if not isinstance(other, Selection):
            return NotImplemented
        return self <= other and len(self) < len(other)

    def __repr__(self) -> str:
        synthetic = f", {len(self.synthetic)} synthetic" if self.synthetic is not None else ""
        return f"<Selection: {len(self)} of {self.clean.size} clean{synthetic}>"
