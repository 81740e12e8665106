"""Write logs and selections as tables of CSV or Parquet, for other tools."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.store.files import written_whole
from noisyselect.store.layout import DYNAMICS, MEANINGS
from noisyselect.store.run import Run

_MEANINGS = MEANINGS | {
    "network": "name of the network",
    "epoch": "number of the epoch, from 0",
    "lr": "learning rate of the epoch",
    "clean": "whether the given label is to be trusted",
    "score": "in [0, 1], higher is cleaner",
    "reason": "the rule that kept or dropped the sample",
    "is_label_issue": "whether the given label is not to be trusted",
    "label_quality": "in [0, 1], lower is more suspicious",
    "given_label": "given label, possibly wrong; class index",
    "predicted_label": "class predicted in the last epoch; class index, null where none is known",
}


def export_log(run: Run, out: str | os.PathLike[str]) -> None:
    """Write all that the networks of a run have shown as one table, which `import_log` reads.

    One row per network, epoch and sample, with the columns id, label, network, epoch, lr, loss,
    prediction, confidence and batch; empty where nothing was recorded. Vectors (features, class
    probabilities) and true labels stay in the run.

    Parameters
    ----------
    run : Run
        Read epoch by epoch, so that it need not fit into memory.
    out : path
        Named .csv or .parquet. It is replaced, or stays as it was where this fails.

    Raises
    ------
    DamagedRunError
        If an epoch is damaged.
    ValueError
        If `out` has another name.
    OSError
        If the disk is full or fails.
    """
    kinds = {
        "id": pa.array(run.ids).type,
        "label": pa.int32(),
        "network": pa.string(),
        "epoch": pa.int32(),
        "lr": pa.float64(),
        "loss": pa.float32(),
        "prediction": pa.int32(),
        "confidence": pa.float32(),
        "batch": pa.int32(),
    }
    schema = _schema(kinds)
    _write(Path(out), schema, _epochs(run, schema))


def _epochs(run: Run, schema: Any) -> Iterator[Any]:
    labels = run.labels
    for network in run.networks:
        for epoch in range(run.n_epochs):
            shown = run.dynamics(epoch, network)
            columns = {
                "id": run.ids,
                "label": labels,
                "network": pa.repeat(network, labels.size),
                "epoch": np.full(labels.size, epoch),
                "lr": pa.repeat(pa.scalar(run.epochs[epoch]["lr"], pa.float64()), labels.size),
            }
            for column, (name, missing) in DYNAMICS.items():
                values = shown.get(name, np.full(labels.size, missing))
                absent = np.isnan(values) if np.isnan(missing) else values == missing
                columns[column] = pa.array(values, mask=absent)
            yield pa.table([_cast(columns[field.name], field.type) for field in schema], schema)


def _cast(values: Any, kind: Any) -> Any:
    return pa.array(values).cast(kind) if isinstance(values, np.ndarray) else values.cast(kind)


def export_selection(selection: Selection, out: str | os.PathLike[str]) -> None:
    """Write a selection as a table of id, clean, score and reason.

    Parameters
    ----------
    selection : Selection
    out : path
        Named .csv or .parquet. It is replaced, or stays as it was where this fails.

    Raises
    ------
    ValueError
        If `out` has another name.
    OSError
        If the disk is full or fails.
    """
    table = selection_table(selection)
    _write(Path(out), table.schema, [table])


def selection_table(selection: Selection) -> Any:
    """Return a selection as the pyarrow table that `export_selection` writes."""
    return _table(
        {
            "id": selection.ids,
            "clean": selection.clean,
            "score": selection.score,
            "reason": selection.reason,
        }
    )


def export_label_issues(
    selection: Selection, log: TrainingLog, out: str | os.PathLike[str]
) -> None:
    """Write a selection as cleanlab's ``CleanLearning.find_label_issues`` returns one.

    The columns are is_label_issue, label_quality, given_label and, where the log has predictions,
    predicted_label, and before them id. Rows are in the order of the log.

    Parameters
    ----------
    selection : Selection
    log : TrainingLog
        That the selection was made on: the given labels, and the predictions of its last epoch.
    out : path
        Named .csv or .parquet. It is replaced, or stays as it was where this fails.

    Raises
    ------
    ValueError
        If `out` has another name.
    OSError
        If the disk is full or fails.

    Notes
    -----
    cleanlab flags a label that is probably wrong; here a label is flagged that is not trusted,
    which for a selector that balances classes, or drops a fixed share, can be more.
    """
    columns: dict[str, Any] = {
        "id": selection.ids,
        "is_label_issue": ~selection.clean,
        "label_quality": selection.score,
        "given_label": log.labels,
    }
    if log.predictions is not None:
        last = log.predictions[-1]
        columns["predicted_label"] = pa.array(last, mask=last < 0)
    _write_table(Path(out), columns)


def check_table_name(out: Path) -> None:
    """Raise ValueError unless the name of a table tells its format."""
    if out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"A table is written to a file named .csv or .parquet, got {out}.")


def _schema(kinds: Mapping[str, Any]) -> Any:
    fields = [pa.field(name, kind) for name, kind in kinds.items()]
    return pa.schema(fields, metadata={name: _MEANINGS[name] for name in kinds})


def _write_table(out: Path, columns: Mapping[str, Any]) -> None:
    table = _table(columns)
    _write(out, table.schema, [table])


def _table(columns: Mapping[str, Any]) -> Any:
    table = pa.table(dict(columns))
    return table.cast(_schema({field.name: field.type for field in table.schema}))


def _write(out: Path, schema: Any, tables: Iterable[Any]) -> None:
    """Write tables of one schema, one after another, as one file."""
    check_table_name(out)
    with written_whole(out.parent, out.name) as file:
        make = (
            pa.csv.CSVWriter(file, schema)
            if out.suffix == ".csv"
            else pq.ParquetWriter(file, schema, compression="zstd")
        )
        with make as writer:
            for table in tables:
                writer.write_table(table)
