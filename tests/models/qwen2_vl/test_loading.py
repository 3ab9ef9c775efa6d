"""Folders that are recognised and refused, their tensors' names, and what is written again."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny, tiny_qwen2_vl
from tests.support.commands import polylens
from tests.support.serving import serving

from polylens.checkpoints.catalog import CATALOG, entry_at, find
from polylens.checkpoints.export import save_checkpoint
from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError, InputError
from polylens.models.family import family_of
from polylens.models.protocol import Fusing
from polylens.models.qwen2_vl.family import FAMILY
from polylens.models.qwen2_vl.prompts import GME, MCDSE, PROMPT_SETS, VDR
from polylens.models.qwen2_vl.recognition import PROMPTS_FILE, prompts_of
from polylens.models.qwen_vl.config import render_trunk
from polylens.models.qwen_vl.state_dict import Places
from polylens.runtime.embedder import load

PUBLISHED = tiny_qwen2_vl.TEMPLATES["vdr"]
NEWER = Places("model.language_model.", "model.visual.")


def folder_with(folder: Path, *, prompts: Any = None, code: str | None = None) -> Path:
    if prompts is not None:
        (folder / PROMPTS_FILE).write_text(json.dumps({"prompts": prompts}), encoding="utf-8")
    if code is not None:
        (folder / code).write_text("raise SystemExit('executed')", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("config", "files", "expected"),
    [
        ({}, {"code": "gme_inference.py"}, GME),
        ({}, {"code": "modeling_gme_qwen2vl.py"}, GME),
        ({"architectures": ["GmeQwen2VL"]}, {}, GME),
        ({"auto_map": {"AutoModel": "modeling_gme_qwen2vl.GmeQwen2VL"}}, {}, GME),
        ({"auto_map": {"AutoModel": "x.GmeQwen2VL"}, "min_image_tokens": 256}, {}, replace(GME, min_tokens=256)),
        ({}, {"prompts": PUBLISHED}, VDR),
        ({"prompt_set": "mcdse"}, {}, MCDSE),
        ({"prompt_set": "mcdse", "max_image_tokens": 2560}, {}, replace(MCDSE, max_tokens=2560)),
        ({"prompt_set": "gme"}, {"prompts": {"query": "Find: "}}, GME),
        (
            {},
            {"prompts": {"image": "<|image_pad|><|endoftext|>", "query": "Q %s<|endoftext|>"}},
            replace(VDR, image="<|image_pad|><|endoftext|>", text="Q %s<|endoftext|>"),
        ),
    ],
)
def test_prompts_are_recognised(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], expected: object
) -> None:
    assert prompts_of(folder_with(tmp_path, **files), config) == expected


def test_the_prompts_are_the_published_ones() -> None:
    for name, templates in tiny_qwen2_vl.TEMPLATES.items():
        assert {"query": PROMPT_SETS[name].text, "image": PROMPT_SETS[name].image} == templates
    assert (MCDSE.text, MCDSE.image) == (VDR.text, VDR.image)


@pytest.mark.parametrize("prompts", [None, {}, {"query": "Query: "}, {"image": "<|image_pad|>", "query": "Query: "}])
def test_qwen2_vl_itself_is_refused(tmp_path: Path, prompts: Any) -> None:
    folder = folder_with(tiny_qwen2_vl.write(tmp_path), prompts=prompts)
    with pytest.raises(CheckpointError, match=r"Qwen2-VL itself makes none.* 'image' and 'query'.*gme, vdr, mcdse"):
        read_header(folder)


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        ({"prompt_set": "dse"}, {}, "prompt_set of config.json must be one of gme, vdr, mcdse, got 'dse'"),
        ({"prompt_set": ["gme"]}, {}, "must be one of gme, vdr, mcdse, got "),
        ({}, {"prompts": {"image": "no place", "query": "%s"}}, r"prompt 'image' with <\|image_pad\|> once"),
        ({}, {"prompts": {"image": "<|image_pad|>", "query": "%s <|image_pad|>"}}, "before which"),
        ({"prompt_set": "gme", "max_image_tokens": "many"}, {}, "a whole number above 0, got 'many'"),
    ],
)
def test_unusable_prompts_are_refused(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        prompts_of(folder_with(tmp_path, **files), config)


@pytest.mark.parametrize(
    "architecture", ["JinaVLForRanking", "ColQwen2ForRetrieval", "Qwen2VLForSequenceClassification"]
)
def test_other_models_on_the_network_are_left_to_others(architecture: str) -> None:
    assert not FAMILY.claims({"model_type": "qwen2_vl", "architectures": [architecture]})
    assert not FAMILY.claims({"model_type": "colqwen2", "architectures": ["Qwen2VLModel"]})


def test_the_catalog_knows_the_prompts_of_its_repositories(tmp_path: Path) -> None:
    """In the hub's cache, where files of code are never downloaded."""
    rows = [entry for entry in CATALOG if entry.prompt_set is not None]
    assert {entry.prompt_set for entry in rows} == set(PROMPT_SETS)
    for entry in rows:
        repository = f"models--{entry.name.replace('/', '--')}"
        folder = tiny_qwen2_vl.write(tmp_path / repository / "snapshots" / str(entry.revision))
        assert entry_at(folder) is entry
        header = read_header(folder)
        assert header.config.prompts.name == entry.prompt_set
        assert header.context == entry.context and header.modalities == entry.modalities
        assert (*header.config.prompts.matryoshka_dims, entry.dims[-1]) == entry.dims
        with pytest.raises(CheckpointError, match="Qwen2-VL itself makes none"):
            read_header(folder.rename(tmp_path / repository / "elsewhere"))


def vectors(folder: Path) -> np.ndarray:
    embedder = load(folder, device="cpu", dtype="float32")
    pixels = np.random.default_rng(0).integers(0, 256, (140, 84, 3), dtype=np.uint8)
    return np.concatenate([embedder.encode_text(["a", "page 3"]), embedder.encode_image([PIL.Image.fromarray(pixels)])])


def test_both_layouts_of_names_and_the_output_head(tmp_path: Path) -> None:
    plain = vectors(tiny_qwen2_vl.write(tmp_path / "plain", prompt_set="vdr"))
    head = {"lm_head.weight": torch.zeros(262, 48)}
    for name, places in (("head", tiny_qwen2_vl.FIRST_RELEASE), ("newer", NEWER)):
        folder = tiny_qwen2_vl.write(tmp_path / name, prompt_set="vdr", places=places, more=head)
        assert np.array_equal(vectors(folder), plain)
    stray = tiny_qwen2_vl.write(tmp_path / "stray", prompt_set="vdr", more={"score.0.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"1 left over \(score\.0\.weight\)"):
        load(stray)


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({"prompt_set": "gme", "min_image_tokens": 256}, {}),
        ({"prompt_set": "mcdse"}, {}),
        ({}, {"prompts": PUBLISHED}),
        ({}, {"prompts": {"image": "See <|image_pad|><|endoftext|>", "query": "Q %s<|endoftext|>"}}),
    ],
)
def test_what_is_written_is_read_again(tmp_path: Path, fields: dict[str, Any], files: dict[str, Any]) -> None:
    folder = folder_with(tiny_qwen2_vl.write(tmp_path / "first", **fields), **files)
    embedder = load(folder, device="cpu", dtype="float32")
    save_checkpoint(tmp_path / "second", FAMILY, embedder.model, embedder.processor)
    first, second = read_header(folder), read_header(tmp_path / "second")
    assert first.config == second.config
    assert first.processor.image_config == second.processor.image_config
    assert np.array_equal(vectors(folder), vectors(tmp_path / "second"))
    written = json.loads((tmp_path / "second" / "config.json").read_text())
    assert render_trunk(tiny_qwen2_vl.TRUNK).items() <= written.items() and family_of(written) is FAMILY


def test_usage_counts_the_tokens_that_the_model_reads(tmp_path: Path) -> None:
    """No rule of an HTTP interface is published for these models; jina-embeddings-v4 has one, of ten per tile."""
    header = read_header(tiny_qwen2_vl.write(tmp_path / "gme", prompt_set="gme"))
    item = header.processor.image(PIL.Image.new("RGB", (300, 200)), task=None, max_pixels=None)
    assert header.image_tokens(300, 200) == item.num_tokens > 7 * 11
    v4 = read_header(tiny.write(tmp_path / "v4"))
    assert v4.image_tokens(300, 200) == v4.usage.image_tokens(300, 200) == 11 * 8 * 10


def test_truncated_vectors(tmp_path: Path) -> None:
    header = read_header(tiny_qwen2_vl.write(tmp_path, prompt_set="gme"))
    assert header.matryoshka_dims == (48,) and header.dim == 48
    assert find("vdr-2b-multi-v1").dims == (512, 1024, 1536)
    with pytest.raises(InputError, match="truncate_dim must be one of"):
        load(tmp_path).encode_text("a", truncate_dim=24)


def test_embed_on_the_command_line(tmp_path: Path) -> None:
    folder = folder_with(tiny_qwen2_vl.write(tmp_path / "vdr"), prompts=PUBLISHED, code="custom_st.py")
    PIL.Image.new("RGB", (90, 60), "red").save(tmp_path / "red.png")
    done = polylens("embed", "a text", "--image", tmp_path / "red.png", "--task", "retrieval", "--model", folder)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["data"]
    assert [len(row["embedding"]) for row in rows] == [48, 48]
    assert np.linalg.norm(rows[0]["embedding"]) == pytest.approx(1, abs=1e-3)


def test_served(tmp_path: Path) -> None:
    folder = folder_with(tiny_qwen2_vl.write(tmp_path / "vdr"), prompts=PUBLISHED)
    processor = read_header(folder).processor
    PIL.Image.new("RGB", (90, 60), "red").save(tmp_path / "red.png")
    picture = base64.b64encode((tmp_path / "red.png").read_bytes()).decode()
    text = processor.text("Umsatz", task=None, prompt_name="query", max_length=None)
    image = processor.num_image_tokens(90, 60)
    with serving("--model", str(folder), home=tmp_path) as running:
        answer = running.embed([{"text": "Umsatz"}, {"image": picture}], model="vdr", task="retrieval.passage")
        assert [len(row["embedding"]) for row in answer["data"]] == [48, 48]
        total = text.num_tokens + image
        assert answer["usage"] == {"total_tokens": total, "prompt_tokens": total, "image_tokens": image}
        apart = running.post("/v1/embeddings", {"model": "vdr", "input": [{"content": ["Umsatz", {"image": picture}]}]})
        assert apart.status_code == 422 and "vdr cannot read together" in apart.text
        body = {"model": "vdr", "input": ["a", "b"], "late_chunking": True}
        refused = running.post("/v1/embeddings", body)
        assert refused.status_code == 422 and "last token" in refused.text


def test_gme_served_reads_an_image_and_a_text_as_one_input(tmp_path: Path) -> None:
    folder = tiny_qwen2_vl.write(tmp_path / "gme", prompt_set="gme")
    PIL.Image.new("RGB", (90, 60), "red").save(tmp_path / "red.png")
    picture = {"image": base64.b64encode((tmp_path / "red.png").read_bytes()).decode()}
    long = {"content": ["a" * 3_000, picture]}
    with serving("--model", str(folder), "--dtype", "float32", home=tmp_path) as running:
        several = [{"content": ["Umsatz", picture]}, {"content": [picture, "Umsatz"]}, picture, "Umsatz"]
        answer = running.embed(several, model="gme")
        vectors = np.array([row["embedding"] for row in answer["data"]])
        assert np.abs(vectors[0] - vectors[1]).max() < 2e-6  # float32; the others are 0.01 and more apart
        assert min(np.abs(vectors[0] - vectors[2]).max(), np.abs(vectors[0] - vectors[3]).max()) > 0.01
        parts = read_header(folder).processor
        assert isinstance(parts, Fusing)
        image = PIL.Image.new("RGB", (90, 60), "red")
        item = parts.fused(["Umsatz", image], task=None, prompt_name="query", max_length=None)
        (expected,) = load(folder, dtype="float32").engine.model.embed([item]).dense.tolist()
        ((expected,),) = load(folder, dtype="float32", engine="torch").engine.run([item])
        assert np.abs(vectors[0] - expected.dense).max() < 2e-6
        assert running.embed(several[0], model="gme")["usage"]["total_tokens"] == item.num_tokens
        refused = running.post("/v1/embeddings", {"model": "gme", "input": long})
        assert refused.status_code == 400 and "more than 1800 tokens" in refused.text
        assert running.embed(long, model="gme", truncate=True)["usage"]["total_tokens"] == 1_800
        two = running.post("/v1/embeddings", {"model": "gme", "input": [{"content": [picture, "a", picture]}]})
        assert two.status_code == 422 and "input.0" in two.text and "one image together with a text" in two.text
