"""Selection on run directories that no machine's memory holds, over Dask. Needs dask."""

from __future__ import annotations

try:
    import distributed as _distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        "noisyselect.dask needs dask, an optional extra: install noisyselect[dask]."
    ) from error

from noisyselect.dask.selecting import Selected, select

__all__ = ["Selected", "select"]
