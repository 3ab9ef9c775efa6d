"""Texts and images as the published processors prepare them, and what a caller may ask for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny, tiny_col
from tests.support.frames import published_patches

from polylens.errors import CheckpointError, InputError
from polylens.models.col_qwen.config import ColQwenConfig
from polylens.models.col_qwen.family import FAMILY
from polylens.models.col_qwen.processing import ColQwenProcessor, Prompts
from polylens.models.protocol import Item

CONFIG = ColQwenConfig(trunk=tiny_col.TRUNKS["qwen2_vl"], multivector_dim=128, adapter=None)
END = 256 + tiny.SPECIAL.index("<|endoftext|>")


@pytest.fixture(scope="module")
def processor() -> ColQwenProcessor:
    return ColQwenProcessor(CONFIG, tiny.IMAGES, tiny.byte_tokenizer(), Prompts())


@pytest.fixture(scope="module")
def theirs():
    """transformers' processor with the same tokenizer and sizes."""
    from transformers import ColQwen2Processor, PreTrainedTokenizerFast, Qwen2VLImageProcessor

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny.byte_tokenizer(), pad_token="<|endoftext|>")
    sizes = {"shortest_edge": tiny.IMAGES.min_pixels, "longest_edge": tiny.IMAGES.max_pixels}
    return ColQwen2Processor(image_processor=Qwen2VLImageProcessor(size=sizes), tokenizer=tokenizer)


def text(processor: ColQwenProcessor, value: str, prompt_name: str, max_length: int | None = None) -> Item:
    return processor.text(value, task=None, prompt_name=prompt_name, max_length=max_length)


@pytest.mark.parametrize("query", ["what is due?", "Grüße aus 東京", " ", "a <|im_end|> b"])
def test_a_query_is_that_of_transformers(processor, theirs, query: str) -> None:
    expected = theirs.process_queries([query])["input_ids"][0].tolist()
    # transformers 5.23 ends a query with a line break, which neither the published code nor older releases of it have
    *expected, line_break = expected
    assert processor.tokenizer.decode([line_break]) == "\n"
    assert text(processor, query, "query").token_ids.tolist() == expected
    assert expected[-10:] == [END] * 10


@pytest.mark.parametrize("size", [(224, 336), (1000, 700), (30, 30), (61, 900)])
def test_a_page_is_that_of_transformers(processor, theirs, size: tuple[int, int]) -> None:
    rows, columns = np.indices((size[1], size[0]))
    slopes = np.stack((rows / size[1], columns / size[0], (rows + columns) / sum(size)), axis=-1)
    image = PIL.Image.fromarray((255 * slopes).astype(np.uint8))
    expected = theirs.process_images([image])
    item = processor.image(image, task=None, max_pixels=None)
    assert item.token_ids.tolist() == expected["input_ids"][0].tolist()
    assert [1, *item.grids[0]] == expected["image_grid_thw"][0].tolist()
    assert item.num_tokens == processor.num_image_tokens(*size)
    # Pillow's resize in place of torchvision's, on a picture without sharp edges: two levels of 255
    assert (
        float((published_patches(item) - expected["pixel_values"][0]).abs().max())
        <= 2 / 255 / min(tiny.IMAGES.std) + 1e-6
    )


def test_a_passage_is_read_as_it_is(processor) -> None:
    item = text(processor, "due on Monday", "passage")
    assert processor.tokenizer.decode(item.token_ids.tolist()) == "due on Monday"
    assert text(processor, "", "passage").token_ids.tolist() == [END]


def test_a_cut_query_keeps_its_augmentation(processor) -> None:
    item = text(processor, "a" * 50, "query", max_length=20)
    assert item.truncated and item.num_tokens == 20
    assert item.token_ids.tolist()[-11:] == [ord("a") - 33, *[END] * 10]
    assert not text(processor, "aa", "query", max_length=19).truncated
    assert text(processor, "a" * 50, "passage", max_length=20).token_ids.tolist() == [ord("a") - 33] * 20
    assert processor.tokenizer.decode(text(processor, "a", "query", max_length=10).token_ids.tolist()) == "Query: a"


def test_every_token_counts_for_the_mean(processor) -> None:
    items = [text(processor, "a", "query"), processor.pixels(torch.zeros(3, 28, 56, dtype=torch.uint8), task=None)]
    assert [item.pool for item in items] == [(0, item.num_tokens) for item in items]


def test_chunks_lie_behind_one_prompt(processor) -> None:
    item = processor.chunks(["One.", "Two."], task=None, prompt_name="query", max_length=None)
    assert processor.tokenizer.decode(item.token_ids.tolist()[:-10]) == "Query: One. Two."
    assert item.chunks == ((7, 11), (11, 16))
    passages = processor.chunks(["One.", "Two."], task=None, prompt_name="passage", max_length=None)
    assert passages.chunks == ((0, 4), (4, 9)) and passages.num_tokens == 9


@pytest.mark.parametrize(
    ("task", "prompt_name", "role"),
    [
        (None, None, "query"),
        ("retrieval", None, "query"),
        ("retrieval", "passage", "passage"),
        ("retrieval.passage", None, "passage"),
        ("retrieval.query", "passage", "query"),
    ],
)
def test_roles(processor, task: str | None, prompt_name: str | None, role: str) -> None:
    assert processor.role(task, prompt_name) == (None, role)


@pytest.mark.parametrize(
    ("task", "prompt_name", "words"),
    [
        ("code", None, "task must be one of retrieval, retrieval.query, retrieval.passage, got 'code'"),
        ("retrieval.", None, "got 'retrieval.'"),
        (None, "document", "prompt_name must be one of query, passage"),
    ],
)
def test_roles_that_there_are_not(processor, task: str | None, prompt_name: str | None, words: str) -> None:
    with pytest.raises(InputError) as caught:
        processor.role(task, prompt_name)
    assert words in str(caught.value)


def test_a_heat_map_has_a_place_for_each_visual_token(processor) -> None:
    assert FAMILY.heat_maps is not None
    for width, height in ((84, 28), (300, 200), (28, 400)):
        item = processor.image(PIL.Image.new("RGB", (width, height)), task=None, max_pixels=None)
        grid = FAMILY.heat_maps.grid(processor, width, height)
        assert [(2 * grid.rows, 2 * grid.columns)] == list(item.grids)
        assert np.array_equal(grid.tokens, np.flatnonzero(item.token_ids == processor.config.trunk.image_token_id))
    spans = FAMILY.heat_maps.spans(processor, "due?", "query")
    assert len(spans) == text(processor, "due?", "query").num_tokens
    assert spans == [*[(0, 0)] * 7, (0, 1), (1, 2), (2, 3), (3, 4), *[(0, 0)] * 10]
    assert FAMILY.heat_maps.spans(processor, "ab", "passage") == [(0, 1), (1, 2)]


def test_files_of_either_kind_are_read_and_the_adapters_come_first(tmp_path: Path) -> None:
    """Newer writers put the image processor's configuration into `processor_config.json`, with prompts beside it."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
    tiny_col.write_processing(base)
    assert ColQwenProcessor.from_folders([adapter, base], CONFIG).max_pixels == tiny.IMAGES.max_pixels
    preprocessor = json.loads((base / "preprocessor_config.json").read_text())
    (adapter / "preprocessor_config.json").write_text(json.dumps({**preprocessor, "max_pixels": 768 * 28 * 28}))
    assert ColQwenProcessor.from_folders([adapter, base], CONFIG).max_pixels == 768 * 28 * 28

    merged = tmp_path / "merged"
    merged.mkdir()
    tiny.byte_tokenizer().save(str(merged / "tokenizer.json"))
    written = {"image_processor": preprocessor, "query_prefix": "Frage: "}
    (merged / "processor_config.json").write_text(json.dumps(written))
    read = ColQwenProcessor.from_folders([merged], CONFIG)
    assert read.prompts == Prompts(query="Frage: ")
    (merged / "processor_config.json").write_text(json.dumps({**written, "query_prefix": 1}))
    with pytest.raises(CheckpointError, match="must be a text, got 1"):
        ColQwenProcessor.from_folders([merged], CONFIG)
