"""The student: a causal decoder over pieces of the teacher's vocabulary, whose mean state is mapped to its vector.

Shapes: N texts, T tokens of all texts together, W width, V width of the teacher's vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polylens.errors import InputError
from polylens.lab.teacher.file import Pieces
from polylens.lab.teacher.tokenizer import TeacherTokenizer
from polylens.models.qwen_vl.config import DecoderConfig
from polylens.models.qwen_vl.decoder import Decoder
from polylens.nn.lora import NO_ADAPTERS
from polylens.nn.packing import Packing
from polylens.nn.pooling import span_mean
from polylens.runtime.batching import TOKENS, batches
from polylens.runtime.similarity import similarity
from polylens.types import Embedding, FloatArray

_MARKS = 5  # the first pieces: marks, and what stands for the unknown


def most_frequent(pieces: Pieces, texts: Iterable[str], size: int) -> list[int]:
    """The ids of the pieces that a student keeps: the marks, all single letters in the texts, then the most frequent.

    Args:
        pieces: Those of the teacher.
        texts: Texts to count in.
        size: How many to keep.

    Raises:
        InputError: There is no room for the letters, or there are not so many pieces.
    """
    counts = Counter(token for ids in TeacherTokenizer(pieces)(list(texts)) for token in ids)
    letters = [token for token in counts if len(pieces.pieces[token]) == 1 and token >= _MARKS]
    kept = dict.fromkeys([*range(_MARKS), *sorted(letters)])
    if not len(kept) <= size <= len(pieces.pieces):
        raise InputError(f"vocab_size must be between {len(kept):,} and {len(pieces.pieces):,}, got {size:,}")
    everything = [token for token, _ in counts.most_common()] + list(range(len(pieces.pieces)))
    for token in everything:
        if len(kept) == size:
            break
        kept[token] = None
    return sorted(kept)


def cut(pieces: Pieces, kept: Sequence[int]) -> Pieces:
    """The pieces that are kept, in their order."""
    number = {token: index for index, token in enumerate(kept)}
    return replace(
        pieces,
        pieces=tuple(pieces.pieces[token] for token in kept),
        scores=tuple(pieces.scores[token] for token in kept),
        begin=number[pieces.begin],
        end=number[pieces.end],
        unknown=number[pieces.unknown],
    )


class Student(nn.Module):
    """The student, which benchmarks can ask as they ask a model.

    Args:
        config: The decoder.
        pieces: Its vocabulary.
        longest: Tokens per text; a longer one is cut.
        width: Of the teacher's vectors.
    """

    tasks = ("retrieval",)
    multivector_dim = None

    def __init__(self, config: DecoderConfig, pieces: Pieces, longest: int, width: int) -> None:
        super().__init__()
        self.decoder = Decoder(config, NO_ADAPTERS)
        self.head = nn.Linear(config.width, width, bias=False)
        self.longest = longest
        self._unknown = pieces.unknown
        self._tokenizer = TeacherTokenizer(pieces)

    def initialise(self, rows: Tensor, seed: int) -> None:
        """Begins with the teacher's rows of the pieces, along their main directions where the student is narrower.

        Args:
            rows: `[pieces, V]`.
            seed: Of the random weights.
        """
        generator = torch.Generator().manual_seed(seed)
        width = self.decoder.config.width
        centred = rows.float() - rows.float().mean(dim=0)
        if width < centred.shape[1]:
            directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
            centred = centred @ directions[:, :width]
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(("bias", "out.weight", "down.weight")):
                    parameter.zero_()
                elif "norm" in name:
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, parameter.shape[-1] ** -0.5, generator=generator)
            self.decoder.embed.weight[:, : centred.shape[1]] = centred / centred.std()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, at least one."""
        return [ids[: self.longest] or [self._unknown] for ids in self._tokenizer(texts)]

    def forward(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Unit vectors of texts, `[N, V]`."""
        device = self.head.weight.device
        packing = Packing([len(each) for each in tokens], device)
        ids = torch.tensor([token for each in tokens for token in each], device=device)
        places = torch.cat([torch.arange(length, device=device) for length in packing.lengths])
        states = self.decoder(self.decoder.embed(ids), places[:, None].expand(-1, 3), packing, [])
        stops = torch.tensor(packing.lengths, device=device).cumsum(0)
        starts = stops - torch.tensor(packing.lengths, device=device)
        return F.normalize(self.head(span_mean(states, starts, stops)).float(), dim=-1)

    @torch.inference_mode()
    def embed(
        self,
        inputs: Sequence[Any],
        *,
        task: str | None = None,  # noqa: ARG002  # there is one task
        prompt_name: str | None = None,  # noqa: ARG002  # nor are there prompts
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Embedding]:
        """Embeds texts; the multi-vector is the dense vector alone."""
        tokens = self.tokens(inputs)
        vectors = np.zeros((len(tokens), self.head.out_features), dtype=np.float32)
        for batch in batches([len(each) for each in tokens], max_items=None, token_budget=TOKENS):
            with torch.autocast(self.head.weight.device.type, torch.bfloat16):
                vectors[batch] = self([tokens[index] for index in batch]).cpu().numpy()
            progress(len(batch))
        return [Embedding(vector, vector[None]) for vector in vectors]

    def similarity(self, queries: Any, documents: Any) -> FloatArray:
        """Scores queries against documents, as `Embedder.similarity` does."""
        return similarity(queries, documents)
