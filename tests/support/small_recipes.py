"""Recipes of nano and nano-clip with a few thousand parameters and a few steps, and what their runs leave behind."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from polylens.lab.nano.nano_clip_recipe import nano_clip
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.nano.schedule import Blend, Recipe
from polylens.lab.synthetic.lexicon import sample_text
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.qwen_vl.config import DecoderConfig, Qwen25VisionConfig
from polylens.nn.lora import LoRAConfig
from polylens.train.progress import TrainingProgress

LANGUAGES = ("en", "de")
Run = tuple[Path, list[TrainingProgress]]
STATE = "checkpoint/state.safetensors"


def small() -> Recipe:
    """nano with a step of reading, two of crops and one of pages, and a few thousand parameters."""
    recipe = nano()
    read, crops, pages = (
        replace(next(stage for stage in recipe.stages if stage.name == name), languages=LANGUAGES)
        for name in ("read", "crops", "pages")
    )
    model = replace(
        recipe.model,
        vision=Qwen25VisionConfig(
            width=32,
            num_layers=2,
            num_heads=2,
            mlp_width=48,
            output_width=32,
            patch_size=14,
            num_frames=2,
            merge_size=2,
            window_size=112,
            full_attention_layers=(1,),
            shares_uniform_windows=True,
        ),
        decoder=DecoderConfig(
            width=32,
            num_layers=2,
            num_heads=2,
            num_kv_heads=2,
            mlp_width=48,
            vocab_size=400,
            norm_eps=1e-6,
            theta=1e6,
            rope_sections=(2, 3, 3),
        ),
        lora=LoRAConfig(tasks=("retrieval", "text-matching", "code"), rank=2, alpha=2.0),
        multivector_dim=16,
        matryoshka_dims=(8, 32),
    )
    return replace(
        recipe,
        model=model,
        stages=(
            replace(read, height=84, width=112, steps=1, images=2),
            replace(crops, height=84, width=168, steps=2, images=3, queries_per_image=2, transcripts=1, texts=1),
            replace(
                pages,
                height=336,
                width=224,
                steps=1,
                images=2,
                transcripts=1,
                texts=1,
                blend=(Blend(stage="read", share=0.1), Blend(stage="crops", share=0.25)),
            ),
        ),
        warmup_steps=2,
        checkpoint_every=2,
    )


def small_clip() -> Recipe:
    """nano-clip with a step or two of each stage, and a few thousand parameters: a block that reads, two behind it."""
    recipe = nano_clip()
    read, texts, crops = (replace(stage, languages=LANGUAGES) for stage in recipe.stages)
    model, text, vision = recipe.model, recipe.model.text, recipe.model.vision
    assert isinstance(model, JinaClipConfig) and vision is not None
    size = 112
    model = replace(
        model,
        text=replace(text, width=32, num_layers=2, num_heads=2, mlp_width=48, vocab_size=400),
        vision=replace(vision, width=32, num_layers=3, num_heads=2, mlp_width=48, image_size=size),
        matryoshka_dims=(8, 32),
    )
    return replace(
        recipe,
        model=model,
        images=replace(recipe.images, size=size),
        reading_blocks=1,
        stages=(
            replace(read, height=size, width=size, steps=3, images=2),
            replace(texts, height=size, width=size, steps=1, texts=3),
            replace(crops, height=size, width=size, steps=2, images=3, queries_per_image=2, transcripts=2, texts=1),
        ),
        warmup_steps=2,
        checkpoint_every=2,
    )


def learned_from() -> list[str]:
    """A few lines to learn a tokenizer from."""
    rng = random.Random(0)
    return [" ".join(sample_text(rng, language, "train", 200)) for language in LANGUAGES]


def logged(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def disturb() -> None:
    """What another process would have: other states of the generators that nobody may rely on."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def ignore(_: TrainingProgress) -> None: ...
