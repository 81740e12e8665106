"""MemoryBank: records batches by sample id, closes epochs, and hands out immutable logs."""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    AnyArray,
    BoolArray,
    FloatArray,
    IntArray,
    check_batches,
    check_classes,
    check_shape,
    first,
    floats,
    identifiers,
    integers,
    to_numpy,
)
from noisyselect.errors import NonFiniteWarning
from noisyselect.log import TrainingLog
from noisyselect.meeting import Bytes, check_alike, pack, several_processes, unpack
from noisyselect.numeric.largest import largest_of_rows
from noisyselect.numeric.ranks import ChangeRanks

# Version of `state_dict`.
_STATE_FORMAT = 1
# Columns of the last `probability_window` epochs alone.
_OF_LAST_EPOCHS = ("probabilities", "second_view")
# What stands for a sample that was not recorded; NaN in the other columns.
_UNSEEN = {"predictions": -1, "batches": -1, "features": 0}


class EpochSummary(NamedTuple):
    """What one closed epoch recorded.

    Attributes
    ----------
    epoch : int
        Number of the epoch.
    n_recorded : int
        Samples recorded at least once.
    n_duplicates : int
        Records replaced by another one of the same sample. Under distributed data parallel the
        sampler pads with duplicates, so some are normal there.
    n_missing : int
        Samples never recorded.
    n_non_finite : int
        Recorded samples whose loss is NaN or infinite.
    mean_loss : float
        Mean of the finite losses, in nats; NaN where there are none.
    """

    epoch: int
    n_recorded: int
    n_duplicates: int
    n_missing: int
    n_non_finite: int
    mean_loss: float


@dataclass
class _Epoch:
    """The columns of one epoch, in the order of the samples; absent until first recorded."""

    seen: BoolArray
    columns: dict[str, AnyArray] = field(default_factory=dict)
    n_records: int = 0


class MemoryBank:
    """Record what a network shows of each sample, batch by batch, keyed by sample id.

    Batches may come in any order and from numpy, torch (any device), JAX or lists; no framework is
    imported. Only closed epochs are in the log.

    Parameters
    ----------
    labels : array of int in [0, n_classes), shape (n_samples,)
        Given labels, possibly wrong.
    n_classes : int, optional
        By default the largest label plus one.
    ids : array of int or str, shape (n_samples,), optional
        Sample ids. By default 0, 1, ...: the position in the data set.
    window : int, optional
        Number of last epochs to keep; a selector needs ``selector.history`` of them. By default
        all. One epoch costs 4 bytes per sample for the losses, 4 for the batches, and 1 to 4 for
        the predictions.
    probability_window : int, default=1
        Number of last epochs whose class probabilities, of either view, are kept, at 4 bytes per
        sample and class; a selector needs ``selector.probability_window``.
    missing : {"error", "unlabelled"}, default="error"
        What `end_epoch` does about samples that were never recorded: refuse to close the epoch, or
        close it and leave them without a valid record, so that they are not selected. That is for
        epochs on subsets drawn at random; a loop that records only what it selected would never
        see the others again.
    gather : callable, optional
        For loops of several processes, of which each records its shard: `end_epoch` gives it what
        this one recorded, an array of bytes, and it returns those of all processes, in the same
        order in each. For torch.distributed that is `noisyselect.torch.AllRanks`. By default each
        process must record all samples itself.

    Raises
    ------
    ValueError
        If labels are out of range, ids not unique, or an option is unknown.

    Examples
    --------
    >>> bank = MemoryBank(labels=[0, 1, 1])
    >>> bank.record([2, 0], losses=[1.9, 0.1], predictions=[0, 0])
    >>> bank.record([1], losses=[0.2], predictions=[1])
    >>> bank.end_epoch(lr=0.1).n_recorded
    3
    >>> bank.log().losses
    array([[0.1, 0.2, 1.9]], dtype=float32)
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        n_classes: int | None = None,
        ids: npt.ArrayLike | None = None,
        *,
        window: int | None = None,
        probability_window: int = 1,
        missing: Literal["error", "unlabelled"] = "error",
        gather: Callable[[Bytes], Sequence[Bytes]] | None = None,
    ) -> None:
        if window is not None and window < 1:
            raise ValueError(f"`window` must be at least 1 epoch, got {window!r}.")
        if probability_window < 1:
            raise ValueError(
                f"`probability_window` must be at least 1 epoch, got {probability_window!r}."
            )
        if missing not in ("error", "unlabelled"):
            raise ValueError(f"`missing` must be 'error' or 'unlabelled', got {missing!r}.")
        # An empty log checks labels, classes and ids as every later log will.
        empty = TrainingLog(
            labels=to_numpy(labels).copy(),
            ids=None if ids is None else to_numpy(ids).copy(),  # type: ignore[arg-type]
            n_classes=n_classes,  # type: ignore[arg-type]
        )
        self.labels, self.ids, self.n_classes = empty.labels, empty.ids, empty.n_classes
        self.window, self.probability_window, self.missing = window, probability_window, missing
        self.gather = gather
        self._contiguous = ids is None or bool(
            np.issubdtype(self.ids.dtype, np.integer)
            and np.array_equal(self.ids, np.arange(self.ids.size))
        )
        self._closed: deque[_Epoch] = deque(maxlen=window)
        self._epochs: deque[tuple[int, float, str]] = deque(maxlen=window)
        self._features: FloatArray | None = None
        self._neighbours: IntArray | None = None
        # Where features are known, and the neighbours found on them, which all logs share.
        self._known = np.zeros(self.n_samples, dtype=bool)
        self._found: dict[int, IntArray] = {}
        self._ranked = ChangeRanks()
        self._next_epoch = 0
        self._open = self._new_epoch()

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.labels.size)

    @cached_property
    def _order(self) -> npt.NDArray[np.intp]:
        return np.argsort(self.ids, kind="stable")

    @cached_property
    def _sorted_ids(self) -> AnyArray:
        return self.ids[self._order]

    @property
    def epoch(self) -> int:
        """Number of the open epoch, which is the number of epochs closed so far."""
        return self._next_epoch

    def set_neighbours(self, neighbours: npt.ArrayLike) -> None:
        """Give every later log these neighbours, for example found once on pre-trained features.

        Parameters
        ----------
        neighbours : array of int in [-1, n_samples), shape (n_samples, k)
            Row positions, nearest first, without the sample itself. They are not part of
            `state_dict`: save them once and set them again.
        """
        given = integers("neighbours", neighbours).copy()
        checked = TrainingLog(labels=self.labels, neighbours=given)
        self._neighbours = checked.neighbours

    def record(
        self,
        ids: npt.ArrayLike,
        *,
        losses: npt.ArrayLike | None = None,
        predictions: npt.ArrayLike | None = None,
        confidences: npt.ArrayLike | None = None,
        probabilities: npt.ArrayLike | None = None,
        features: npt.ArrayLike | None = None,
        batches: npt.ArrayLike | None = None,
        second_view: npt.ArrayLike | None = None,
    ) -> None:
        """Record one batch of the open epoch; of several records of a sample the last one stays.

        Parameters
        ----------
        ids : array of int or str, shape (batch,)
            Sample ids.
        losses : array of float, shape (batch,), optional
            Cross-entropy of the given label per sample, in nats: not the mean of the batch. NaN
            and infinity are recorded; such samples are not selected.
        predictions : array of int, shape (batch,), optional
            Predicted classes. By default the largest of `probabilities`, where these are given.
        confidences : array of float, shape (batch,), optional
            Probability of the predicted class. By default the largest of `probabilities`.
        probabilities : array of float, shape (batch, n_classes), optional
            Softmax outputs.
        features : array of float, shape (batch, n_features), optional
            Representations. Only the latest are kept.
        batches : array of int in [-1, 2**31), shape (batch,), optional
            Number of the mini-batch that each sample was trained in, counted anew each epoch; -1
            for none. In a training loop ``np.full(len(ids), step)``.
        second_view : array of float, shape (batch, n_classes), optional
            Softmax outputs of a second augmented view.

        Raises
        ------
        ValueError
            If an id is unknown, a shape does not match `ids`, a prediction or batch is out of
            range, or the columns are not those of the earlier batches of the epoch.

        Examples
        --------
        Three samples in mini-batches of two:

        >>> bank = MemoryBank(labels=[0, 1, 1])
        >>> bank.record([2, 0], losses=[1.9, 0.1], batches=[0, 0])
        >>> bank.record([1], losses=[0.2], batches=[1])
        >>> bank.end_epoch().n_recorded
        3
        >>> bank.log().batches
        array([[0, 1, 0]], dtype=int32)
        """
        rows = self._rows(ids)
        per_sample: dict[str, int | None] = {"batch": rows.size}
        batch: dict[str, AnyArray] = {}
        if losses is not None:
            values = floats("losses", losses)
            hint = "Not a mean: use reduction='none'." if values.ndim == 0 else ""
            check_shape("losses", values, per_sample, hint)
            batch["losses"] = values
        if probabilities is not None:
            values = self._of_classes("probabilities", probabilities, rows.size)
            batch["probabilities"] = values
        if predictions is not None:
            classes = integers("predictions", predictions)
            check_shape("predictions", classes, per_sample)
            check_classes("predictions", classes, self.n_classes)
            batch["predictions"] = classes
        if confidences is not None:
            values = floats("confidences", confidences)
            check_shape("confidences", values, per_sample)
            batch["confidences"] = values
        if second_view is not None:
            batch["second_view"] = self._of_classes("second_view", second_view, rows.size)
        if batches is not None:
            numbers = integers("batches", batches)
            hint = "One number for all: np.full(len(ids), number)." if numbers.ndim == 0 else ""
            check_shape("batches", numbers, per_sample, hint)
            check_batches("batches", numbers)
            batch["batches"] = numbers
        if features is not None:
            values = floats("features", features)
            known = self._open.columns.get("features")
            width = None if known is None else known.shape[1]
            check_shape("features", values, {"batch": rows.size, "n_features": width})
            if not np.isfinite(values).all():
                raise ValueError("`features` must be finite: neighbours of NaN are undefined.")
            batch["features"] = values
        if not batch:
            raise ValueError(
                "`record` needs at least one of losses, predictions, ... beside `ids`."
            )
        self._write(self._open, rows, batch)

    def end_epoch(self, lr: float | None = None, phase: str = "") -> EpochSummary:
        """Close the open epoch, which makes it part of the log.

        With `gather` all processes must call this, and all of them get the same epoch. Where
        several recorded a sample, the record of the first of them stays: a distributed sampler
        pads the shards of the last ranks with samples of the first.

        Parameters
        ----------
        lr : float, optional
            Learning rate that the epoch was trained with.
        phase : str, default=""
            Name of the phase of training, for example ``"warm-up"``.

        Returns
        -------
        EpochSummary
            Counts of records, duplicates, missing and non-finite samples.

        Raises
        ------
        ValueError
            If nothing was recorded, or if samples are missing and ``missing="error"``; with
            `gather`, also if the processes have other labels, columns or epochs, in all of them.
            The epoch stays open: record the rest and close it again.
            Where torch.distributed joins several processes and there is no `gather`, missing
            samples are an error in any case.

        Warns
        -----
        NonFiniteWarning
            If losses are NaN or infinite, once for the epoch.
        """
        rate = np.nan if lr is None else float(lr)
        current = self._open if self.gather is None else self._of_all_processes(rate, phase)
        absent = self.ids[~current.seen]
        alone = self.gather is None and several_processes()
        if absent.size and (alone or self.missing == "error" or absent.size == self.n_samples):
            raise ValueError(self._lacks(absent, alone))
        if absent.size:
            for name, values in current.columns.items():
                values[~current.seen] = _UNSEEN.get(name, np.nan)
        summary = self._summarise(current, n_missing=absent.size)
        self._predict(current)
        self._keep_features(current)
        self._closed.append(current)
        self._epochs.append((self._next_epoch, rate, phase))
        for old in list(self._closed)[: -self.probability_window]:
            for name in _OF_LAST_EPOCHS:
                old.columns.pop(name, None)
        self._next_epoch += 1
        self._open = self._new_epoch()
        return summary

    def log(self) -> TrainingLog:
        """Return an immutable log of the closed epochs that the window keeps.

        A column is in the log when every kept epoch recorded it; of the probabilities, of either
        view, those of the last epochs that did, and of the features the latest, once every sample
        has some.

        Raises
        ------
        ValueError
            If no epoch is closed yet.
        """
        if not self._closed:
            raise ValueError("No epoch is closed yet: call `end_epoch` before `log`.")
        columns: dict[str, AnyArray] = {
            name: _stacked([epoch.columns[name] for epoch in self._closed])
            for name in ("losses", "predictions", "confidences", "batches")
            if all(name in epoch.columns for epoch in self._closed)
        }
        for name in _OF_LAST_EPOCHS:
            recent: list[AnyArray] = []
            for epoch in reversed(self._closed):
                if name not in epoch.columns:
                    break
                recent.insert(0, epoch.columns[name])
            if recent:
                columns[name] = _stacked(recent)
        if self._features is not None and self._known.all():
            columns["features"] = self._features
        if self._neighbours is not None:
            columns["neighbours"] = self._neighbours
        numbers, rates, phases = zip(*self._epochs, strict=True)
        columns["epochs"] = np.array(numbers)
        columns["phases"] = np.array(phases)
        if np.isfinite(rates).all():
            columns["lr"] = np.array(rates)
        # `end_epoch` has warned of non-finite losses, once; every later log would warn again.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NonFiniteWarning)
            log = TrainingLog(labels=self.labels, ids=self.ids, n_classes=self.n_classes, **columns)
        return log.sharing(self._found, self._ranked)

    def state_dict(self) -> dict[str, Any]:
        """Return everything recorded, the open epoch included, for a checkpoint.

        Returns
        -------
        dict
            ``"meta"`` holds plain numbers and strings, for JSON; ``"arrays"`` numeric arrays by
            name, for safetensors or ``numpy.savez``. Nothing needs pickle.
        """
        arrays: dict[str, AnyArray] = {
            "open.seen": self._open.seen.copy(),
            "known": self._known.copy(),
        }
        for number, epoch in self._numbered():
            for name, values in epoch.columns.items():
                arrays[f"{number}.{name}"] = copied = values.copy()
                if epoch is self._open:
                    copied[~epoch.seen] = _UNSEEN.get(name, np.nan)
        if self._features is not None:
            arrays["features"] = self._features.copy()
        meta = {
            "format": _STATE_FORMAT,
            "samples": self._fingerprint,
            "next_epoch": self._next_epoch,
            "epochs": [[number, repr(lr), phase] for number, lr, phase in self._epochs],
            "open_records": self._open.n_records,
        }
        return {"meta": meta, "arrays": arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, into a bank made with the same labels and ids.

        Raises
        ------
        ValueError
            If the state is of another format, or of other labels, ids or classes.
        """
        if not {"meta", "arrays"} <= set(state):
            raise ValueError(f"`state` must have the keys meta and arrays, got {sorted(state)}.")
        meta, arrays = state["meta"], state["arrays"]
        if meta.get("format") != _STATE_FORMAT:
            raise ValueError(
                f"`state` must have format {_STATE_FORMAT}, got {meta.get('format')!r}."
            )
        if meta["samples"] != self._fingerprint:
            raise ValueError(
                "`state` must be of a bank with the same labels, ids and n_classes: make the bank "
                "from the labels that were saved with the run."
            )
        self._next_epoch = meta["next_epoch"]
        self._epochs.clear()
        self._epochs.extend((number, float(lr), phase) for number, lr, phase in meta["epochs"])
        self._closed.clear()
        self._closed.extend(self._new_epoch() for _ in self._epochs)
        self._open = _Epoch(arrays["open.seen"].copy(), n_records=meta["open_records"])
        self._features = arrays["features"].copy() if "features" in arrays else None
        self._known, self._found = arrays["known"].copy(), {}
        self._ranked = ChangeRanks()
        for number, epoch in self._numbered():
            prefix = f"{number}."
            for name, values in arrays.items():
                if name.startswith(prefix) and name != "open.seen":
                    epoch.columns[name.removeprefix(prefix)] = values.copy()

    def _lacks(self, absent: AnyArray, alone: bool) -> str:
        """Say which samples the open epoch lacks, and what to do."""
        if alone:
            return (
                f"Epoch {self._next_epoch} lacks {absent.size} of {self.n_samples} samples, ids "
                f"{first(absent)}, in one of several processes, whose bank does not know of the "
                "others: MemoryBank(gather=noisyselect.torch.AllRanks()) closes an epoch over all "
                "of them."
            )
        if absent.size == self.n_samples:
            return f"Epoch {self._next_epoch} has no records: call `record` before it ends."
        return (
            f"Epoch {self._next_epoch} lacks {absent.size} of {self.n_samples} samples, ids "
            f"{first(absent)}. Record all samples every epoch, best in a pass of their own "
            "after training. MemoryBank(missing='unlabelled') does without, but what is not "
            "recorded is not selected: never record only what was selected before."
        )

    def _of_all_processes(self, lr: float, phase: str) -> _Epoch:
        """Return the open epoch as all processes recorded it."""
        assert self.gather is not None
        own = self._open
        rows = np.flatnonzero(own.seen)
        # A process without samples does not know the columns.
        columns = {name: values[rows] for name, values in own.columns.items()} if rows.size else {}
        shapes = {name: ("n", *values.shape[1:]) for name, values in columns.items()}
        alike = {
            "labels, ids and classes": self._fingerprint,
            "window": self.window or "all",
            "probability window": self.probability_window,
            "`missing`": self.missing,
            "number of the epoch": self._next_epoch,
            "lr": repr(lr),
            "phase": phase,
            "columns": str(dict(sorted(shapes.items()))) if shapes else None,
        }
        facts = {"n_records": own.n_records, "alike": alike}
        packed = pack(facts, {"rows": rows.astype(np.min_scalar_type(self.n_samples)), **columns})
        parts = [unpack(part) for part in self.gather(packed)]
        check_alike([said["alike"] for said, _ in parts])
        whole = self._new_epoch()
        for said, arrays in reversed(parts):
            rows = arrays.pop("rows")
            if rows.size:
                self._write(whole, rows, arrays)
            whole.n_records += said["n_records"] - rows.size
        return whole

    def _numbered(self) -> list[tuple[int | str, _Epoch]]:
        closed = [
            (entry[0], epoch) for entry, epoch in zip(self._epochs, self._closed, strict=True)
        ]
        return [*closed, ("open", self._open)]

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(self.labels.astype(np.int64).tobytes())
        digest.update("\0".join(str(item) for item in self.ids.tolist()).encode())
        return f"{self.n_classes}:{digest.hexdigest()}"

    def _predict(self, epoch: _Epoch) -> None:
        """Add the predictions and confidences that were left to the probabilities, all at once."""
        probabilities = epoch.columns.get("probabilities")
        if probabilities is None or {"predictions", "confidences"} <= set(epoch.columns):
            return
        largest = largest_of_rows(probabilities)
        predictions = largest.columns.astype(np.min_scalar_type(-self.n_classes))
        predictions[~epoch.seen] = _UNSEEN["predictions"]
        epoch.columns.setdefault("predictions", predictions)
        epoch.columns.setdefault("confidences", largest.values)

    def _keep_features(self, epoch: _Epoch) -> None:
        """Take over the features of a closed epoch; what it lacks stays as it was known before."""
        features = epoch.columns.pop("features", None)
        if features is None:
            return
        unseen = ~epoch.seen
        if self._features is not None and self._features.shape == features.shape:
            features[unseen] = self._features[unseen]
            self._known |= epoch.seen
        else:
            self._known = epoch.seen.copy()
        # A new array and a new dict: logs handed out before keep theirs.
        self._features, self._found = features, {}

    def _new_epoch(self) -> _Epoch:
        return _Epoch(seen=np.zeros(self.n_samples, dtype=bool))

    def _rows(self, ids: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the row of each id, refusing ids that the bank does not know."""
        wanted = to_numpy(ids)
        if wanted.ndim != 1:
            check_shape("ids", wanted, {"batch": None})
        if wanted.size == 0:
            return np.zeros(0, dtype=np.intp)
        if self._contiguous and wanted.dtype.kind in "iu":
            rows = wanted.astype(np.intp, copy=False)
            # Without its sign a negative number is a huge one: one look for both ends.
            if np.maximum.reduce(rows.view(np.uintp)) < self.n_samples:
                return rows
        wanted = identifiers(wanted)
        if self._contiguous:
            rows = integers("ids", wanted).astype(np.intp)
            known = (wanted >= 0) & (wanted < self.n_samples)
        else:
            place = np.searchsorted(self._sorted_ids, wanted).clip(max=self.n_samples - 1)
            known = self._sorted_ids[place] == wanted
            rows = self._order[place]
        if not known.all():
            unknown = wanted[~known]
            raise ValueError(
                f"`ids` must be ids of this bank, got {unknown.size} unknown: {first(unknown)}."
            )
        return rows

    def _of_classes(self, name: str, values: npt.ArrayLike, n_rows: int) -> FloatArray:
        """Return one number per row and class."""
        array = floats(name, values)
        if array.shape != (n_rows, self.n_classes):
            check_shape(name, array, {"batch": n_rows, "n_classes": self.n_classes})
        return array

    def _write(self, current: _Epoch, rows: IntArray, batch: dict[str, AnyArray]) -> None:
        if current.n_records and batch.keys() != current.columns.keys():
            raise ValueError(
                f"Every batch of an epoch must have the same columns: epoch {self._next_epoch} has "
                f"{sorted(current.columns)}, got {sorted(batch)}."
            )
        for name, values in batch.items():
            column = current.columns.get(name)
            if column is None:
                column = current.columns[name] = self._allocate(name, values)
            if values.ndim == 1:
                column[rows] = values
            elif values.size:
                _put_rows(column, rows, values)
        current.seen[rows] = True
        current.n_records += rows.size

    def _allocate(self, name: str, values: AnyArray) -> AnyArray:
        """Return room for a column, of which `_UNSEEN` fills what nobody has recorded."""
        dtype = {
            "predictions": np.min_scalar_type(-self.n_classes),
            "batches": np.dtype(np.int32),
        }.get(name, np.dtype(np.float32))
        return np.empty((self.n_samples, *values.shape[1:]), dtype=dtype)

    def _summarise(self, epoch: _Epoch, n_missing: int) -> EpochSummary:
        losses = epoch.columns.get("losses", np.zeros(0, dtype=np.float32))
        finite = np.isfinite(losses)
        bad = epoch.seen & ~finite if losses.size else np.zeros(0, dtype=bool)
        if bad.any():
            warnings.warn(
                f"Epoch {self._next_epoch} has {int(bad.sum())} non-finite losses, ids "
                f"{first(self.ids[bad])}. They are recorded, and these samples are not selected "
                "while a selector's window contains them.",
                NonFiniteWarning,
                stacklevel=3,
            )
        n_seen = int(epoch.seen.sum())
        return EpochSummary(
            epoch=self._next_epoch,
            n_recorded=n_seen,
            n_duplicates=epoch.n_records - n_seen,
            n_missing=n_missing,
            n_non_finite=int(bad.sum()),
            mean_loss=float(losses[finite].mean(dtype=np.float64))
            if finite.any()
            else float("nan"),
        )


def _put_rows(table: FloatArray, rows: IntArray, values: FloatArray) -> None:
    """Do ``table[rows] = values``, each row as one item, in less than half the time."""
    row = _row_of(table.itemsize * table.shape[1])
    table.view(row).put(rows, np.ascontiguousarray(values, dtype=table.dtype).view(row))


@cache
def _row_of(n_bytes: int) -> np.dtype[np.void]:
    return np.dtype((np.void, n_bytes))


def _stacked(epochs: list[AnyArray]) -> AnyArray:
    """Return the columns of closed epochs, which are never written to: of one epoch a view."""
    return np.stack(epochs) if len(epochs) > 1 else epochs[0][None]
