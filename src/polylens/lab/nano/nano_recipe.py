"""The recipe of nano, the model that ships: about eight million parameters, trained from random weights.

The vision tower is small because it sees the most tokens, four for each of the decoder's. A stage is written down whole
or as a variant of an earlier one. Two cores take an hour and three quarters for the stages up to `TEXTS`.
"""

from __future__ import annotations

from dataclasses import replace

from polylens.lab.nano.schedule import Blend, Recipe, Stage, Weights
from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.qwen_vl.config import DecoderConfig, Qwen25VisionConfig
from polylens.models.qwen_vl.images import ImageConfig
from polylens.nn.lora import LoRAConfig

FIRST_LANGUAGES = ("en", "en", "en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "ro", "ru", "uk", "el")
"""The languages of the first stages: fourteen in three alphabets that share letters. English is drawn most often."""

ALL_SCRIPTS = (
    *("en", "en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "ru", "uk", "el"),
    *("he", "he", "ar", "ar", "hi", "hi", "th", "th", "zh", "zh", "ja", "ja", "ko", "ko"),
)
"""Ten scripts; half of the draws are of the seven that `FIRST_LANGUAGES` lacks."""

MANY_GLYPHS = (*ALL_SCRIPTS, "zh", "zh", "ja", "ja", "ko", "ko")
"""Ten scripts; a third of the draws are of the three that have thousands of letters."""

UNSURE_SCRIPTS = (
    *("en", "en", "de", "fr", "es", "it", "pl", "cs", "ru", "uk", "el", "hi", "hi", "th", "th"),
    *("he", "he", "he", "ar", "ar", "ar", "ar", "zh", "zh", "zh", "zh", "ja", "ja", "ja", "ko", "ko"),
)
"""Ten scripts; half of the draws are of the five that run right to left or have thousands of letters."""

RIGHT_TO_LEFT = (*("he",) * 4, *("ar",) * 7, "en", "en", "de", "ru", "el", "hi", "th", "zh", "ja", "ko")
"""Ten scripts; half of the draws are of the two that run right to left, the others keep the rest in memory."""

NANO_VOCAB = 6144  # tokens
WIDTH = 256

MODEL = JinaV4Config(
    vision=Qwen25VisionConfig(
        width=192,
        num_layers=6,
        num_heads=4,
        mlp_width=512,
        output_width=WIDTH,
        patch_size=14,
        num_frames=2,
        merge_size=2,
        window_size=112,
        full_attention_layers=(3,),
        shares_uniform_windows=True,  # once it is trained: training reads the letters of every patch
    ),
    decoder=DecoderConfig(
        width=WIDTH,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        mlp_width=704,
        vocab_size=NANO_VOCAB,
        norm_eps=1e-6,
        # With the published 1e6 a page's first and last column lie a hundredth of a radian apart, too near for a
        # small model to tell a cell's neighbours.
        theta=30.0,
        rope_sections=(4, 10, 18),
    ),
    lora=LoRAConfig(tasks=("retrieval", "text-matching", "code"), rank=8, alpha=8.0),
    multivector_dim=128,
    matryoshka_dims=(64, 128, 256),
    max_length=32_768,
    image_token_id=6,
    vision_start_token_id=3,
    vision_end_token_id=4,
)

IMAGES = ImageConfig(
    patch_size=14,
    merge_size=2,
    num_frames=2,
    min_pixels=3136,
    max_pixels=1_608_768,  # 2,052 visual tokens: body text of 11 points on A4 stands 20 pixels tall
    mean=(0.9, 0.9, 0.9),  # paper, not the average photograph, is the zero
    std=(0.3, 0.3, 0.3),
)

# Reading first, from dense little pictures; then searching, on crops.

READ = Stage(
    name="read",
    kind="read",
    height=168,
    width=224,
    font_size=(16.0, 32.0),
    steps=5000,
    images=20,
    queries_per_image=0,
    transcripts=0,
    texts=0,
    query_words=(0, 0),
    learning_rate=1e-2,
    final_learning_rate=3e-3,
    languages=FIRST_LANGUAGES,
    scans=0.0,
    documents=0.0,
    pictograms=0.0,
    pairs=0.0,
    pairs_a_step=0,
    tower_learns=True,
)

CROPS = Stage(
    name="crops",
    kind="crops",
    height=168,
    width=336,
    font_size=(15.0, 30.0),
    steps=900,
    images=24,
    queries_per_image=6,
    transcripts=2,
    texts=4,
    query_words=(1, 6),
    learning_rate=4e-3,
    final_learning_rate=2e-3,
    languages=FIRST_LANGUAGES,
    scans=0.0,
    documents=0.0,
    pictograms=0.0,
    pairs=0.0,
    pairs_a_step=0,
    tower_learns=True,
)

# The tower reads a page as well as a crop, but the decoder has to get used to places far from where a picture begins.

SHEETS = replace(
    CROPS,
    name="sheets",
    height=448,
    width=448,
    font_size=(15.0, 28.0),
    steps=300,
    images=8,
    queries_per_image=16,
    query_words=(2, 6),
    learning_rate=3e-3,
    final_learning_rate=3e-3,
    tower_learns=False,
)

HALF_PAGES = Stage(
    name="half pages",
    kind="pages",
    height=1064,
    width=756,
    font_size=(16.0, 27.0),
    steps=500,
    images=4,
    queries_per_image=30,
    transcripts=2,
    texts=2,
    query_words=(2, 6),
    learning_rate=3e-3,
    final_learning_rate=3e-3,
    languages=FIRST_LANGUAGES,
    scans=0.0,
    documents=0.0,
    pictograms=0.0,
    pairs=0.0,
    pairs_a_step=0,
    tower_learns=False,
)

PAGES = replace(
    HALF_PAGES,
    name="pages",
    height=1512,
    width=1064,
    steps=250,
    images=3,
    queries_per_image=40,
    final_learning_rate=0.0,
)

# The scripts that no picture has shown so far are learned from texts.

TEXTS = replace(
    PAGES,
    name="texts",
    steps=350,
    images=1,
    queries_per_image=30,
    transcripts=1,
    texts=24,
    learning_rate=2e-3,
)

# Those scripts in pictures too, and scans.

SCRIPTS = replace(
    READ,
    name="scripts",
    steps=1500,
    learning_rate=4e-3,
    final_learning_rate=2e-3,
    languages=ALL_SCRIPTS,
    scans=0.3,
)

WORDS = replace(
    CROPS,
    name="words",
    steps=700,
    learning_rate=3e-3,
    final_learning_rate=1e-3,
    languages=ALL_SCRIPTS,
    scans=0.3,
)

# Documents that say something, with queries as people phrase them; then texts that belong together.

DOCUMENTS = replace(
    HALF_PAGES,
    name="documents",
    steps=700,
    images=3,
    queries_per_image=40,
    transcripts=1,
    texts=6,
    learning_rate=2e-3,
    final_learning_rate=0.0,
    languages=ALL_SCRIPTS,
    scans=0.3,
    documents=0.65,
)

PAIRS = replace(
    DOCUMENTS,
    name="pairs",
    steps=3400,
    learning_rate=2e-3,
    final_learning_rate=0.0,
    documents=0.1,
    pairs=0.85,
    pairs_a_step=128,
    blend=(Blend(stage="texts", share=0.16), Blend(stage="documents", share=0.26)),
)

# Everything at once.

GLYPHS = replace(
    SCRIPTS,
    name="glyphs",
    steps=4000,
    learning_rate=4e-3,
    final_learning_rate=1e-3,
    languages=MANY_GLYPHS,
    scans=0.2,
)

LINES = replace(
    WORDS,
    name="lines",
    pictograms=0.1,
    steps=800,
    learning_rate=3e-3,
    final_learning_rate=2e-3,
    scans=0.2,
    pairs=0.25,
    pairs_a_step=128,
)

TOGETHER = replace(
    PAIRS,
    name="together",
    height=1512,
    width=1064,
    steps=2300,
    images=2,
    scans=0.2,
    documents=0.25,
    pictograms=0.05,
    pairs=0.35,
    blend=(Blend(stage="texts", share=0.0625), Blend(stage="documents", share=0.1875)),
)

# The scripts that are still found least often.

MORE_GLYPHS = replace(
    GLYPHS,
    name="more glyphs",
    steps=1200,
    learning_rate=3e-3,
    final_learning_rate=1.5e-3,
    languages=UNSURE_SCRIPTS,
)

MORE_LINES = replace(
    LINES,
    name="more lines",
    steps=650,
    learning_rate=3e-3,
    final_learning_rate=1.5e-3,
    languages=UNSURE_SCRIPTS,
    pictograms=0.0,
    pairs=0.15,
)

MORE_PAGES = replace(
    TOGETHER,
    name="more pages",
    steps=800,
    languages=UNSURE_SCRIPTS,
    pictograms=0.0,
    pairs=0.3,
    blend=(Blend(stage="together", share=0.15),),
)

# Those from right to left once more.

RTL_GLYPHS = replace(
    MORE_GLYPHS,
    name="rtl glyphs",
    languages=RIGHT_TO_LEFT,
)

RTL_LINES = replace(
    MORE_LINES,
    name="rtl lines",
    steps=550,
    languages=RIGHT_TO_LEFT,
    pairs=0.1,
)

RTL_PAGES = replace(
    MORE_PAGES,
    name="rtl pages",
    steps=700,
    languages=RIGHT_TO_LEFT,
    pairs=0.2,
    blend=(Blend(stage="more pages", share=0.2),),
)

# Two adapters on top of the model.

CODE = replace(
    PAIRS,
    name="code",
    steps=300,
    images=0,
    learning_rate=4e-3,
    documents=0.0,
    pairs=1.0,
    pair_kinds=("functions",),
    task="code",
    blend=(),
)

MATCHING = replace(CODE, name="text matching", steps=500, pair_kinds=("translations",), task="text-matching")

STAGES = (
    READ,
    CROPS,
    SHEETS,
    HALF_PAGES,
    PAGES,
    TEXTS,
    SCRIPTS,
    WORDS,
    DOCUMENTS,
    PAIRS,
    GLYPHS,
    LINES,
    TOGETHER,
    MORE_GLYPHS,
    MORE_LINES,
    MORE_PAGES,
    RTL_GLYPHS,
    RTL_LINES,
    RTL_PAGES,
    CODE,
    MATCHING,
)
"""In the order in which they are trained."""


def nano() -> Recipe:
    """The model that ships, trained from random weights."""
    return Recipe(
        name="nano",
        family="jina_v4",
        model=MODEL,
        images=IMAGES,
        stages=STAGES,
        weights=Weights(late=1.0, dense=0.3, grounding=2.0, reading=1.0, caption=0.0),
        late_temperature=0.03,
        dense_temperature=0.05,
        reading_blocks=6,
        dense_both_ways=False,
        grounding_temperature=0.05,
        warmup_steps=100,
        weight_decay=0.01,
        gradient_clip=1.0,
        seed=20261124,
        checkpoint_every=50,
    )
