"""Pairs to sequences: the published prompt, its cuts and its limits, and images among texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.support import tiny, tiny_m0

from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError, InputError
from polylens.models.jina_reranker_m0.processing import JinaRerankerM0Processor, TruncationSide
from polylens.models.protocol import Item, Side
from polylens.models.qwen_vl.images import render_image_config

CONFIG = tiny_m0.CONFIG
MARKS = ("<|vision_start|>", "<|vision_end|>")


def make(side: TruncationSide = "right") -> JinaRerankerM0Processor:
    return JinaRerankerM0Processor(CONFIG, tiny.IMAGES, tiny.byte_tokenizer(), side)


PROCESSOR = make()


def noise(height: int, width: int, seed: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def query(value: str | PIL.Image.Image, max_pixels: int | None = None) -> Side:
    return PROCESSOR.query(value, max_length=None, max_pixels=max_pixels)


def document(value: str | PIL.Image.Image, max_length: int | None = None) -> Side:
    return PROCESSOR.document(value, max_length=max_length, max_pixels=None)


def decode(item: Item) -> str:
    assert item.token_ids[-1] == 100
    return PROCESSOR.tokenizer.decode(item.token_ids[:-1].tolist(), skip_special_tokens=False)


def picture(num: int) -> str:
    return MARKS[0] + "<|image_pad|>" * num + MARKS[1]


class TestPrompt:
    def test_the_document_comes_first_and_the_score_token_last(self) -> None:
        item = PROCESSOR.pair(query("Grüße, 東京?"), document("a text\nof two lines"), max_length=None)
        assert decode(item) == "**Document**:\na text\nof two lines\n**Query**:\nGrüße, 東京?"
        assert item.token_ids.dtype == np.int64
        assert (item.patches, item.grids, item.image_starts, item.truncated) == (None, (), (), False)

    def test_braces_in_a_text_are_letters(self) -> None:
        item = PROCESSOR.pair(query("{document} {0}"), document("{query}"), max_length=None)
        assert decode(item) == "**Document**:\n{query}\n**Query**:\n{document} {0}"

    def test_an_empty_text_is_a_text(self) -> None:
        assert decode(PROCESSOR.pair(query(""), document(""), max_length=None)) == "**Document**:\n\n**Query**:\n"

    def test_an_image_stands_where_the_text_would(self) -> None:
        image = noise(84, 112)
        item = PROCESSOR.pair(query("q"), document(image), max_length=None)
        assert decode(item) == f"**Document**:\n{picture(12)}\n**Query**:\nq"
        assert (item.grids, item.image_starts) == (((6, 8),), (15,))
        item = PROCESSOR.pair(query(image), document("d"), max_length=None)
        assert decode(item) == f"**Document**:\nd\n**Query**:\n{picture(12)}"
        assert (item.grids, item.image_starts) == (((6, 8),), (28,))

    def test_both_sides_images_document_first(self) -> None:
        left, right = query(noise(56, 56, 1)), document(noise(84, 112, 2))
        item = PROCESSOR.pair(left, right, max_length=None)
        assert decode(item) == f"**Document**:\n{picture(12)}\n**Query**:\n{picture(4)}"
        assert item.grids == ((6, 8), (4, 4)) and item.patches is not None
        assert item.patches.shape == (64, 588)
        assert (item.patches[:48] == right.patches).all() and (item.patches[48:] == left.patches).all()
        ids = item.token_ids
        assert all(set(ids[start : start + n]) == {261} for start, n in zip(item.image_starts, (12, 4), strict=True))

    def test_the_patches_of_one_image_are_not_copied(self) -> None:
        side = query(noise(56, 56))
        assert PROCESSOR.pair(side, document("a"), max_length=None).patches is side.patches


class TestCuts:
    def test_a_document_is_cut_at_9728_tokens(self) -> None:
        short, long = "x" * 9728, "x" * 9729
        assert document(short) == Side(text=short)
        assert document(long) == Side(text=short, truncated=True)
        assert PROCESSOR.pair(query("q"), document(long), max_length=None).truncated

    def test_a_cut_may_divide_a_letter(self) -> None:
        """The tokenizer decodes half a letter to U+FFFD, as in the published code."""
        assert document("aü", max_length=2) == Side(text="a�", truncated=True)

    def test_a_query_is_not_cut(self) -> None:
        text = "x" * 3000
        assert PROCESSOR.query(text, max_length=10, max_pixels=None) == Side(text=text)
        assert decode(PROCESSOR.pair(query(text), document("d"), max_length=None)).endswith(text)

    @pytest.mark.parametrize("side", ["right", "left"])
    @pytest.mark.parametrize("max_length", [None, 60, 20_000])
    def test_a_long_pair_is_cut_as_transformers_tokenizer_cuts_it(
        self, tmp_path: Path, side: TruncationSide, max_length: int | None
    ) -> None:
        from transformers import PreTrainedTokenizerFast

        tiny.byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
        theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), truncation_side=side)
        text = "the end of a long query " * 700
        item = make(side).pair(query(text), document("d"), max_length=max_length)
        limit = min(max_length or 10_240, 10_240) - 1
        prompt = f"**Document**:\nd\n**Query**:\n{text}"
        expected = theirs(prompt, truncation=True, max_length=limit)["input_ids"]
        assert item.token_ids.tolist() == [*expected, 100]
        assert item.truncated and item.num_tokens == limit + 1

    def test_what_just_fits_is_whole(self) -> None:
        sides = query("q"), document("d")
        whole = PROCESSOR.pair(*sides, max_length=None)
        assert not PROCESSOR.pair(*sides, max_length=whole.num_tokens).truncated
        assert PROCESSOR.pair(*sides, max_length=whole.num_tokens - 1).truncated

    def test_text_behind_an_image_may_be_cut_but_not_the_image(self) -> None:
        sides = query("a query"), document(noise(84, 112))
        item = PROCESSOR.pair(*sides, max_length=40)
        assert decode(item) == f"**Document**:\n{picture(12)}\n**Query**:"
        assert item.num_tokens == 40 and item.truncated
        with pytest.raises(InputError, match=r"an image of 12 among them, which may not be cut; .* got 27\."):
            PROCESSOR.pair(*sides, max_length=27)
        assert PROCESSOR.pair(*sides, max_length=28).image_starts == (15,)

    def test_a_cut_on_the_left_moves_the_image(self) -> None:
        sides = query("a query"), document(noise(84, 112))
        whole = PROCESSOR.pair(*sides, max_length=None)
        cut = make("left").pair(*sides, max_length=whole.num_tokens - 15)
        assert cut.image_starts == (0,) and cut.token_ids.tolist() == whole.token_ids[15:].tolist()
        with pytest.raises(InputError, match="may not be cut"):
            make("left").pair(*sides, max_length=whole.num_tokens - 16)


class TestLiteralPlaceholders:
    @pytest.mark.parametrize("text", ["<|image_pad|>", f"a {picture(1)} b <|image_pad|>"])
    def test_beside_an_image(self, text: str) -> None:
        image = noise(56, 56)
        item = PROCESSOR.pair(query(text), document(image), max_length=None)
        assert decode(item) == f"**Document**:\n{picture(4)}\n**Query**:\n{text}" and item.image_starts == (15,)
        item = PROCESSOR.pair(query(image), document(text), max_length=None)
        assert decode(item) == f"**Document**:\n{text}\n**Query**:\n{picture(4)}"
        assert item.image_starts == (item.num_tokens - 6,)

    def test_in_texts_alone(self) -> None:
        item = PROCESSOR.pair(query("<|image_pad|>"), document("<|image_pad|>"), max_length=None)
        assert (item.token_ids == 261).sum() == 2 and item.grids == ()


class TestFiles:
    @pytest.mark.parametrize("max_pixels", [602_112, 12_845_056])
    def test_limits_are_those_of_the_published_code(self, tmp_path: Path, max_pixels: int) -> None:
        """It names the limits of an image itself, whatever the file says."""
        images = render_image_config(replace(tiny.IMAGES, max_pixels=max_pixels), "Qwen2VLProcessor")
        (tiny_m0.write(tmp_path) / "preprocessor_config.json").write_text(json.dumps(images))
        pairs = read_header(tmp_path).pairs
        assert (pairs.max_length, pairs.max_query_length, pairs.max_pixels) == (10_240, 512, 602_112)
        assert pairs.num_image_tokens(1240, 1754) == 23 * 32 + 2
        image = document(noise(1754, 1240))
        assert image.grid == (64, 46)
        assert query(noise(1754, 1240), max_pixels=784 * 100).grid == (22, 16)
        with pytest.raises(InputError, match="max_pixels must be at least 784"):
            query(noise(30, 30), max_pixels=783)

    @pytest.mark.parametrize(("written", "expected"), [({"truncation_side": "left"}, "left"), ({}, "right")])
    def test_the_checkpoint_says_where_a_pair_is_cut(
        self, tmp_path: Path, written: dict[str, str], expected: str
    ) -> None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(written))
        header = read_header(tiny_m0.write(tmp_path))
        assert isinstance(header.pairs, JinaRerankerM0Processor) and header.pairs.truncation_side == expected
        (tmp_path / "tokenizer_config.json").unlink()
        without = read_header(tmp_path)
        assert isinstance(without.pairs, JinaRerankerM0Processor) and without.pairs.truncation_side == "right"
        assert header.fingerprint != without.fingerprint

    def test_a_tokenizer_may_say_it_too(self, tmp_path: Path) -> None:
        tiny_m0.write(tmp_path)
        tokenizer = tiny.byte_tokenizer()
        tokenizer.enable_truncation(16, direction="left")
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        pairs = read_header(tmp_path).pairs
        assert isinstance(pairs, JinaRerankerM0Processor) and pairs.truncation_side == "left"
        assert decode(pairs.pair(query("q" * 40), document("d"), max_length=None)).endswith("q" * 40)

    def test_nonsense_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer_config.json").write_text('{"truncation_side": "middle"}')
        with pytest.raises(
            CheckpointError, match=r"truncation_side of tokenizer_config\.json must be 'left' or 'right'"
        ):
            read_header(tiny_m0.write(tmp_path))

    def test_a_tokenizer_of_another_model_is_refused(self) -> None:
        other = replace(CONFIG, trunk=replace(CONFIG.trunk, image_token_id=7))
        with pytest.raises(CheckpointError, match=r"image_token_id \(7\) in the middle"):
            JinaRerankerM0Processor(other, tiny.IMAGES, tiny.byte_tokenizer())

    def test_patches_that_the_tower_does_not_take_are_refused(self) -> None:
        with pytest.raises(CheckpointError, match=r"has \(patch, merge, frames\) \(16, 2, 2\), .* takes \(14, 2, 2\)"):
            JinaRerankerM0Processor(CONFIG, replace(tiny.IMAGES, patch_size=16), tiny.byte_tokenizer())
