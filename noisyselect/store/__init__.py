"""Run directories: what training showed, saved epoch by epoch as Parquet and JSON.

The format is specified in ``docs/log-format.md``.
"""

from noisyselect.store.export import export_label_issues, export_log, export_selection
from noisyselect.store.importers import import_log
from noisyselect.store.npz import import_npz
from noisyselect.store.run import Run, open_run
from noisyselect.store.validate import Defect, Validation, validate_run
from noisyselect.store.writer import RunWriter

__all__ = [
    "Defect",
    "Run",
    "RunWriter",
    "Validation",
    "export_label_issues",
    "export_log",
    "export_selection",
    "import_log",
    "import_npz",
    "open_run",
    "validate_run",
]
