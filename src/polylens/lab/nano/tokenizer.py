"""nano's tokenizers: byte-level BPE with Qwen's pre-tokenisation and a family's special tokens, trained here.

The vocabulary is small on purpose: a word never seen before falls into pieces that were, and a picture is read by such
pieces too. A piece must be something that a query can point at, so merges are learned between letters. Plain byte-level
BPE learns them between bytes, which leaves halves of Hebrew letters and thirds of Chinese ones (docs/log.md,
2026-11-28). Letters too rare for a token of their own still fall into bytes.
"""

from __future__ import annotations

import itertools
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from polylens.lab.synthetic.lexicon import LANGUAGES, sample_text

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
"""jina-clip-v2's special tokens; every text is enclosed by the first and the third."""

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pre-tokenisation of Qwen's tokenizer.json."""

SHARES = {"Latn": 2.0, "Hans": 1.0, "Jpan": 1.0}
"""The relative amount of text per language of a script, 1 by default; English has eight times its share."""

LETTERS = 1 / 3
"""The largest share of single letters in the vocabulary, most frequent first; the rest is bytes and merged pieces."""


def train_tokenizer(
    *, vocab_size: int, seed: int, special: Sequence[str] = SPECIAL_TOKENS, more: Sequence[str] = ()
) -> Tokenizer:
    """Trains a tokenizer.

    Args:
        vocab_size: Number of tokens, special ones included.
        seed: Of the sampled text.
        special: The first tokens. With those of jina-clip-v2, every text is enclosed by its marks.
        more: Texts to learn from besides the sampled one.
    """
    tokenizer = Tokenizer(models.BPE(*_in_bytes(*_learn(vocab_size, seed, more), special, vocab_size)))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_cut(), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    if tuple(special) == CLIP_TOKENS:
        marks = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    return tokenizer


def _cut() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated")


def _learn(vocab_size: int, seed: int, more: Sequence[str] = ()) -> tuple[list[str], list[tuple[str, str]]]:
    """The most frequent letters and the merges between them, in order."""
    corpus = [unicodedata.normalize("NFC", text) for text in itertools.chain(_corpus(seed), more)]
    counts = Counter(itertools.chain.from_iterable(corpus))
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))[: int(vocab_size * LETTERS)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _cut()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=letters,
        limit_alphabet=len(letters),  # without it the trainer breaks ties differently each time
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return letters, [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def _in_bytes(
    letters: Sequence[str], merges: Sequence[tuple[str, str]], special: Sequence[str], vocab_size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary and merges in byte-level BPE's alphabet; letters are merged from their bytes first."""
    written = {text: _as_bytes(text) for text in {*letters, *itertools.chain(*merges)}}
    pairs = [
        (written[letter][:end], written[letter][end]) for letter in letters for end in range(1, len(written[letter]))
    ]
    pairs += [(written[left], written[right]) for left, right in merges]
    vocab = dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    kept: list[tuple[str, str]] = []
    for left, right in dict.fromkeys(pairs):  # letters share their first bytes
        if len(vocab) < vocab_size:
            kept.append((left, right))
            vocab[left + right] = None
    return {token: number for number, token in enumerate(vocab)}, kept


def _as_bytes(text: str) -> str:
    """The bytes of a text in byte-level BPE's alphabet."""
    (piece,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return piece[0]


def _corpus(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    yield "Query: Passage: user\nDescribe the image.\n " * 50
    for language, script in LANGUAGES.items():
        share = SHARES.get(script, 1.0) * (8 if language == "en" else 1)
        for _ in range(int(400 * share)):
            yield " ".join(sample_text(rng, language, "train", 20))
