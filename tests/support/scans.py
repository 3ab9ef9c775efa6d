"""Pictures of text whose words are known, and pictures of none, for tests of what reads them."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import pytest
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from tests.support.drawing import need_fonts

from polylens.documents.ocr.page_reader import Installed
from polylens.evaluate.reading import character_error_rate
from polylens.types import Box, Word

HERE = Installed.here()

need_rapid = pytest.mark.skipif(not HERE.rapid, reason="needs RapidOCR: pip install 'polylens[ocr]'")


def need_pack(pack: str) -> pytest.MarkDecorator:
    """Skips a test where Tesseract or one of its packs is missing."""
    reason = f"needs Tesseract's pack {pack}: apt install tesseract-ocr-{pack}"
    return pytest.mark.skipif(pack not in HERE.packs, reason=reason)


@functools.cache
def page(language: str, *, scan: bool = False, seed: int = 5) -> tuple[PIL.Image.Image, tuple[Word, ...]]:
    """A page of text and the words on it, with their places before a scanner tilted it."""
    from polylens.lab.synthetic.crops import render_page

    need_fonts(language, "held_out")
    made = render_page(
        random.Random(seed), width=480, height=200, font_size=17, split="held_out", language=language, scan=scan
    )
    height, width = made.image.shape[:2]
    words = tuple(
        Word(
            word.text,
            Box(
                word.left / width,
                word.top / height,
                (word.right - word.left) / width,
                (word.bottom - word.top) / height,
            ),
        )
        for word in made.words
    )
    return PIL.Image.fromarray(made.image), words


def photograph(size: tuple[int, int] = (400, 300), seed: int = 1) -> PIL.Image.Image:
    """Something like a photograph of a garden: light and shadow of every size, stems, leaves and stones."""
    rng = np.random.default_rng(seed)
    width, height = size
    total = np.zeros((height, width, 3))
    for step in (2, 4, 8, 16, 32, 64, 128):
        coarse = rng.random((height // step + 2, width // step + 2, 3)) * 255
        layer = PIL.Image.fromarray(coarse.astype(np.uint8)).resize(size, PIL.Image.Resampling.BICUBIC)
        total += np.asarray(layer, dtype=float) * step**0.7
    picture = PIL.Image.fromarray((total / total.max() * 255).astype(np.uint8))
    draw = PIL.ImageDraw.Draw(picture)
    for _ in range(60):
        x, y = rng.integers(0, width), rng.integers(0, height)
        colour = tuple(int(level) for level in rng.integers(20, 230, 3))
        if rng.random() < 0.5:
            draw.ellipse((x, y, x + int(rng.integers(5, 60)), y + int(rng.integers(5, 40))), fill=colour)
        else:
            draw.line((x, y, x + int(rng.integers(-80, 80)), y - int(rng.integers(20, 160))), fill=colour, width=3)
    return picture.filter(PIL.ImageFilter.GaussianBlur(0.8))


def error_rate(image_words: tuple[Word, ...], text: str) -> float:
    """The share of the letters of a page that were read wrongly."""
    return character_error_rate(" ".join(word.text for word in image_words), text)


def save_pdf(path: Path, *pages: str | PIL.Image.Image) -> Path:
    """A PDF of texts and of pictures, at 144 dots per inch; a page that is a picture has no text layer."""
    canvas = Canvas(str(path), invariant=True)
    for page in pages:
        if isinstance(page, str):
            canvas.setPageSize((400, 300))
            canvas.drawString(20, 200, page)
        else:
            width, height = page.width / 2, page.height / 2
            canvas.setPageSize((width, height))
            canvas.drawImage(ImageReader(page), 0, 0, width, height)
        canvas.showPage()
    canvas.save()
    return path
