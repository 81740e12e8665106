"""Many cells at once, each in a process of its own with one thread, within a time limit."""

import os
import sys
import time
import traceback
import warnings
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path

from cell import make

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run(grid, folder, runs, jobs, minutes=None):
    """Make the cells that are not there yet, in order, and return those that failed.

    When the minutes are over, processes that still run are ended; the next call goes on with each
    after its last closed epoch.
    """
    todo = [cell for cell in grid if not Path(folder, cell.path).exists()]
    say(f"{len(grid) - len(todo)} of {len(grid)} cells are there.")
    until = None if minutes is None else time.monotonic() + 60 * minutes
    running, failed = {}, []
    try:
        while todo or running:
            while todo and len(running) < jobs and _left(until) > 0:
                cell = todo.pop(0)
                process = _started(cell, folder, runs)
                running[process.sentinel] = cell, process
            if not running or _left(until) <= 0:
                say(f"Time is over: {len(todo) + len(running)} cells are left to the next call.")
                break
            for sentinel in wait(list(running), None if until is None else max(0, _left(until))):
                cell, process = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    failed.append(cell)
                    say(f"FAILED: {cell.path}, see {_messages(cell, runs)}")
                else:
                    say(f"{cell.path}, {len(todo) + len(running)} left")
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()
    return failed


def say(text):
    """Print to the terminal; the tables alone go to standard output."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _left(until):
    return float("inf") if until is None else until - time.monotonic()


def _messages(cell, runs):
    return Path(runs, cell.path).with_suffix(".log")


def _started(cell, folder, runs):
    # Read when a process loads the libraries that compute.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    process = get_context("spawn").Process(target=_in_child, args=(cell, folder, runs))
    process.start()
    return process


def _in_child(cell, folder, runs):
    messages = _messages(cell, runs)
    messages.parent.mkdir(parents=True, exist_ok=True)
    with messages.open("w") as file:
        sys.stderr = file
        warnings.simplefilter("default")
        try:
            make(cell, folder, runs)
        except Exception:  # noqa: BLE001 - whatever it is, the other cells go on
            traceback.print_exc(file=file)
            sys.exit(1)
    messages.unlink()
