"""The program itself, and what several of its commands share."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polylens.errors import InputError, PolylensError, exit_code

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Option(help="A name of `polylens models`, or a folder in the official layout.")]


def main() -> None:
    """Entry point of the console script: runs a command and turns errors into a line and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a Japanese page is printed in a Latin-1 locale too
    try:
        app()
    except PolylensError as error:
        print(f"polylens: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except OSError as error:  # of the machine: no space left, no permission
        print(f"polylens: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:  # typer has made 130 of Ctrl-C, and 1 of a reader that went away, as `head` does
        if end.code == 130:
            print("polylens: interrupted", file=sys.stderr)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        from polylens import __version__

        print(f"polylens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Universal embeddings one can run oneself: text, pictures and document pages in one vector space."""


def show(*tables: Table) -> None:
    """Prints tables as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 180)
    for table in tables:
        console.print(table)


def require_place(option: str, file: Path | None) -> None:
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InputError(f"{option} must be a file in a folder that is there, got {file}")


@contextmanager
def needing_the_train_extra(what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        raise InputError(
            f"{what} needs {missing.name}, which is not installed; it comes with pip install -e '.[train]'"
        ) from missing
