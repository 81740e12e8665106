"""How what was measured is kept: few epochs, few digits, one file written at once."""

import json

import numpy as np


def evenly(n, most):
    """Return all of n places, or so many at even distances, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()


def compact(value):
    """Return a value for JSON, numbers rounded to 4 digits and NaN as None."""
    if isinstance(value, dict):
        return {name: compact(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [compact(part) for part in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value


def write_json(path, content):
    """Write a file with a line for each member, at once: it is there whole or not at all."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(compact(value), separators=(',', ':'))}"
        for name, value in content.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    beside.replace(path)
