"""Converted graphs on disk, so that the second start does not convert again.

A graph is kept as openvino's own files and not as what it compiles to: compiling a tower of 150 million weights takes
half a second, reading a compiled one takes no less, and the graph suits every processor.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polylens.runtime.engines.openvino.library import openvino

FORM = 2  # rises with every change of what a graph computes
GRAPH, WEIGHTS, MANIFEST = "graph.xml", "graph.bin", "graph.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphKey:
    """What a converted graph depends on."""

    fingerprint: str
    """That of the checkpoint."""
    tower: str
    task: str | None
    dtype: str
    """Number format of the weights that were converted."""
    quantization: str | None

    def of(self, tower: str) -> GraphKey:
        """Returns the key of another tower's graphs."""
        return replace(self, tower=tower)

    @property
    def folder(self) -> str:
        """The graph's folder, below the cache's."""
        parts = (self.tower, self.task, self.dtype, self.quantization, openvino().__version__, FORM)
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
        return f"openvino/{self.fingerprint}/{self.tower}-{digest}"


def read_graph(cache: Path, key: GraphKey) -> Path | None:
    """Returns the file of a graph that openvino can compile; None where there is none, or where a file is broken."""
    folder = cache / key.folder
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(manifest[name] == _digest(folder / name) for name in (GRAPH, WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder / GRAPH if whole else None


def write_graph(cache: Path, key: GraphKey, graph: Any, *, half: bool) -> Path | None:
    """Writes a graph in the place of what is there; a reader finds it whole, or none.

    Args:
        cache: As from `polylens.caches.cache_folder`.
        key: What the graph depends on.
        graph: An `openvino.Model`.
        half: Whether to write float32 weights as float16, in half the space.

    Returns:
        The file that openvino can compile; None where the folder cannot be written, or another process wrote first.
    """
    folder = cache / key.folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as beside:
            made = Path(beside) / folder.name
            made.mkdir()
            openvino().save_model(graph, str(made / GRAPH), compress_to_fp16=half)
            manifest: Mapping[str, str] = {name: _digest(made / name) for name in (GRAPH, WEIGHTS)}
            (made / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(made, folder)  # noqa: PTH105 - as Path.replace, but an error names both paths
    except (OSError, RuntimeError):  # openvino's own error for a full disk is a RuntimeError
        return None
    return folder / GRAPH


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
