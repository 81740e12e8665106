"""In what precision networks compute: 32 bits, or 16 where a device is built for them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

# Compute capability of the first CUDA devices that multiply bfloat16; earlier ones emulate it.
_AMPERE = (8, 0)


def resolve_precision(name: str, device: torch.device) -> Literal["float32", "bfloat16"]:
    """Return the precision of the forward passes in training.

    Parameters
    ----------
    name : {"auto", "float32", "bfloat16"}
        ``"auto"`` is bfloat16 where it is faster: on CUDA devices of compute capability 8 and more,
        and on processors with matrix units for it (Intel's AMX). Elsewhere it is float32.
    device : torch.device

    Raises
    ------
    ValueError
        If `name` is none of these.

    Examples
    --------
    >>> resolve_precision("float32", torch.device("cpu"))
    'float32'
    """
    match name:
        case "float32" | "bfloat16":
            return name
        case "auto":
            return "bfloat16" if _multiplies_bfloat16(device) else "float32"
    raise ValueError(f"`precision` must be 'auto', 'float32' or 'bfloat16', got {name!r}.")


def autocast(
    precision: Literal["float32", "bfloat16"], device: torch.device
) -> AbstractContextManager[object]:
    """Return a context in which networks compute with `precision`; their weights keep 32 bits.

    Only forward passes belong in it: the backward pass follows them, and losses deserve 32 bits.

    Notes
    -----
    Weights are converted anew in each forward pass. Torch could keep them for the length of the
    context, but not safely: a pass after a step would see the weights before it, and in earlier
    versions a pass after one without gradients had none either.

    Examples
    --------
    >>> with autocast("bfloat16", torch.device("cpu")):
    ...     torch.nn.Linear(3, 2)(torch.zeros(1, 3)).dtype
    torch.bfloat16
    """
    if precision == "float32":
        return nullcontext()
    context: AbstractContextManager[object] = torch.autocast(
        device.type, torch.bfloat16, cache_enabled=False
    )
    return context


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _AMPERE
    return device.type == "cpu" and _has_amx()


def _has_amx() -> bool:
    # Public in recent versions of torch only. The private function of earlier ones knows of the
    # tiles, which all processors that have them multiply bfloat16 with.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return bool(capabilities().get("amx_bf16", False))
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return has_tiles is not None and bool(has_tiles())
