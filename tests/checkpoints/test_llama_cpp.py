"""llama.cpp itself reads the pair of GGUF files, and computes what polylens computes, in float32.

xllamacpp is the server of llama.cpp as a Python package. It returns a row for each token of a text, and after an image
only the rows of the text that follows it; those depend on every row of the image and on all positions.
"""

from __future__ import annotations

import base64
import io
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from tests.support import tiny_gguf
from torch import Tensor

import polylens
from polylens.checkpoints.export import export_merged
from polylens.checkpoints.formats import Format
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import IMAGE_TEMPLATE
from polylens.models.pixels import PixelScale
from polylens.runtime.embedder import Embedder

xllamacpp = pytest.importorskip("xllamacpp")

BOUND = 1e-4  # of the signal's standard deviation
TASK = "text-matching"
IMAGE_MARKS = "<|vision_start|><|image_pad|><|vision_end|>"


class LlamaCpp:
    """llama.cpp's server with a text model and a vision tower."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        params = xllamacpp.CommonParams()
        params.model.path, params.mmproj.path = (
            str(folder / f"{TASK}-f32.gguf"),
            str(folder / f"mmproj-{TASK}-f32.gguf"),
        )
        params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_NONE
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.n_ctx = params.n_batch = params.n_ubatch = 1024
        params.n_parallel, params.cpuparams.n_threads, params.warmup, params.image_min_tokens = 1, 1, False, 4
        params.hostnames, params.port = ["127.0.0.1"], port
        self.server = xllamacpp.Server(params)
        self.marker = self.ask("/props")["media_marker"]

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server.listening_address + path, data)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def tokens(self, text: str) -> list[int]:
        return self.ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def text(self, text: str) -> Tensor:
        return torch.tensor(self.ask("/embedding", {"content": text})[0]["embedding"])

    def image(self, image: PIL.Image.Image) -> Tensor:
        file = io.BytesIO()
        image.save(file, "PNG")
        prompt = IMAGE_TEMPLATE.replace(IMAGE_MARKS, self.marker)
        content = {"prompt_string": prompt, "multimodal_data": [base64.b64encode(file.getvalue()).decode()]}
        return torch.tensor(self.ask("/embedding", {"content": content})[0]["embedding"])


@pytest.fixture(scope="module", params=["tiny", "nano"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp(request.param)
    name = "nano" if request.param == "nano" else tiny_gguf.write(folder / "checkpoint")
    embedder = polylens.load(name, device="cpu", dtype="float32")
    export_merged(folder, embedder.family, embedder.model, embedder.processor, TASK, Format.GGUF)
    yield embedder, LlamaCpp(folder)


def compare(what: str, ours: Tensor, theirs: Tensor, bound: float = BOUND) -> None:
    assert ours.shape == theirs.shape
    difference = float((ours - theirs).abs().max() / theirs.std())
    print(f"{what}: {difference:.1e} of the signal")
    assert difference <= bound


TEXTS = ["the theatre", "Überblick über 2024, it's 3.5 % more", "東京の地下鉄\n\n  two  spaces\t", "हिन्दी العربية 🙂"]


@pytest.mark.parametrize("text", TEXTS)
def test_texts(both: tuple[Embedder, LlamaCpp], text: str) -> None:
    embedder, llama_cpp = both
    item = embedder.processor.text(text, task=TASK, prompt_name="query", max_length=None)
    assert llama_cpp.tokens(f"Query: {text}") == item.token_ids.tolist()
    assert isinstance(embedder.model, JinaV4)
    with torch.no_grad():
        ours = embedder.model.hidden_states([item])
    theirs = llama_cpp.text(f"Query: {text}")
    compare(f"rows of {text!r}", ours, theirs)
    dense = F.normalize(theirs.mean(0), dim=0)
    compare(f"dense vector of {text!r}", torch.from_numpy(embedder.encode_text([text], task=TASK)[0]), dense)


@pytest.mark.parametrize("size", [(56, 56), (280, 280), (308, 196)])
def test_images(both: tuple[Embedder, LlamaCpp], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of these sizes, images need no resizing.

    llama.cpp rounds the pixels, the kernel of the patches and both sides of GELU to float16 and takes GELU's tanh form;
    here, ours does so as well, and what is left of the difference is where a rounding fell the other way.
    """
    embedder, llama_cpp = both
    assert isinstance(embedder.model, JinaV4)
    gelu, kernel = F.gelu, embedder.model.vision.patch_embed.weight
    monkeypatch.setattr(F, "gelu", lambda x: gelu(x.half().float(), approximate="tanh").half().float())
    monkeypatch.setattr(kernel, "data", kernel.data.half().float())
    normalise = PixelScale.normalise
    monkeypatch.setattr(PixelScale, "normalise", lambda *arguments: normalise(*arguments).half().float())
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 14, size[0] // 14, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(pixels).resize(size)
    item = embedder.processor.image(image, task=TASK, max_pixels=None)
    assert item.patches is not None and item.grids == ((size[1] // 14, size[0] // 14),)
    with torch.no_grad():
        ours = embedder.model.hidden_states([item])
    theirs = llama_cpp.image(image)
    after = item.num_tokens - item.pool[1]
    compare(f"rows after an image of {size}", ours[-after:], theirs[-after:], bound=1e-3)
