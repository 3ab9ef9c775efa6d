"""The recipe of the next nano, which is to know what words mean: texts from a teacher first, then pages that say them.

It has not been run to its end (docs/log.md); the model that ships is `nano_recipe.nano`. The decoder first learns texts
alone from multilingual-e5-small (`polylens.lab.nano.distillation`). Then pictures are taught to say what their text
says: cell by cell, as a whole, and in other languages than the one they are in. The vision tower is that of the nano
that ships, which reads letters already. The sizes of the batches are meant for a GPU.
"""

from __future__ import annotations

from dataclasses import replace

from polylens.lab.nano.distillation.plan import Distillation, lessons
from polylens.lab.nano.nano_recipe import ALL_SCRIPTS, CROPS, DOCUMENTS, HALF_PAGES, MODEL, PAGES, nano
from polylens.lab.nano.schedule import Recipe, Weights
from polylens.models.jina_v4.config import JinaV4Config

VOCAB = 44_032  # tokens
WIDTH = 384  # the teacher's


def sized(vocab_size: int, width: int, num_layers: int) -> JinaV4Config:
    """nano's configuration in other sizes.

    Args:
        vocab_size: Tokens.
        width: Numbers per token, a multiple of 128.
        num_layers: Number of the decoder's blocks.
    """
    decoder = replace(
        MODEL.decoder,
        width=width,
        num_layers=num_layers,
        num_heads=width // 64,
        num_kv_heads=width // 128 if width % 256 == 0 else width // 192,
        mlp_width=width * 8 // 3 // 64 * 64,
        vocab_size=vocab_size,
    )
    return replace(
        MODEL,
        vision=replace(MODEL.vision, output_width=width),
        decoder=decoder,
        matryoshka_dims=(width // 4, width // 2, width),
    )


LESSONS = replace(
    PAGES,
    name="lessons",
    kind="lessons",
    steps=1500,
    images=0,
    learning_rate=1.5e-3,
    final_learning_rate=1e-4,
    languages=ALL_SCRIPTS,
)

CROPS_THAT_SAY = replace(
    CROPS,
    name="crops that say",
    steps=600,
    images=48,
    queries_per_image=4,
    transcripts=48,
    learning_rate=1.5e-3,
    final_learning_rate=1e-3,
    languages=ALL_SCRIPTS,
    scans=0.2,
    real=0.6,
    lessons=0.2,
    tower_learns=False,
)

HALF_PAGES_THAT_SAY = replace(
    HALF_PAGES,
    name="half pages that say",
    steps=600,
    images=8,
    queries_per_image=12,
    transcripts=8,
    learning_rate=1.5e-3,
    final_learning_rate=1e-3,
    languages=ALL_SCRIPTS,
    scans=0.2,
    real=0.6,
    lessons=0.2,
    tower_learns=True,
)

PAGES_THAT_SAY = replace(
    DOCUMENTS,
    name="pages that say",
    height=1512,
    width=1064,
    steps=900,
    images=4,
    queries_per_image=16,
    transcripts=4,
    learning_rate=1.5e-3,
    final_learning_rate=0.0,
    scans=0.2,
    documents=0.3,
    real=0.6,
    lessons=0.2,
    tower_learns=True,
)


def nano_meaning(vocab_size: int = VOCAB, num_layers: int = 6) -> Recipe:
    """The next nano: texts from a teacher, then pages. Not yet run to its end; what ships is nano."""
    return replace(
        nano(),
        name="nano-meaning",
        model=sized(vocab_size, WIDTH, num_layers),
        stages=(LESSONS, CROPS_THAT_SAY, HALF_PAGES_THAT_SAY, PAGES_THAT_SAY),
        weights=Weights(
            late=1.0, dense=0.3, grounding=1.0, reading=0.0, caption=0.0, echo=2.0, alignment=2.0, lesson=1.0
        ),
        lessons=lessons(),
        distillation=Distillation(
            longest=320,
            texts_a_step=3072,
            pairs_a_step=768,
            cosine_weight=10.0,
            temperature=0.05,
            late_temperature=0.03,
            own_share=0.5,
        ),
        tower_of="nano",
        checkpoint_every=250,
    )
