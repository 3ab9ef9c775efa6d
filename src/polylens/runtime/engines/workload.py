"""What the engines are measured with: texts of mixed length, short queries and a page, the same for every engine."""

from __future__ import annotations

import random
from dataclasses import dataclass

import PIL.Image

from polylens.models.description import Header
from polylens.runtime.engines.openvino.calibration import SENTENCES, calibration_images

SHORTEST, LONGEST, QUERY = 6, 510, 16  # tokens
NUM_QUERIES = 20
PAGE = (1240, 1754)  # pixels: A4 at 150 per inch


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The inputs of a measurement."""

    texts: tuple[str, ...]
    num_tokens: int
    """Of all texts."""
    queries: tuple[str, ...]
    page: PIL.Image.Image | None
    prompts: tuple[str | None, str | None]
    """Prompts of queries and of texts."""


def work_for(header: Header, num_texts: int) -> Work:
    """Returns texts of 6 to 510 tokens, queries of 16 where the prompt leaves room, and a drawn page.

    Their words are those of the calibration: sentences in many languages, and source code.
    """
    processor = header.processor
    prompts = ("query", "passage") if processor.tasks else (None, None)
    rng = random.Random(7)

    def text(tokens: int, prompt_name: str | None) -> tuple[str, int]:
        """A text and the tokens that the model reads for it: as many as are wanted, or one word and its marks."""
        adapter, prompt = processor.role(None, prompt_name)
        words = " ".join(rng.choice(SENTENCES) for _ in range(3 + tokens // 4))
        ends = [end for _, end in processor.tokenizer.encode(words, add_special_tokens=False).offsets]
        around = processor.text("", task=adapter, prompt_name=prompt, max_length=None).num_tokens
        cut = words[: ends[min(len(ends), max(1, tokens - around)) - 1]]
        return cut, processor.text(cut, task=adapter, prompt_name=prompt, max_length=None).num_tokens

    lengths = [max(SHORTEST, min(LONGEST, int(rng.lognormvariate(4.2, 0.9)))) for _ in range(num_texts)]
    texts = [text(length, prompts[1]) for length in lengths]
    page = calibration_images()[0].resize(PAGE, PIL.Image.Resampling.BICUBIC) if "image" in header.modalities else None
    return Work(
        texts=tuple(each for each, _ in texts),
        num_tokens=sum(tokens for _, tokens in texts),
        queries=tuple(text(QUERY, prompts[0])[0] for _ in range(NUM_QUERIES)),
        page=page,
        prompts=prompts,
    )
