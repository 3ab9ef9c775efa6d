"""What a scanner does to a sheet: skew, a soft lens, uneven light, noise, compression."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from polylens.lab.synthetic.layouts.forms import form
from polylens.lab.synthetic.layouts.receipts import receipt
from polylens.lab.synthetic.layouts.reports import report
from polylens.lab.synthetic.lexicon import Split
from polylens.lab.synthetic.page import Page

SKEW = 2.2  # degrees, at most


def scan(rng: random.Random, language: str, split: Split) -> Page:
    """A report, a form or a receipt, scanned."""
    sheet = rng.choice((report, report, form, receipt))(rng, language, split)
    worn, _ = scanned(rng, sheet.image)
    return replace(sheet, kind="scan", look=f"scanned {sheet.look}", design=f"scan of {sheet.design}", image=worn)


def scanned(rng: random.Random, sheet: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], float]:
    """A picture as a scanner sees it, and by how many degrees it lies askew, counter-clockwise about its middle.

    Args:
        rng: Decides everything.
        sheet: `[height, width, 3]`, RGB.
    """
    image = Image.fromarray(sheet)
    paper = tuple(int(level) for level in np.median(sheet[::8, ::8].reshape(-1, 3), axis=0))
    degrees = rng.uniform(0.3, SKEW) * rng.choice((-1, 1))
    image = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=paper)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.6:
        image = image.convert("L").convert("RGB")
    pixels = np.asarray(image, dtype=np.float32)
    pixels = _lit(rng, pixels)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape[:2], dtype=np.float32)
    pixels = np.clip(pixels + rng.uniform(3, 11) * noise[..., None], 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=rng.randint(45, 80))
    return np.array(Image.open(buffer).convert("RGB")), degrees


def _lit(rng: random.Random, pixels: np.ndarray) -> np.ndarray:
    """Black no longer black, white no longer white, and a shadow that falls across."""
    height, width = pixels.shape[:2]
    low, high = rng.uniform(10, 50), rng.uniform(205, 250)
    pixels = low + pixels * ((high - low) / 255)
    across = np.linspace(rng.uniform(0.82, 1), rng.uniform(0.82, 1), width, dtype=np.float32)
    down = np.linspace(rng.uniform(0.88, 1), rng.uniform(0.88, 1), height, dtype=np.float32)
    return pixels * (down[:, None] * across[None, :])[..., None]
