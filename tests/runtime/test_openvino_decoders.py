"""The openvino engine for models on Qwen's trunk, small and large, against the torch engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from tests.support import tiny, tiny_col, tiny_qwen2_vl
from tests.support.engines import CPU, TEXTS, Checkpoint, cosines, largest_difference, run

from polylens.checkpoints.loading import load_model
from polylens.models.jina_v4.model import JinaV4
from polylens.models.protocol import Item
from polylens.runtime.engines.openvino import weights
from polylens.runtime.engines.openvino.rows import LONGEST, ROW, Batch, Row, row_inputs
from polylens.runtime.engines.torch import TorchEngine
from polylens.types import Embedding

pytestmark = pytest.mark.skipif(  # not importorskip: an import of openvino by itself reports its use
    find_spec("openvino") is None or find_spec("nncf") is None,
    reason="the extra openvino is not installed: pip install 'polylens[openvino]'",
)

EXACT = 2e-5  # of unit vectors: float32 sums in another order, through three layers
SIZES = ((60, 90), (200, 340), (120, 30))  # pixels of images: whole windows, and parts of them
TASKS = ("retrieval", None, "code")
WIDER = replace(  # nncf leaves matrices of 48 inputs in 8 bits
    tiny.CONFIG,
    vision=replace(tiny.CONFIG.vision, output_width=128),
    decoder=replace(tiny.DECODER, width=128, mlp_width=256, rope_sections=(4, 6, 6)),
    matryoshka_dims=(128,),
)


@pytest.fixture(scope="module", autouse=True)
def shapes_unchecked() -> Iterator[None]:
    """While a graph is traced, a size is a tensor, which the checker of shapes does not take for a number."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def batch(tested: Checkpoint, tasks: Sequence[str | None] = (None,)) -> list[Item]:
    """Texts and images of several sizes and tasks, in turn."""
    processor, rng = tested.header.processor, np.random.default_rng(0)
    prompt = processor.role(None, None)[1]
    pictures = [Image.fromarray(rng.integers(256, size=(*size, 3), dtype=np.uint8)) for size in SIZES]
    of_task = [
        [
            processor.text(text, task=task, prompt_name=prompt, max_length=None),
            processor.image(image, task=task, max_pixels=None),
        ]
        for task, text, image in zip([*tasks, *tasks, *tasks], TEXTS, pictures, strict=False)
    ]
    return [item for items in of_task for item in items]


def texts_of(tested: Checkpoint, lengths: Sequence[int], task: str | None = None) -> list[Item]:
    letters = np.random.default_rng(1).choice([*"abcdefgh "], size=max(lengths))
    processor = tested.header.processor
    return [
        processor.text("".join(letters[:length]), task=task, prompt_name="query", max_length=None) for length in lengths
    ]


def furthest_rows(mine: Sequence[Embedding], theirs: Sequence[Embedding]) -> float:
    return max(float(np.abs(a.multivector - b.multivector).max()) for a, b in zip(mine, theirs, strict=True))


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the engine takes a tower: a large one has one graph with all adapters."""
    if request.param == "large":
        monkeypatch.setattr(weights, "LARGE", 1)
    return str(request.param)


def write(family: str, folder: Path) -> Path:
    if family == "jina_v4":
        return tiny.write(folder)
    if family == "qwen2_vl":
        return tiny_qwen2_vl.write(folder, prompt_set="vdr")
    trunk = family.removeprefix("col_qwen on ")
    return tiny_col.write_base(folder, tiny_col.reference(trunk), trunk)


@pytest.mark.parametrize("family", ["jina_v4", "qwen2_vl", "col_qwen on qwen2_vl", "col_qwen on qwen2_5_vl"])
@pytest.mark.usefixtures("size")
def test_the_vectors_are_those_of_torch(tmp_path: Path, family: str) -> None:
    tested = Checkpoint(write(family, tmp_path / "model"))
    items = batch(tested)
    tested.openvino.prepare(items)
    assert tested.openvino.converted == 2  # a vision tower and a decoder
    mine, theirs = run(tested.openvino, items), run(tested.torch, items)
    assert 0 < largest_difference(mine, theirs) < EXACT
    assert furthest_rows(mine, theirs) < EXACT


def test_tasks_share_a_batch_which_changes_no_vector(tmp_path: Path, size: str) -> None:
    tested = Checkpoint(tiny.write(tmp_path / "model"))
    items = batch(tested, TASKS)
    tested.openvino.prepare(items)
    assert tested.openvino.converted == (2 if size == "large" else 1 + len(TASKS))
    mine = run(tested.openvino, items)
    assert largest_difference(mine, run(tested.torch, items)) < EXACT
    assert largest_difference(mine, [run(tested.openvino, [item])[0] for item in items]) < EXACT
    same_text = [run(tested.openvino, texts_of(tested, [20], task))[0] for task in TASKS]
    assert largest_difference(same_text[:1] * 2, same_text[1:]) > 100 * EXACT  # an adapter does something


@pytest.mark.usefixtures("size")
def test_long_texts_and_pages_share_a_batch_with_short_texts(tmp_path: Path) -> None:
    tested = Checkpoint(tiny.write(tmp_path / "model"))
    short, long, longest = texts_of(tested, [9, ROW + 100, LONGEST + 20], "code")
    page = tested.header.processor.image(Image.new("RGB", (600, 800), "white"), task="retrieval", max_pixels=None)
    assert ROW < page.num_tokens < LONGEST < longest.num_tokens
    items = [short, page, longest, long, short]
    tested.openvino.prepare(items)
    assert largest_difference(run(tested.openvino, items), run(tested.torch, items)) < EXACT


@pytest.mark.usefixtures("size")
def test_bfloat16_keeps_far_positions_apart(tmp_path: Path) -> None:
    """Angles have more digits than bfloat16: a graph that computed them in it had a cosine of 0.43."""
    tested = Checkpoint(tiny.write(tmp_path / "model"), dtype=torch.bfloat16)
    items = [*texts_of(tested, [LONGEST - 20]), *batch(tested)]
    tested.openvino.prepare(items)
    reference = TorchEngine(load_model(tested.header, device=CPU, dtype=torch.float32))
    assert min(cosines(tested.openvino, reference, items)) >= 0.9998  # PyTorch's own in bfloat16: 0.9999


@pytest.mark.parametrize(("quantization", "least"), [("int8", 0.997), ("int4", 0.95)])
@pytest.mark.usefixtures("size")
def test_quantized_vectors_are_near_and_cached(tmp_path: Path, quantization: str, least: float) -> None:
    tested = Checkpoint(tiny.write(tmp_path / "model", WIDER), quantization=quantization)
    items = batch(tested, ("retrieval",))
    found = cosines(tested.openvino, tested.torch, items)  # without `prepare`: a batch waits for its graph
    assert tested.openvino.converted == 2
    assert least <= min(found) < 0.99999  # and not those of torch
    if quantization == "int4":
        assert min(found) < 0.999  # and not those of 8 bits
    again = tested.engine(quantization)
    assert largest_difference(run(again, items), run(tested.openvino, items)) < EXACT
    assert again.converted == 0


class TestLargeTowers:
    """Their matrices are shared with PyTorch's until a graph has them, and never copied in float32."""

    @pytest.fixture
    def model(self) -> JinaV4:
        model = JinaV4(tiny.CONFIG).bfloat16().requires_grad_(False)
        for parameter in model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
        return model

    def test_the_twin_shares_every_matrix(self, model: JinaV4) -> None:
        twin = weights.large_twin(model.decoder)
        shared = {id(parameter) for parameter in twin.parameters()}
        matrices = [layer.weight for layer in model.decoder.modules() if isinstance(layer, weights.LoRALinear)]
        assert len(matrices) == 7 * tiny.DECODER.num_layers
        assert all(id(matrix) in shared for matrix in matrices)
        assert model.decoder.norm.weight.dtype == torch.bfloat16 and twin.norm.weight.dtype == torch.float32

    def test_weights_that_were_paged_out_are_still_there(self, model: JinaV4) -> None:
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        weights.page_out(model.decoder)
        assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_a_causal_mask_is_open_to_earlier_tokens_of_the_same_sequence() -> None:
    x = np.zeros((5, 2), dtype=np.float32)
    mask = row_inputs(Row((1, 0), 8), Batch(x=x, lengths=(2, 3), causal=True))["mask"]
    part = [0, 0, 0, 1, 1, 2, 2, 2]  # the second sequence, the first, and padding
    assert (mask == 0).tolist() == [[j <= i and part[i] == part[j] for j in range(8)] for i in range(8)]


def test_the_windows_of_an_image_are_its_own() -> None:
    x = np.arange(10, dtype=np.float32)[:, None]
    packed = Batch(x=x, lengths=(4, 6), windows=(3, 1, 4, 2), alone=True, masked=False)
    inputs = row_inputs(Row((1,), 6), packed)
    assert "mask" not in inputs
    assert inputs["x"][:, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert inputs["tokens"].tolist() == [[0, 1, 2, 3], [4, 5, 0, 0]]
    assert inputs["places"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (inputs["within"] == 0).tolist() == [[True] * 4, [True, True, False, False]]
