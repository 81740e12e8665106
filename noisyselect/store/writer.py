"""Write a run directory: what is written survives a kill at any moment."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from noisyselect import __version__
from noisyselect.arrays import (
    AnyArray,
    FloatArray,
    check_batches,
    check_classes,
    check_shape,
    floats,
    integers,
    sample_ids,
)
from noisyselect.log import TrainingLog
from noisyselect.store.columns import read_samples
from noisyselect.store.files import Entry, seal, to_parquet, write_file
from noisyselect.store.layout import (
    DYNAMICS,
    MEANINGS,
    VIEWS,
    Header,
    check_networks,
    features_path,
    parse_line,
    read_header,
    read_lines,
    view_path,
)


class RunWriter:
    """Writes a run directory; made by `RunWriter.create` or `RunWriter.resume`.

    One process writes. An epoch exists once its line stands in ``epochs.jsonl``: a kill loses the
    epoch being written and harms no earlier one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._header = read_header(path)
        self._samples = read_samples(path, self._header)
        self._lines = read_lines(path)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        labels: npt.ArrayLike,
        *,
        n_classes: int | None = None,
        ids: npt.ArrayLike | None = None,
        class_names: Iterable[str] | None = None,
        true_labels: npt.ArrayLike | None = None,
        networks: Iterable[str] = ("a",),
        settings: Mapping[str, Any] | None = None,
    ) -> RunWriter:
        """Begin a run in a new directory.

        Parameters
        ----------
        path : path
            Must not exist, or be an empty directory.
        labels : array of int in [0, n_classes), shape (n_samples,)
            Given labels, possibly wrong.
        n_classes : int, optional
            By default as many as `class_names`, else the largest label plus one.
        ids : array of int or str, shape (n_samples,), optional
            Sample ids. By default 0, 1, ...
        class_names : iterable of str, optional
            One per class.
        true_labels : array of int in [0, n_classes), shape (n_samples,), optional
            For metrics only. They are kept in a file of their own.
        networks : iterable of str, default=("a",)
            Names of letters, digits, ``-`` and ``_``.
        settings : mapping, optional
            Anything JSON can hold; NaN and infinity become null.

        Raises
        ------
        FileExistsError
            If something is there already: choose another path, or resume.
        ValueError
            If a shape, label, id or name is not as described.
        """
        root = Path(path)
        refuse_existing(root)
        names = None if class_names is None else tuple(str(name) for name in class_names)
        if n_classes is None and names is not None:
            n_classes = len(names)
        given = integers("labels", labels)
        # TrainingLog refuses what is wrong with labels, ids and classes.
        checked = TrainingLog(
            given,
            ids=sample_ids(ids, given.size),
            n_classes=n_classes,  # type: ignore[arg-type]
        )
        if names is not None and len(names) != checked.n_classes:
            raise ValueError(
                f"`class_names` must name n_classes = {checked.n_classes} classes, "
                f"got {len(names)}."
            )
        dtype = np.min_scalar_type(-checked.n_classes)
        columns = {"id": checked.ids, "label": checked.labels.astype(dtype)}
        tables = {"samples.parquet": columns}
        if true_labels is not None:
            truth = integers("true_labels", true_labels)
            check_shape("true_labels", truth, {"n_samples": checked.n_samples})
            check_classes("true_labels", truth, checked.n_classes)
            tables["truth.parquet"] = {"id": checked.ids, "true_label": truth.astype(dtype)}
        header = Header(
            n_classes=checked.n_classes,
            class_names=names,
            networks=check_networks(networks),
            settings=dict(settings or {}),
            versions=_versions(),
            files={},
        )
        _create(root, header, {name: to_parquet(table, MEANINGS) for name, table in tables.items()})
        return cls(root)

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> RunWriter:
        """Continue a run: cuts an unterminated last line and removes files of unclosed epochs.

        A run with a damaged line in ``epochs.jsonl`` can be resumed, and takes new epochs once
        `truncate` has dropped the damaged one.

        Raises
        ------
        DamagedRunError
            If this is no run directory, is of another version, or ``run.json`` or
            ``samples.parquet`` is truncated or altered.
        """
        writer = cls(Path(path))
        with (writer.path / "epochs.jsonl").open("r+b") as file:
            file.truncate(writer._lines.n_bytes)
            os.fsync(file.fileno())
        if writer._lines.damage is None:
            writer._remove_unclosed()
        return writer

    @property
    def n_epochs(self) -> int:
        """Number of closed epochs."""
        return self._lines.n_lines

    def write_epoch(
        self,
        dynamics: Mapping[str, Mapping[str, npt.ArrayLike]],
        *,
        lr: float | None = None,
        phase: str = "",
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what every network showed in one epoch, and close the epoch.

        Parameters
        ----------
        dynamics : mapping of network to mapping of column to array
            For each network of the run ``"losses"`` (n_samples,) in nats, ``"predictions"``
            (n_samples,) in [-1, n_classes), ``"confidences"`` (n_samples,) in [0, 1] and
            ``"batches"`` (n_samples,) in [-1, 2**31), or some of them; in the order of the labels
            that the run was created with. NaN and -1 stand where nothing was recorded.
        lr : float, optional
            Learning rate that the epoch was trained with.
        phase : str, default=""
            Name of the phase of training, for example ``"warm-up"``.
        metrics : mapping, optional
            Summary of the epoch; anything JSON can hold. NaN and infinity become null.

        Raises
        ------
        ValueError
            If a network or column is missing or unknown, or a shape, prediction or batch is wrong.
        DamagedRunError
            If an earlier line of ``epochs.jsonl`` is damaged: `truncate` first.
        OSError
            If the disk is full or fails. Nothing of the epoch stays, all earlier ones do, and the
            same epoch can be written again.
        """
        if self._lines.damage is not None:
            raise self._lines.damage
        epoch = self.n_epochs
        tables = self._check_dynamics(dynamics)
        contents = {
            f"dynamics/network={network}/epoch={epoch:04d}/part-00000.parquet": to_parquet(
                table, MEANINGS
            )
            for network, table in tables.items()
        }
        record = {
            "epoch": epoch,
            "lr": None if lr is None else float(lr),
            "phase": phase,
            "metrics": dict(metrics or {}),
        }
        try:
            entries = [write_file(self.path, name, data) for name, data in contents.items()]
            line = seal(record | {"files": [entry.as_json() for entry in entries]})
            self._append(line)
        except BaseException:
            with suppress(OSError):
                os.truncate(self.path / "epochs.jsonl", self._lines.n_bytes)
                self._remove_unclosed()
            raise
        self._lines.raw.append(line)
        self._lines.good.append(parse_line(line))

    def truncate(self, n_epochs: int) -> None:
        """Drop the closed epochs from number `n_epochs` on, and what was written after them.

        For a trainer whose checkpoint is older than the log. Features and probabilities, of either
        view, written when more epochs were closed go too.

        Raises
        ------
        ValueError
            If `n_epochs` is negative or more than there are.
        DamagedRunError
            If an epoch to be kept has a damaged line.
        """
        if not 0 <= n_epochs <= self.n_epochs:
            raise ValueError(
                f"`n_epochs` must lie in [0, {self.n_epochs}], the closed epochs, got {n_epochs!r}."
            )
        self._lines.until(n_epochs)
        kept = b"".join(self._lines.raw[:n_epochs])
        # The lines go first: from then on the files belong to no epoch.
        write_file(self.path, "epochs.jsonl", kept)
        self._lines = read_lines(self.path)
        late = {
            name for name, entry in self._header.files.items() if (entry.n_epochs or 0) > n_epochs
        }
        if late:
            self._withdraw(late)
        self._remove_unclosed()

    def write_features(self, network: str, features: npt.ArrayLike) -> None:
        """Write the representation of every sample, in place of any earlier one.

        Parameters
        ----------
        network : str
        features : array of float, shape (n_samples, n_features)
            Finite; kept as float32.

        Raises
        ------
        ValueError
            If the run has no such network, or a shape or value is wrong.
        """
        self._check_network(network)
        values = self._check_vectors("features", features, None)
        if not np.isfinite(values).all():
            raise ValueError("`features` must be finite.")
        self._publish(features_path(network), {"id": self._samples.keys, "feature": values})

    def write_probabilities(self, network: str, epoch: int, probabilities: npt.ArrayLike) -> None:
        """Write the softmax outputs of a closed epoch.

        Parameters
        ----------
        network : str
        epoch : int
            Number of a closed epoch.
        probabilities : array of float, shape (n_samples, n_classes)
            Kept as float32. NaN where none were recorded.

        Raises
        ------
        ValueError
            If the run has no such network or closed epoch, or a shape or value is wrong.
        """
        self._write_view("probabilities", network, epoch, probabilities)

    def write_second_view(self, network: str, epoch: int, second_view: npt.ArrayLike) -> None:
        """Write the softmax outputs on a second augmented view, of a closed epoch.

        Parameters
        ----------
        network : str
        epoch : int
            Number of a closed epoch.
        second_view : array of float, shape (n_samples, n_classes)
            Kept as float32. NaN where none were recorded.

        Raises
        ------
        ValueError
            If the run has no such network or closed epoch, or a shape or value is wrong.
        """
        self._write_view("second_view", network, epoch, second_view)

    def write_neighbours(self, neighbours: npt.ArrayLike) -> None:
        """Write the nearest neighbours of every sample, in place of any earlier ones.

        Parameters
        ----------
        neighbours : array of int in [-1, n_samples), shape (n_samples, k)
            Row positions, nearest first; -1 where there are fewer than k. In the file stand ids.

        Raises
        ------
        ValueError
            If the shape or a position is wrong, or a sample is its own neighbour.
        """
        # TrainingLog refuses what is wrong with neighbours.
        checked = TrainingLog(self._samples.labels, neighbours=integers("neighbours", neighbours))
        assert checked.neighbours is not None
        flat = checked.neighbours.ravel()
        ids = self._samples.keys.take(pa.array(flat, mask=flat < 0))
        lists = pa.FixedSizeListArray.from_arrays(ids, checked.neighbours.shape[1])
        self._publish("neighbours.parquet", {"id": self._samples.keys, "neighbours": lists})

    def _write_view(self, view: str, network: str, epoch: int, values: npt.ArrayLike) -> None:
        self._check_network(network)
        if not 0 <= epoch < self.n_epochs:
            raise ValueError(
                f"`epoch` must be one of the {self.n_epochs} closed epochs, got {epoch!r}. Write "
                "the epoch first."
            )
        vectors = self._check_vectors(view, values, self._header.n_classes)
        table = {"id": self._samples.keys, VIEWS[view]: vectors}
        self._publish(view_path(view, network, epoch), table, n_epochs=epoch + 1)

    def _publish(self, name: str, table: Mapping[str, Any], n_epochs: int | None = None) -> None:
        """Write a file that ``run.json`` vouches for.

        Between the two steps the file is in no list, so a kill leaves it out instead of damaged.
        """
        data = to_parquet(table, MEANINGS)
        if name in self._header.files:
            self._withdraw({name})
        entry = write_file(self.path, name, data)
        entry = entry._replace(n_epochs=self.n_epochs if n_epochs is None else n_epochs)
        self._replace_header(self._header.files | {name: entry})

    def _withdraw(self, names: set[str]) -> None:
        files = {name: entry for name, entry in self._header.files.items() if name not in names}
        self._replace_header(files)
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def _replace_header(self, files: dict[str, Entry]) -> None:
        header = self._header._replace(files=files)
        write_file(self.path, "run.json", header.sealed())
        self._header = header

    def _append(self, line: bytes) -> None:
        with (self.path / "epochs.jsonl").open("r+b") as file:
            # What a failed attempt may have left goes, so that the line stands on its own.
            file.truncate(self._lines.n_bytes)
            file.seek(self._lines.n_bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _remove_unclosed(self) -> None:
        for network in self._header.networks:
            for folder in (self.path / "dynamics" / f"network={network}").glob("epoch=*"):
                if int(folder.name.removeprefix("epoch=")) >= self.n_epochs:
                    shutil.rmtree(folder)

    def _check_network(self, network: str) -> None:
        if network not in self._header.networks:
            raise ValueError(
                f"`network` must be one of {', '.join(self._header.networks)}, got {network!r}."
            )

    def _check_vectors(self, name: str, values: npt.ArrayLike, length: int | None) -> FloatArray:
        vectors = floats(name, values).astype(np.float32, copy=False)
        axis = "n_features" if length is None else "n_classes"
        check_shape(name, vectors, {"n_samples": self._samples.ids.size, axis: length})
        return vectors

    def _check_dynamics(
        self, dynamics: Mapping[str, Mapping[str, npt.ArrayLike]]
    ) -> dict[str, dict[str, Any]]:
        networks = self._header.networks
        if set(dynamics) != set(networks):
            raise ValueError(
                f"`dynamics` must have the networks {', '.join(networks)}, "
                f"got {', '.join(map(str, dynamics)) or 'none'}."
            )
        return {network: self._check_columns(network, dynamics[network]) for network in networks}

    def _check_columns(self, network: str, given: Mapping[str, npt.ArrayLike]) -> dict[str, Any]:
        known = [name for name, _ in DYNAMICS.values()]
        if not given or not set(given) <= set(known):
            raise ValueError(
                f"`dynamics[{network!r}]` must have some of {', '.join(known)}, "
                f"got {', '.join(map(str, given)) or 'none'}."
            )
        table: dict[str, Any] = {"id": self._samples.keys}
        for column, (name, _) in DYNAMICS.items():
            if name not in given:
                continue
            if name == "predictions":
                values: AnyArray = integers(name, given[name])
                check_classes(name, values, self._header.n_classes, lowest=-1)
                dtype: Any = np.min_scalar_type(-self._header.n_classes)
            elif name == "batches":
                values, dtype = integers(name, given[name]), np.int32
                check_batches(name, values)
            else:
                values, dtype = floats(name, given[name]), np.float32
            check_shape(name, values, {"n_samples": self._samples.ids.size})
            table[column] = values.astype(dtype, copy=False)
        return table


def refuse_existing(root: Path) -> None:
    """Raise FileExistsError unless `root` is free for a new run: not there, or an empty folder."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(
            f"{root} exists and is not empty: choose another path, or go on with the run in it "
            "(resume, --resume)."
        )


def _create(root: Path, header: Header, contents: Mapping[str, bytes]) -> None:
    """Make the directory beside and rename it, so that there is a whole run or none."""
    target = root.absolute()
    beside = target.with_name(f".{target.name}.creating")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        entries = {name: write_file(beside, name, data) for name, data in contents.items()}
        write_file(beside, "epochs.jsonl", b"")
        write_file(beside, "run.json", header._replace(files=entries).sealed())
        beside.replace(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("numpy", "pyarrow")}
    return {"noisyselect": __version__, "python": platform.python_version()} | packages
