"""The search page of an index on object storage, whose files are on another machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import buckets, serving, tiny
from tests.support.browsing import expect, watched
from tests.support.papers import make_pdf

import polylens
from polylens.library.library import Library

pytestmark = pytest.mark.skipif(not buckets.HAS_MOTO, reason="needs moto with its server, of the extra dev")


def test_text_stands_where_there_is_no_picture(shelf: str, tmp_path: Path, browser: object) -> None:
    """No picture is asked for: a refusal would be a complaint on the console."""
    folder = tmp_path / "folder"
    folder.mkdir()
    make_pdf(folder / "tides.pdf", "the tide of the old harbour")
    model = tiny.write(tmp_path / "tiny")
    Library(folder, polylens.load(str(model)), index=shelf).update()
    with (
        serving.serving("--model", str(model), "--library", shelf, home=tmp_path) as running,
        watched(browser, running, viewport={"width": 1120, "height": 740}) as page,
    ):
        page.goto("/?q=tide+harbour&by=text")
        card = page.locator(".card").first
        expect(card.locator(".written")).to_contain_text("old harbour")
        card.locator(".open").click()
        expect(page.locator("#passage")).to_contain_text("old harbour")
        expect(page.locator("#viewer-note")).to_have_text(
            "The files are not on this machine; this is the text of the page from the index"
        )
        expect(page.locator("#viewer-problem")).to_be_hidden()
