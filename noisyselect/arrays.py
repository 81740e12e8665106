"""What callers hand us becomes numpy here, once, and is refused here, once.

No framework is imported: an array of torch, JAX or any other library is recognised by what it can
do, so a missing or broken framework can never break the recording of a numpy loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.floating[Any]]
AnyArray = npt.NDArray[Any]

# As dtypes, for numpy takes long to compare a dtype with a type, and a bank asks for every batch.
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def to_numpy(values: npt.ArrayLike) -> AnyArray:
    """Return `values` as a numpy array: numpy, torch on any device, JAX or nested lists."""
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        tensor: Any = values.detach().cpu()
        # numpy has no bfloat16, which is what mixed-precision loops hand out.
        return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
    return np.asarray(values)


def read_only(values: AnyArray) -> AnyArray:
    """Return a view of `values` that cannot be written through."""
    view = values.view()
    view.flags.writeable = False
    return view


def frozen(values: AnyArray) -> AnyArray:
    """Make an array of one's own read-only for good, so that nobody needs a copy of it."""
    values.flags.writeable = False
    return values


def is_frozen(values: AnyArray) -> bool:
    """Return whether neither `values` nor what it is a view of can be written to."""
    base: Any = values
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return base is None


def _shape_text(shape: Iterable[object]) -> str:
    items = [str(item) for item in shape]
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def check_shape(
    name: str, values: AnyArray, expected: Mapping[str, int | None], hint: str = ""
) -> None:
    """Raise ValueError unless `values` has the `expected` shape, given as {axis name: length}.

    A length of None allows any. The message names the axes, their lengths and `hint`, the way out.
    """
    lengths = tuple(expected.values())
    fits = values.shape == lengths or (
        values.ndim == len(lengths)
        and all(
            want is None or want == got for want, got in zip(lengths, values.shape, strict=True)
        )
    )
    if not fits:
        wanted = _shape_text("any" if want is None else want for want in lengths)
        got = _shape_text(values.shape) if values.ndim else "a scalar"
        message = f"`{name}` must have shape {_shape_text(expected)} = {wanted}, got {got}. {hint}"
        raise ValueError(message.rstrip())


def identifiers(ids: npt.ArrayLike) -> AnyArray:
    """Return sample ids as an array of integers or strings; pandas hands out strings as objects."""
    array = to_numpy(ids)
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat):
        return array.astype(np.str_)
    if array.dtype.kind not in "iuU":
        raise TypeError(f"`ids` must hold integers or strings, got dtype {array.dtype}.")
    return array


def integers(name: str, values: npt.ArrayLike) -> IntArray:
    """Return `values` as an integer array, refusing floats, bools and strings."""
    array = to_numpy(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        hint = " Encode names first: np.unique(names, return_inverse=True)."
        raise TypeError(
            f"`{name}` must hold integers, got dtype {array.dtype}."
            f"{hint if array.dtype.kind in 'UO' else ''}"
        )
    return array


def floats(name: str, values: npt.ArrayLike) -> FloatArray:
    """Return `values` as float32 or float64; half precision and integers are widened losslessly."""
    array = to_numpy(values)
    if array.dtype in _FLOATS:
        return array
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float64)
    raise TypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}.")


def check_classes(name: str, values: IntArray, n_classes: int, lowest: int = 0) -> None:
    """Raise ValueError unless every entry lies in [`lowest`, `n_classes`)."""
    if values.size and (values.min() < lowest or values.max() >= n_classes):
        bad = (values < lowest) | (values >= n_classes)
        raise ValueError(
            f"`{name}` must lie in [{lowest}, n_classes) = [{lowest}, {n_classes}), "
            f"got {int(bad.sum())} outside, the first {int(values[bad].flat[0])}."
        )


def check_batches(name: str, values: IntArray) -> None:
    """Raise ValueError unless every number of a mini-batch lies in [-1, 2**31)."""
    if values.size and (values.min() < -1 or values.max() >= 2**31):
        raise ValueError(f"`{name}` must lie in [-1, 2**31), got {values.min()} to {values.max()}.")


def sample_ids(ids: npt.ArrayLike | None, n_samples: int) -> AnyArray:
    """Return the ids of `n_samples` samples: integers or strings, all different; default 0..n-1."""
    if ids is None:
        return np.arange(n_samples)
    array = identifiers(ids)
    check_shape("ids", array, {"n_samples": n_samples})
    if np.all(array[1:] > array[:-1]):  # the common case, without the sort
        return array
    unique, counts = np.unique(array, return_counts=True)
    if unique.size != n_samples:
        twice = unique[counts > 1]
        raise ValueError(
            f"`ids` must be unique, got {twice.size} ids more than once: {first(twice)}."
        )
    return array


def first(values: AnyArray, n: int = 5) -> str:
    """Return the first `n` entries as text, with an ellipsis where there are more."""
    shown = ", ".join(str(value) for value in values[:n].tolist())
    return f"{shown}, ..." if values.size > n else shown
