"""Pictures of real text: their words in order, what they say in other languages, and where their transcript stands."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from tests.support.drawing import need_fonts

import polylens
from polylens.lab.corpora import help_pages
from polylens.lab.corpora.help_pages import HelpPage
from polylens.lab.nano.data import real_text
from polylens.lab.nano.data.examples import make_batch, placed_transcript
from polylens.lab.nano.data.grounding import bare
from polylens.lab.nano.data.real_text import cut, render_real
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.synthetic.crops import render_page
from polylens.lab.synthetic.lexicon import is_held_out
from polylens.lab.synthetic.rendered import Rendered
from polylens.models.jina_v4.processing import JinaV4Processor

SENTENCES = {
    "en": ["Please {} near the harbour wall before it becomes dark.", "Nobody {} there."],
    "de": ["Bitte {} bei der Hafenmauer, bevor es dunkel wird.", "Niemand {} dort."],
    "fr": ["Veuillez {} au mur du port avant la nuit.", "Personne ne {} ici."],
}
WORDS = ["anchor", "wait", "stay", "moor", "swim", "rest", "sing", "look", "call", "meet", "turn", "fish"]


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pages of six paragraphs in three languages."""

    def of(language: str, split: str) -> tuple[HelpPage, ...]:
        assert split == "train"
        return tuple(
            HelpPage(
                f"page{number}.html",
                "Harbour",
                {
                    f"par_id{i}": SENTENCES[language][i % 2].format(WORDS[(3 * number + i) % len(WORDS)])
                    for i in range(6)
                },
            )
            for number in range(4)
        )

    monkeypatch.setattr(help_pages, "pages", of)
    monkeypatch.setattr(real_text, "languages", lambda: tuple(SENTENCES))
    real_text._by_name.cache_clear()
    need_fonts("de")


def page(seed: int, language: str = "de") -> Rendered:
    rng = random.Random(seed)
    draw = partial(render_page, rng, width=672, height=672, split="train", language=language, font_size=18.0)
    return render_real(rng, language, lambda words: draw(words=words))


def test_held_out_words_are_left_out_and_the_others_stay_in_order() -> None:
    text = SENTENCES["de"][0].format("warten")
    kept = cut(text, "de")
    assert kept == [word for word in text.split() if not is_held_out(word)] and len(kept) > 3
    japanese = "港で待ってください。LibreOfficeを開く"
    pieces = cut(japanese, "ja")
    assert len(pieces) > 4 and max(map(len, pieces)) <= len("LibreOffice")
    rest = iter(japanese)
    assert "LibreOffice" in pieces and any(piece.endswith("。") for piece in pieces)
    assert all(letter in rest for letter in "".join(pieces))  # in their order, some left out


def test_a_picture_says_what_a_page_says_and_knows_it_in_other_languages() -> None:
    every = {
        language: {
            (each.name, name): text
            for each in help_pages.pages(language, "train")
            for name, text in each.paragraphs.items()
        }
        for language in SENTENCES
    }
    known = {word for text in every["de"].values() for word in cut(text, "de")}
    seen = 0
    for seed in range(6):
        drawn = page(seed)
        words = [word.text for word in drawn.words]
        assert len(words) > 30 and sum(word in known for word in words) > 0.9 * len(words)
        shown = " ".join(words)
        for meaning in drawn.meanings:
            [same] = [key for language in ("en", "fr") for key, text in every[language].items() if text == meaning] or [
                None
            ]
            assert same is not None
            printed = cut(every["de"][same], "de")
            assert sum(word in shown for word in printed) >= 0.8 * len(printed)
            seen += 1
    assert seen > 12
    assert not page(0, "en").meanings or all(" the " not in meaning for meaning in page(0, "en").meanings)


def test_each_token_of_a_transcript_is_placed_on_its_word() -> None:
    processor = polylens.load("nano").processor
    assert isinstance(processor, JinaV4Processor)
    side = processor.image_config.factor
    drawn = page(1)
    told = placed_transcript(drawn)
    assert [told.text[first:last] for first, last, _ in told.spans] == [
        bare(word.text) for word in drawn.words if bare(word.text)
    ]
    places, _ = kit_of(nano()).ground([told], [drawn], [0], processor, "passage")
    prefix = "Passage: "
    offsets = processor.tokenizer.encode(prefix + told.text).offsets
    assert len(offsets) == len(places)
    columns, found = 672 // side, 0
    for (first, last), row in zip(offsets, places.numpy(), strict=True):
        owners = [i for begin, end, i in told.spans if begin < last - len(prefix) and first - len(prefix) < end]
        for cell in np.flatnonzero(row):
            x, y = cell % columns * side, cell // columns * side
            assert any(
                drawn.words[i].left < x + side
                and drawn.words[i].right > x
                and drawn.words[i].top < y + side
                and drawn.words[i].bottom > y
                for i in owners
            )
            found += 1
    assert found > 60


def test_a_part_of_the_queries_about_real_text_is_in_another_language() -> None:
    processor = polylens.load("nano").processor
    assert isinstance(processor, JinaV4Processor)
    batch = make_batch(
        3,
        kit=kit_of(nano()),
        processor=processor,
        render=lambda rng: page(rng.randrange(100)),
        images=2,
        queries_per_image=10,
        transcripts=2,
        texts=1,
        words=(2, 4),
    )
    rows = [item.num_tokens for item in batch.queries]
    placed = [bool(part.any()) for part in batch.here.split(rows)]
    for start in (0, 10):
        assert not any(placed[start : start + 4]) and all(placed[start + 4 : start + 10])
    assert not placed[20]
    tokens, cells = batch.transcribed.unbind(1)
    assert len(tokens) > 60 and tokens.max() < sum(item.num_tokens for item in batch.passages[:2])
    half = (
        batch.here.shape[1] // 2
    )  # the second picture's cells come after the first's, and so do its transcript's tokens
    assert torch.equal(cells >= half, tokens >= batch.passages[0].num_tokens)
