"""Wear on a picture, as scanners, cameras and compression cause it: skew, blur, uneven light, noise."""

from __future__ import annotations

import io
import random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

SKEW = 2.2  # degrees, at most


def scanned(rng: random.Random, sheet: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], float]:
    """The picture as a scanner sees it, and its skew in degrees, counter-clockwise about its middle.

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
    """Uneven light: less contrast, and a shadow that falls across."""
    height, width = pixels.shape[:2]
    low, high = rng.uniform(10, 50), rng.uniform(205, 250)
    pixels = low + pixels * ((high - low) / 255)
    across = np.linspace(rng.uniform(0.82, 1), rng.uniform(0.82, 1), width, dtype=np.float32)
    down = np.linspace(rng.uniform(0.88, 1), rng.uniform(0.88, 1), height, dtype=np.float32)
    return pixels * (down[:, None] * across[None, :])[..., None]


def worn(rng: random.Random, image: Image.Image) -> npt.NDArray[np.uint8]:
    """The picture with blur, compression, fading and noise, each in some of the draws."""
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    if rng.random() < 0.15:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(35, 85))
        image = Image.open(buffer)
    noisy, faded = rng.random() < 0.15, rng.random() < 0.2
    if not (noisy or faded):
        return np.array(image)
    pixels = np.array(image, dtype=np.float32)
    if faded:
        low, high = rng.uniform(0, 60), rng.uniform(190, 255)
        pixels = low + pixels * ((high - low) / 255)
        if rng.random() < 0.5:
            pixels *= np.linspace(rng.uniform(0.8, 1), rng.uniform(0.8, 1), pixels.shape[1], dtype=np.float32)[:, None]
    if noisy:
        noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape[:2], dtype=np.float32)
        pixels += rng.uniform(2, 12) * noise[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)
