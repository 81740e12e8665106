"""What the JSON files of a run directory say, its header and epoch lines, and where files lie.

The format is specified in ``docs/log-format.md``; `noisyselect.store` writes and opens it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noisyselect.errors import DamagedRunError
from noisyselect.store.files import Entry, read_file, seal, unseal

_FORMAT = "noisyselect-run"
_VERSION = 1

# Meaning and unit of each column; it travels in the schema of every file.
MEANINGS = {
    "id": "sample id, unique; the key that joins all files",
    "label": "given label, possibly wrong; class index",
    "true_label": "true label; class index",
    "loss": "cross-entropy of the given label, in nats, or its lower bound where `settings` in "
    "run.json have `loss`; NaN where none was recorded",
    "prediction": "predicted class; class index, -1 where none was recorded",
    "confidence": "probability of the predicted class, in [0, 1]; NaN where none was recorded",
    "batch": "number of the mini-batch that the sample was trained in, from 0 in each epoch; -1 "
    "where none was recorded",
    "feature": "representation of the sample; no unit",
    "probability": "softmax output, one entry per class, in [0, 1]",
    "second_view": "softmax output on a second view, augmented as in training, one entry per "
    "class, in [0, 1]",
    "neighbours": "ids of the nearest neighbours, nearest first; null where there are fewer",
}

# Columns of dynamics: name in a TrainingLog, and what stands where nothing was recorded.
DYNAMICS: dict[str, tuple[str, float]] = {
    "loss": ("losses", np.nan),
    "prediction": ("predictions", -1),
    "confidence": ("confidences", np.nan),
    "batch": ("batches", -1),
}

# Class probabilities, which have a file per epoch: name in a TrainingLog, and column in the file.
VIEWS = {"probabilities": "probability", "second_view": "second_view"}

_NETWORK_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Header(NamedTuple):
    """What ``run.json`` says."""

    n_classes: int
    class_names: tuple[str, ...] | None
    networks: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, Any]
    files: dict[str, Entry]

    def sealed(self) -> bytes:
        """Return the bytes of ``run.json``."""
        content = {"format": _FORMAT, "version": _VERSION} | self._asdict()
        content["files"] = [entry.as_json() for entry in self.files.values()]
        return seal(content, indent=2)


def read_header(root: Path) -> Header:
    """Return what ``run.json`` says.

    Raises
    ------
    DamagedRunError
        If it is missing, damaged, foreign or of another version.
    """
    where = root / "run.json"
    if not where.exists():
        raise DamagedRunError(f"{root}: is not a run directory, it has no run.json.")
    data = read_file(where)
    _check_version(where, data)
    try:
        content = unseal(data)
        n_classes = int(content["n_classes"])
        names = content["class_names"]
        networks = check_networks(content["networks"])
        files = [Entry.from_json(item) for item in content["files"]]
        if names is not None and len(names) != n_classes:
            raise ValueError(f"names {len(names)} of {n_classes} classes")
        if "samples.parquet" not in [entry.path for entry in files]:
            raise ValueError("does not list samples.parquet")
        return Header(
            n_classes=n_classes,
            class_names=None if names is None else tuple(str(name) for name in names),
            networks=networks,
            settings=dict(content["settings"]),
            versions=dict(content["versions"]),
            files={entry.path: entry for entry in files},
        )
    except KeyError as error:
        raise DamagedRunError(f"{where}: lacks {error}.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise DamagedRunError(f"{where}: {error}.") from None


def _check_version(where: Path, data: bytes) -> None:
    """Refuse what is no run or of another version, before its checksum, which may differ."""
    try:
        claim = json.loads(data)
    except (ValueError, RecursionError):
        return  # damaged, which the checksum tells
    if not isinstance(claim, dict) or claim.get("format") != _FORMAT:
        raise DamagedRunError(f"{where}: is not the run.json of a noisyselect run.")
    if claim.get("version") != _VERSION:
        raise DamagedRunError(
            f"{where}: is of format version {claim.get('version')!r}, this noisyselect reads "
            f"{_VERSION}. Install the noisyselect that wrote it."
        )


def check_networks(networks: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the networks, which become parts of paths.

    Raises
    ------
    ValueError
        If a name has other characters or occurs twice, or there is none.
    """
    names = tuple(networks)
    if not names or len(set(names)) < len(names) or not all(map(_NETWORK_NAME.fullmatch, names)):
        raise ValueError(
            f"`networks` must be different names of letters, digits, - and _, got {names!r}"
        )
    return names


class Line(NamedTuple):
    """One line of ``epochs.jsonl``: what it says and the files it vouches for."""

    text: dict[str, Any]
    files: list[Entry]

    def of_network(self, network: str) -> list[Entry]:
        """Return the files of one network."""
        return [
            entry for entry in self.files if entry.path.startswith(f"dynamics/network={network}/")
        ]


class Lines(NamedTuple):
    """The terminated lines of ``epochs.jsonl``, parsed up to the first damaged one."""

    raw: list[bytes]
    good: list[Line]
    damage: DamagedRunError | None

    @property
    def n_lines(self) -> int:
        """Number of lines, damaged ones included."""
        return len(self.raw)

    @property
    def n_bytes(self) -> int:
        """Length of the file without an unterminated last line."""
        return sum(map(len, self.raw))

    def until(self, epoch: int) -> list[Line]:
        """Return the lines of the epochs before `epoch`.

        Raises
        ------
        DamagedRunError
            If one of them is damaged.
        """
        if epoch > len(self.good) and self.damage is not None:
            raise self.damage
        return self.good[:epoch]


def read_lines(root: Path) -> Lines:
    """Return the lines of ``epochs.jsonl``; a damaged one is reported when it is asked for.

    Raises
    ------
    DamagedRunError
        If the file is missing.
    """
    where = root / "epochs.jsonl"
    raw = closed_lines(root)
    good: list[Line] = []
    for epoch, line in enumerate(raw):
        try:
            parsed = parse_line(line)
            check_number(parsed, epoch)
            good.append(parsed)
        except ValueError as error:
            damage = DamagedRunError(f"{where}: line {epoch + 1} {error}. {readable_before(epoch)}")
            return Lines(raw, good, damage)
    return Lines(raw, good, None)


def closed_lines(root: Path) -> list[bytes]:
    """Return the lines of ``epochs.jsonl`` that are ended, each with its newline.

    Raises
    ------
    DamagedRunError
        If the file is missing.
    """
    # Whatever follows the last newline was being written when the writer was killed.
    return [line + b"\n" for line in read_file(root / "epochs.jsonl").split(b"\n")[:-1]]


def parse_line(line: bytes) -> Line:
    """Return what a line says.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    text = unseal(line)
    try:
        number = text["epoch"]
        text["lr"] = None if text["lr"] is None else float(text["lr"])
        text["phase"] = str(text["phase"])
        text["metrics"] = dict(text["metrics"])
        files = [Entry.from_json(item) for item in text.pop("files")]
    except KeyError as error:
        raise ValueError(f"lacks {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"makes no sense: {error}") from None
    if type(number) is not int:
        raise ValueError(f"has the epoch {number!r}, which is no number")
    return Line(text, files)


def check_number(line: Line, epoch: int) -> None:
    """Raise ValueError unless this is the line of `epoch`."""
    number = line.text["epoch"]
    if number != epoch:
        raise ValueError(f"is of epoch {number} instead of {epoch}: lines are missing")


def readable_before(epoch: int) -> str:
    """Return the way out of a damaged epoch, as a sentence."""
    if epoch == 0:
        return "It is the first epoch: nothing before it can be read."
    return f"The epochs before {epoch} can be read: log(until={epoch}), --until {epoch}."


def features_path(network: str) -> str:
    """Return where the features of a network lie."""
    return f"features/network={network}/part-00000.parquet"


def view_path(view: str, network: str, epoch: int) -> str:
    """Return where the probabilities of an epoch lie, or its second view."""
    return f"{view}/network={network}/epoch={epoch:04d}/part-00000.parquet"
