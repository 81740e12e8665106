"""Runs in many parts and row groups, written as another tool would write them."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def make_logs(n_samples, n_epochs=6, n_classes=10, seed=0, noise=0.3):
    """Return labels, losses and predictions like those of a training: wrong labels come later."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n_samples)
    wrong = rng.random(n_samples) < noise
    speed = rng.gamma(4.0, 0.2, n_samples)
    level = np.where(wrong, rng.normal(3.5, 0.8, n_samples), rng.gamma(2.0, 0.6, n_samples))
    losses = np.empty((n_epochs, n_samples), dtype=np.float32)
    for epoch in range(n_epochs):
        decay = np.exp(-speed * epoch * np.where(wrong, 0.1, 0.8))
        losses[epoch] = np.abs(level) * decay * rng.lognormal(0, 0.25, n_samples)
    moved = rng.random((n_epochs, n_samples)) < np.where(wrong, 0.2, 0.04)
    settled = np.where(wrong, (labels + 1) % n_classes, labels)
    predictions = np.where(moved, rng.integers(0, n_classes, losses.shape), settled)
    return labels, losses, predictions


def write_run(
    root,
    labels,
    networks,
    *,
    ids=None,
    n_classes=10,
    lr=0.1,
    rows=10_000,
    present=None,
    n_samples=None,
):
    """Write a run directory.

    `networks` maps names to (losses, predictions); `rows` is the size of a row group of samples,
    and epochs have parts and row groups of other sizes. `present` says which samples an epoch has,
    shape (n_epochs, n_samples); only the first `n_samples` stand in samples.parquet.
    """
    root.mkdir()
    ids = np.arange(labels.size) if ids is None else ids

    def write(name, group, **columns):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, row_group_size=group)
        data = path.read_bytes()
        return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def sealed(content):
        body = json.dumps(content, allow_nan=False)[:-1]
        return f'{body}, "checksum": "{hashlib.sha256(body.encode()).hexdigest()}"}}\n'.encode()

    samples = write("samples.parquet", rows, id=ids[:n_samples], label=labels[:n_samples])
    n_epochs = len(next(iter(networks.values()))[0])
    rates = np.broadcast_to(lr, n_epochs)
    lines = []
    for epoch in range(n_epochs):
        files = []
        for name, (losses, predictions) in networks.items():
            taken = np.arange(labels.size)
            if present is not None:
                taken = np.flatnonzero(present[epoch])
            # Parts of different lengths in each epoch, which cut across the blocks.
            cuts = np.array_split(taken, [taken.size // (3 + epoch), taken.size // 2])
            for number, part in enumerate(cuts):
                files.append(
                    write(
                        f"dynamics/network={name}/epoch={epoch:04d}/part-{number:05d}.parquet",
                        rows // 3 + 7 * epoch,
                        id=ids[part],
                        loss=losses[epoch][part],
                        prediction=predictions[epoch][part],
                    )
                )
        line = {"epoch": epoch, "lr": float(rates[epoch]), "phase": "", "metrics": {}}
        lines.append(sealed(line | {"files": files}))
    (root / "epochs.jsonl").write_bytes(b"".join(lines))
    header = {
        "format": "noisyselect-run",
        "version": 1,
        "n_classes": n_classes,
        "class_names": None,
        "networks": list(networks),
        "settings": {},
        "versions": {},
        "files": [samples],
    }
    (root / "run.json").write_bytes(sealed(header))
    return root
