"""The HTTP server, its search page and its keys."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from polylens.cli.app import app
from polylens.errors import InputError


class FetchMode(StrEnum):
    """Which URLs `serve` fetches."""

    public = "public"
    allow = "allow"
    off = "off"


@app.command()
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(help="A name of `polylens models` or a folder; may be repeated. By default nano."),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(metavar="PUBLISHED=NAME", help="Another name for a served model; may be repeated."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    library: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep a folder searchable, with a page to search it on; or search s3://BUCKET/PREFIX as it is.",
        ),
    ] = None,
    lazy: Annotated[bool, typer.Option("--lazy", help="Load a model when it is first asked for.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; by default a GPU if there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="bfloat16, float32 or float16.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes a model, each with its own copy of it.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each process on a CPU; by default the cores are shared out.")
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens a forward pass; by default 512 on a CPU, 16384 on a GPU.")
    ] = None,
    max_wait: Annotated[
        float, typer.Option(min=0, help="Seconds of work that may wait; what would wait longer is refused.")
    ] = 60.0,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys, made with `polylens key`; without it anyone may ask.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Most requests of one key.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Most tokens of one key.")] = None,
    fetch: Annotated[
        FetchMode, typer.Option(help="URLs of images: public addresses, only hosts of --fetch-host, or none.")
    ] = FetchMode.public,
    fetch_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="host, host:port or *.host; may be repeated.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Pages that may call from a browser; may be repeated.")
    ] = None,
    cache_mb: Annotated[int, typer.Option(min=0, help="Memory for finished vectors, in MB; 0 keeps none.")] = 256,
) -> None:
    """Answer the HTTP interface of the published models, for Jina's and OpenAI's clients, until interrupted."""
    from polylens.server.run import run
    from polylens.server.settings import FetchPolicy, Limits, Settings

    limits = Limits(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
    run(
        Settings(
            models=tuple(model or [_model_of(library)]),
            aliases=_aliases(alias or []),
            library=library,
            host=host,
            port=port,
            lazy=lazy,
            device=device,
            dtype=dtype,
            workers=workers,
            threads=threads,
            batch_tokens=batch_tokens,
            max_wait=max_wait,
            cache_bytes=cache_mb * 1024 * 1024,
            keys=keys,
            cors_origins=tuple(cors_origin or ()),
            fetch=FetchPolicy(
                mode=fetch.value, allowed_hosts=frozenset(fetch_host or ()), max_bytes=limits.image_bytes
            ),
            limits=limits,
        )
    )


@app.command(name="open")
def open_page(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to search, or s3://BUCKET/PREFIX.")] = ".",
    model: Annotated[str | None, typer.Option(help="As for index.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 0,
) -> None:
    """Open the search page of a folder in the browser, and keep the folder searchable until interrupted."""
    import webbrowser

    from polylens.server.run import run
    from polylens.server.settings import Settings

    def show(address: str) -> None:
        print(f"{address}  (Ctrl-C ends it)", file=sys.stderr)
        webbrowser.open(address)

    run(Settings(models=(model or _model_of(folder),), library=folder, port=port), show=show)


@app.command()
def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; it stands in logs.")],
    keys: Annotated[Path, typer.Option(help="The file that `serve --keys` reads; made if it is not there.")],
) -> None:
    """Make an API key for the server and print it. Only its hash is kept, so it cannot be shown again."""
    from polylens.server.http.access import add_key

    print(add_key(keys, name))


def _model_of(library: str | None) -> str:
    """The model that a library's index was made with; nano where there is none."""
    from polylens.index.table.manifest import read_manifest
    from polylens.index.table.store import Store
    from polylens.library.library import DEFAULT_MODEL, Library

    if library is None or not Store.exists(place := Library(library).storage):
        return DEFAULT_MODEL
    return read_manifest(place).model_name


def _aliases(pairs: list[str]) -> dict[str, str]:
    aliases = {}
    for pair in pairs:
        published, equals, name = pair.partition("=")
        if not (published and equals and name):
            raise InputError(f"--alias must be PUBLISHED=NAME, such as jina-embeddings-v4=nano, got {pair!r}")
        aliases[published] = name
    return aliases
