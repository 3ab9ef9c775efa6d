"""Streams of synthetic pages. A page depends on its kind, split, seed and number alone, so each can be made alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.charts import chart
from polylens.lab.synthetic.code import code
from polylens.lab.synthetic.layouts.forms import form
from polylens.lab.synthetic.layouts.invoices import invoice
from polylens.lab.synthetic.layouts.multilingual import multilingual
from polylens.lab.synthetic.layouts.receipts import receipt
from polylens.lab.synthetic.layouts.reports import report
from polylens.lab.synthetic.layouts.scans import scan
from polylens.lab.synthetic.layouts.slides import slide
from polylens.lab.synthetic.layouts.tables import table
from polylens.lab.synthetic.page import SyntheticPage, is_tidy
from polylens.lab.synthetic.templates import TEMPLATE_LANGUAGES

Layout = Callable[[random.Random, str, Split], SyntheticPage]

LAYOUTS: dict[str, Layout] = {
    "table": table,
    "chart": chart,
    "invoice": invoice,
    "slide": slide,
    "scan": scan,
    "multilingual": multilingual,
    "code": code,
    "receipt": receipt,
    "form": form,
    "report": report,
}

BESIDE_ENGLISH = ("de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "ru", "uk", "el")
"""The languages of pages in one language that is not English; a third of such pages are English. Other scripts stand on
multilingual pages alone."""


def page(kind: str, split: Split, seed: int, number: int) -> SyntheticPage:
    """Makes one page.

    A draft in which texts overlap or leave the page is discarded and drawn again.

    Args:
        kind: A key of `LAYOUTS`.
        split: "train" or "held_out".
        seed: Of the stream.
        number: Position in the stream, from 0.

    Raises:
        InputError: There is no such kind, or the fonts for it are not installed.

    Example:
        >>> page("table", "held_out", 1, 0).image.shape  # doctest: +SKIP
        (756, 1008, 3)
    """
    if kind not in LAYOUTS:
        raise InputError(f"kind must be one of {', '.join(LAYOUTS)}, got {kind!r}")
    for attempt in itertools.count():
        rng = random.Random(f"{kind}/{split}/{seed}/{number}/{attempt}")
        draft = _tidy(LAYOUTS[kind](rng, _language(rng, kind), split))
        if draft:
            return draft
    raise AssertionError("unreachable")


def alike(rng: random.Random, kind: str, split: Split, count: int) -> list[SyntheticPage]:
    """Draws different pages of one kind in one language, which only their content tells apart.

    Args:
        rng: Decides everything.
        kind: A key of `LAYOUTS`.
        split: "train" or "held_out".
        count: Number of pages.
    """
    language = _language(rng, kind)
    found: list[SyntheticPage] = []
    while len(found) < count:
        draft = _tidy(LAYOUTS[kind](rng, language, split))
        if draft:
            found.append(draft)
    return found


def pages(kind: str, split: Split, seed: int = 0) -> Iterator[SyntheticPage]:
    """An endless stream of pages of a kind; arguments and errors are those of `page`."""
    return (page(kind, split, seed, number) for number in itertools.count())


def _tidy(draft: SyntheticPage) -> SyntheticPage | None:
    """The draft; None where texts overlap or leave the page."""
    height, width = draft.image.shape[:2]
    return draft if is_tidy(draft.boxes, width, height) else None


def _language(rng: random.Random, kind: str) -> str:
    if kind == "code":
        return "en"
    if kind == "multilingual":
        return rng.choice(TEMPLATE_LANGUAGES)
    return "en" if rng.random() < 1 / 3 else rng.choice(BESIDE_ENGLISH)
