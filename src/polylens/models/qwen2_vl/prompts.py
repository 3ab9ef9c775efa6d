"""The sets of prompts of the published models: what stands around an input, and how large it may be. Data only.

All of these models have the `config.json` of Qwen2-VL, so nothing but its prompts tells one from another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

TEXT = "%s"
"""Where the text stands in a prompt."""
PLACEHOLDER = "<|image_pad|>"
"""Where the image stands in a prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSet:
    """What one published model puts around its inputs, and the limits of its published code."""

    name: str  # value of `prompt_set` in config.json
    text: str  # around a text at TEXT; one with PLACEHOLDER gets a small black picture, as in training
    image: str  # around an image at PLACEHOLDER
    fused: str | None  # around an image and a text that are one input; None where nothing is published
    min_tokens: int | None  # visual tokens to which an image is enlarged; None is `preprocessor_config.json`'s limit
    max_tokens: int  # visual tokens to which an image is shrunk
    first_bounds: tuple[int, int] | None  # visual tokens between which an image is resized first; None is the above
    max_length: int | None  # tokens of a text with its prompt; None is the network's limit
    keeps_end: bool  # whether a text is cut before the end of its prompt, or the whole string is
    image_positions: bool  # whether visual tokens have rows and columns, or count on like text
    matryoshka_dims: tuple[int, ...]  # widths of truncated vectors, besides the full one


_SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_VISION = f"<|vision_start|>{PLACEHOLDER}<|vision_end|>"

GME = PromptSet(
    name="gme",
    text=f"{_SYSTEM}{TEXT}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>",
    image=f"{_SYSTEM}{_VISION}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>",
    fused=f"{_SYSTEM}{_VISION}{TEXT}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>",
    min_tokens=None,
    max_tokens=1280,
    first_bounds=(4, 16_384),
    max_length=1800,
    keeps_end=False,
    # the published code hands embeddings to the decoder without positions, which then counts all tokens alike
    image_positions=False,
    matryoshka_dims=(),
)
"""gme-Qwen2-VL-2B and -7B, with the default instruction for queries and documents alike; `modeling_gme_qwen2vl.py`."""

VDR = PromptSet(
    name="vdr",
    text=f"{_SYSTEM}{_VISION}Query: {TEXT}<|im_end|>\n<|endoftext|>",
    image=f"{_SYSTEM}{_VISION}What is shown in this image?<|im_end|>\n<|endoftext|>",
    fused=None,
    min_tokens=1,
    max_tokens=768,
    first_bounds=None,
    max_length=None,
    keeps_end=True,
    image_positions=True,
    matryoshka_dims=(512, 1024),
)
"""vdr-2b-multi-v1 and vdr-2b-v1; their `config_sentence_transformers.json`, and the code of their model card."""

MCDSE = replace(VDR, name="mcdse", max_tokens=960, matryoshka_dims=(256, 384, 512, 768, 1024))
"""mcdse-2b-v1; the code of its model card."""

PROMPT_SETS = {prompts.name: prompts for prompts in (GME, VDR, MCDSE)}
