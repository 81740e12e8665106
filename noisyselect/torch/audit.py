"""Which labels of a table look wrong, for people without a training loop of their own."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import (
    AnyArray,
    FloatArray,
    IntArray,
    check_shape,
    first,
    floats,
    read_only,
    sample_ids,
    to_numpy,
)
from noisyselect.errors import DegenerateWarning
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.confident_margin import ConfidentMarginSelector
from noisyselect.torch.held_out import HeldOut, held_out, standardised

if TYPE_CHECKING:
    from noisyselect.store import Run


@dataclass(frozen=True, eq=False)
class AuditResult:
    """Which labels look wrong, and what the networks showed.

    Attributes
    ----------
    classes : array of int or str, shape (n_classes,)
        The labels that occur, ascending; class c of the logs is ``classes[c]``.
    log_a, log_b : TrainingLog
        Of two networks: losses, predictions and confidences of every epoch, probabilities of the
        last one, all of samples that a network did not train on, and the standardised features.
    selection : Selection
        The verdict, in the order of the samples.
    suggested : array of int in [0, n_classes), shape (n_samples,)
        The likeliest class other than the given one, by both networks.
    settings : dict
        What the audit was made with.
    """

    classes: AnyArray
    log_a: TrainingLog
    log_b: TrainingLog
    selection: Selection
    suggested: IntArray
    settings: dict[str, Any]

    @property
    def suspicious(self) -> npt.NDArray[np.intp]:
        """Rows of the labels that are not trusted, the most suspicious first."""
        order = np.argsort(self.selection.score, kind="stable")
        return order[~self.selection.clean[order]]

    @property
    def ids(self) -> AnyArray:
        """Ids of the suspicious labels, the most suspicious first."""
        return self.selection.ids[self.suspicious]

    def write_run(
        self, path: str | os.PathLike[str], true_labels: npt.ArrayLike | None = None
    ) -> Run:
        """Write a run directory, on which every selector and report can be tried.

        Parameters
        ----------
        path : path
            Must not exist, or be an empty directory.
        true_labels : array of the kind of the labels, shape (n_samples,), optional
            For metrics and reports only.

        Returns
        -------
        Run

        Raises
        ------
        FileExistsError
            If something is there already.
        ValueError
            If a true label is none of `classes`.
        """
        from noisyselect.store import RunWriter, open_run

        writer = RunWriter.create(
            path,
            self.log_a.labels,
            n_classes=self.classes.size,
            ids=self.selection.ids,
            class_names=[str(name) for name in self.classes.tolist()],
            true_labels=None if true_labels is None else self.class_of(true_labels),
            networks=("a", "b"),
            settings=self.settings,
        )
        logs = {"a": self.log_a, "b": self.log_b}
        for epoch in range(self.log_a.n_epochs):
            columns = ("losses", "predictions", "confidences")
            writer.write_epoch(
                {
                    network: {name: getattr(log, name)[epoch] for name in columns}
                    for network, log in logs.items()
                },
                lr=self.settings["lr"],
                phase="held out",
            )
        for network, log in logs.items():
            assert log.probabilities is not None and log.features is not None
            writer.write_probabilities(network, log.n_epochs - 1, log.probabilities[-1])
            writer.write_features(network, log.features)
        return open_run(path)

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the suspicious labels as a table of id, label, suggested, score and reason.

        The most suspicious stand first; a score is the lower, the more suspicious.
        """
        from noisyselect.store.files import write_file

        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["id", "label", "suggested", "score", "reason"])
        rows = self.suspicious
        table.writerows(
            zip(
                self.ids.tolist(),
                self.classes[self.log_a.labels[rows]].tolist(),
                self.classes[self.suggested[rows]].tolist(),
                self.selection.score[rows].tolist(),
                self.selection.reason[rows].tolist(),
                strict=True,
            )
        )
        out = Path(path)
        write_file(out.parent, out.name, text.getvalue().encode())

    def class_of(self, labels: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the class of each label, as the logs number them.

        Raises
        ------
        ValueError
            If a label is none of `classes`.
        """
        values = _label_values("labels", labels)
        unknown = np.setdiff1d(values, self.classes)
        if unknown.size:
            raise ValueError(
                f"`labels` must be among the {self.classes.size} classes that the given labels "
                f"name, got {unknown.size} others: {first(unknown)}."
            )
        return np.searchsorted(self.classes, values)

    def __repr__(self) -> str:
        n_samples = self.selection.clean.size
        return f"<AuditResult: {self.suspicious.size} of {n_samples} labels suspicious>"


def audit(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    ids: npt.ArrayLike | None = None,
    selector: Selector | None = None,
    n_folds: int = 5,
    n_restarts: int = 2,
    max_epochs: int = 100,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
) -> AuditResult:
    r"""Find the labels that look wrong, from features and labels alone.

    Small networks (`SmallMLP`) learn the labels in cross-validation, so that each label is judged
    by networks that did not train on it.

    Parameters
    ----------
    features : array of real numbers, shape (n_samples, n_features)
        Finite. They are standardised.
    labels : array of int or str, shape (n_samples,)
        Given labels, possibly wrong; any values, at least two different ones.
    ids : array of int or str, shape (n_samples,), optional
        By default the row numbers from 0.
    selector : Selector, optional
        Gives the verdict, from the log of network a with b as its peer. By default
        `ConfidentMarginSelector`.
    n_folds : int >= 2, default=5
        At most as many as there are different rows.
    n_restarts : int >= 1, default=2
        Trainings for each of the two networks, each with folds of its own; ``2 * n_restarts *
        n_folds`` networks in all.
    max_epochs : int >= 1, default=100
        Training ends once the held-out loss has not fallen for 3 epochs, but not before the 6th.
    seed : int >= 0, default=0
    on_epoch : callable, optional
        Called after each epoch with its number, from 0, and the held-out loss in nats.

    Returns
    -------
    AuditResult

    Raises
    ------
    ValueError
        If a shape is wrong, features are not finite or all constant, or there is a single class.
    TypeError
        If features are no numbers, or labels neither integers nor strings.

    Warns
    -----
    DegenerateWarning
        If classes have fewer samples than there are folds, so that networks judge them that have
        seen few of them, or none: a label that stands once is suspicious unless they have no idea
        of the sample. If the networks predict held-out labels no better than the shares of the
        classes do.

    Notes
    -----
    Rows with equal features are left out together. The log ends with the epoch of the smallest mean
    held-out loss of the given labels, when the networks begin to fit wrong ones; no true label is
    needed for that. Losses are :math:`-\log \bar p_{y_i}`, where the mean is over the restarts of
    a network.

    Another order of the samples and other names of the classes change no loss and no prediction,
    bit for bit: folds and batches are drawn in an order that the features define. So it is with one
    thread (``torch.set_num_threads(1)``), which is also the fastest for small tables.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 2)) + np.repeat([[0, 0], [9, 9]], 30, axis=0)
    >>> y = np.repeat(["left", "right"], 30)
    >>> y[3] = "right"
    >>> audit(X, y).ids
    array([3])
    """
    given, names = _checked(features, labels)
    for name, value, least in (
        *(("n_folds", n_folds, 2), ("n_restarts", n_restarts, 1)),
        *(("max_epochs", max_epochs, 1), ("seed", seed, 0)),
    ):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
    keys = sample_ids(ids, names.size)
    classes, numbers = np.unique(names, return_inverse=True)
    if classes.size < 2:
        raise ValueError(
            f"`labels` must name at least two classes, got {first(classes)} alone: there is "
            "nothing to tell apart."
        )
    scaled, constant = standardised(given)
    if constant.all():
        raise ValueError("`features` must vary from sample to sample, got constant ones alone.")
    n_folds = min(n_folds, len(np.unique(scaled, axis=0)))
    counts = np.bincount(numbers)
    _warn_of_small_classes(classes, counts, n_folds)
    shown = held_out(
        scaled,
        numbers,
        classes.size,
        n_folds=n_folds,
        n_restarts=n_restarts,
        max_epochs=max_epochs,
        seed=seed,
        on_epoch=on_epoch,
    )
    log_a, log_b = (_log(shown, network, numbers, keys, scaled) for network in (0, 1))
    _warn_if_nothing_was_learnt(log_a, log_b, counts)
    rule = ConfidentMarginSelector() if selector is None else selector
    return AuditResult(
        classes=read_only(classes),
        log_a=log_a,
        log_b=log_b,
        selection=rule.select(log_a, log_b),
        suggested=read_only(_likeliest_other(shown.probabilities.mean(axis=0), numbers)),
        settings={
            "audit": repr(rule),
            "n_folds": n_folds,
            "n_restarts": n_restarts,
            "max_epochs": max_epochs,
            "seed": seed,
            "lr": shown.lr,
        },
    )


def _checked(features: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[FloatArray, AnyArray]:
    """Return features as floats and labels as integers or strings, or refuse them."""
    given = floats("features", features)
    flat = "Flatten images: features.reshape(len(features), -1)." if given.ndim > 2 else ""
    check_shape("features", given, {"n_samples": None, "n_features": None}, flat)
    names = _label_values("labels", labels)
    check_shape("labels", names, {"n_samples": len(given)}, "It must match `features`.")
    rows, columns = np.nonzero(~np.isfinite(given))
    if rows.size:
        raise ValueError(
            f"`features` must be finite, got {rows.size} that are not, in the columns "
            f"{first(np.unique(columns))} and the rows {first(np.unique(rows))}. Fill them in or "
            "leave these rows out."
        )
    return given, names


def _label_values(name: str, labels: npt.ArrayLike) -> AnyArray:
    values = to_numpy(labels)
    if values.dtype.kind == "O" and all(isinstance(item, str) for item in values.flat):
        values = values.astype(np.str_)
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind not in "iuU":
        raise TypeError(f"`{name}` must hold integers or strings, got dtype {values.dtype}.")
    return values


def _warn_of_small_classes(classes: AnyArray, counts: IntArray, n_folds: int) -> None:
    small = classes[counts < n_folds]
    if small.size:
        warnings.warn(
            f"audit: {small.size} of {classes.size} classes have fewer samples than the {n_folds} "
            f"folds, and are judged by networks that have seen few of them or none: {first(small)}."
            " Look at these labels yourself, or give fewer folds.",
            DegenerateWarning,
            stacklevel=3,
        )


def _warn_if_nothing_was_learnt(log_a: TrainingLog, log_b: TrainingLog, counts: IntArray) -> None:
    assert log_a.losses is not None and log_b.losses is not None
    shares = counts / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    loss = float(log_a.losses[-1].mean(dtype=float) + log_b.losses[-1].mean(dtype=float)) / 2
    if loss >= entropy:
        warnings.warn(
            f"audit: the networks predict held-out labels no better than the shares of the classes "
            f"do (loss {loss:.2f} against {entropy:.2f} nats). The features say little about the "
            "labels, or the samples are too few; do not rely on the answer.",
            DegenerateWarning,
            stacklevel=3,
        )


def _log(
    shown: HeldOut, network: int, labels: IntArray, ids: AnyArray, features: FloatArray
) -> TrainingLog:
    return TrainingLog(
        labels=labels,
        losses=np.stack([epoch.losses[network] for epoch in shown.epochs]),
        predictions=np.stack([epoch.predictions[network] for epoch in shown.epochs]),
        confidences=np.stack([epoch.confidences[network] for epoch in shown.epochs]),
        probabilities=shown.probabilities[None, network],
        lr=np.full(len(shown.epochs), shown.lr),
        features=features,
        ids=ids,
    )


def _likeliest_other(probabilities: FloatArray, labels: IntArray) -> npt.NDArray[np.intp]:
    others = probabilities.copy()
    others[np.arange(labels.size), labels] = -1
    likeliest: npt.NDArray[np.intp] = others.argmax(axis=1)
    return likeliest
