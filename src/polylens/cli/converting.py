"""`polylens convert`: a model in the form of another engine."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from polylens.checkpoints.formats import Format
from polylens.cli.app import Model, app
from polylens.errors import InputError


class DType(StrEnum):
    """Number format of the matrices that `convert` writes."""

    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; created if it is missing.")],
    task: Annotated[
        str, typer.Option(help="Task whose adapter is merged into the weights: retrieval, text-matching or code.")
    ],
    format: Annotated[Format, typer.Option(help="Form of the files, one of the above.")] = Format.TRANSFORMERS,
    model: Model = "nano",
    dtype: Annotated[DType, typer.Option(help="Number format of the matrices.")] = DType.bfloat16,
) -> None:
    """Write a model, with the adapter of one task merged into its weights, for another engine.

    transformers: for transformers and vLLM, which then give dense vectors.

    vllm-multivector: the same with multi-vectors, for vLLM with the plug-in jina-v4-vllm-plugin.

    gguf: for llama.cpp. It needs the extra gguf.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"FOLDER must be a folder or not exist yet, got the file {folder}")
    import torch

    from polylens.checkpoints.export import check_mergeable, export_merged
    from polylens.checkpoints.fetch import resolve
    from polylens.checkpoints.loading import load_model, read_header

    header = read_header(resolve(model))
    check_mergeable(header.family, format)
    network = load_model(header, device=torch.device("cpu"), dtype=getattr(torch, dtype))
    export_merged(folder, header.family, network, header.processor, task, format)
    print(f"{model} for {task}, as {format}, in {folder}", file=sys.stderr)
