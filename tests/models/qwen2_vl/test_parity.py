"""Ours against transformers' Qwen2-VL with the published strings, same random weights, in float32.

The bound is 1e-4 of the signal's standard deviation; measured figures are around 1e-6 and are printed (`pytest -s`).
Transformers' own processor of the model needs torchvision, so its parts are put together here: its tokenizer, its image
processor, and the repetition of the placeholder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from tests.support import tiny_qwen2_vl
from tests.support.tiny import byte_tokenizer
from torch import Tensor

from polylens.models.protocol import Item
from polylens.runtime.embedder import Embedder, load

BOUND = 1e-4  # of the signal's standard deviation
TEXTS = ["a", "", "what is shown on page 3?", "Grüße aus 東京, 100 % <|im_end|> " * 20]
SETS = tuple(tiny_qwen2_vl.TEMPLATES)


def noise(rows: int, columns: int, seed: int) -> PIL.Image.Image:
    """A picture of so many visual tokens, of a size that needs no resizing."""
    pixels = np.random.default_rng(seed).integers(0, 256, (28 * rows, 28 * columns, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


PICTURES = [noise(2, 2, 0), noise(5, 3, 1), noise(2, 9, 2), noise(7, 6, 3)]
BLACK = PIL.Image.new("RGB", (56, 56))


@pytest.fixture(scope="module", params=SETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def embedder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tiny_qwen2_vl.write(tmp_path_factory.mktemp("tiny") / name, prompt_set=name)
    return load(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory):
    from transformers import Qwen2VLConfig, Qwen2VLModel

    folder: Path = tiny_qwen2_vl.write(tmp_path_factory.mktemp("theirs"))
    model = Qwen2VLModel(Qwen2VLConfig.from_pretrained(folder)).float().eval()
    tensors = tiny_qwen2_vl.random_tensors()
    model.load_state_dict({name.replace("model.", "language_model."): each for name, each in tensors.items()})
    return model


def hidden(theirs, name: str, value: str | PIL.Image.Image, placeholder: str = "<|image_pad|>") -> Tensor:
    """The last hidden states of one input, as the published code computes them.

    Args:
        theirs: Transformers' model.
        name: Whose published code.
        value: A text or an image.
        placeholder: What stands in place of a placeholder within a text.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    templates = tiny_qwen2_vl.TEMPLATES[name]
    is_text = isinstance(value, str)
    image = BLACK if is_text else value
    string = templates["query" if is_text else "image"]
    extra = {}
    if "<|image_pad|>" in string:
        processor = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=768 * 28 * 28)
        extra = dict(processor(images=[image], return_tensors="pt"))
        string = string.replace("<|image_pad|>", "<|image_pad|>" * (int(extra["image_grid_thw"].prod()) // 4))
    if is_text:
        string = string.replace("%s", value.replace("<|image_pad|>", placeholder))
    ids = torch.tensor([byte_tokenizer().encode(string, add_special_tokens=False).ids])
    if extra:
        extra["mm_token_type_ids"] = (ids == tiny_qwen2_vl.TRUNK.image_token_id).long()
    if (
        name == "gme"
    ):  # its code leaves out the positions where it calls the decoder, which then counts all tokens alike
        extra["position_ids"] = torch.arange(ids.shape[1]).expand(3, 1, -1)
    with torch.no_grad():
        output: Tensor = theirs(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).last_hidden_state[0]
    return output


def compare(name: str, mine: Tensor, reference: Tensor) -> None:
    assert mine.shape == reference.shape
    ratio = float((mine - reference).abs().max() / reference.std())
    print(f"\nparity, {name}: largest difference {ratio:.1e} of the signal's standard deviation")
    assert ratio <= BOUND


def items_of(embedder: Embedder) -> list[Item]:
    processor = embedder.processor
    texts = [processor.text(text, task=None, prompt_name="query", max_length=None) for text in TEXTS]
    images = [processor.image(picture, task=None, max_pixels=None) for picture in PICTURES]
    return [*texts[:2], *images[:2], *texts[2:], *images[2:]]


def test_hidden_states_of_texts_and_images_in_one_batch(name: str, embedder: Embedder, theirs) -> None:
    values = [*TEXTS[:2], *PICTURES[:2], *TEXTS[2:], *PICTURES[2:]]
    reference = torch.cat([hidden(theirs, name, value) for value in values])
    compare(f"{name}, hidden states", embedder.model.hidden_states(items_of(embedder)), reference)


def test_vectors(name: str, embedder: Embedder, theirs) -> None:
    """Through the public interface: the last token's, normalised."""
    for kind, values, mine in (
        ("texts", TEXTS, embedder.encode_text(TEXTS, task="retrieval")),
        ("images", PICTURES, embedder.encode_image(PICTURES, task="retrieval")),
    ):
        reference = torch.stack([F.normalize(hidden(theirs, name, value)[-1], dim=-1) for value in values])
        compare(f"{name}, vectors of {kind}", torch.from_numpy(mine), reference)


def test_positions_are_those_of_each_ones_code(theirs) -> None:
    """The two differ by more than the bound, so the tests above would notice the wrong ones."""
    gme = hidden(theirs, "gme", PICTURES[1])
    ids = byte_tokenizer().encode(tiny_qwen2_vl.TEMPLATES["gme"]["image"]).ids
    assert len(gme) == len(ids) + 5 * 3 - 1
    templates = tiny_qwen2_vl.TEMPLATES
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(templates, "vdr", templates["gme"])  # its strings with M-RoPE
        mrope = hidden(theirs, "vdr", PICTURES[1])
    assert (gme - mrope).abs().max() > 0.1 * gme.std()


def test_a_placeholder_within_a_text_is_a_token_like_others(name: str, embedder: Embedder, theirs) -> None:
    """Its embedding is lent to a letter that occurs nowhere else, which transformers cannot take for an image."""
    text = "before <|image_pad|> and <|image_pad|><|image_pad|> behind"
    weight = theirs.language_model.embed_tokens.weight
    letter = byte_tokenizer().encode("~").ids[0]
    before = weight[letter].clone()
    try:
        with torch.no_grad():
            weight[letter] = weight[tiny_qwen2_vl.TRUNK.image_token_id]
        reference = hidden(theirs, name, text, placeholder="~")
    finally:
        with torch.no_grad():
            weight[letter] = before
    item = embedder.processor.text(text, task=None, prompt_name="query", max_length=None)
    compare(f"{name}, placeholder in a text", embedder.model.hidden_states([item]), reference)


def test_a_vector_does_not_depend_on_its_batch(embedder: Embedder) -> None:
    items = items_of(embedder)
    together = embedder.model.embed(items).dense
    alone = torch.cat([embedder.model.embed([item]).dense for item in items])
    assert (together - alone).abs().max() < BOUND * alone.std()
    assert not torch.allclose(together[0], together[1], atol=0.01)
