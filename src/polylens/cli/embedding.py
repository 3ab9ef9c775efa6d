"""`polylens embed` and `polylens models`."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from polylens.cli.app import Engine, Model, Quantization, app, lines_of, show
from polylens.errors import InputError


class Format(StrEnum):
    """Output format of `embed`."""

    json = "json"
    jsonl = "jsonl"
    npy = "npy"


@app.command()
def embed(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="One or several texts. A text is never opened as a file.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A UTF-8 file with one text per line; - is stdin.")] = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="An image: path, URL or data: URI. May be repeated.")
    ] = None,
    model: Model = "nano",
    task: Annotated[
        str | None, typer.Option(help="retrieval, text-matching or code (default: the model's default task).")
    ] = None,
    prompt_name: Annotated[str | None, typer.Option(help="query or passage, for texts (default: query).")] = None,
    dim: Annotated[int | None, typer.Option(help="Truncate dense vectors to this many numbers (Matryoshka).")] = None,
    multivector: Annotated[
        bool, typer.Option("--multivector", help="Print one vector per token instead of one per input.")
    ] = False,
    format: Annotated[Format, typer.Option(help="Output format. npy is binary: redirect it to a file.")] = Format.json,
    engine: Engine = None,
    quantization: Quantization = None,
) -> None:
    """Print the vectors of texts and images.

    The order is: texts, lines of the file, images.
    """
    from polylens.types import Image

    inputs: list[Any] = [*(texts or []), *lines_of(file), *map(Image, image or [])]
    if not inputs:
        raise InputError("there is nothing to embed; pass texts, --file FILE or --image PATH")
    if multivector and dim is not None:
        raise InputError("--dim truncates dense vectors, and --multivector prints none; leave one of the two out")
    if format is Format.npy and multivector and len(inputs) > 1:
        raise InputError(
            "--format npy holds one array, but the multi-vectors of several inputs differ in length; use --format jsonl"
        )
    if format is Format.npy and sys.stdout.isatty():
        raise InputError(
            "--format npy is binary and stdout is a terminal; redirect it: polylens embed ... > vectors.npy"
        )
    from polylens.runtime.embedder import load

    embedder = load(model, engine=engine, quantization=quantization)
    vectors = embedder.encode(
        inputs, task, prompt_name, truncate_dim=dim, return_multivector=multivector, show_progress=len(inputs) > 8
    )
    _print_vectors(vectors, format, model=model, task=task, multivector=multivector)
    if embedder.engine.is_preparing:
        sys.stdout.flush()
        message = "polylens: the engine openvino is still being prepared, once for this model and task"
        print(f"{message}; the next start will be quicker", file=sys.stderr)


@app.command()
def models() -> None:
    """List the models that can be loaded by name."""
    from rich.table import Table

    from polylens.checkpoints.catalog import CATALOG

    table = Table("model", "parameters", "dense sizes", "multi-vectors", "context", "takes", "languages", "licence")
    for entry in CATALOG:
        size = _size(entry.parameters)
        dims = ", ".join(map(str, entry.dims)) or "none: scores pairs"
        late, takes = str(entry.multivector_dim or "-"), ", ".join(entry.modalities)
        table.add_row(entry.name, size, dims, late, f"{entry.context:,}", takes, entry.languages, entry.licence)
    show(table)


def _size(parameters: int | None) -> str:
    if parameters is None:
        return "-"
    return f"{parameters / 1e9:.1f} B" if parameters > 1e9 else f"{parameters / 1e6:.1f} M"


def _print_vectors(vectors: Any, format: Format, *, model: str, task: str | None, multivector: bool) -> None:
    if format is Format.npy:
        import numpy as np

        np.save(sys.stdout.buffer, vectors[0] if multivector else vectors)
        return
    rows = [{"index": i, "embedding": vector.tolist()} for i, vector in enumerate(vectors)]
    if format is Format.json:
        print(json.dumps({"model": model, "task": task, "data": rows}))
        return
    for row in rows:
        print(json.dumps(row))
