"""The command-line program, and what several of its commands share."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polylens.cli.escaping import shown_error
from polylens.errors import InputError, PolylensError, exit_code

if TYPE_CHECKING:
    from rich.table import Table

    from polylens.runtime.embedder import Embedder

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Option(help="A name from `polylens models`, or a folder in the official layout.")]

Engine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What computes: torch, or openvino with its extra (default: what polylens bench found faster here).",
    ),
]
Quantization = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="int8 computes in 8-bit integers, int4 holds a decoder's weights in 4 bits; by the engine openvino "
        "(default: none).",
    ),
]

LibraryName = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="The indexed folder, or s3://BUCKET/PREFIX (default: the nearest folder upwards that has an index).",
    ),
]
IndexModel = Annotated[
    str | None, typer.Option(help="The model, as for index (default: the one that the index was made with).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def main() -> None:
    """Runs a command; turns an error into one line on stderr and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a Latin-1 locale must not fail on a Japanese page
    try:
        app()
    except PolylensError as error:
        print(f"polylens: {shown_error(str(error))}", file=sys.stderr)
        sys.exit(exit_code(error))
    except OSError as error:  # from the system: no space left, no permission
        print(f"polylens: {shown_error(str(error))}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:  # typer uses 130 for Ctrl-C, and 1 for a closed pipe, as by `head`
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
    """Universal embeddings that you run yourself: texts, images and document pages in one vector space."""


def load_if_named(model: str | None, engine: str | None = None, quantization: str | None = None) -> Embedder | None:
    """The model of an index, where a command names one; None lets the library find its own.

    Args:
        engine: As for `polylens.load`.
        quantization: As for `polylens.load`.
    """
    if model is None:
        return None
    from polylens.runtime.embedder import load

    return load(model, engine=engine, quantization=quantization)


def model_of(library: str | None) -> str:
    """The model that the index of a library was made with; nano if there is no index."""
    from polylens.index.table.manifest import read_manifest
    from polylens.index.table.store import Store
    from polylens.library.library import DEFAULT_MODEL, Library

    if library is None or not Store.exists(place := Library(library).storage):
        return DEFAULT_MODEL
    return read_manifest(place).model_name


def show(*tables: Table) -> None:
    """Prints tables: as wide as the terminal, or 180 characters wide into a file."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 180)
    for table in tables:
        console.print(table)


def lines_of(file: Path | None) -> list[str]:
    """The lines of a text file that are not blank; "-" is stdin, None has none.

    Raises:
        InputError: The file cannot be read, or is not UTF-8.
    """
    if file is None:
        return []
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        reason = getattr(unreadable, "strerror", None) or unreadable
        rule = "--file must be a UTF-8 text file with one text per line"
        raise InputError(f"{rule}, got {file}: {reason}") from unreadable
    return [line for line in text.splitlines() if line.strip()]


def require_place(option: str, file: Path | None) -> None:
    """Checks that a file can be written: it is not a folder, and its folder exists.

    Raises:
        InputError: The message names the option.
    """
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InputError(f"{option} must be a file in an existing folder, got {file}")


@contextmanager
def needing_the_train_extra(what: str) -> Iterator[None]:
    """Turns a missing package into an InputError that says how to install the extra `train`."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise InputError(
            f"{what} needs {missing.name}, which is not installed; install it with pip install 'polylens[train]'"
        ) from missing
