"""Pages: a seed decides, text stays apart and inside, and the two splits share nothing they must not."""

from __future__ import annotations

import functools
import itertools
import random
import string

import numpy as np
import pytest
from PIL import ImageFont, features

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic import code, fonts, templates
from polylens.lab.synthetic.canvas import Canvas, Pen, pen
from polylens.lab.synthetic.design import is_held_out_design
from polylens.lab.synthetic.lexicon import LANGUAGES, is_held_out
from polylens.lab.synthetic.names import belongs
from polylens.lab.synthetic.page import Box, SyntheticPage
from polylens.lab.synthetic.pages import LAYOUTS, page, pages

SPLITS: tuple[Split, ...] = ("train", "held_out")
FEW = 3


@functools.cache
def some(kind: str, split: Split) -> tuple[SyntheticPage, ...]:
    try:
        return tuple(itertools.islice(pages(kind, split, seed=5), FEW))
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_seed_and_a_number_decide_a_page(kind: str) -> None:
    first = some(kind, "train")
    again = page(kind, "train", 5, 1)
    assert np.array_equal(again.image, first[1].image)
    assert (again.facts, again.words, again.design) == (first[1].facts, first[1].words, first[1].design)
    assert not np.array_equal(page(kind, "train", 6, 1).image[:200, :200], again.image[:200, :200])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_text_stays_apart_and_inside(kind: str, split: Split) -> None:
    """By painting the boxes: no pixel, save a rim of one, is painted twice."""
    for each in some(kind, split):
        height, width = each.image.shape[:2]
        painted = np.zeros((height, width), dtype=int)
        for box in each.boxes:
            assert box.left >= 0 and box.top >= 0 and box.right <= width and box.bottom <= height, box
            top, bottom = int(np.ceil(box.top)) + 1, int(box.bottom) - 1
            painted[top:bottom, int(np.ceil(box.left)) + 1 : int(box.right) - 1] += 1
        assert painted.max() == 1


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", sorted(LAYOUTS.keys() - {"scan"}))
def test_boxes_lie_on_ink(kind: str, split: Split) -> None:
    for each in some(kind, split):
        grey = each.image.mean(axis=2)
        for box in each.boxes:
            if box.text.strip(string.punctuation):
                inside = grey[int(box.top) : int(box.bottom) + 1, int(box.left) : int(box.right) + 1]
                assert inside.std() > 8, box


@pytest.mark.parametrize("kind", sorted(LAYOUTS.keys() - {"code"}))
def test_printed_words_belong_to_the_split(kind: str) -> None:
    """Words with a figure in them are numbers; code of any module has the words of its language."""
    for split in SPLITS:
        for each in some(kind, split):
            for text in each.words:
                plain = text.strip(string.punctuation + "،؟。、：「」（）«»›·\u00a0")
                if any(letter.isdigit() for letter in plain) or not any(letter.isalpha() for letter in plain):
                    continue
                languages = LANGUAGES if kind == "multilingual" else (each.language,)
                of_the_split = is_held_out(plain) == (split == "held_out")
                assert of_the_split or any(belongs(plain, language, split) for language in languages), text


@pytest.mark.parametrize("kind", LAYOUTS)
def test_splits_share_no_design_and_no_fact(kind: str) -> None:
    train, held_out = some(kind, "train"), some(kind, "held_out")
    assert not {each.design for each in train} & {each.design for each in held_out}
    assert all(is_held_out_design(each.design.removeprefix("scan of ")) for each in held_out)
    assert not any(is_held_out_design(each.design.removeprefix("scan of ")) for each in train)
    said = [
        {(fact.about[0].text, fact.value.text) for each in stream for fact in each.facts}
        for stream in (train, held_out)
    ]
    assert all(said) and not said[0] & said[1]


def test_splits_share_no_font() -> None:
    families: dict[Split, set[str]] = {"train": set(), "held_out": set()}
    for split in SPLITS:
        for language in templates.TEMPLATE_LANGUAGES:
            try:
                for seed in range(12):
                    hand = pen(random.Random(seed), language, split)
                    families[split] |= {face.family for face in (hand.regular, hand.bold, hand.spare)}
            except InputError as error:
                pytest.skip(str(error))
        families[split] |= {face.family for face in fonts.monospaced(split)}
    assert len(families["held_out"]) >= 8
    assert not families["train"] & families["held_out"]
    assert not families["held_out"] & (fonts.families("train") | set(fonts.MONOSPACED["train"]))


def test_splits_share_no_module_and_no_way_of_asking() -> None:
    assert len(code.modules("held_out")) > 30
    assert not set(code.modules("train")) & set(code.modules("held_out"))
    assert not templates.all_templates("train") & templates.all_templates("held_out")
    for split in SPLITS:
        for language in templates.TEMPLATE_LANGUAGES:
            for kind in ("question", "instruction", "description"):
                drawn = {templates.draw_template(random.Random(seed), kind, language, split) for seed in range(30)}
                assert all(template.count("{}") == 1 for template in drawn)
                assert (len(drawn) > 1) == (split == "train")


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_page_prints_what_it_says(kind: str) -> None:
    """Names and numbers stand among the words drawn; values of a chart may be read off its axis instead."""
    for each in some(kind, "held_out"):
        drawn = " ".join(each.words).replace("\u00a0", " ")
        for term in each.terms:
            if kind == "chart" and term.key.startswith("number:"):
                continue
            pieces = term.text.replace("\u00a0", " ")
            if kind == "code":  # words of code are its identifiers
                pieces = term.text.partition(" ")[0].partition("/")[0].rstrip(".,")
            assert pieces in drawn, term


@pytest.mark.parametrize("kind", ["table", "slide", "invoice", "receipt"])
def test_a_value_stands_on_the_line_of_what_it_belongs_to(kind: str) -> None:
    """And, in a table, below its year."""
    for each in some(kind, "held_out"):
        others = 3 if kind in ("invoice", "receipt") else 0  # who, when and the whole, behind the lines
        for fact in each.facts[: len(each.facts) - others]:
            labels = [box for box in each.boxes if box.text.endswith(fact.about[0].text)]
            values = [box for box in each.boxes if box.text in (fact.value.text, f"{fact.value.text}\u00a0%")]
            level = [value for label in labels for value in values if abs(value.bottom - label.bottom) < 4]
            assert level, fact
            if kind == "table":
                own = next(box for box in each.boxes if box.text == fact.about[1].text)
                heads = [box for box in each.boxes if abs(box.bottom - own.bottom) < 4]
                above = [min(heads, key=lambda head: abs(middle(head) - middle(value))) for value in level]
                assert fact.about[1].text in {head.text for head in above}


def middle(box: Box) -> float:
    return (box.left + box.right) / 2


def test_shaping_joins_letters_and_sets_them_from_the_right() -> None:
    if not features.check("raqm"):
        pytest.skip("this Pillow cannot shape")
    try:
        arabic, hindi = pen(random.Random(1), "ar", "held_out"), pen(random.Random(1), "hi", "held_out")
    except InputError as error:
        pytest.skip(str(error))
    assert ink_runs(arabic, "محمد", shaped=False) > 1  # four letters, each for itself
    assert ink_runs(arabic, "محمد", shaped=True) == 1
    unshaped = ImageFont.truetype(hindi.regular.path, 40, layout_engine=ImageFont.Layout.BASIC).getlength("क्षत्रिय")
    assert Canvas(9, 9).length(hindi, "क्षत्रिय", 40) < 0.9 * unshaped  # conjuncts are narrower
    canvas = Canvas(400, 200)
    canvas.text(arabic, 380, 100, "محمد ا", 40, align="right")
    columns = np.flatnonzero(np.array(canvas.picture).mean(axis=(0, 2)) < 254)
    gap = int(np.flatnonzero(np.diff(columns) > 4)[0])
    assert len(columns[gap + 1 :]) > 3 * len(columns[: gap + 1])  # the long word, first to be read, is on the right


def ink_runs(hand: Pen, word: str, *, shaped: bool) -> int:
    """How many stretches of columns with ink a word is drawn as."""
    canvas = Canvas(400, 200)
    if shaped:
        canvas.text(hand, 300, 100, word, 40, align="right")
    else:
        font = ImageFont.truetype(hand.regular.path, 40, layout_engine=ImageFont.Layout.BASIC)
        canvas.draw.text((20, 100), word, fill=(0, 0, 0), font=font, anchor="ls")
    columns = np.flatnonzero(np.array(canvas.picture).mean(axis=(0, 2)) < 254)
    return int((np.diff(columns) > 1).sum()) + 1


def test_an_unknown_kind_is_named_in_the_error() -> None:
    with pytest.raises(InputError, match="'poster'"):
        page("poster", "train", 1, 0)
