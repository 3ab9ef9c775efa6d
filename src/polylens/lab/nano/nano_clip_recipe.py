"""The recipe of nano-clip, nano's counterpart with two towers: the words and fonts of nano's first stages, to compare.

Its tower sees the whole picture in every layer and is wider than nano's, so a step costs more and there are fewer. Its
pictures have one size, as in jina-clip-v2's family, the one that EVA02's first training had (224 pixels). A page shrunk
to that cannot be read, so there are none. Texts alone come before texts and pictures; pictures search for their texts
as well as the other way round, as in that family, and are drawn to the vector that all their words have as a text:
without these both towers, or the pictures alone, collapse to one vector for everything (docs/log.md, 2026-11-24 to 28).
"""

from __future__ import annotations

from dataclasses import replace

from polylens.lab.nano.nano_recipe import CROPS, NANO_VOCAB, READ, TEXTS, nano
from polylens.lab.nano.schedule import Recipe
from polylens.models.eva02.config import VisionConfig
from polylens.models.eva02.images import ImageConfig
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.xlm_rotary.config import TextConfig
from polylens.nn.lora import LoRAConfig

SIDE = 224  # pixels
WIDTH = 256

MODEL = JinaClipConfig(
    text=TextConfig(
        width=WIDTH,
        num_layers=4,
        num_heads=4,
        mlp_width=1024,
        vocab_size=NANO_VOCAB,
        norm_eps=1e-5,
        theta=20_000.0,
        lora=LoRAConfig(tasks=("retrieval.query",), rank=4, alpha=4.0),
        always_on="retrieval.query",
        instructions=(),
        max_length=8192,
        default_length=512,
    ),
    vision=VisionConfig(
        width=WIDTH,
        num_layers=8,
        num_heads=4,
        mlp_width=682,
        image_size=SIDE,
        patch_size=14,
        pretrained_grid=16,
    ),
    matryoshka_dims=(64, 128, 256),
)

STAGES = (
    replace(READ, height=SIDE, width=SIDE, steps=1400, images=16),
    replace(
        TEXTS,
        height=SIDE,
        width=SIDE,
        steps=300,
        images=0,
        transcripts=0,
        texts=40,
        query_words=(1, 6),
        learning_rate=4e-3,
        final_learning_rate=4e-3,
    ),
    replace(
        CROPS,
        height=SIDE,
        width=SIDE,
        steps=1200,
        images=24,
        queries_per_image=6,
        transcripts=24,
        query_words=(1, 3),
        texts=6,
        final_learning_rate=0.0,
        tower_learns=False,
    ),
)


def nano_clip() -> Recipe:
    """nano's counterpart with two towers, to compare; of jina-clip-v2's family."""
    like = nano()
    return replace(
        like,
        name="nano-clip",
        family="jina_clip_v2",
        model=MODEL,
        images=ImageConfig(size=SIDE, mean=(0.9, 0.9, 0.9), std=(0.3, 0.3, 0.3)),
        stages=STAGES,
        # This family compares by one vector alone.
        weights=replace(like.weights, dense=1.0, grounding=1.0, caption=2.0),
        dense_both_ways=True,
    )
