"""Trainings one after another, or several at once in processes of their own."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from noisyselect.errors import NoisySelectError, NoisySelectWarning
from noisyselect.torch.data import TrainingData
from noisyselect.torch.settings import Settings
from noisyselect.torch.trainer import EpochResult, train

# Read when a process loads the libraries that compute.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# Method and seed.
Name = tuple[str, int]
OnEpoch = Callable[[str, int, EpochResult], None]
Results = dict[Name, tuple[EpochResult, ...]]


@dataclass(frozen=True)
class Job:
    """A training that starts in `out`, or goes on there: the arguments of `train`."""

    data: TrainingData
    settings: Settings
    out: Path
    pretrained: Path
    device: str

    @property
    def pretrains(self) -> bool:
        """Whether it may leave something in `pretrained` for others."""
        return self.settings.pretrain_epochs > 0 and self.settings.method in ("vrlvmix", "scanmix")

    def run(self, on_epoch: Callable[[EpochResult], None]) -> tuple[EpochResult, ...]:
        """Train, and return all epochs."""
        return train(
            self.data,
            self.settings,
            self.out,
            pretrained=self.pretrained,
            device=self.device,
            resume=True,
            on_epoch=on_epoch,
        ).epochs


def run_jobs(
    jobs: Mapping[Name, Job], at_once: int = 1, on_epoch: OnEpoch | None = None
) -> Results:
    """Run trainings and return the epochs of each.

    Parameters
    ----------
    jobs : mapping of (str, int) to Job
        By method and seed.
    at_once : int >= 1, default=1
        With 1 in this process, otherwise each in a fresh one with one thread. Of those that
        pre-train, the first runs alone until it has closed an epoch: the others find its results.
    on_epoch : callable, optional
        Called in this process with method, seed and `EpochResult` after each epoch.

    Raises
    ------
    NoisySelectError
        If, with several at once, trainings failed: their names and reasons, when all others have
        been finished. One at a time, the first error ends the rest.
    """
    if at_once < 1:
        raise ValueError(f"`jobs` must be at least 1, got {at_once!r}.")

    def report(name: Name, result: EpochResult) -> None:
        if on_epoch is not None:
            on_epoch(*name, result)

    if at_once > 1:
        return _Pool(jobs, at_once, report).run()
    # `name=name`: each call is to report under its own.
    return {
        name: job.run(lambda result, name=name: report(name, result))  # type: ignore[misc]
        for name, job in jobs.items()
    }


class _Pool:
    """A process for each training, so many at a time. Unlike a pool's, its death harms no other."""

    def __init__(
        self, jobs: Mapping[Name, Job], at_once: int, report: Callable[[Name, EpochResult], None]
    ) -> None:
        self.jobs, self.at_once, self.report = jobs, at_once, report
        self.waiting = list(jobs)
        self.running: dict[Connection, tuple[Name, SpawnProcess]] = {}
        self.done: Results = {}
        self.failed: dict[Name, str] = {}
        self.pretrained = False

    def run(self) -> Results:
        try:
            while self.waiting or self.running:
                while len(self.running) < self.at_once and (name := self._next()) is not None:
                    self._start(name)
                for connection in wait(list(self.running)):
                    assert isinstance(connection, Connection)
                    self._listen(connection)
        finally:
            for _, process in self.running.values():
                process.terminate()
        if self.failed:
            reasons = "; ".join(
                f"{method}, seed {seed}: {why}" for (method, seed), why in self.failed.items()
            )
            raise NoisySelectError(
                f"{len(self.failed)} of {len(self.jobs)} trainings failed. {reasons} The others "
                "are finished, and will be read when this is run again."
            )
        return self.done

    def _next(self) -> Name | None:
        """Return a training that may start, if any: only one at a time pre-trains anew."""
        pretraining = not self.pretrained and any(
            self.jobs[name].pretrains for name, _ in self.running.values()
        )
        free = (name for name in self.waiting if not (pretraining and self.jobs[name].pretrains))
        return next(free, None)

    def _start(self, name: Name) -> None:
        spawn = get_context("spawn")
        ours, its = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_train_in_child, args=(self.jobs[name], its), daemon=True)
        with _one_thread():
            process.start()
        # Else the end of the process would not end the connection.
        its.close()
        self.waiting.remove(name)
        self.running[ours] = name, process

    def _listen(self, connection: Connection) -> None:
        name, _ = self.running[connection]
        try:
            message = connection.recv()
        except (EOFError, OSError):
            self._end(connection)
            return
        match message:
            case EpochResult():
                self.pretrained |= self.jobs[name].pretrains
                self.report(name, message)
            case Warning():
                warnings.warn(message, stacklevel=2)
            case str():
                self.failed[name] = message
            case _:
                self.done[name] = message

    def _end(self, connection: Connection) -> None:
        name, process = self.running.pop(connection)
        connection.close()
        process.join()
        if name not in self.done and name not in self.failed:
            self.failed[name] = f"its process ended with status {process.exitcode}."


def _train_in_child(job: Job, parent: Connection) -> None:
    """Train and send to the parent each epoch, each warning, and all epochs or an error's text."""
    # Ctrl-C goes to all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("default", NoisySelectWarning)
    warnings.showwarning = lambda message, *_, **__: parent.send(message)
    try:
        parent.send(job.run(parent.send))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent is to name it
        parent.send(f"{type(error).__name__}: {error}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let the processes that are started compute with one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
