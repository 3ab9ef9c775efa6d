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
        str | None,
        typer.Option(
            help="Task whose adapter is merged into the weights, such as retrieval. onnx and openvino do without one: "
            "the model's default."
        ),
    ] = None,
    format: Annotated[Format, typer.Option(help="Form of the files, one of the above.")] = Format.TRANSFORMERS,
    model: Model = "nano",
    dtype: Annotated[
        DType | None,
        typer.Option(help="Number format of the matrices (default: bfloat16, and float32 for onnx and openvino)."),
    ] = None,
) -> None:
    """Write a model, with the adapter of one task merged into its weights, for another engine.

    transformers: for transformers and vLLM, which then give dense vectors.

    vllm-multivector: the same with multi-vectors, for vLLM with the plug-in jina-v4-vllm-plugin.

    sentence-transformers: its own modules alone, which load without polylens and without remote code. They give
    multi-vectors; dense vectors of images cannot be expressed in them.

    gguf: for llama.cpp. It needs the extra gguf.

    onnx, openvino: a graph per tower, for ONNX Runtime or OpenVINO. They need the extras of these names.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"FOLDER must be a folder or not exist yet, got the file {folder}")
    if format.is_graph:
        if dtype not in (None, DType.float32):
            raise InputError(f"the format {format} is written in float32, got --dtype {dtype}; leave --dtype out")
        _write_graphs(folder, model, task, format)
    else:
        if task is None:
            raise InputError(f"the format {format} needs --task, because one adapter is merged into the weights")
        _write_checkpoint(folder, model, task, format, dtype or DType.bfloat16)
    print(f"{model}{'' if task is None else f' for {task}'}, as {format}, in {folder}", file=sys.stderr)
    if format is Format.SENTENCE_TRANSFORMERS:
        from polylens.checkpoints.stock_modules import WITHOUT_DENSE

        print(WITHOUT_DENSE, file=sys.stderr)


def _write_graphs(folder: Path, model: str, task: str | None, format: Format) -> None:
    import torch

    from polylens.checkpoints.fetch import resolve
    from polylens.checkpoints.loading import load_model, read_header
    from polylens.runtime.graph_export import check_exportable, export_graphs

    header = read_header(resolve(model))
    check_exportable(header.family, format)
    header.processor.role(task, None)
    network = load_model(header, device=torch.device("cpu"), dtype=torch.float32)
    export_graphs(folder, header, network, format, task=task)


def _write_checkpoint(folder: Path, model: str, task: str, format: Format, dtype: DType) -> None:
    import torch

    from polylens.checkpoints.export import check_mergeable, export_merged
    from polylens.checkpoints.fetch import resolve
    from polylens.checkpoints.loading import load_model, read_header

    header = read_header(resolve(model))
    check_mergeable(header.family, format)
    network = load_model(header, device=torch.device("cpu"), dtype=getattr(torch, dtype))
    export_merged(folder, header.family, network, header.processor, task, format)
