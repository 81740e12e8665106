"""How commands speak."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from noisyselect.errors import NoisySelectWarning


def terminal() -> Console:
    """Return the console that commands print on."""
    # A pipe has no width, and rich would cut the table to 80 columns. Of several processes that
    # torchrun started, the first speaks.
    quiet = os.environ.get("RANK", "0") != "0"
    return Console(width=None if sys.stdout.isatty() else 100, quiet=quiet)


def complain(kind: str, style: str, message: Exception | str) -> None:
    """Print a problem on the error stream as one line."""
    text = " ".join(str(message).split()) or type(message).__name__
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"[{style}]{kind}:[/] {escape(text)}"
    )


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings as one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", NoisySelectWarning)
        warnings.showwarning = lambda message, *_, **__: complain("Warning", "yellow", message)
        yield


def names(text: str) -> list[str]:
    """Return what is separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
