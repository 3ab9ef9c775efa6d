"""nano's tokenizers: byte-level BPE, Qwen's pre-tokenisation, a family's special tokens, learned from our own words.

A small vocabulary on purpose: a word never seen before falls into pieces that were, and a picture is read by such
pieces too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from polylens.synthetic.lexicon import LANGUAGES, sample_text

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

CLIP_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
"""jina-clip-v2's; every text stands between the first and the third."""

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizer.json cuts text before merging."""

SHARES = {"Latn": 2.0, "Hans": 1.0, "Jpan": 1.0}
"""How much text a language of each script gives, 1 where nothing is said; English gives eight times its share."""


def train_tokenizer(*, vocab_size: int, seed: int, special: Sequence[str] = SPECIAL_TOKENS) -> Tokenizer:
    """Learns the merges.

    Args:
        vocab_size: Tokens in all, the special ones included.
        seed: Of the sampled text.
        special: The first tokens. With jina-clip-v2's a text gets its marks.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed), trainer)
    if tuple(special) == CLIP_TOKENS:
        marks = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    return tokenizer


def _corpus(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    yield "Query: Passage: user\nDescribe the image.\n " * 50
    for language, script in LANGUAGES.items():
        share = SHARES.get(script, 1.0) * (8 if language == "en" else 1)
        for _ in range(int(400 * share)):
            yield " ".join(sample_text(rng, language, "train", 20))
