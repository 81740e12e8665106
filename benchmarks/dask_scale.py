"""Selection on runs of many samples, over two workers of 2 GiB: seconds, and memory of a worker.

    python benchmarks/dask_scale.py --samples 10 50 200 --folder /tmp/scale

Samples are given in millions. A run of six epochs takes 31 MB for each million; it is written into
the folder, and removed after it is measured, unless --keep is given. Up to ten million samples,
the selection is compared with that in memory.
"""

import argparse
import hashlib
import json
import multiprocessing
import shutil
import time
from functools import partial
from pathlib import Path

import distributed
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import noisyselect as ns
from noisyselect.dask import select
from noisyselect.store import open_run

N_CLASSES, N_EPOCHS, PART = 100, 6, 1_000_000
SELECTORS = (
    ns.GMMSelector(),
    ns.SmallLossSelector(),
    ns.LossVariationSelector(),
    ns.PredictionStabilitySelector(),
    ns.VRLVSelector(balance=False),
)


def sealed(content):
    """Return a JSON object as a run directory holds it, see docs/log-format.md."""
    body = json.dumps(content)[:-1]
    return f'{body}, "checksum": "{hashlib.sha256(body.encode()).hexdigest()}"}}\n'.encode()


def entry(root, name):
    with (root / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": name, "size": (root / name).stat().st_size, "sha256": digest}


def write_table(path, **columns):
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        use_dictionary=False,
        column_encoding={"id": "DELTA_BINARY_PACKED"},
    )


def labels_of(part):
    return np.random.default_rng([0, part]).integers(0, N_CLASSES, PART, dtype=np.int8)


def write_part(root, part):
    """Write a million samples of all epochs; one in five has a wrong label, learnt late."""
    rng = np.random.default_rng([1, part])
    ids = np.arange(part * PART, (part + 1) * PART)
    labels = labels_of(part)
    wrong = rng.random(PART, dtype=np.float32) < 0.2
    level = np.where(wrong, 4.0, 1.5).astype(np.float32)
    level *= np.exp(0.4 * rng.standard_normal(PART, dtype=np.float32))
    rate = np.where(wrong, 0.05, 0.5).astype(np.float32)
    rate *= rng.standard_exponential(PART, dtype=np.float32)
    settled = np.where(wrong, (labels + 1) % N_CLASSES, labels).astype(np.int8)
    unsteady = np.where(wrong, 0.2, 0.03)
    files = []
    for epoch in range(N_EPOCHS):
        jitter = np.exp(0.2 * rng.standard_normal(PART, dtype=np.float32))
        elsewhere = rng.random(PART, dtype=np.float32) < unsteady
        drawn = rng.integers(0, N_CLASSES, PART, dtype=np.int8)
        name = f"dynamics/network=a/epoch={epoch:04d}/part-{part:05d}.parquet"
        write_table(
            root / name,
            id=ids,
            loss=level * np.exp(-rate * epoch) * jitter,
            prediction=np.where(elsewhere, drawn, settled),
        )
        files.append(entry(root, name))
    return files


def write_run(root, n_parts):
    """Write a run of so many million samples, with two processes."""
    for epoch in range(N_EPOCHS):
        (root / f"dynamics/network=a/epoch={epoch:04d}").mkdir(parents=True)
    schema = pa.schema({"id": pa.int64(), "label": pa.int8()})
    with pq.ParquetWriter(
        root / "samples.parquet",
        schema,
        compression="zstd",
        use_dictionary=False,
        column_encoding={"id": "DELTA_BINARY_PACKED"},
    ) as samples:
        for part in range(n_parts):
            ids = np.arange(part * PART, (part + 1) * PART)
            samples.write_table(pa.table({"id": ids, "label": labels_of(part)}, schema))
    with multiprocessing.Pool(2) as pool:
        of_parts = pool.map(partial(write_part, root), range(n_parts), chunksize=1)
    lines = [
        sealed({"epoch": epoch, "lr": 0.1, "phase": "", "metrics": {}, "files": list(files)})
        for epoch, files in enumerate(zip(*of_parts, strict=True))
    ]
    (root / "epochs.jsonl").write_bytes(b"".join(lines))
    header = {
        "format": "noisyselect-run",
        "version": 1,
        "n_classes": N_CLASSES,
        "class_names": None,
        "networks": ["a"],
        "settings": {},
        "versions": {},
        "files": [entry(root, "samples.parquet")],
    }
    (root / "run.json").write_bytes(sealed(header))


def peak_mib():
    """Return the most memory that this process has held."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def size_gb(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def measure(root, out, selector):
    """Return seconds, those the workers computed, their peaks in MiB, and what was written."""
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="2GiB", dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster) as client:
        start = time.perf_counter()
        written = select(root, selector, out, client)
        seconds = time.perf_counter() - start
        busy = sum(client.run(time.process_time).values())
        return seconds, busy, list(client.run(peak_mib).values()), written


def compare(root, out, selector):
    """Return the share of samples that are decided otherwise in memory."""
    selection = selector.select(*open_run(root).logs(last=selector.history))
    clean = np.concatenate(
        [
            pq.read_table(path, columns=["clean"])["clean"].to_numpy()
            for path in sorted(out.iterdir())
        ]
    )
    return np.mean(clean != selection.clean)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, nargs="+", default=[10], help="in millions")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--selectors", nargs="+", help="by their class; all by default")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    chosen = [s for s in SELECTORS if type(s).__name__ in (options.selectors or type(s).__name__)]
    print(
        "million  selector                      seconds    CPU  peak MiB of workers  kept   differ"
    )
    for millions in options.samples:
        root = options.folder / f"run-{millions}"
        if not root.exists():
            start = time.perf_counter()
            write_run(root, millions)
            seconds = time.perf_counter() - start
            print(f"{millions:7}  written: {size_gb(root):.1f} GB in {seconds:.0f} s", flush=True)
        for selector in chosen:
            out = options.folder / "selection"
            shutil.rmtree(out, ignore_errors=True)
            seconds, busy, peaks, written = measure(root, out, selector)
            differ = f"{compare(root, out, selector):.4%}" if millions <= 10 else ""
            print(
                f"{millions:7}  {type(selector).__name__:28}  {seconds:7.0f}  {busy:5.0f}  "
                f"{' '.join(f'{peak:.0f}' for peak in peaks):19}  "
                f"{written.n_clean / written.n_samples:.1%}  {differ}",
                flush=True,
            )
            shutil.rmtree(out)
        if not options.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
