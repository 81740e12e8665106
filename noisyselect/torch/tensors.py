"""Tensors and JSON in one safetensors file that is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from noisyselect.errors import DamagedRunError
from noisyselect.store.files import write_file

# Version of the file.
_FORMAT = 1


def write_tensors(
    path: Path, tensors: dict[str, Tensor], meta: dict[str, Any], *, shared: bool = False
) -> None:
    """Replace a file by one of these tensors, with `meta` and a digest of both in its header.

    The JSON stands in the header: two files could disagree after a crash.

    Parameters
    ----------
    path : Path
    tensors : dict of str to Tensor
        On any device.
    meta : dict
        Anything that JSON can hold.
    shared : bool, default=False
        Whether another process may write the same file at the same time; the last one stays.

    Raises
    ------
    OSError
        If the file cannot be written; the previous one stays.
    """
    # Clones: safetensors refuses tensors that share memory, as tied weights do.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"format": _FORMAT, **meta})
    header = {"state": text, "sha256": _digest(text, plain)}
    write_file(path.parent, path.name, save(plain, metadata=header), shared=shared)


def read_tensors(path: Path, way_out: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what `write_tensors` wrote, or None where there is no such file.

    Parameters
    ----------
    path : Path
    way_out : str
        A sentence for the error: what to do without the file.

    Raises
    ------
    DamagedRunError
        If the file is truncated, altered or of another version.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata()
            meta = json.loads(header["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(
            f"{path} must be a file of tensors of this library, got: {error}. {way_out}"
        ) from error
    if meta.get("format") != _FORMAT:
        raise DamagedRunError(
            f"{path} must have format {_FORMAT}, got {meta.get('format')!r}: it was written by "
            f"another version of noisyselect. {way_out}"
        )
    if header.get("sha256") != _digest(header["state"], tensors):
        raise DamagedRunError(f"{path} was altered after it was written. {way_out}")
    return tensors, meta


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
