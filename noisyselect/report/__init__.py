"""A report of one run that people want to look at: a page in one file.

It may use true labels, where they are known, to say what the selectors are worth.
"""

from noisyselect.report.page import write_report

__all__ = ["write_report"]
