"""Scores between queries and documents.

Shapes: Q queries, D documents, S query tokens, T document tokens, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor


def maxsim(
    queries: Float[Tensor, "Q S E"],
    documents: Float[Tensor, "D T E"],
    query_mask: Bool[Tensor, "Q S"],
    document_mask: Bool[Tensor, "D T"],
) -> Float[Tensor, "Q D"]:
    """Computes late-interaction scores: each query token keeps its best document token, then we sum.

    Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832.

    Args:
        queries: Unit-length token vectors.
        documents: Unit-length token vectors.
        query_mask: True at real tokens. Padding contributes 0.
        document_mask: True at real tokens. Padding is never anyone's best match, even where every real similarity is
            negative.

    Returns:
        One score per pair, between -S and S; -inf where a document has no real token.

    Example:
        >>> q = torch.tensor([[[1.0, 0.0]]])
        >>> d = torch.tensor([[[-0.6, 0.8], [0.0, 0.0]]])  # one real token, one pad
        >>> maxsim(q, d, torch.tensor([[True]]), torch.tensor([[True, False]]))
        tensor([[-0.6000]])
    """
    flat = rearrange(queries, "q s e -> (q s) e") @ rearrange(documents, "d t e -> e (d t)")
    scores = rearrange(flat, "(q s) (d t) -> q d s t", q=len(queries), d=len(documents))
    best = scores.masked_fill(~document_mask[None, :, None, :], -torch.inf).amax(dim=-1)
    return best.masked_fill(~query_mask[:, None, :], 0.0).sum(dim=-1)


def ragged_maxsim(
    queries: Sequence[Float[Tensor, "_ E"]], documents: Sequence[Float[Tensor, "_ E"]]
) -> Float[Tensor, "Q D"]:
    """Computes `maxsim` for inputs of any lengths, one document at a time: no padding, little memory.

    Returns:
        One score per pair; every input must have at least one token.
    """
    stacked = torch.cat(list(queries))
    sizes = torch.tensor([len(query) for query in queries])
    owner = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(stacked.device)
    columns = [
        torch.zeros(len(sizes), device=stacked.device).index_add(0, owner, (stacked @ document.T).amax(dim=1))
        for document in documents
    ]
    return torch.stack(columns, dim=1)
