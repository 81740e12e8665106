"""What the parts of a selection cost per million samples on one core: the rates of docs/scale.md.

    python benchmarks/scale.py [--samples N] [--log NPZ]

`--log` adds the size of the Parquet files of a log of losses, predictions and confidences by row.
"""

import argparse
import tempfile
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisyselect import GMMSelector, MemoryBank, TrainingLog, VRLVSelector
from noisyselect.numeric.mixture import fit_in_few_steps, low_mean_posterior, unit_interval
from noisyselect.numeric.ranks import counted_ranks, rank_variance
from noisyselect.store import RunWriter, open_run
from noisyselect.store.files import to_parquet

N_CLASSES = 1000
WINDOW = 6
BATCH = 256


def made_up_epochs(n_samples, n_epochs=WINDOW, seed=0):
    """Return labels, and columns per epoch: losses that fall, a third of them slowly."""
    rng = np.random.default_rng(seed)
    pace = np.where(rng.random(n_samples) < 0.33, 0.02, 0.25)
    labels = rng.integers(0, N_CLASSES, n_samples)
    epochs = []
    for epoch in range(n_epochs):
        losses = 2.5 * np.exp(-pace * epoch + 0.3 * rng.normal(size=n_samples))
        right = losses < 1
        columns = {
            "losses": losses.astype(np.float32),
            "predictions": np.where(right, labels, rng.integers(0, N_CLASSES, n_samples)),
            "confidences": np.where(right, np.exp(-losses), rng.random(n_samples)),
        }
        columns["predictions"] = columns["predictions"].astype(np.int16)
        columns["confidences"] = columns["confidences"].astype(np.float32)
        epochs.append(columns)
    return labels, epochs


def per_million(n_samples, call, repetitions=3):
    """Return the median CPU seconds of a call, scaled to a million samples."""
    seconds = []
    for _ in range(repetitions):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds)) * 1e6 / n_samples


def record(bank, columns):
    ids = np.random.default_rng(0).permutation(bank.n_samples)
    for batch in np.array_split(ids, bank.n_samples // BATCH):
        bank.record(batch, **{name: values[batch] for name, values in columns.items()})
    bank.end_epoch()


def rates(n_samples, folder):
    """Yield a name and seconds per million samples."""
    labels, epochs = made_up_epochs(n_samples)
    losses = np.stack([columns["losses"] for columns in epochs])
    values = unit_interval(losses[-1])
    mixture = fit_in_few_steps(values)

    def timed(call):
        return per_million(n_samples, call)

    yield "mixture, fit", timed(lambda: fit_in_few_steps(values))
    yield "mixture, posterior", timed(lambda: low_mean_posterior(values, mixture))
    yield "counted ranks, one epoch", timed(lambda: counted_ranks(losses[-1]))
    yield f"variance of ranks, {WINDOW} epochs", timed(lambda: rank_variance(losses))

    bank = MemoryBank(labels, N_CLASSES, window=WINDOW)
    yield f"recording in batches of {BATCH}", timed(lambda: record(bank, epochs[-1]))
    for columns in epochs:
        record(bank, columns)
    log = bank.log()
    selector = VRLVSelector(window=WINDOW - 1, balance=False)
    yield "VRLV core, two networks", timed(lambda: selector.select_pair(log, log))

    writer = RunWriter.create(folder / "run", labels, n_classes=N_CLASSES)
    yield "Parquet, writing one epoch", timed(lambda: writer.write_epoch({"a": epochs[-1]}))
    run = open_run(folder / "run")
    yield "Parquet, reading one epoch, checked", timed(lambda: run.log(last=1))
    files = sorted((folder / "run" / "dynamics").glob("*/*/*.parquet"))
    yield (
        "Parquet, reading one epoch, pyarrow",
        timed(lambda: pq.read_table(files[-1], use_threads=False)),
    )


def bank_bytes(n_samples):
    """Return the bytes per sample of a full bank, while it makes its log, and while VRLV selects.

    VRLV's bytes are its own, beside the logs.
    """
    labels, epochs = made_up_epochs(n_samples)
    tracemalloc.start()
    bank = MemoryBank(labels, N_CLASSES, window=WINDOW)
    for columns in epochs:
        record(bank, columns)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    log = bank.log()
    making = tracemalloc.get_traced_memory()[1]
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    VRLVSelector(window=WINDOW - 1, balance=False).select_pair(log, log)
    selecting = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return held / n_samples, making / n_samples, selecting / n_samples


def as_written(columns):
    return to_parquet(columns, dict.fromkeys(columns, ""))


def bytes_split(columns):
    """Return the file with encodings that suit numbers of which few are equal."""
    sink = pa.BufferOutputStream()
    encodings = dict.fromkeys(("loss", "confidence"), "BYTE_STREAM_SPLIT")
    pq.write_table(
        pa.table(columns),
        sink,
        compression="zstd",
        use_dictionary=["prediction"],
        column_encoding=encodings | {"id": "DELTA_BINARY_PACKED"},
    )
    return bytes(sink.getvalue())


def print_sizes(name, losses, predictions, confidences):
    """Print the bytes per sample of an epoch's file, of its columns, and the time to write it."""
    for kind, write in (
        ("float32", as_written),
        ("float32", bytes_split),
        ("float16", as_written),
        ("float16", bytes_split),
    ):
        columns = {
            "id": np.arange(len(losses)),
            "loss": losses.astype(kind),
            "prediction": predictions,
            "confidence": confidences.astype(kind),
        }
        data = write(columns)
        footer = pq.read_metadata(pa.BufferReader(data))
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        parts = ", ".join(
            f"{column} {sum(g.column(k).total_compressed_size for g in groups) / len(losses):.2f}"
            for k, column in enumerate(columns)
        )
        seconds = per_million(len(losses), partial(write, columns))
        print(
            f"  {name}, {kind}, {write.__name__}: {len(data) / len(losses):.2f} ({parts}); "
            f"{seconds:.3f} s per million"
        )


def print_rounded(losses, predictions, labels):
    """Print on how many samples a selection changes when the losses are rounded to float16."""
    exact, rounded = (
        [
            TrainingLog(
                labels, losses=losses[:, network].astype(kind), predictions=predictions[:, network]
            )
            for network in (0, 1)
        ]
        for kind in ("float32", "float16")
    )
    for name, selector in (
        ("gmm", GMMSelector()),
        ("VRLV core", VRLVSelector(window=WINDOW - 1, balance=False)),
    ):
        kept = selector.select(*exact).clean
        changed = kept != selector.select(*rounded).clean
        print(f"  {name}: keeps {kept.mean():.2%}, with float16 {changed.mean():.3%} change sides")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        print(f"CPU seconds per million samples, from {options.samples:,}, median of 3:")
        for name, seconds in rates(options.samples, Path(folder)):
            print(f"  {name:38} {seconds:8.3f}")
    held, making, selecting = bank_bytes(options.samples)
    print(
        f"bytes per sample of a bank of {WINDOW} epochs: {held:.0f}; while it makes a log: "
        f"{making:.0f}; of the VRLV core beside the logs: {selecting:.0f}"
    )

    print("bytes per sample of an epoch's file:")
    _, epochs = made_up_epochs(options.samples)
    print_sizes("made up", *epochs[-1].values())
    if options.log is not None:
        with np.load(options.log) as log:
            columns = [log[name][:, 0] for name in ("loss", "pred", "conf")]
        for epoch in (0, len(columns[0]) - 1):
            print_sizes(f"log, epoch {epoch}", *(column[epoch] for column in columns))
        print("losses of the log rounded to float16:")
        with np.load(options.log) as log:
            for stop in (10, 20, 30):
                print(f"  until epoch {stop}")
                print_rounded(log["loss"][:stop], log["pred"][:stop], log["label"])


if __name__ == "__main__":
    main()
