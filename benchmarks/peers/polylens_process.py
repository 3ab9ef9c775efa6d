"""polylens in a process of its own; `process.py` says how it is asked.

Settings: `model`, a folder; `kind`, one of "text", "image" and "multivector"; `options` of `polylens.load`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from process import Encode, Settings, answer_requests

import polylens


def load(settings: Settings) -> Encode:
    """Loads the model and waits for the graphs of its engine, which are compiled once."""
    kind = settings["kind"]
    modalities = ("image",) if settings.get("only_images") else None
    embedder = polylens.load(settings["model"], device="cpu", modalities=modalities, **settings["options"])
    if kind == "image":
        item = embedder.processor.image(PIL.Image.new("RGB", (512, 512)), task=settings.get("task"), max_pixels=None)
    else:
        name = "passage" if kind == "multivector" else ""
        item = embedder.processor.text("a harbour", task=None, prompt_name=name, max_length=None)
    embedder.engine.prepare([item])

    def encode(inputs: Sequence[str]) -> Sequence[np.ndarray]:
        if kind == "image":
            return list(embedder.encode_image([Path(each) for each in inputs], task=settings.get("task")))
        if kind == "multivector":
            return embedder.encode_text(list(inputs), prompt_name="passage", return_multivector=True)
        return list(embedder.encode_text(list(inputs)))

    return encode


if __name__ == "__main__":
    answer_requests(load, ("torch", "numpy"))
