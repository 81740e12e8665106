"""Check a run directory and name everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from noisyselect.errors import DamagedRunError
from noisyselect.store.columns import (
    Samples,
    read_epoch,
    read_features,
    read_neighbours,
    read_samples,
    read_truth,
    read_view,
)
from noisyselect.store.files import Entry, read_listed, read_table
from noisyselect.store.layout import (
    VIEWS,
    Header,
    Line,
    check_number,
    closed_lines,
    features_path,
    parse_line,
    read_header,
    view_path,
)


@dataclass(frozen=True)
class Defect:
    """Something that is wrong with a run directory.

    Attributes
    ----------
    file : str
        Relative to the directory.
    reason : str
        What was expected and what is there.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class Validation:
    """What `validate_run` found.

    Attributes
    ----------
    defects : tuple of Defect
        All of them, not only the first; empty where the run is whole.
    readable : dict of str to int
        For each network, as far as they are known, how many epochs can be read, counted from the
        first: those of ``run.log(network, until=n)``.
    unlisted : tuple of str
        Files that no list names: for a reader they do not exist. A killed writer leaves those of
        the epoch it was in. The trainer's own are not counted, and none where the lists cannot be
        read.
    """

    defects: tuple[Defect, ...]
    readable: dict[str, int]
    unlisted: tuple[str, ...]


def validate_run(path: str | os.PathLike[str]) -> Validation:
    """Check every file of a run directory: its bytes, columns, types, ids and classes.

    One file is read at a time. If ``run.json`` or ``samples.parquet`` is damaged, the others are
    checked as far as that goes without.

    Parameters
    ----------
    path : path
        The directory that holds ``run.json``.
    """
    root = Path(path)
    check = _Check(root)
    header = samples = None
    lines: list[bytes] = []
    with check.of("run.json"):
        header = read_header(root)
    with check.of("epochs.jsonl"):
        lines = closed_lines(root)
    if header is not None:
        check.readable = dict.fromkeys(header.networks, len(lines))
        with check.of("samples.parquet", header.networks):
            samples = read_samples(root, header)
        check.listed(header, samples, len(lines))
    check.epochs(lines, samples)
    unlisted = [] if header is None else sorted(_files(root) - check.seen)
    return Validation(tuple(check.defects), check.readable, tuple(unlisted))


def _files(root: Path) -> set[str]:
    """Return all files but those of the trainer."""
    files = {file.relative_to(root) for file in root.rglob("*") if file.is_file()}
    return {file.as_posix() for file in files if file.parts[0] not in ("checkpoint", "pretrained")}


class _Check:
    """What is known of a run directory so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.defects: list[Defect] = []
        self.readable: dict[str, int] = {}
        self.seen = {"run.json", "epochs.jsonl"}

    @contextmanager
    def of(self, file: str, networks: Iterable[str] = (), epoch: int = 0) -> Iterator[None]:
        """Note what is wrong with a file, without which `networks` are readable until `epoch`."""
        try:
            yield
        except DamagedRunError as error:
            reason = str(error).removeprefix(f"{self.root / file}: ")
            self.defects.append(Defect(file, reason.removeprefix(f"{self.root}: ")))
            for network in networks:
                self.readable[network] = min(self.readable[network], epoch)

    def listed(self, header: Header, samples: Samples | None, n_epochs: int) -> None:
        """Check the other files that ``run.json`` lists."""
        readers: dict[str, tuple[Callable[[Path, Entry, Samples], object], Sequence[str], int]] = {
            "truth.parquet": (read_truth, (), 0),
            "neighbours.parquet": (read_neighbours, header.networks, 0),
        }
        for network in header.networks:
            readers[features_path(network)] = (read_features, [network], 0)
            for view, epoch in product(VIEWS, range(n_epochs)):
                path = view_path(view, network, epoch)
                readers[path] = (partial(read_view, view=view), [network], epoch)
        for entry in header.files.values():
            self.seen.add(entry.path)
            if entry.path == "samples.parquet":  # it was the first to be read
                continue
            read, networks, epoch = readers.get(entry.path, (None, (), 0))
            with self.of(entry.path, networks, epoch):
                if read is None or samples is None:
                    read_listed(self.root, entry)
                else:
                    read(self.root, entry, samples)

    def epochs(self, lines: list[bytes], samples: Samples | None) -> None:
        """Check the lines of ``epochs.jsonl`` and the files that they list."""
        epoch = 0
        for number, raw in enumerate(lines, start=1):
            line = None
            with self.of("epochs.jsonl", self.readable, epoch):
                try:
                    line = parse_line(raw)
                    check_number(line, epoch)
                except ValueError as error:
                    raise DamagedRunError(f"line {number} {error}.") from None
            if line is not None:  # it may be that of a later epoch
                epoch = line.text["epoch"]
                self._epoch(line, samples)
            epoch += 1

    def _epoch(self, line: Line, samples: Samples | None) -> None:
        epoch = line.text["epoch"]
        damaged: set[str] = set()
        for entry in line.files:
            self.seen.add(entry.path)
            networks = [name for name in self.readable if entry in line.of_network(name)]
            n_before = len(self.defects)
            with self.of(entry.path, networks, epoch):
                read_table(self.root, entry, ["id"])
            if len(self.defects) > n_before:
                damaged.update(networks)
        if samples is None:
            return
        # What the files of a network say together, once each of them is whole.
        for network in [name for name in self.readable if name not in damaged]:
            parts = [entry.path for entry in line.of_network(network)] or ["epochs.jsonl"]
            file = parts[0] if len(parts) == 1 else parts[0].rsplit("/", maxsplit=1)[0]
            with self.of(file, [network], epoch):
                read_epoch(self.root, network, line, samples)
