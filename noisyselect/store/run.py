"""Read a run directory: every file is verified before it is believed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from noisyselect.arrays import AnyArray, IntArray
from noisyselect.errors import DamagedRunError, MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.store.columns import (
    Samples,
    read_epoch,
    read_features,
    read_neighbours,
    read_samples,
    read_truth,
    read_view,
)
from noisyselect.store.layout import (
    DYNAMICS,
    VIEWS,
    Header,
    Line,
    Lines,
    features_path,
    read_header,
    read_lines,
    readable_before,
    view_path,
)


class Run:
    """A run directory, opened for reading; made by `open_run`.

    Parquet files are read, and verified, when they are first asked for.

    Attributes
    ----------
    path : Path
    n_classes : int
    class_names : tuple of str, or None
    networks : tuple of str
    settings : dict
        Whatever the trainer recorded about itself.
    epochs : tuple of dict
        The lines of ``epochs.jsonl`` (epoch, lr, phase, metrics, files), up to the first damaged
        one.
    n_epochs : int
        Number of closed epochs, damaged ones included.
    files : tuple of str
        The files beside the epochs: samples, truth, features, neighbours, probabilities and
        second views.
    versions : dict
        Versions of what wrote the run, by name.
    """

    def __init__(self, path: Path, header: Header, lines: Lines) -> None:
        self.path = path
        self.n_classes = header.n_classes
        self.class_names = header.class_names
        self.networks = header.networks
        self.settings = header.settings
        self.epochs = tuple(line.text for line in lines.good)
        self.n_epochs = lines.n_lines
        self.files = tuple(header.files)
        self.versions = header.versions
        self._header = header
        self._lines = lines

    @property
    def ids(self) -> AnyArray:
        """Sample ids, integers or strings, shape (n_samples,).

        Raises
        ------
        DamagedRunError
            If ``samples.parquet`` is damaged.
        """
        return self._samples.ids

    @property
    def labels(self) -> IntArray:
        """Given labels, possibly wrong, in [0, n_classes), shape (n_samples,).

        Raises
        ------
        DamagedRunError
            If ``samples.parquet`` is damaged.
        """
        return self._samples.labels

    @cached_property
    def truth(self) -> IntArray | None:
        """True labels, shape (n_samples,), or None where they are not known.

        For metrics and reports; no selector is given them.

        Raises
        ------
        DamagedRunError
            If the file is damaged.
        """
        entry = self._header.files.get("truth.parquet")
        if entry is None:
            return None
        return read_truth(self.path, entry, self._samples)

    @property
    def neighbours(self) -> IntArray | None:
        """Row positions of the neighbours of each sample, shape (n_samples, k), if written.

        Nearest first; -1 for none.

        Raises
        ------
        DamagedRunError
            If the file is damaged.
        """
        entry = self._header.files.get("neighbours.parquet")
        return None if entry is None else read_neighbours(self.path, entry, self._samples)

    def log(
        self,
        network: str | None = None,
        until: int | None = None,
        last: int | None = None,
        probability_window: int | None = None,
    ) -> TrainingLog:
        """Return what one network has shown.

        Only the files of the epochs asked for are read: ``run.log(until=8, last=1)`` reads epoch 7.

        Parameters
        ----------
        network : str, optional
            By default the first of `networks`.
        until : int, optional
            Read the epochs before this number only; a damaged later epoch does no harm. By default
            all.
        last : int, optional
            Read so many of them only, the last ones, as ``log.last(n)`` would leave; a selector
            needs ``selector.history``. By default all.
        probability_window : int >= 0, optional
            Read the class probabilities, of either view, of so many of these epochs only, the last
            ones; a selector needs ``selector.probability_window``. By default all, which takes 4
            bytes per sample, class and epoch.

        Returns
        -------
        TrainingLog
            In the order of `ids`. A sample that an epoch lacks has the loss NaN and the prediction
            -1 there. A column is in the log when every epoch read has it. As in
            `TrainingLog.until`, features and neighbours are the latest whatever `until` says.

        Raises
        ------
        DamagedRunError
            If an epoch asked for, or any other file needed, is missing, truncated or altered.
        MissingEvidenceError
            If there is no closed epoch (before `until`).
        ValueError
            If the run has no such network, `last` is smaller than 1, or `probability_window` than
            0.

        Warns
        -----
        NonFiniteWarning
            If losses are NaN or infinite.
        """
        network = self._check_network(network)
        if last is not None and last < 1:
            raise ValueError(f"`last` must be at least 1 epoch, got {last!r}.")
        if probability_window is not None and probability_window < 0:
            raise ValueError(f"`probability_window` must be 0 or more, got {probability_window!r}.")
        stop = self.n_epochs if until is None else min(until, self.n_epochs)
        if stop < 1:
            limit = "" if until is None else f" before {until}"
            raise MissingEvidenceError(
                f"{self.path} has no closed epoch{limit}; it has {self.n_epochs} in all."
            )
        start = 0 if last is None else max(0, stop - last)
        lines = self._lines.until(stop)[start:]
        columns = self._dynamics(network, lines) | self._timeless(network)
        first = start if probability_window is None else max(start, stop - probability_window)
        columns |= self._views(network, first, stop)
        try:
            return TrainingLog(
                labels=self.labels,
                ids=self.ids,
                n_classes=self.n_classes,
                epochs=np.arange(start, stop),
                **columns,
            )
        except ValueError as error:
            raise DamagedRunError(f"{self.path}: {error}") from None

    def logs(
        self,
        network: str | None = None,
        until: int | None = None,
        last: int | None = None,
        probability_window: int | None = None,
    ) -> tuple[TrainingLog, TrainingLog | None]:
        """Return the log of one network and that of the next one, what `Selector.select` takes.

        Parameters
        ----------
        network, until, last, probability_window
            As `log` takes them.

        Returns
        -------
        log, peer : TrainingLog
            `peer` is None where there is one network only.

        Raises
        ------
        DamagedRunError, MissingEvidenceError, ValueError
            As `log` does.
        """
        network = self._check_network(network)
        log = self.log(network, until, last, probability_window)
        if len(self.networks) == 1:
            return log, None
        place = self.networks.index(network)
        peer = self.networks[(place + 1) % len(self.networks)]
        return log, self.log(peer, until, last, probability_window)

    def dynamics(self, epoch: int, network: str | None = None) -> dict[str, AnyArray]:
        """Return what one network has shown in one epoch, reading nothing else.

        Parameters
        ----------
        epoch : int
            Number of a closed epoch.
        network : str, optional
            By default the first of `networks`.

        Returns
        -------
        dict
            ``losses``, ``predictions``, ``confidences`` and ``batches``, each of shape (n_samples,)
            in the order of `ids`, as far as they were recorded.

        Raises
        ------
        DamagedRunError
            If the epoch, its line or an earlier line is damaged.
        ValueError
            If the run has no such network or closed epoch.
        """
        network = self._check_network(network)
        self._check_epoch(epoch)
        return self._epoch(network, self._lines.until(epoch + 1)[epoch])

    def views(self, epoch: int, last: int = 1, network: str | None = None) -> dict[str, AnyArray]:
        """Return class probabilities of the epochs up to and including one, reading nothing else.

        Parameters
        ----------
        epoch : int
            Number of a closed epoch.
        last : int >= 1, default=1
            Number of epochs, of which `epoch` is the last.
        network : str, optional
            By default the first of `networks`.

        Returns
        -------
        dict
            ``probabilities`` and ``second_view``, each of shape (last_epochs, n_samples, n_classes)
            in the order of `ids`, as far as `epoch` and those before it have them without a gap.

        Raises
        ------
        DamagedRunError
            If a file is damaged.
        ValueError
            If the run has no such network or closed epoch.
        """
        network = self._check_network(network)
        self._check_epoch(epoch)
        return self._views(network, max(0, epoch + 1 - last), epoch + 1)

    @cached_property
    def _samples(self) -> Samples:
        return read_samples(self.path, self._header)

    def _check_network(self, network: str | None) -> str:
        if network is None:
            return self.networks[0]
        if network not in self.networks:
            raise ValueError(
                f"`network` must be one of {', '.join(self.networks)}, got {network!r}."
            )
        return network

    def _check_epoch(self, epoch: int) -> None:
        if not 0 <= epoch < self.n_epochs:
            raise ValueError(
                f"`epoch` must be one of the {self.n_epochs} closed epochs, got {epoch!r}."
            )

    def _dynamics(self, network: str, lines: Sequence[Line]) -> dict[str, AnyArray]:
        epochs = [self._epoch(network, line) for line in lines]
        columns = {
            name: np.stack([epoch[name] for epoch in epochs])
            for name, _ in DYNAMICS.values()
            if all(name in epoch for epoch in epochs)
        }
        rates = [line.text["lr"] for line in lines]
        if None not in rates:
            columns["lr"] = np.array(rates, dtype=np.float64)
        columns["phases"] = np.array([line.text["phase"] for line in lines], dtype=np.str_)
        return columns

    def _epoch(self, network: str, line: Line) -> dict[str, AnyArray]:
        samples = self._samples
        try:
            return read_epoch(self.path, network, line, samples)
        except DamagedRunError as error:
            raise DamagedRunError(f"{error} {readable_before(line.text['epoch'])}") from None

    def _timeless(self, network: str) -> dict[str, AnyArray]:
        columns: dict[str, AnyArray] = {}
        features = self._header.files.get(features_path(network))
        if features is not None:
            columns["features"] = read_features(self.path, features, self._samples)
        neighbours = self.neighbours
        if neighbours is not None:
            columns["neighbours"] = neighbours
        return columns

    def _views(self, network: str, start: int, stop: int) -> dict[str, AnyArray]:
        columns: dict[str, AnyArray] = {}
        for view in VIEWS:
            epochs: list[AnyArray] = []
            # The log takes those of its last epochs only, without a gap.
            for epoch in reversed(range(start, stop)):
                entry = self._header.files.get(view_path(view, network, epoch))
                if entry is None:
                    break
                epochs.insert(0, read_view(self.path, entry, self._samples, view))
            if epochs:
                columns[view] = np.stack(epochs)
        return columns

    def __repr__(self) -> str:
        return (
            f"<Run {self.path}: {self.n_classes} classes, {self.n_epochs} epochs, "
            f"networks {', '.join(self.networks)}>"
        )


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run directory for reading.

    Reads ``run.json`` and ``epochs.jsonl`` alone, whatever the size of the run. Samples and epochs
    are read, and verified, when they are asked for.

    Parameters
    ----------
    path : path
        The directory that holds ``run.json``.

    Raises
    ------
    DamagedRunError
        If this is no run directory, is of another version, or ``run.json`` is truncated or
        altered, or ``epochs.jsonl`` is missing.
    """
    root = Path(path)
    return Run(root, read_header(root), read_lines(root))
