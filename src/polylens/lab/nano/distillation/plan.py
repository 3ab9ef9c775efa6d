"""What a learning curve of the text side is made of: the lessons, and the student with its training."""

from __future__ import annotations

from dataclasses import dataclass

from polylens.models.qwen_vl.config import DecoderConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """Texts with the teacher's vectors of them; several students may share them."""

    shares: dict[str, float]  # source of `polylens.lab.corpora.sources` -> how often it is drawn
    languages: tuple[str, ...] | None  # None is all that a source has here
    prompt_name: str  # the teacher's prefix
    shards: int  # files of texts
    texts_a_shard: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentPlan:
    """A student and its training."""

    name: str
    decoder: DecoderConfig
    longest: int  # tokens per text; a longer one is cut
    batch_size: int  # texts per step, of like length
    steps: int
    warmup_steps: int
    learning_rate: float  # of everything but the table of pieces; it falls to zero along a cosine
    table_learning_rate: float
    cosine_weight: float  # of 1 - cosine; the divergence of the batch's similarities has the weight 1
    temperature: float  # of those similarities
    gradient_clip: float  # largest norm, the table of pieces aside
    seed: int
    checkpoint_every: int  # steps


def lessons(shards: int = 80, languages: tuple[str, ...] | None = None) -> Lessons:
    """The lessons of the learning curves: eight thousand texts per shard.

    Args:
        shards: Number of shards; 80 are 655,360 texts.
        languages: None is all that a source has here.
    """
    return Lessons(
        shares={"help": 3.0, "words": 3.0, "wordnet": 2.0, "catalogues": 2.0, "stories": 1.0, "emoji": 1.0},
        languages=languages,
        prompt_name="query",
        shards=shards,
        texts_a_shard=8192,
        seed=1,
    )


def student(vocab_size: int, width: int, num_layers: int, steps: int) -> StudentPlan:
    """A causal decoder of the v4 family.

    Args:
        vocab_size: Pieces of the teacher's that it keeps, the most frequent ones.
        width: Numbers per token, a multiple of 64.
        num_layers: Number of blocks.
        steps: Number of updates.
    """
    decoder = DecoderConfig(
        width=width,
        num_layers=num_layers,
        num_heads=width // 64,
        num_kv_heads=width // 64,
        mlp_width=width * 8 // 3 // 64 * 64,
        vocab_size=vocab_size,
        norm_eps=1e-6,
        theta=10_000.0,
        rope_sections=(8, 12, 12),
    )
    return StudentPlan(
        name=f"{vocab_size} x {width} x {num_layers}",
        decoder=decoder,
        longest=96,
        batch_size=384,
        steps=steps,
        warmup_steps=200,
        learning_rate=1.5e-3,
        table_learning_rate=2e-3,
        cosine_weight=20.0,
        temperature=0.02,
        gradient_clip=1.0,
        seed=1,
        checkpoint_every=250,
    )
