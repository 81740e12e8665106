"""Files that survive a kill and are verified when read: atomic writes, checksums, Parquet tables.

What these files say is the business of `noisyselect.store`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisyselect.errors import DamagedRunError

# The last member of a sealed object; everything before its comma is what it vouches for.
_CHECKSUM = re.compile(rb',\s*"checksum"\s*:\s*"([0-9a-f]{64})"\s*\}\s*\Z')


class Entry(NamedTuple):
    """What one file must be: `path` below the root, `size` in bytes, `sha256` of its bytes.

    `n_epochs` is the number of closed epochs when it was written, where that matters.
    """

    path: str
    size: int
    sha256: str
    n_epochs: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the entry as it stands in a JSON file."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Entry:
        """Return the entry that stands in a JSON file.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is none, or points out of the run directory.
        """
        path = PurePosixPath(item["path"])
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"path {item['path']!r} leads out of the directory")
        n_epochs = item.get("n_epochs")
        return cls(
            path=str(path),
            size=int(item["size"]),
            sha256=str(item["sha256"]),
            n_epochs=None if n_epochs is None else int(n_epochs),
        )


def write_file(root: Path, name: str, data: bytes, *, shared: bool = False) -> Entry:
    """Write a file beside, flush it and rename it into place: it is there whole or not at all.

    Parameters
    ----------
    root : Path
    name : str
        Of the file, relative to `root`.
    data : bytes
    shared : bool, default=False
        Whether another process may write the same file at the same time; the last one stays.

    Raises
    ------
    OSError
        If the disk is full or fails; then an earlier file of this name stands unharmed.
    """
    with written_whole(root, name, shared=shared) as file:
        file.write(data)
    return Entry(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@contextmanager
def written_whole(root: Path, name: str, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to write to, which is in its place when the block ends; as `write_file` does.

    For what is too large to be held in memory. If the block raises, nothing is written.
    """
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f".{os.getpid()}-{threading.get_ident()}" if shared else ""
    beside = path.with_name(f".{path.name}{writer}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _flush_folders(root, path.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def _flush_folders(root: Path, folder: Path) -> None:
    """Make new names below `root` outlive a power failure, as far as the system can."""
    if os.name == "nt":  # no folder can be opened there
        return
    for level in (folder, *folder.parents):
        descriptor = os.open(level, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if level == root:
            return


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises
    ------
    DamagedRunError
        If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DamagedRunError(f"{path}: the file is missing.") from None
    except OSError as error:
        raise DamagedRunError(f"{path}: {error.strerror or error}.") from None


def seal(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """Return a JSON object with a checksum of itself as its last member.

    NaN and infinity, which JSON lacks, become null.

    Raises
    ------
    TypeError
        If `content` holds what JSON cannot.
    """
    text = json.dumps(plain(content), indent=indent, ensure_ascii=False, allow_nan=False)
    body = text.removesuffix("}").rstrip().encode()
    comma, end = (", ", "}") if indent is None else (",\n" + " " * indent, "\n}")
    checksum = hashlib.sha256(body).hexdigest()
    return body + f'{comma}"checksum": "{checksum}"{end}\n'.encode()


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: arrays as lists, NaN and infinity as None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def unseal(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `seal` wrote, without its checksum.

    Raises
    ------
    ValueError
        If it is no JSON object or does not match its checksum.
    """
    found = _CHECKSUM.search(data)
    if found is None:
        raise ValueError("has no checksum at its end")
    if hashlib.sha256(data[: found.start()]).hexdigest() != found[1].decode():
        raise ValueError("does not match its checksum: it was altered or is incomplete")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object")
    content.pop("checksum")
    return content


def to_parquet(columns: Mapping[str, Any], meanings: Mapping[str, str]) -> bytes:
    """Return a Parquet file of these columns.

    Parameters
    ----------
    columns : mapping of str to array
        numpy of shape (n_rows,), or (n_rows, k) for fixed-size lists, or a pyarrow array.
    meanings : mapping of str to str
        Meaning and unit of each column, for the metadata of the schema.
    """
    table = pa.table({name: _arrow(values) for name, values in columns.items()})
    table = table.replace_schema_metadata({name: meanings[name] for name in columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **encodings(table.schema))
    return bytes(sink.getvalue())


def encodings(schema: Any) -> dict[str, Any]:
    """Return what pyarrow's Parquet writers are to be told of the columns of a schema.

    A dictionary pays for classes, mini-batches and reasons, of which many are equal; of ids and
    floats it makes the file a third larger. Ids mostly ascend: their differences take next to
    nothing. To split the bytes of floats would save 5 to 8 % more, but Spark's vectorised reader
    had no support for that in May 2026 (apache/spark#55921).
    """
    few = [
        field.name
        for field in schema
        if field.name != "id"
        and (pa.types.is_integer(field.type) or pa.types.is_string(field.type))
    ]
    counted = "id" in schema.names and pa.types.is_integer(schema.field("id").type)
    return {
        "compression": "zstd",
        "use_dictionary": few or False,
        "column_encoding": {"id": "DELTA_BINARY_PACKED"} if counted else None,
    }


def _arrow(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(values) if isinstance(values, np.ndarray) else values


def read_listed(root: Path, entry: Entry) -> bytes:
    """Return the bytes of a file, once they are found to be the right ones.

    Raises
    ------
    DamagedRunError
        If the file is missing, truncated or altered.
    """
    path = root / entry.path
    data = read_file(path)
    if len(data) != entry.size:
        raise DamagedRunError(f"{path}: has {len(data)} bytes instead of {entry.size}.")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedRunError(f"{path}: does not match its checksum: it was altered.")
    return data


def check_listed(root: Path, entry: Entry) -> None:
    """Raise as `read_listed` does, without holding the file in memory."""
    path = root / entry.path
    try:
        size = path.stat().st_size
        if size == entry.size:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DamagedRunError(f"{path}: the file is missing.") from None
    except OSError as error:
        raise DamagedRunError(f"{path}: {error.strerror or error}.") from None
    if size != entry.size:
        raise DamagedRunError(f"{path}: has {size} bytes instead of {entry.size}.")
    if digest != entry.sha256:
        raise DamagedRunError(f"{path}: does not match its checksum: it was altered.")


def read_table(root: Path, entry: Entry, needed: Sequence[str]) -> Any:
    """Return the pyarrow table of a Parquet file, once its bytes are found to be the right ones.

    Raises
    ------
    DamagedRunError
        If the file is missing, truncated, altered, no Parquet, or lacks a `needed` column.
    """
    path = root / entry.path
    data = read_listed(root, entry)
    try:
        # Threads of Arrow's would let go of `data` a little later and enter the interpreter for it.
        # CPython (gh-128679) may crash if tracemalloc is stopped meanwhile, as the bench does.
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedRunError(f"{path}: cannot be read as Parquet: {reason}") from None
    absent = [name for name in needed if name not in table.column_names]
    if absent:
        raise DamagedRunError(
            f"{path}: lacks the column {', '.join(absent)}; it has {', '.join(table.column_names)}."
        )
    return table
