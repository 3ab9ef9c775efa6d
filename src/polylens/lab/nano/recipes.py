"""Recipes: functions that return a whole configuration. A variant is `replace(...)`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from polylens.errors import InputError
from polylens.models.jina_clip_v2 import config as clip_config
from polylens.models.jina_clip_v2 import processing as clip_processing
from polylens.models.jina_v4.config import DecoderConfig, JinaV4Config, VisionConfig
from polylens.models.jina_v4.processing import ImageConfig
from polylens.nn.lora import LoRAConfig

PAIR_KINDS = (*("translations",) * 8, "functions", "functions", "manuals")
"""Kinds of pairs of texts, as often as they are drawn: there are 27 languages, and one of code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """Weights of an earlier stage that are mixed into those of another's end, for what was forgotten since.

    Wortsman et al. 2022, arXiv 2109.01903.
    """

    stage: str  # whose weights, as they were at its end
    share: float  # how much they count, from 0 to 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of training on pictures of one size."""

    name: str
    kind: Literal["read", "crops", "pages"]  # dense text to read, crops and pages to search
    height: int  # pixels, a multiple of a cell
    width: int  # pixels, a multiple of a cell
    font_size: tuple[float, float]  # pixels per em, smallest and largest; of a page, its body
    steps: int
    images: int  # a step; with none, texts alone are learned from
    queries_per_image: int
    transcripts: int  # how many of them stand among the documents as text too
    texts: int  # a step, with a query each, in one of all languages
    query_words: tuple[int, int]  # fewest and most
    learning_rate: float  # at its highest
    final_learning_rate: float  # where the stage ends; in between it falls along a cosine
    languages: tuple[str, ...]  # of the pictures; texts are in all. One that stands there twice is drawn twice as often
    scans: float  # share of the pictures that look scanned
    documents: float  # share of the steps whose pictures are synthetic pages, asked about as people ask
    pictograms: float  # share of the steps whose pictures show things and flags; where their font is installed
    pairs: float  # share of the steps that have texts alone, which belong together: a sentence and its translation
    pairs_a_step: int  # of those steps; a quarter of functions and passages, which are as much longer
    pair_kinds: tuple[str, ...] = PAIR_KINDS  # a step's pairs are of one of them
    task: str | None = None  # whose adapter learns, and nothing besides; with none the model itself does
    tower_learns: bool  # whether the vision tower does; held still it costs a third, and reads what it can read
    blend: tuple[Blend, ...] = ()  # mixed into its last weights, which count what these leave; the next stage has them


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """How much each loss counts."""

    late: float  # MaxSim against in-batch negatives: what search ranks by
    dense: float  # the same for the dense vectors, Matryoshka
    grounding: float  # each query token against every visual token: much more signal a step than one score a page
    reading: float  # letters at points of each patch: teaches the tower shapes, before and while it contrasts
    caption: float  # each picture against the text of all its words, which stands still: of two towers


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A run."""

    name: str
    model: JinaV4Config | clip_config.JinaClipConfig
    images: ImageConfig | clip_processing.ImageConfig  # of the same family
    stages: tuple[Stage, ...]
    weights: Weights
    late_temperature: float
    dense_temperature: float
    reading_blocks: int  # of the vision tower, from the first: letters are read from what comes out of them
    dense_both_ways: bool  # whether documents look for their queries too, as CLIP does
    grounding_temperature: float
    warmup_steps: int  # from zero, at the start of the run
    weight_decay: float
    gradient_clip: float  # largest norm
    seed: int
    checkpoint_every: int  # steps


EUROPEAN = ("en", "en", "en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "ro", "ru", "uk", "el")
"""Languages to begin with: fourteen in three alphabets, which share letters."""

ALL_SCRIPTS = (
    *("en", "en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "ru", "uk", "el"),
    *("he", "he", "ar", "ar", "hi", "hi", "th", "th", "zh", "zh", "ja", "ja", "ko", "ko"),
)
"""Half of it in the seven scripts besides."""

MANY_GLYPHS = (*ALL_SCRIPTS, "zh", "zh", "ja", "ja", "ko", "ko")
"""A third of it in the three that have thousands."""

UNSURE_SCRIPTS = (
    *("en", "en", "de", "fr", "es", "it", "pl", "cs", "ru", "uk", "el", "hi", "hi", "th", "th"),
    *("he", "he", "he", "ar", "ar", "ar", "ar", "zh", "zh", "zh", "zh", "ja", "ja", "ja", "ko", "ko"),
)
"""Half of it in the five that are read right to left or have thousands of letters."""

RIGHT_TO_LEFT = (*("he",) * 4, *("ar",) * 7, "en", "en", "de", "ru", "el", "hi", "th", "zh", "ja", "ko")
"""Half of it in the two that are read right to left, and all others so that they are not forgotten."""

NANO_VOCAB = 6144
SPECIAL = 8  # nano's special tokens are its first ids, in the order of `tokenizer.SPECIAL_TOKENS`


def stage_at(recipe: Recipe, step: int) -> tuple[Stage, int]:
    """The stage that a step of the run belongs to, and its number within it."""
    within = step
    for stage in recipe.stages:
        if within < stage.steps:
            return stage, within
        within -= stage.steps
    raise InputError(f"step {step} lies behind the end of the run")


def nano() -> Recipe:
    """The model that ships: about eight million parameters. Up to `texts` two cores need an hour and three quarters.

    The vision tower is small because it sees the most tokens, four for each of the decoder's. Learning to read comes
    first, from dense little pictures; then searching, on crops. The tower reads a page as well as a crop, but the
    decoder has to get used to places so far from where a picture begins: larger crops and whole pages are for that.
    The scripts that it does not read in pictures until then it learns from texts. Then come those scripts and scans,
    documents that say something, asked about as people ask, and texts that belong together; all of it at once; the
    scripts that are still found seldom, those from right to left once more; and two adapters on top.
    """
    width = 256
    model = JinaV4Config(
        vision=VisionConfig(
            width=192,
            num_layers=6,
            num_heads=4,
            mlp_width=512,
            output_width=width,
            patch_size=14,
            num_frames=2,
            merge_size=2,
            window_size=112,
            full_attention_layers=(3,),
        ),
        decoder=DecoderConfig(
            width=width,
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
    images = ImageConfig(
        patch_size=14,
        merge_size=2,
        num_frames=2,
        min_pixels=3136,
        max_pixels=1_608_768,  # 2,052 visual tokens: body text of 11 points on A4 stands 20 pixels tall
        mean=(0.9, 0.9, 0.9),  # paper, not the average photograph, is the zero
        std=(0.3, 0.3, 0.3),
    )
    read = Stage(
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
        languages=EUROPEAN,
        scans=0.0,
        documents=0.0,
        pictograms=0.0,
        pairs=0.0,
        pairs_a_step=0,
        tower_learns=True,
    )
    crops = Stage(
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
        languages=EUROPEAN,
        scans=0.0,
        documents=0.0,
        pictograms=0.0,
        pairs=0.0,
        pairs_a_step=0,
        tower_learns=True,
    )
    sheets = replace(
        crops,
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
    half_pages = Stage(
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
        languages=EUROPEAN,
        scans=0.0,
        documents=0.0,
        pictograms=0.0,
        pairs=0.0,
        pairs_a_step=0,
        tower_learns=False,
    )
    pages = replace(
        half_pages,
        name="pages",
        height=1512,
        width=1064,
        steps=250,
        images=3,
        queries_per_image=40,
        final_learning_rate=0.0,
    )
    texts = replace(
        pages,
        name="texts",
        steps=350,
        images=1,
        queries_per_image=30,
        transcripts=1,
        texts=24,
        learning_rate=2e-3,
    )
    scripts = replace(
        read,
        name="scripts",
        steps=1500,
        learning_rate=4e-3,
        final_learning_rate=2e-3,
        languages=ALL_SCRIPTS,
        scans=0.3,
    )
    words = replace(
        crops,
        name="words",
        steps=700,
        learning_rate=3e-3,
        final_learning_rate=1e-3,
        languages=ALL_SCRIPTS,
        scans=0.3,
    )
    documents = replace(
        half_pages,
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
    pairs = replace(
        documents,
        name="pairs",
        steps=3400,
        learning_rate=2e-3,
        final_learning_rate=0.0,
        documents=0.1,
        pairs=0.85,
        pairs_a_step=128,
        blend=(Blend(stage="texts", share=0.16), Blend(stage="documents", share=0.26)),
    )
    glyphs = replace(
        scripts,
        name="glyphs",
        steps=4000,
        learning_rate=4e-3,
        final_learning_rate=1e-3,
        languages=MANY_GLYPHS,
        scans=0.2,
    )
    lines = replace(
        words,
        name="lines",
        pictograms=0.1,
        steps=800,
        learning_rate=3e-3,
        final_learning_rate=2e-3,
        scans=0.2,
        pairs=0.25,
        pairs_a_step=128,
    )
    together = replace(
        pairs,
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
    more_glyphs = replace(
        glyphs,
        name="more glyphs",
        steps=1200,
        learning_rate=3e-3,
        final_learning_rate=1.5e-3,
        languages=UNSURE_SCRIPTS,
    )
    more_lines = replace(
        lines,
        name="more lines",
        steps=650,
        learning_rate=3e-3,
        final_learning_rate=1.5e-3,
        languages=UNSURE_SCRIPTS,
        pictograms=0.0,
        pairs=0.15,
    )
    more_pages = replace(
        together,
        name="more pages",
        steps=800,
        languages=UNSURE_SCRIPTS,
        pictograms=0.0,
        pairs=0.3,
        blend=(Blend(stage="together", share=0.15),),
    )
    rtl_glyphs = replace(
        more_glyphs,
        name="rtl glyphs",
        languages=RIGHT_TO_LEFT,
    )
    rtl_lines = replace(
        more_lines,
        name="rtl lines",
        steps=550,
        languages=RIGHT_TO_LEFT,
        pairs=0.1,
    )
    rtl_pages = replace(
        more_pages,
        name="rtl pages",
        steps=700,
        languages=RIGHT_TO_LEFT,
        pairs=0.2,
        blend=(Blend(stage="more pages", share=0.2),),
    )
    code = replace(
        pairs,
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
    matching = replace(code, name="text matching", steps=500, pair_kinds=("translations",), task="text-matching")
    return Recipe(
        name="nano",
        model=model,
        images=images,
        stages=(
            read,
            crops,
            sheets,
            half_pages,
            pages,
            texts,
            scripts,
            words,
            documents,
            pairs,
            glyphs,
            lines,
            together,
            more_glyphs,
            more_lines,
            more_pages,
            rtl_glyphs,
            rtl_lines,
            rtl_pages,
            code,
            matching,
        ),
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


def nano_clip() -> Recipe:
    """nano's counterpart with two towers, jina-clip-v2's family: the words and fonts of its first stages, to compare.

    Its tower sees the whole picture in every layer and is wider than nano's, so a step costs more and there are fewer.
    Its pictures have one size, as in that family, which is the one that EVA02's first training had (224 pixels); a page
    shrunk to that cannot be read, so there are none. Texts alone come before texts and pictures; pictures look for
    their texts as well as the other way round, as in that family, and are drawn to the vector that all their words have
    as a text: without these both towers, or the pictures alone, end in one vector for everything (docs/log.md,
    2026-11-24 to 28).
    """
    like = nano()
    side, width = 224, 256
    model = clip_config.JinaClipConfig(
        text=clip_config.TextConfig(
            width=width,
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
        vision=clip_config.VisionConfig(
            width=width,
            num_layers=8,
            num_heads=4,
            mlp_width=682,
            image_size=side,
            patch_size=14,
            pretrained_grid=16,
        ),
        matryoshka_dims=(64, 128, 256),
    )
    read, crops, _, _, _, texts = (replace(stage, height=side, width=side) for stage in like.stages[:6])
    return replace(
        like,
        name="nano-clip",
        model=model,
        images=clip_processing.ImageConfig(size=side, mean=(0.9, 0.9, 0.9), std=(0.3, 0.3, 0.3)),
        stages=(
            replace(read, steps=1400, images=16),
            replace(
                texts,
                steps=300,
                images=0,
                transcripts=0,
                texts=40,
                query_words=(1, 6),
                learning_rate=4e-3,
                final_learning_rate=4e-3,
            ),
            replace(
                crops,
                steps=1200,
                images=24,
                queries_per_image=6,
                transcripts=24,
                query_words=(1, 3),
                texts=6,
                final_learning_rate=0.0,
                tower_learns=False,
            ),
        ),
        # One vector is all that this family compares.
        weights=replace(like.weights, dense=1.0, grounding=1.0, caption=2.0),
        dense_both_ways=True,
    )


RECIPES = {"nano": nano, "nano-clip": nano_clip}
