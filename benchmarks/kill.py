"""Kill training runs with SIGKILL, resume them, and compare what they leave with unbroken runs.

Each kill is of a process of its own, forked from this one, which has imported everything and
computed nothing. It strikes at a random point of a random part of the run: before or after a file
is flushed, renamed or deleted, in the middle of a write, around a step of an optimiser, a selection
or an evaluation; every other kill a random time after such a point. The killed run is resumed, and
killed again, until it ends. Then every file of its directory must be that of the unbroken run, bit
for bit: weights, momenta, log, history and what pre-training keeps. Temporary files that nobody
reads are counted apart: a kill in a write leaves one, and the next write need not use its name.

    python benchmarks/kill.py --kills 20
"""

import argparse
import json
import mmap
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

# Read when torch is imported. A forked process would wait for ever for its parent's threads.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import torch._dynamo  # by the first step of an optimiser, which would take each child a second
from rich.console import Console
from rich.table import Table

from noisyselect.errors import DegenerateWarning
from noisyselect.torch import Settings, SmallCNN, load_data, train, with_noise
from noisyselect.torch.pretrain import pretrained
from noisyselect.torch.trainer import run as trainer

_COMMON = {
    "epochs": 7, "warm_up": 3, "batch_size": 32, "n_neighbors": 5, "lr": 0.05, "ema": 0.9,
    "pretrain_batch_size": 60, "pretrain_lr": 0.05, "scan_batch_size": 40,
}  # fmt: skip
_CLUSTERED = {"pretrain_epochs": 3, "clustering_epochs": 3}
RUNS = {
    "vrlvmix, clustered from the start": Settings(
        **_COMMON, **_CLUSTERED, scan="on",
        record=("probabilities", "second-view", "batches", "features"),
    ),
    # Few losses pass so high a threshold: at the end of warm-up SCAN and clustering begin.
    "vrlvmix, clustered after warm-up": Settings(**_COMMON, **_CLUSTERED, threshold=0.999),
    "dividemix, not augmented": Settings(**_COMMON, method="dividemix", augment=False),
}  # fmt: skip

# Kills of one run, at most: its parts must suffice for them, see `strikes_on`.
_KILLS_PER_RUN = 4

# Of a kill from outside, seconds after its point.
_LONGEST_DELAY = 0.02


@dataclass(frozen=True)
class Strike:
    """Where a kill strikes: the `count`-th time that a process comes to `point` in `part`.

    With `delay`, in seconds, the kill comes from outside and so much later, but in that part.
    """

    part: str
    point: str
    count: int
    delay: float | None = None


@dataclass
class Watch:
    """Sees a child pass points, part by part, and kills it at one of them.

    `board` is memory shared with the parent: a byte other than 0 asks it for a kill.
    """

    board: mmap.mmap
    strike: Strike | None = None
    part: str = "opening"
    passed: list[tuple[str, str]] = field(default_factory=list)

    def enter(self, part):
        """Begin a part; a kill that was to come from outside in the last one comes now."""
        if self.board[0]:
            self.kill()
        self.part = part

    def comes_to(self, point):
        """Return whether the kill strikes here and now."""
        self.passed.append((self.part, point))
        strike = self.strike
        if strike is None or (self.part, point) != (strike.part, strike.point):
            return False
        if self.passed.count((self.part, point)) != strike.count:
            return False
        self.board[0] = strike.delay is not None
        return strike.delay is None

    def at(self, point):
        """Die here, if the kill strikes here."""
        if self.comes_to(point):
            self.kill()

    @staticmethod
    def kill():
        """End this process as nothing but the system can."""
        os.kill(os.getpid(), signal.SIGKILL)


class HalfWritten:
    """A file that a kill may leave with half of what was to be written."""

    def __init__(self, file, watch):
        self._file, self._watch = file, watch

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, data):
        """Write two halves, between which the kill may strike."""
        half = len(data) // 2
        self._file.write(data[:half])
        if self._watch.comes_to("half-written file"):
            self._file.flush()
            self._watch.kill()
        self._file.write(data[half:])


def watch_everything(watch):
    """Let the watch know of every point of this process at which a kill might do harm."""

    def around(owner, name, point):
        original = getattr(owner, name)

        def watched(*args, **keywords):
            watch.at(f"before {point}")
            answer = original(*args, **keywords)
            watch.at(f"after {point}")
            return answer

        setattr(owner, name, watched)

    def parted(owner, name, part_of):
        original = getattr(owner, name)

        def watched(self, *args):
            watch.enter(part_of(self, *args))
            return original(self, *args)

        setattr(owner, name, watched)

    around(os, "fsync", "flush")
    around(Path, "replace", "rename")
    around(Path, "unlink", "deletion")
    around(shutil, "rmtree", "deletion of a folder")
    around(torch.optim.SGD, "step", "step")
    around(trainer, "evaluate", "evaluation")
    around(trainer, "save_checkpoint", "checkpoint")
    around(trainer._Run, "_select", "selection")
    around(trainer._Run, "_end_warm_up", "end of warm-up")
    around(pretrained, "find_neighbours", "search for neighbours")
    parted(trainer._Run, "_epoch", lambda run, epoch: f"epoch {epoch}, {run._phase(epoch)}")
    parted(pretrained._Phase, "_epoch", lambda phase, epoch, *_: f"{phase._name} {epoch}")

    opened = Path.open

    def open_watched(path, mode="r", *args, **keywords):
        file = opened(path, mode, *args, **keywords)
        return HalfWritten(file, watch) if {"w", "+"} & set(mode) else file

    Path.open = open_watched


def child(data, settings, out, watch, report):
    """Train, or go on training, and report the points passed on the way."""
    warnings.simplefilter("ignore", DegenerateWarning)
    # Else none of pre-trainings this short would be saved before its end.
    pretrained._SECONDS_BETWEEN_SAVES = 0.0
    watch_everything(watch)
    train(data, settings, out, network=lambda: SmallCNN(1, 10, 8, 32), resume=True)
    watch.enter("end")
    report.write_text(json.dumps(watch.passed))


def fork(data, settings, out, strike=None):
    """Train in a new process until it ends or is killed; return the points passed, or None."""
    board = mmap.mmap(-1, 1)
    report = out.with_suffix(".json")
    process = os.fork()
    if process == 0:
        try:
            child(data, settings, out, Watch(board, strike), report)
        except BaseException:  # noqa: BLE001 - nothing of the parent's may run in this process
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = _wait(process, board, strike)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    if status:
        raise RuntimeError(f"The training in {out} failed with status {status}: {strike}.")
    return [tuple(pair) for pair in json.loads(report.read_text())]


def _wait(process, board, strike):
    while strike is not None and strike.delay is not None:
        if board[0]:
            time.sleep(strike.delay)
            os.kill(process, signal.SIGKILL)
            break
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.0002)
    return os.waitpid(process, 0)[1]


def strikes_on(passed, n, rng):
    """Draw `n` kills, in the order of the run, from the points that the unbroken run passed.

    Never two in neighbouring parts: a part that was begun may be over when the run goes on.
    """
    parts = list(dict.fromkeys(part for part, _ in passed))
    chosen = np.sort(rng.choice(len(parts) - n + 1, n, replace=False)) + np.arange(n)
    for part in (parts[index] for index in chosen):
        points = [point for where, point in passed if where == part]
        # Of all kinds alike: most points are steps.
        point = str(rng.choice(sorted(set(points))))
        count = int(rng.integers(points.count(point))) + 1
        delay = float(rng.uniform(0, _LONGEST_DELAY)) if rng.random() < 0.5 else None
        yield Strike(part, point, count, delay)


def contents(folder):
    """Return what is in every file below a folder: bytes, after a header where there is one."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): _headed(path.read_bytes(), path.suffix == ".safetensors")
        for path in files
    }


def _headed(data, safetensors):
    """Return header and body; safetensors writes the members of a header in any order."""
    if not safetensors:
        return None, data
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def differences(one, other):
    """Return the files that only one of two folders has, or that differ."""
    first, second = contents(one), contents(other)
    return sorted(name for name in first | second if first.get(name) != second.get(name))


def kill_and_compare(folder, n_kills, seed):
    """Yield the name of a run, its kills, and the files in which it differs from the unbroken."""
    rng = np.random.default_rng(seed)
    data = with_noise(load_data("digits", subset=120), "sym", 0.5, seed=0)
    n_chains = max(len(RUNS), -(-n_kills // _KILLS_PER_RUN))
    unbroken = {}
    for index, chain in enumerate(np.array_split(np.arange(n_kills), n_chains)):
        if not chain.size:
            continue
        name = list(RUNS)[index % len(RUNS)]
        whole, broken = folder / f"whole-{index % len(RUNS)}", folder / f"broken-{index}"
        if name not in unbroken:
            unbroken[name] = fork(data, RUNS[name], whole)
        strikes = list(strikes_on(unbroken[name], chain.size, rng))
        for strike in strikes:
            if fork(data, RUNS[name], broken, strike) is not None:
                raise RuntimeError(f"The run {name!r} ended before it came to {strike}.")
        fork(data, RUNS[name], broken)
        yield name, strikes, differences(whole, broken)


def rows(strikes, differing):
    """Yield where each kill struck, and what came of it."""
    harmed, left = without_temporary(differing)
    end = f"{harmed} files differ" if harmed else "ended identical"
    for index, strike in enumerate(strikes):
        later = "" if strike.delay is None else f", {1000 * strike.delay:.1f} ms later"
        over = index == len(strikes) - 1
        what = f"{end}{f', {left} .tmp left' if left else ''}" if over else "resumed"
        yield strike.part, f"{strike.point} no. {strike.count}{later}", what


def without_temporary(differing):
    """Return how many of these files are of the run, and how many temporary."""
    left = sum(name.endswith(".tmp") for name in differing)
    return len(differing) - left, left


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    # The one other thread is of the memory allocator that pyarrow brings, which knows of forks.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    table = Table(title=f"{options.kills} kills, seed {options.seed}")
    for heading in ("run", "killed in", "at", "and then"):
        table.add_column(heading)
    started, n_differing = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for name, strikes, differing in kill_and_compare(Path(folder), options.kills, options.seed):
            for row, (part, point, end) in enumerate(rows(strikes, differing)):
                table.add_row("" if row else name, part, point, end)
            table.add_section()
            n_differing += without_temporary(differing)[0] > 0
    console = Console(width=120)
    console.print(table)
    seconds = time.perf_counter() - started
    console.print(f"{seconds:.0f} s; runs that differ from the unbroken one: {n_differing}")
    sys.exit(n_differing > 0)


if __name__ == "__main__":
    main()
