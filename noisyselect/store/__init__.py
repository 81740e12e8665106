"""Run directories: what training showed, saved epoch by epoch as Parquet and JSON.

The format is specified in ``docs/log-format.md``.
"""

from noisyselect.store.npz import import_npz
from noisyselect.store.run import Run, open_run
from noisyselect.store.writer import RunWriter

__all__ = ["Run", "RunWriter", "import_npz", "open_run"]
