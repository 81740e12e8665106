"""The command line: each command is one library call and a few lines of print."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from noisyselect import __version__
from noisyselect.cli.auditing import audit
from noisyselect.cli.benchmark import bench
from noisyselect.cli.comparison import compare
from noisyselect.cli.formats import export, import_, validate
from noisyselect.cli.logs import info, select, selectors
from noisyselect.cli.reporting import report
from noisyselect.cli.terminal import complain, plain_warnings
from noisyselect.cli.training import demo, features, presets, train
from noisyselect.errors import NoisySelectError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Decide from what training shows which labels to trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# The help shows them in this order.
app.command("import")(import_)
_COMMANDS = (
    *(audit, info, validate, selectors, select, export, bench, report),
    *(train, compare, presets, features, demo),
)
for command in _COMMANDS:
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"noisyselect {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; what goes wrong is one red line and the exit status 1."""
    with plain_warnings():
        try:
            app()
        except (NoisySelectError, ValueError, TypeError, OSError) as error:
            complain("Error", "bold red", error)
            sys.exit(1)
