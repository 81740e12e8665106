"""TrainingLog: an immutable view of what one network has shown of every sample so far."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    AnyArray,
    BoolArray,
    FloatArray,
    IntArray,
    check_classes,
    check_shape,
    first,
    floats,
    integers,
    read_only,
    sample_ids,
    to_numpy,
)
from noisyselect.errors import MissingEvidenceError, NonFiniteWarning
from noisyselect.numeric.neighbours import find_neighbours
from noisyselect.numeric.ranks import Change, ChangeRanks

# Columns with one row per epoch.
_PER_EPOCH = ("losses", "predictions", "confidences", "batches", "lr", "phases", "epochs")
# Columns that may cover only the last epochs of the log.
_OF_LAST_EPOCHS = ("probabilities", "second_view")
_PER_SAMPLE = ("losses", "predictions", "confidences", "batches", *_OF_LAST_EPOCHS)
# One search at a time: it takes all cores, and a thread that waits may find its answer there.
_SEARCH = Lock()


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """What one network has shown of `n_samples` samples over `n_epochs` epochs.

    Selectors read nothing else. True labels are never in it. Every array is read-only, and
    `last`, `until` and `take` return new views. Arrays are not copied: do not write into yours
    afterwards.

    Parameters
    ----------
    labels : array of int in [0, n_classes), shape (n_samples,)
        Given labels, possibly wrong.
    losses : array of float, shape (n_epochs, n_samples), optional
        Cross-entropy of the given label in nats, best measured in evaluation mode without
        augmentation at the end of each epoch.
    predictions : array of int in [-1, n_classes), shape (n_epochs, n_samples), optional
        Predicted classes; -1 where none was recorded.
    probabilities : array of float, shape (last_epochs, n_samples, n_classes), optional
        Softmax outputs of the last epochs of the log.
    lr : array of float, shape (n_epochs,), optional
        Learning rate each epoch was trained with.
    features : array of float, shape (n_samples, n_features), optional
        Representation of each sample. It has no epochs: `until` leaves it as it is.
    neighbours : array of int in [-1, n_samples), shape (n_samples, k), optional
        Row positions of the nearest neighbours, nearest first, without the sample itself; -1 where
        there are fewer than k.
    ids : array of int or str, shape (n_samples,), optional
        Sample ids. By default 0, 1, ...
    n_classes : int, optional
        By default as many as `probabilities` has, else the largest label plus one.
    confidences : array of float, shape (n_epochs, n_samples), optional
        Probability of the predicted class.
    phases : array of str, shape (n_epochs,), optional
        Name of the phase of training, for example ``"warm-up"``.
    epochs : array of int, shape (n_epochs,), optional
        Number of each epoch. By default 0, 1, ...
    batches : array of int >= -1, shape (n_epochs, n_samples), optional
        Number of the mini-batch that the sample was trained in, counted anew each epoch; -1 where
        none was recorded. Rules of a mini-batch go by it.
    second_view : array of float, shape (last_epochs, n_samples, n_classes), optional
        Softmax outputs of a second augmented view, of the last epochs of the log.

    Raises
    ------
    ValueError
        If shapes disagree, a label is out of range or an id occurs twice.
    TypeError
        If labels, predictions or neighbours are not integers.

    Warns
    -----
    NonFiniteWarning
        If losses are NaN or infinite. They stay as they are and no selector selects these samples
        while the epochs that it reads contain one.

    Examples
    --------
    >>> log = TrainingLog(labels=[0, 1, 1], losses=[[0.7, 0.9, 0.8], [0.1, 0.2, 1.9]])
    >>> log
    <TrainingLog: 3 samples, 2 classes, 2 epochs; labels, losses, ids>
    >>> log.last(1).losses
    array([[0.1, 0.2, 1.9]])
    """

    labels: IntArray
    losses: FloatArray | None = None
    predictions: IntArray | None = None
    probabilities: FloatArray | None = None
    lr: FloatArray | None = None
    features: FloatArray | None = None
    neighbours: IntArray | None = None
    ids: AnyArray = None  # type: ignore[assignment]
    n_classes: int = None  # type: ignore[assignment]
    confidences: FloatArray | None = None
    phases: npt.NDArray[np.str_] | None = None
    epochs: IntArray = None  # type: ignore[assignment]
    batches: IntArray | None = None
    second_view: FloatArray | None = None
    # Whether every loss is finite and every prediction known; then nobody has to look again.
    _complete: bool = field(default=False, init=False, repr=False)
    # Neighbours found so far, by k; shared by all views with the same features.
    _found: dict[int, IntArray] = field(default_factory=dict, init=False, repr=False)
    # Ranks of loss changes; shared by all views of the same samples.
    _ranked: ChangeRanks = field(default_factory=ChangeRanks, init=False, repr=False)

    def __post_init__(self) -> None:
        labels = integers("labels", self.labels)
        check_shape("labels", labels, {"n_samples": None})
        if labels.size == 0:
            raise ValueError("`labels` must hold at least one sample, got none.")
        n_samples = labels.size
        columns: dict[str, AnyArray] = {
            "labels": labels,
            "ids": sample_ids(self.ids, n_samples),
        }
        for name, convert in (
            ("losses", floats),
            ("predictions", integers),
            ("confidences", floats),
            ("probabilities", floats),
            ("lr", floats),
            ("features", floats),
            ("neighbours", integers),
            ("batches", integers),
            ("second_view", floats),
        ):
            given = getattr(self, name)
            if given is not None:
                columns[name] = convert(name, given)
        if self.phases is not None:
            columns["phases"] = to_numpy(self.phases).astype(np.str_)

        n_epochs = _count_epochs(columns)
        columns["epochs"] = (
            np.arange(n_epochs) if self.epochs is None else integers("epochs", self.epochs)
        )
        n_classes = _count_classes(self.n_classes, columns)
        _check_columns(columns, n_samples, n_epochs, n_classes)
        for name, values in columns.items():
            object.__setattr__(self, name, read_only(values))
        object.__setattr__(self, "n_classes", n_classes)
        known = self.predictions is None or self.predictions.min(initial=0) >= 0
        object.__setattr__(self, "_complete", bool(_warn_non_finite(self) and known))

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.labels.size)

    @property
    def n_epochs(self) -> int:
        """Number of epochs in this log."""
        return int(self.epochs.size)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that this log has."""
        return tuple(
            name
            for name in TrainingLog.__dataclass_fields__
            if name not in ("n_classes", "epochs", "_complete", "_found", "_ranked")
            and getattr(self, name) is not None
        )

    @cached_property
    def valid(self) -> BoolArray:
        """Where the loss is finite and the prediction known, shape (n_epochs, n_samples)."""
        valid = np.ones((self.n_epochs, self.n_samples), dtype=bool)
        if self.losses is not None:
            valid &= np.isfinite(self.losses)
        if self.predictions is not None:
            valid &= self.predictions >= 0
        return valid

    def valid_in_last(self, n_epochs: int) -> BoolArray:
        """Return which samples have a valid record in all of the last epochs, see `valid`."""
        if self._complete:
            return np.broadcast_to(np.True_, self.n_samples)
        valid: BoolArray = np.logical_and.reduce(self.valid[-n_epochs:], axis=0)
        return valid

    def last(self, n_epochs: int) -> TrainingLog:
        """Return the log of the last `n_epochs` epochs, or of all where there are fewer."""
        if n_epochs < 1:
            raise ValueError(f"`n_epochs` must be at least 1, got {n_epochs!r}.")
        return self._slice_epochs(max(0, self.n_epochs - n_epochs), self.n_epochs)

    def until(self, epoch: int) -> TrainingLog:
        """Return the log of the epochs before `epoch`, as it stood when `epoch` began."""
        stop = int(np.searchsorted(self.epochs, epoch))
        if stop == 0:
            raise ValueError(
                f"No epoch before {epoch!r} in this log, which has {self._epoch_text()}."
            )
        return self._slice_epochs(0, stop)

    def take(self, rows: npt.ArrayLike) -> TrainingLog:
        """Return the log of the samples at these row positions, in this order.

        Neighbours that are not taken become -1.
        """
        index = np.arange(self.n_samples)[to_numpy(rows)]
        changes: dict[str, AnyArray] = {"labels": self.labels[index], "ids": self.ids[index]}
        for name in _PER_SAMPLE:
            values = getattr(self, name)
            if values is not None:
                changes[name] = values[:, index]
        if self.features is not None:
            changes["features"] = self.features[index]
        if self.neighbours is not None:
            # The extra last place is where -1 points to, so that "none" stays "none".
            position = np.full(self.n_samples + 1, -1)
            position[index] = np.arange(index.size)
            changes["neighbours"] = position[self.neighbours[index]]
        return self._with(changes)

    def nearest(self, k: int) -> IntArray:
        """Return the `k` nearest neighbours of every sample, shape (n_samples, at most k).

        The first columns of `neighbours` where the log has them, else cosine neighbours of
        `features`, searched for once in this log and its views: O(n_samples^2 n_features), and of
        more than 100,000 samples 95 % of them, sooner, see
        `noisyselect.numeric.neighbours.find_neighbours`. Fewer than were found before are the first
        of those, of which such a search misses the fewest.

        Raises
        ------
        MissingEvidenceError
            If the log has neither.
        """
        if self.neighbours is not None:
            return self.neighbours[:, :k]
        if self.features is None:
            raise MissingEvidenceError(
                f"Neighbours need `neighbours` or `features`, but this log has only "
                f"{', '.join(self.columns)}. Record bank.record(ids, features=...), give "
                "bank.set_neighbours(...), or pass either to TrainingLog."
            )
        with _SEARCH:
            if k not in self._found:
                wider = [found for n, found in self._found.items() if n > k]
                if wider:
                    # Copied: rows side by side are read faster than parts of long ones.
                    nearest = wider[0][:, :k].copy()
                else:
                    nearest = find_neighbours(self.features, k, "cosine").neighbours
                self._found[k] = read_only(nearest)
            return self._found[k]

    def rank_variance(self, window: int, change: Change = "signed") -> FloatArray:
        """Return how much the rank of each sample's loss change varies, shape (n_samples,).

        Over the last `window` changes; see `noisyselect.numeric.ranks.ChangeRanks`. With many
        samples each change is ranked once in this log, its views and later logs of the same bank.
        """
        assert self.losses is not None
        recent = slice(-(window + 1), None)
        return self._ranked.variance(self.losses[recent], self.epochs[recent], change)

    def with_probabilities(
        self,
        probabilities: npt.ArrayLike | None = None,
        second_view: npt.ArrayLike | None = None,
    ) -> TrainingLog:
        """Return this log with these class probabilities, of either view, in place of its own.

        For logs that cannot be held with those of all epochs: the bench reads what it asks for.

        Parameters
        ----------
        probabilities, second_view : array of float, optional
            Of the last epochs of this log, shape (last_epochs, n_samples, n_classes).

        Raises
        ------
        ValueError
            If a shape is not that.
        """
        given = {"probabilities": probabilities, "second_view": second_view}
        columns = {n: None if v is None else floats(n, v) for n, v in given.items()}
        for name, values in columns.items():
            if values is not None:
                _check_last_epochs(name, values, self.n_epochs, self.n_samples, self.n_classes)
        return self._with(columns)

    def sharing(self, found: dict[int, IntArray], ranked: ChangeRanks) -> TrainingLog:
        """Return this log with what is known already of the same features and losses.

        For a memory bank, whose logs would each search for neighbours, by k, and rank again.
        """
        view = self._with({})
        object.__setattr__(view, "_found", found)
        object.__setattr__(view, "_ranked", ranked)
        return view

    def _slice_epochs(self, start: int, stop: int) -> TrainingLog:
        changes: dict[str, AnyArray | None] = {}
        for name in _PER_EPOCH:
            values = getattr(self, name)
            if values is not None:
                changes[name] = values[start:stop]
        for name in _OF_LAST_EPOCHS:
            values = getattr(self, name)
            if values is not None:
                offset = self.n_epochs - len(values)
                kept = values[max(0, start - offset) : max(0, stop - offset)]
                changes[name] = kept if len(kept) else None
        return self._with(changes)

    def _with(self, changes: dict[str, AnyArray] | dict[str, AnyArray | None]) -> TrainingLog:
        # Parts of a checked log need no second check, and no second warning.
        view = object.__new__(TrainingLog)
        for name in TrainingLog.__dataclass_fields__:
            values = changes[name] if name in changes else getattr(self, name)
            if isinstance(values, np.ndarray):
                values = read_only(values)
            object.__setattr__(view, name, values)
        if "features" in changes:
            object.__setattr__(view, "_found", {})
        if "labels" in changes:
            object.__setattr__(view, "_ranked", ChangeRanks())
        return view

    def _epoch_text(self) -> str:
        if self.n_epochs == 0:
            return "no epochs"
        return f"epochs {self.epochs[0]} to {self.epochs[-1]}"

    def __repr__(self) -> str:
        def count(n: int, one: str, many: str) -> str:
            return f"{n} {one if n == 1 else many}"

        return (
            f"<TrainingLog: {count(self.n_samples, 'sample', 'samples')}, "
            f"{count(self.n_classes, 'class', 'classes')}, "
            f"{count(self.n_epochs, 'epoch', 'epochs')}; {', '.join(self.columns)}>"
        )


def _count_epochs(columns: dict[str, AnyArray]) -> int:
    for name in ("losses", "predictions", "confidences", "batches", "lr", "phases"):
        if name in columns and columns[name].ndim:
            return len(columns[name])
    return max(len(columns[name]) if name in columns else 0 for name in _OF_LAST_EPOCHS)


def _count_classes(given: int | None, columns: dict[str, AnyArray]) -> int:
    probabilities = columns.get("probabilities")
    if given is not None:
        return int(given)
    if probabilities is not None and probabilities.ndim == 3:
        return int(probabilities.shape[2])
    return int(columns["labels"].max()) + 1


def _check_columns(
    columns: dict[str, AnyArray], n_samples: int, n_epochs: int, n_classes: int
) -> None:
    for name in ("losses", "predictions", "confidences", "batches"):
        if name in columns:
            values = columns[name]
            hint = f"For a single epoch pass `{name}[None, :]`." if values.ndim == 1 else ""
            check_shape(name, values, {"n_epochs": n_epochs, "n_samples": n_samples}, hint)
    for name in ("lr", "phases", "epochs"):
        if name in columns:
            check_shape(name, columns[name], {"n_epochs": n_epochs})
    for name in _OF_LAST_EPOCHS:
        if name in columns:
            _check_last_epochs(name, columns[name], n_epochs, n_samples, n_classes)
    if "features" in columns:
        values = columns["features"]
        check_shape("features", values, {"n_samples": n_samples, "n_features": None})
        if not np.isfinite(values).all():
            raise ValueError("`features` must be finite: neighbours of NaN are undefined.")
    check_classes("labels", columns["labels"], n_classes)
    if "predictions" in columns:
        check_classes("predictions", columns["predictions"], n_classes, lowest=-1)
    if "batches" in columns and columns["batches"].min(initial=0) < -1:
        raise ValueError(f"`batches` must be -1 (none) or greater, got {columns['batches'].min()}.")
    if "neighbours" in columns:
        _check_neighbours(columns["neighbours"], n_samples)
    epochs = columns["epochs"]
    if np.any(epochs[1:] <= epochs[:-1]):
        raise ValueError("`epochs` must increase.")


def _check_last_epochs(
    name: str, values: AnyArray, n_epochs: int, n_samples: int, n_classes: int
) -> None:
    last = {"last_epochs": None, "n_samples": n_samples, "n_classes": n_classes}
    check_shape(name, values, last)
    if len(values) > n_epochs:
        raise ValueError(
            f"`{name}` must cover at most the {n_epochs} epochs of the log, got {len(values)}."
        )


def _check_neighbours(neighbours: IntArray, n_samples: int) -> None:
    check_shape("neighbours", neighbours, {"n_samples": n_samples, "k": None})
    if neighbours.size == 0:
        raise ValueError("`neighbours` must have at least one column, got none.")
    if neighbours.min() < -1 or neighbours.max() >= n_samples:
        raise ValueError(
            f"`neighbours` must hold row positions in [-1, n_samples) = [-1, {n_samples}), "
            f"got {neighbours.min()} to {neighbours.max()}."
        )
    own = (neighbours == np.arange(n_samples)[:, None]).any(axis=1)
    if own.any():
        raise ValueError(
            f"`neighbours` must not contain the sample itself, got {int(own.sum())} rows that do. "
            "Drop it by its position, not by its column: duplicates displace it."
        )


def _warn_non_finite(log: TrainingLog) -> bool:
    """Return whether all losses are finite, and warn if not."""
    if log.losses is None:
        return True
    finite = np.isfinite(log.losses)
    if finite.all():
        return True
    epochs, samples = np.nonzero(~finite)
    epoch, ids = log.epochs[epochs[0]], log.ids[samples[epochs == epochs[0]]]
    warnings.warn(
        f"`losses` has {epochs.size} non-finite values, the first at epoch {epoch}, ids "
        f"{first(ids)}. These samples are not selected while a selector reads that epoch.",
        NonFiniteWarning,
        stacklevel=4,
    )
    return False
