"""Bring the training log of another tool into a run directory."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json

from noisyselect.arrays import FloatArray, IntArray
from noisyselect.store.columns import list_column
from noisyselect.store.foreign import Records, write_records
from noisyselect.store.npz import import_npz
from noisyselect.store.run import Run
from noisyselect.store.tables import (
    Classes,
    batch_column,
    check_columns,
    checked_names,
    class_column,
    count_column,
    id_column,
    read_foreign,
    real_column,
    text_column,
)

_AUM = ("sample_id", "num_measurements", "target_logit", "other_logit", "margin")
_LONG = ("id", "epoch", "loss")
_WIDE = re.compile(r"(loss|prediction|confidence)_(\d+)")
_CARTOGRAPHY = re.compile(r"dynamics_epoch_(\d+)\.jsonl")

_KNOWN = (
    "A training log is AUM's full_aum_records.csv; a folder of Dataset Cartography's "
    "dynamics_epoch_0.jsonl, dynamics_epoch_1.jsonl, ...; an npz with loss and label; or a CSV or "
    "Parquet file with the columns id, epoch, loss, or id, loss_0, loss_1, and so on."
)


def import_log(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    truth: str | os.PathLike[str] | None = None,
) -> Run:
    r"""Bring the training log of another tool into a new run directory.

    What the source is, is told by its content: AUM's ``full_aum_records.csv``, Dataset
    Cartography's folder of ``dynamics_epoch_*.jsonl``, an npz as `import_npz` reads it, or a CSV or
    Parquet table with one row per sample and epoch (id, epoch, loss, and where known label,
    true_label, prediction, confidence, batch, network, lr) or one row per sample (id, loss_0, ...,
    and where known label, true_label, prediction_0, ..., confidence_0, ...). Rows may come in any
    order: they are joined by id. Other columns are not read.

    Parameters
    ----------
    source : path
        A file, or a folder.
    out : path
        Must not exist, or be an empty directory.
    labels : path, optional
        CSV or Parquet of id and label, for a table without labels.
    truth : path, optional
        CSV or Parquet of id and true_label, where true labels are known; for metrics only.

    Returns
    -------
    Run
        Its settings say what the source was taken for, as ``imported_as``.

    Raises
    ------
    ValueError
        If the source is none of these, or makes no sense.
    FileExistsError
        If something is at `out` already.

    Warns
    -----
    NoisySelectWarning
        If samples lack a record in some epoch.

    Notes
    -----
    AUM records margins, not losses: the logit :math:`z_y` of the label less the largest other one,
    :math:`m = z_y - \max_{k \ne y} z_k`. The cross-entropy lies in

    .. math:: \log(1 + e^{-m}) \le \ell \le \log(1 + (K - 1) e^{-m}),

    and the lower bound is stored as the loss. For two classes it is the cross-entropy; for more it
    is that of the label against its strongest rival alone. It orders samples as the margin does,
    and nothing is lost: the margin is :math:`-\log(e^\ell - 1)`. The predicted class is exact, the
    label where the margin is 0; its probability cannot be known and is left out. AUM counts the
    measurements of each sample, not epochs: the k-th is taken for the k-th epoch.
    """
    path = Path(source)
    files = [None if file is None else Path(file) for file in (labels, truth)]
    if path.is_dir():
        path = _inside(path)
    if path.is_dir():
        return write_records(_cartography(path), Path(out), *files)
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip or path.suffix == ".npz":
        if any(files):
            raise ValueError(
                f"{path}: an npz has no ids to join with: put label, and true, into it."
            )
        return import_npz(path, out)
    return write_records(_table(path), Path(out), *files)


def _inside(folder: Path) -> Path:
    """Return what of a folder is the log: the folder itself of Dataset Cartography, or a file."""
    if (folder / "run.json").exists():
        raise ValueError(f"{folder}: is a run directory already.")
    if (folder / "full_aum_records.csv").exists():
        return folder / "full_aum_records.csv"
    for place in (folder, folder / "training_dynamics"):
        if place.is_dir() and _dynamics(place):
            return place
    raise ValueError(f"{folder}: holds no training log that can be imported. {_KNOWN}")


def _table(path: Path) -> Records:
    try:
        table = read_foreign(path)
    except ValueError as error:
        raise ValueError(f"{error} {_KNOWN}") from None
    names = table.column_names
    if not len(table):
        raise ValueError(f"{path}: has no rows.")
    if set(_AUM) <= set(names):
        return _aum(path, table)
    if set(_LONG) <= set(names):
        return _long(path, table)
    if "id" in names and any(re.fullmatch(r"loss_\d+", name) for name in names):
        return _wide(path, table)
    if names == ["sample_id", "aum"]:
        raise ValueError(
            f"{path}: holds one mean per sample and no epochs. AUMCalculator(save_dir, "
            "compressed=False) writes full_aum_records.csv as well, which can be imported."
        )
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise ValueError(f"{path}: has the columns {shown}. {_KNOWN}")


def _aum(path: Path, table: Any) -> Records:
    margins = real_column(path, "margin", table["margin"])
    target = class_column(path, "target_logit", table["target_logit"])
    other = class_column(path, "other_logit", table["other_logit"])
    with np.errstate(invalid="ignore"):  # a margin that is missing stays NaN
        losses = np.logaddexp(0, -margins)
    predictions = np.where(margins >= 0, target.codes, other.codes)
    return Records(
        source=path,
        kind="AUM records",
        ids=id_column(path, "sample_id", table["sample_id"]),
        epochs=count_column(path, "num_measurements", table["num_measurements"]) - 1,
        losses=losses,
        predictions=Classes(np.where(np.isnan(margins), -1, predictions), None),
        labels=target,
        settings={"loss": "log(1 + exp(-margin)), a lower bound of the cross-entropy"},
    )


def _dynamics(folder: Path) -> dict[int, Path]:
    """Return the files of Dataset Cartography in a folder, by epoch."""
    return {
        int(found[1]): file
        for file in folder.iterdir()
        if (found := _CARTOGRAPHY.fullmatch(file.name)) is not None
    }


def _cartography(folder: Path) -> Records:
    files = _dynamics(folder)
    absent = [epoch for epoch in range(max(files)) if epoch not in files]
    if absent:
        raise ValueError(f"{folder}: lacks dynamics_epoch_{absent[0]}.jsonl.")
    epochs = [_cartography_epoch(files[epoch], epoch) for epoch in sorted(files)]
    n_classes = {epoch.n_classes for epoch in epochs}
    if len(n_classes) > 1:
        raise ValueError(f"{folder}: epochs have {sorted(n_classes)} logits per sample.")
    return Records(
        source=folder,
        kind="Dataset Cartography's training dynamics",
        # As text first, for one file may hold numbers and another text.
        ids=id_column(folder, "guid", pa.concat_arrays([epoch.ids for epoch in epochs])),
        epochs=np.repeat(np.arange(len(epochs)), [epoch.gold.size for epoch in epochs]),
        losses=np.concatenate([epoch.losses for epoch in epochs]),
        confidences=np.concatenate([epoch.confidences for epoch in epochs]),
        predictions=Classes(np.concatenate([epoch.predictions for epoch in epochs]), None),
        labels=Classes(np.concatenate([epoch.gold for epoch in epochs]), None),
        n_classes=n_classes.pop(),
    )


class _Epoch(NamedTuple):
    ids: Any
    gold: IntArray
    losses: FloatArray
    confidences: FloatArray
    predictions: IntArray
    n_classes: int


def _cartography_epoch(file: Path, epoch: int) -> _Epoch:
    column = f"logits_epoch_{epoch}"
    try:
        table = pa.json.read_json(file)
        checked_names(table)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{file}: cannot be read as lines of JSON: {reason}.") from None
    check_columns(file, table, ("guid", "gold", column))
    flat, n_classes = list_column(file, table, column)
    logits = real_column(file, column, flat).reshape(-1, n_classes)
    gold = class_column(file, "gold", table["gold"])
    if gold.names is not None or not ((gold.codes >= 0) & (gold.codes < n_classes)).all():
        raise ValueError(
            f"{file}: `gold` must be the place of the label among the {n_classes} logits, from 0."
        )
    with np.errstate(invalid="ignore"):  # infinite logits give NaN
        log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    known = ~np.isnan(log_probabilities).any(axis=1)
    return _Epoch(
        ids=id_column(file, "guid", table["guid"]).cast(pa.string()),
        gold=gold.codes,
        losses=-log_probabilities[np.arange(gold.codes.size), gold.codes],
        confidences=np.exp(log_probabilities.max(axis=1)),
        predictions=np.where(known, logits.argmax(axis=1), -1),
        n_classes=n_classes,
    )


def _long(path: Path, table: Any) -> Records:
    def optional(name: str, convert: Any) -> Any:
        return convert(path, name, table[name]) if name in table.column_names else None

    return Records(
        source=path,
        kind="a table with one row per sample and epoch",
        ids=id_column(path, "id", table["id"]),
        epochs=count_column(path, "epoch", table["epoch"]),
        losses=real_column(path, "loss", table["loss"]),
        confidences=optional("confidence", real_column),
        batches=optional("batch", batch_column),
        predictions=optional("prediction", class_column),
        labels=optional("label", class_column),
        true_labels=optional("true_label", class_column),
        networks=optional("network", text_column),
        lr=optional("lr", real_column),
    )


def _wide(path: Path, table: Any) -> Records:
    """Read a table with one row per sample, as if it were the long one."""
    found = [_WIDE.fullmatch(name) for name in table.column_names]
    epochs = sorted({int(column[2]) for column in found if column is not None})
    rows = []
    for epoch in epochs:
        columns = {"id": table["id"], "epoch": pa.array(np.full(len(table), epoch))}
        columns |= {
            name: table[name] for name in ("label", "true_label") if name in table.column_names
        }
        columns |= {
            column[1]: table[column[0]]
            for column in found
            if column is not None and int(column[2]) == epoch
        }
        rows.append(pa.table(columns))
    try:
        long = pa.concat_tables(rows, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(
            f"{path}: the columns of the epochs do not fit together: {error}"
        ) from None
    return replace(_long(path, long), kind="a table with one row per sample")
