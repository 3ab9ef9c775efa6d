"""`polylens mcp`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from polylens.cli.app import LibraryName, app
from polylens.cli.serving import settings_of
from polylens.errors import InputError


class Transport(StrEnum):
    """How an assistant reaches the server."""

    stdio = "stdio"
    http = "http"


@app.command()
def mcp(
    library: LibraryName = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to serve (default: the one that the index was made with). May be repeated."),
    ] = None,
    transport: Annotated[
        Transport,
        typer.Option(help="stdio: the assistant starts this command. http: it sends its requests to /mcp."),
    ] = Transport.stdio,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="With http: as for serve.")] = None,
    port: Annotated[int | None, typer.Option(metavar="NUMBER", help="With http: as for serve.")] = None,
    keys: Annotated[Path | None, typer.Option(metavar="FILE", help="With http: as for serve.")] = None,
) -> None:
    """Let assistants search a folder and open its pages, by the Model Context Protocol, and keep it searchable.

    Needs pip install 'polylens[mcp]'. The other settings of serve are read from their environment variables.
    """
    from polylens.library.location import find_library
    from polylens.server.app import create_mcp_app
    from polylens.server.mcp.endpoint import is_installed
    from polylens.server.run import run, run_on_stdio

    if not is_installed():
        raise InputError("polylens mcp needs the package mcp; install it with pip install 'polylens[mcp]'")
    of_http = {"host": host, "port": port, "keys": keys}
    if transport is Transport.stdio and any(value is not None for value in of_http.values()):
        raise InputError("--host, --port and --keys are for --transport http; over stdio nobody else can connect")
    folder = library if library is not None else str(find_library())
    given: dict[str, Any] = {"library": folder, **({"models": model} if model else {})}
    if transport is Transport.http:
        given |= {name: value for name, value in of_http.items() if value is not None}
        run(settings_of(given), create=create_mcp_app)
    else:
        run_on_stdio(settings_of({**given, "host": "127.0.0.1", "keys": None, "lazy": True}))
