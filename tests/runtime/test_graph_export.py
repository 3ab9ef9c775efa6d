"""Graphs of towers against the models that they were written from: same vectors, in the programs that read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny, tiny_bert, tiny_clip, tiny_colbert, tiny_m0
from tests.support.commands import polylens

from polylens.checkpoints.formats import Format
from polylens.checkpoints.loading import load_model, read_header
from polylens.errors import InputError
from polylens.models.protocol import Item
from polylens.runtime.embedder import load
from polylens.runtime.graph_export import check_exportable, export_graphs

CPU = torch.device("cpu")
EXACT = 1e-5  # of unit vectors: float32 sums in another order, through three layers
TEXTS = ("a", "the harbour closes at nine", "which ferry is the last, and where does it leave?")
Run = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""Name of a graph and its inputs -> its outputs by name."""

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra openvino is not installed: pip install 'polylens[openvino]'"
)
needs_onnx = pytest.mark.skipif(
    any(find_spec(package) is None for package in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra onnx or onnxruntime is not installed: pip install 'polylens[onnx]' onnxruntime",
)


@pytest.fixture(scope="module", autouse=True)
def shapes_unchecked() -> Iterator[None]:
    """While a graph is traced, a size is a symbol, which the checker of shapes does not take for a number."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def exported(model: Path, folder: Path, format: Format, task: str | None) -> Run:
    header = read_header(model)
    export_graphs(folder, header, load_model(header, device=CPU, dtype=torch.float32), format, task=task)
    return reader(folder)


def reader(folder: Path) -> Run:
    def run(graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        described = json.loads((folder / "graphs.json").read_text(encoding="utf-8"))["graphs"][graph]
        assert list(described["inputs"]) == list(inputs)
        path, names = folder / described["file"], list(described["outputs"])
        if path.suffix == ".onnx":
            import onnxruntime

            return dict(zip(names, onnxruntime.InferenceSession(path).run(names, dict(inputs)), strict=True))
        from polylens.runtime.engines.openvino.library import core

        compiled = core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled(dict(inputs))
        return {name: found[name] for name in names}

    return run


def padded(items: list[Item]) -> dict[str, np.ndarray]:
    shape = len(items), max(item.num_tokens for item in items) + 2  # padding behind the longest, too
    ids, mask = np.full(shape, 7, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, item in enumerate(items):
        ids[row, : item.num_tokens], mask[row, : item.num_tokens] = item.token_ids, 1
    return {"input_ids": ids, "attention_mask": mask}


def items_of(model: Path, task: str | None, prompt_name: str | None = None) -> list[Item]:
    processor = read_header(model).processor
    adapter, prompt = processor.role(task, prompt_name)
    return [processor.text(text, task=adapter, prompt_name=prompt, max_length=None) for text in TEXTS]


def picture() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(0).integers(256, size=(80, 110, 3), dtype=np.uint8))


def pixels(model: Path, patches: np.ndarray) -> np.ndarray:
    """The pixels from which patches were cut, with the rest that no patch has filled by zeros."""
    config = read_header(model).config.vision
    side, grid, patch = config.image_size, config.grid, config.patch_size
    whole = patches.reshape(grid, grid, 3, patch, patch).transpose(2, 0, 3, 1, 4).reshape(3, grid * patch, -1)
    return np.pad(whole, ((0, 0), *[(0, side - grid * patch)] * 2))[None]


def check_pictures(model: Path, run: Run) -> None:
    embedder = load(model, device="cpu", dtype="float32", engine="torch")
    item = embedder.processor.image(picture(), task=None, max_pixels=None)
    assert item.patches is not None and item.pixel_scale is not None
    normalised = item.pixel_scale.normalise(item.patches).numpy()
    found = run("vision", {"pixel_values": pixels(model, normalised)})["dense"]
    assert np.abs(found - embedder.encode_image([picture()])).max() < EXACT


def check_texts(model: Path, run: Run, task: str | None) -> None:
    expected = load(model, device="cpu", dtype="float32", engine="torch").encode_text(list(TEXTS), task=task)
    assert np.abs(run("text", padded(items_of(model, task)))["dense"] - expected).max() < EXACT


@needs_openvino
@pytest.mark.parametrize(
    ("write", "task"),
    [
        (lambda folder: tiny_clip.write(folder), "retrieval.query"),
        (lambda folder: tiny_clip.write(folder, tiny_clip.V3), "separation"),
        (lambda folder: tiny_clip.write(folder, tiny_clip.V3), None),
        (lambda folder: tiny_bert.write(folder, tiny_bert.CODE), None),
        (lambda folder: tiny_bert.write(folder, tiny_bert.CLIP), None),
    ],
    ids=["clip-v2", "v3 with an adapter", "v3", "v2-code", "clip-v1"],
)
def test_openvino_gives_the_vectors_of_texts_and_pictures(
    tmp_path: Path, write: Callable[[Path], Path], task: str | None
) -> None:
    model = write(tmp_path / "model")
    run = exported(model, tmp_path / "out", Format.OPENVINO, task)
    check_texts(model, run, task)
    if (tmp_path / "out/vision.xml").exists():
        check_pictures(model, run)


@needs_openvino
def test_multi_vectors_leave_out_what_has_none(tmp_path: Path) -> None:
    model = tiny_colbert.write(tmp_path / "model")
    run = exported(model, tmp_path / "out", Format.OPENVINO, None)
    items = items_of(model, None, "passage")
    inputs = padded(items)
    inputs["vector_mask"] = np.array([np.pad(item.kept, (0, 99))[: inputs["input_ids"].shape[1]] for item in items]) * 1
    found = run("text", inputs)
    embedder = load(model, device="cpu", dtype="float32", engine="torch")
    for row, embedding in enumerate(embedder.embed(TEXTS, prompt_name="passage")):
        assert np.abs(found["dense"][row] - embedding.dense).max() < EXACT
        kept = inputs["vector_mask"][row].astype(bool)
        assert np.abs(found["multivector"][row][kept] - embedding.multivector).max() < EXACT
        assert not found["multivector"][row][~kept].any()


@needs_openvino
def test_a_decoder_reads_texts(tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "model")
    run = exported(model, tmp_path / "out", Format.OPENVINO, "code")
    items = items_of(model, "code", "passage")
    found = run("text", padded(items))
    embedder = load(model, device="cpu", dtype="float32", engine="torch")
    for row, embedding in enumerate(embedder.embed(TEXTS, task="code", prompt_name="passage")):
        assert np.abs(found["dense"][row] - embedding.dense).max() < EXACT
        assert np.abs(found["multivector"][row][: items[row].num_tokens] - embedding.multivector).max() < EXACT
    described = json.loads((tmp_path / "out/graphs.json").read_text(encoding="utf-8"))["graphs"]
    assert list(described) == ["text"]
    assert described["text"]["prefixes"] == {"query": "Query: ", "passage": "Passage: "}


@needs_onnx
def test_onnx_runtime_gives_the_vectors_of_texts_and_pictures(tmp_path: Path) -> None:
    model = tiny_clip.write(tmp_path / "model")
    run = exported(model, tmp_path / "out", Format.ONNX, "retrieval.query")
    check_texts(model, run, "retrieval.query")
    check_pictures(model, run)


@needs_openvino
def test_the_command_writes_what_a_stranger_needs(tmp_path: Path) -> None:
    model = tiny_clip.write(tmp_path / "model")
    done = polylens("convert", tmp_path / "out", "--format", "openvino", "--model", model, "--task", "retrieval.query")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == f"{model} for retrieval.query, as openvino, in {tmp_path / 'out'}\n"
    graphs = {f"{name}.{end}" for name in ("text", "vision") for end in ("xml", "bin")}
    beside = {"config.json", "tokenizer.json", "preprocessor_config.json", "graphs.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == graphs | beside
    described = json.loads((tmp_path / "out/graphs.json").read_text(encoding="utf-8"))
    assert described["matryoshka_dims"] == [8, 16, 48]
    assert described["graphs"]["text"]["prefixes"] == {"retrieval.query": tiny_clip.QUERY}
    assert described["graphs"]["vision"]["inputs"]["pixel_values"]["axes"] == ["batch", 3, 76, 76]


@needs_openvino
def test_what_the_command_refuses(tmp_path: Path) -> None:
    model, reranker = tiny_clip.write(tmp_path / "model"), tiny_m0.write(tmp_path / "reranker")
    for options, says in [
        (("--model", model, "--dtype", "bfloat16"), "the format openvino is written in float32, got --dtype bfloat16"),
        (("--model", model, "--task", "code"), "task must be one of retrieval.query"),
        (("--model", reranker), "models of the family jina_reranker_m0 are not written as graphs"),
    ]:
        done = polylens("convert", tmp_path / "out", "--format", "openvino", *options)
        assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polylens.runtime.graph_export.find_spec", lambda name: None if name == "onnx" else object())
    family = read_header(tiny_bert.write(tmp_path / "model")).family
    with pytest.raises(InputError, match=r"needs onnx, which is not installed.*'polylens\[onnx\]'"):
        check_exportable(family, Format.ONNX)
