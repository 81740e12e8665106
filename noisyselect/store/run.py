"""Read a run directory: every file is verified before it is believed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyselect.arrays import (
    AnyArray,
    FloatArray,
    IntArray,
)
from noisyselect.errors import DamagedRunError, MissingEvidenceError
from noisyselect.log import TrainingLog
from noisyselect.store.files import Entry, read_table
from noisyselect.store.layout import (
    DYNAMICS,
    Header,
    Line,
    Lines,
    Samples,
    checked_classes,
    features_path,
    in_sample_order,
    list_column,
    number_column,
    probabilities_path,
    read_header,
    read_lines,
    read_samples,
    readable_before,
    sample_rows,
)


class Run:
    """A run directory, opened for reading; made by `open_run`.

    Attributes
    ----------
    path : Path
    ids : array of int or str, shape (n_samples,)
    labels : array of int in [0, n_classes), shape (n_samples,)
        Given labels, possibly wrong.
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
        The files beside the epochs: samples, truth, features, neighbours, probabilities.
    versions : dict
        Versions of what wrote the run, by name.
    """

    def __init__(self, path: Path, header: Header, samples: Samples, lines: Lines) -> None:
        self.path = path
        self.ids = samples.ids
        self.labels = samples.labels
        self.n_classes = header.n_classes
        self.class_names = header.class_names
        self.networks = header.networks
        self.settings = header.settings
        self.epochs = tuple(line.text for line in lines.good)
        self.n_epochs = lines.n_lines
        self.files = tuple(header.files)
        self.versions = header.versions
        self._header = header
        self._samples = samples
        self._lines = lines

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
        where = self.path / entry.path
        table = read_table(self.path, entry, ["id", "true_label"])
        values = number_column(where, table, "true_label", -1)
        rows = sample_rows(self._samples, where, table, complete=True)
        spread = in_sample_order(self._samples, rows, values, -1)
        return checked_classes(where, "true_label", spread, self.n_classes, lowest=0)

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
        return None if entry is None else self._neighbours(entry)

    def log(self, network: str | None = None, until: int | None = None) -> TrainingLog:
        """Return what one network has shown.

        Parameters
        ----------
        network : str, optional
            By default the first of `networks`.
        until : int, optional
            Read the epochs before this number only; a damaged later epoch does no harm. By default
            all.

        Returns
        -------
        TrainingLog
            In the order of `ids`. A sample that an epoch lacks has the loss NaN and the prediction
            -1 there. A column is in the log when every epoch has it. As in `TrainingLog.until`,
            features and neighbours are the latest whatever `until` says.

        Raises
        ------
        DamagedRunError
            If an epoch asked for, or any other file needed, is missing, truncated or altered.
        MissingEvidenceError
            If there is no closed epoch (before `until`).
        ValueError
            If the run has no such network.

        Warns
        -----
        NonFiniteWarning
            If losses are NaN or infinite.
        """
        network = self.networks[0] if network is None else network
        if network not in self.networks:
            raise ValueError(
                f"`network` must be one of {', '.join(self.networks)}, got {network!r}."
            )
        stop = self.n_epochs if until is None else min(until, self.n_epochs)
        if stop < 1:
            limit = "" if until is None else f" before {until}"
            raise MissingEvidenceError(
                f"{self.path} has no closed epoch{limit}; it has {self.n_epochs} in all."
            )
        lines = self._lines.until(stop)
        columns = self._dynamics(network, lines) | self._extras(network, stop)
        columns["phases"] = np.array([line.text["phase"] for line in lines], dtype=np.str_)
        try:
            return TrainingLog(
                labels=self.labels, ids=self.ids, n_classes=self.n_classes, **columns
            )
        except ValueError as error:
            raise DamagedRunError(f"{self.path}: {error}") from None

    def logs(
        self, network: str | None = None, until: int | None = None
    ) -> tuple[TrainingLog, TrainingLog | None]:
        """Return the log of one network and that of the next one, what `Selector.select` takes.

        Parameters
        ----------
        network : str, optional
            By default the first of `networks`.
        until : int, optional
            Read the epochs before this number only. By default all.

        Returns
        -------
        log, peer : TrainingLog
            `peer` is None where there is one network only.

        Raises
        ------
        DamagedRunError, MissingEvidenceError, ValueError
            As `log` does.
        """
        log = self.log(network, until)
        if len(self.networks) == 1:
            return log, None
        place = 0 if network is None else self.networks.index(network)
        return log, self.log(self.networks[(place + 1) % len(self.networks)], until)

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
        return columns

    def _epoch(self, network: str, line: Line) -> dict[str, AnyArray]:
        folder = f"dynamics/network={network}/"
        entries = [entry for entry in line.files if entry.path.startswith(folder)]
        if not entries:
            raise DamagedRunError(
                f"{self.path / 'epochs.jsonl'}: epoch {line.text['epoch']} names no file of "
                f"network {network}. {readable_before(line.text['epoch'])}"
            )
        where = self.path / entries[0].path
        where = where if len(entries) == 1 else where.parent
        try:
            tables = [read_table(self.path, entry, ["id"]) for entry in entries]
            return self._columns(where, pa.concat_tables(tables, promote_options="permissive"))
        except DamagedRunError as error:
            raise DamagedRunError(f"{error} {readable_before(line.text['epoch'])}") from None
        except pa.ArrowException as error:
            raise DamagedRunError(f"{where}: the parts do not fit together: {error}") from None

    def _columns(self, where: Path, table: Any) -> dict[str, AnyArray]:
        rows = sample_rows(self._samples, where, table)
        columns: dict[str, AnyArray] = {}
        for column, (name, missing) in DYNAMICS.items():
            if column not in table.column_names:
                continue
            values = number_column(where, table, column, missing)
            if column == "prediction":
                values = checked_classes(where, column, values, self.n_classes, lowest=-1)
                values = values.astype(np.min_scalar_type(-self.n_classes))
            columns[name] = in_sample_order(self._samples, rows, values, missing)
        return columns

    def _extras(self, network: str, stop: int) -> dict[str, AnyArray]:
        columns: dict[str, AnyArray] = {}
        features = self._header.files.get(features_path(network))
        if features is not None:
            columns["features"] = self._vectors(features, "feature")
        neighbours = self.neighbours
        if neighbours is not None:
            columns["neighbours"] = neighbours
        probabilities: list[AnyArray] = []
        # The log takes those of its last epochs only, without a gap.
        for epoch in reversed(range(stop)):
            entry = self._header.files.get(probabilities_path(network, epoch))
            if entry is None:
                break
            probabilities.insert(0, self._vectors(entry, "probability"))
        if probabilities:
            columns["probabilities"] = np.stack(probabilities)
        return columns

    def _vectors(self, entry: Entry, column: str) -> FloatArray:
        where = self.path / entry.path
        table = read_table(self.path, entry, ["id", column])
        flat, length = list_column(where, table, column)
        if not pa.types.is_floating(flat.type):
            raise DamagedRunError(f"{where}: `{column}` must hold lists of floats.")
        vectors = np.empty((self.ids.size, length), dtype=np.float32)
        rows = sample_rows(self._samples, where, table, complete=True)
        vectors[rows] = flat.to_numpy(zero_copy_only=False).reshape(-1, length)
        return vectors

    def _neighbours(self, entry: Entry) -> IntArray:
        where = self.path / entry.path
        table = read_table(self.path, entry, ["id", "neighbours"])
        flat, length = list_column(where, table, "neighbours")
        rows = sample_rows(self._samples, where, table, complete=True)
        try:
            found = pc.index_in(flat.cast(self._samples.keys.type), value_set=self._samples.keys)
        except pa.ArrowException:
            raise DamagedRunError(
                f"{where}: `neighbours` must hold ids, got {flat.type}."
            ) from None
        if found.null_count > flat.null_count:
            raise DamagedRunError(f"{where}: `neighbours` holds ids not in samples.parquet.")
        neighbours = np.empty((self.ids.size, length), dtype=np.int32)
        neighbours[rows] = found.fill_null(-1).to_numpy().reshape(-1, length)
        return neighbours

    def __repr__(self) -> str:
        return (
            f"<Run {self.path}: {self.labels.size} samples, {self.n_classes} classes, "
            f"{self.n_epochs} epochs, networks {', '.join(self.networks)}>"
        )


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run directory for reading.

    The epochs are read, and verified, when `Run.log` asks for them.

    Parameters
    ----------
    path : path
        The directory that holds ``run.json``.

    Raises
    ------
    DamagedRunError
        If this is no run directory, is of another version, or ``run.json`` or ``samples.parquet``
        is truncated or altered.
    """
    root = Path(path)
    header = read_header(root)
    return Run(root, header, read_samples(root, header), read_lines(root))
