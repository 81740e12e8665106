"""The records of an epoch that several processes made, as bytes that they can exchange."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from noisyselect.arrays import AnyArray

Bytes = npt.NDArray[np.uint8]
# Bytes of the number that says how long the JSON is.
_LENGTH = 8


def several_processes() -> bool:
    """Return whether torch.distributed, where the loop has loaded it, joins several processes."""
    distributed: Any = sys.modules.get("torch.distributed")
    joined = distributed and distributed.is_available() and distributed.is_initialized()
    return bool(joined and distributed.get_world_size() > 1)


def pack(facts: Mapping[str, Any], arrays: Mapping[str, AnyArray]) -> Bytes:
    """Return facts, as JSON, and arrays, as they lie in memory, in one array of bytes."""
    layout = [(name, values.dtype.str, values.shape) for name, values in arrays.items()]
    text = json.dumps({"facts": facts, "layout": layout}).encode()
    lying = [np.ascontiguousarray(values).data for values in arrays.values() if values.size]
    packed = b"".join([len(text).to_bytes(_LENGTH, "little"), text, *lying])
    return np.frombuffer(packed, dtype=np.uint8)


def unpack(packed: Bytes) -> tuple[dict[str, Any], dict[str, AnyArray]]:
    """Return the facts and arrays that `pack` was given; the arrays are views of `packed`."""
    start = _LENGTH + int.from_bytes(packed[:_LENGTH].tobytes(), "little")
    header = json.loads(packed[_LENGTH:start].tobytes())
    arrays = {}
    for name, dtype, shape in header["layout"]:
        end = start + np.dtype(dtype).itemsize * int(np.prod(shape))
        arrays[name] = packed[start:end].view(dtype).reshape(shape)
        start = end
    return header["facts"], arrays


def check_alike(facts: Sequence[Mapping[str, object]]) -> None:
    """Raise ValueError unless all ranks say the same of everything they know; None is unknown."""
    for name in facts[0]:
        known = [(rank, said[name]) for rank, said in enumerate(facts) if said[name] is not None]
        for rank, value in known[1:]:
            if value != known[0][1]:
                raise ValueError(
                    f"All ranks must close an epoch with the same {name}: rank {known[0][0]} has "
                    f"{known[0][1]}, rank {rank} has {value}."
                )
