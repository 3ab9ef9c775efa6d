"""Writes the towers of a model as graphs for ONNX Runtime or OpenVINO, with all that a stranger needs to call them.

A graph takes a padded batch and returns unit vectors in float32; see `models/padded.py`. Beside the graphs lie the
published `config.json`, `tokenizer.json` and `preprocessor_config.json`, and `graphs.json`, which names the inputs and
outputs. `config.json` is written last: a folder that has it is complete.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from polylens.atomic import write_beside
from polylens.checkpoints.formats import Format
from polylens.errors import InputError
from polylens.models.description import Family, Header
from polylens.models.padded import PaddedNetwork
from polylens.models.protocol import Model

DESCRIPTION = "graphs.json"
PACKAGES = {Format.ONNX: ("onnx", "onnxscript"), Format.OPENVINO: ("openvino",)}
GRAPHS = {Format.ONNX: "onnx", Format.OPENVINO: "xml"}  # ends of names; the weights lie in a second file
_LOUD = ("torch.onnx", "onnxscript", "onnx_ir")  # loggers of steps that the caller did not ask for


def check_exportable(family: Family, format: Format) -> None:
    """Checks what `export_graphs` needs before any weight is read.

    Raises:
        InputError: The family is not written as graphs, or a package is missing.
    """
    if family.padded is None:
        raise InputError(
            f"models of the family {family.name} are not written as graphs; polylens serve answers other programs "
            "with them"
        )
    for package in PACKAGES[format]:
        if find_spec(package) is None:
            raise InputError(
                f"the format {format} needs {package}, which is not installed; it comes with "
                f"pip install 'polylens[{format}]'"
            )


def export_graphs(folder: Path, header: Header, model: Model, format: Format, *, task: str | None) -> None:
    """Writes a graph per tower, and the files beside them.

    Args:
        folder: Created if it is missing; files of the same names are replaced.
        header: The header of the checkpoint.
        model: In float32, on the CPU. Its weights change: the task's adapter is merged into them.
        format: `Format.ONNX` or `Format.OPENVINO`.
        task: The task whose adapter is merged; None is the model's default.

    Raises:
        InputError: As `check_exportable`, or the checkpoint has no such task.
        OSError: The folder cannot be written.
    """
    check_exportable(header.family, format)
    assert header.family.padded is not None
    networks = header.family.padded(model, header.processor, task)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder) as beside:
        for network in networks:
            write = _write_onnx if format is Format.ONNX else _write_openvino
            write(Path(beside) / f"{network.name}.{GRAPHS[format]}", network)
        for file in Path(beside).iterdir():
            os.replace(file, folder / file.name)  # noqa: PTH105 - as Path.replace, but an error names both paths
    _write_json(folder / DESCRIPTION, _description(header, networks, format, task))
    for name in ("tokenizer.json", "preprocessor_config.json", "config.json"):
        source = header.config_file.with_name(name)
        if source.exists():
            with write_beside(folder / name) as partial:
                shutil.copyfile(source, partial)


def _write_onnx(path: Path, network: PaddedNetwork) -> None:
    sizes = {name: torch.export.Dim(name) for axes in network.axes.values() for name in axes if isinstance(name, str)}
    dynamic = [
        {place: sizes[axis] for place, axis in enumerate(network.axes[name]) if isinstance(axis, str)}
        for name in network.inputs
    ]
    with _quiet(network):
        torch.onnx.export(
            network.network,
            tuple(network.inputs.values()),
            path,
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            dynamic_shapes=tuple(dynamic),
            dynamo=True,
            external_data=True,  # a file of one message ends at 2 GB
            verbose=False,
        )


def _write_openvino(path: Path, network: PaddedNetwork) -> None:
    from polylens.runtime.engines.openvino.library import openvino

    shapes = [[-1 if isinstance(axis, str) else axis for axis in network.axes[name]] for name in network.inputs]
    with _quiet(network):
        graph: Any = openvino().convert_model(
            network.network, example_input=tuple(network.inputs.values()), input=shapes
        )
    for port, name in zip([*graph.inputs, *graph.outputs], network.axes, strict=True):
        port.get_tensor().set_names({name})
    openvino().save_model(graph, str(path), compress_to_fp16=False)


@contextlib.contextmanager
def _quiet(network: PaddedNetwork) -> Iterator[None]:
    """Prepares a network to be traced, and keeps the tracer's warnings about itself from the caller."""
    network.network.eval()
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.network(*network.inputs.values())  # what a tower computes once and keeps is then traced as a constant
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _description(header: Header, networks: Any, format: Format, task: str | None) -> dict[str, Any]:
    return {
        "fingerprint": header.fingerprint,
        "task": task,
        "dtype": "float32",
        "matryoshka_dims": list(header.matryoshka_dims),
        "graphs": {network.name: _described(network, header, format) for network in networks},
    }


def _described(network: PaddedNetwork, header: Header, format: Format) -> dict[str, Any]:
    def of(names: Any) -> dict[str, Any]:
        return {name: {"axes": list(network.axes[name]), "meaning": network.meanings[name]} for name in names}

    described: dict[str, Any] = {
        "file": f"{network.name}.{GRAPHS[format]}",
        "inputs": of(network.inputs),
        "outputs": of(network.outputs),
    }
    if "input_ids" in network.inputs:
        described |= {"prefixes": dict(network.prefixes), "longest": header.context}
    return described


def _write_json(path: Path, value: Any) -> None:
    with write_beside(path) as beside:
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
