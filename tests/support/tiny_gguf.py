"""A tiny checkpoint that can be written as GGUF: its tokenizer merges and splits as Qwen2's does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support import tiny
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from polylens.checkpoints.gguf import SPLIT
from polylens.models.jina_v4.config import JinaV4Config

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the")]
PLAIN = 256 + len(MERGES)
CONFIG: JinaV4Config = replace(
    tiny.CONFIG,
    decoder=replace(tiny.CONFIG.decoder, vocab_size=PLAIN + len(tiny.SPECIAL) + 3),  # three ids without a token
    image_token_id=PLAIN + tiny.SPECIAL.index("<|image_pad|>"),
    vision_start_token_id=PLAIN + tiny.SPECIAL.index("<|vision_start|>"),
    vision_end_token_id=PLAIN + tiny.SPECIAL.index("<|vision_end|>"),
)


def tokenizer(split: str = SPLIT) -> Tokenizer:
    """One token per byte, one per merge, and the special ones."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(merge) for merge in MERGES)]
    made = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=MERGES))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tiny.SPECIAL])
    return made


def write(folder: Path) -> Path:
    """Writes the official layout into a folder and returns the folder."""
    tiny.write(folder, CONFIG)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder
