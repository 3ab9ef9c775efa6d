"""Contrastive losses over packed vectors, and the losses of nano's reading and grounding.

Shapes: Q queries, D documents, K query tokens packed, C document or visual tokens packed, E embedding width, L label
width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from polylens.nn.pooling import truncate

SIMILARITIES = 1 << 27
"""Most similarities of rows, query by document, that MaxSim has in memory at once: half a gigabyte in float32."""


def info_nce(
    scores: Float[Tensor, "Q D"],
    positives: Int[Tensor, " Q"],
    ignore: Bool[Tensor, "Q D"],
    temperature: float | Tensor,
) -> Float[Tensor, ""]:
    """InfoNCE from queries to documents: minus the log-softmax of each query's own document, averaged over queries.

    jina-embeddings-v4, equations 3 and 4, averaged where the paper prints a sum.

    Args:
        scores: Similarities.
        positives: The document that belongs to each query.
        ignore: Documents left out of a query's denominator: other forms of its own document.
        temperature: Divides the scores; a tensor learns.

    Example:
        >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(float(info_nce(scores, torch.tensor([0, 1]), torch.zeros(2, 2, dtype=torch.bool), 1.0)), 4)
        0.3133
    """
    logits = (scores / temperature).masked_fill(ignore, -torch.inf)
    return F.cross_entropy(logits, positives)


def info_nce_back(scores: Float[Tensor, "Q D"], positives: Int[Tensor, " Q"], temperature: float) -> Float[Tensor, ""]:
    """InfoNCE from documents to queries: each query against all queries of other documents, given its own document.

    Radford et al. 2021, arXiv 2103.00020, figure 3, where each document has one query; here it may have several, which
    are never negatives of each other.

    Args:
        scores: Similarities.
        positives: The document that belongs to each query.
        temperature: Divides the scores.

    Example:
        >>> scores = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> round(float(info_nce_back(scores, torch.tensor([0, 0, 1]), 1.0)), 4)
        0.3927
    """
    siblings = positives[:, None] == positives[None, :]
    itself = torch.arange(len(positives), device=scores.device)
    siblings[itself, itself] = False
    return info_nce(scores.T[positives], itself, siblings, temperature)


def matryoshka_nce(
    queries: Float[Tensor, "Q E"],
    documents: Float[Tensor, "D E"],
    positives: Int[Tensor, " Q"],
    ignore: Bool[Tensor, "Q D"],
    temperature: float,
    dims: Sequence[int],
    both_ways: bool = False,
) -> Float[Tensor, ""]:
    """`info_nce` of the dense vectors cut to each of `dims`, averaged. Kusupati et al. 2022, arXiv 2205.13147.

    With `both_ways`, the mean of `info_nce` and `info_nce_back`.
    """
    losses = []
    for dim in dims:
        scores = truncate(queries, dim) @ truncate(documents, dim).T
        loss = info_nce(scores, positives, ignore, temperature)
        losses.append((loss + info_nce_back(scores, positives, temperature)) / 2 if both_ways else loss)
    return torch.stack(losses).mean()


def caption_nce(
    pictures: Float[Tensor, "P E"],
    texts: Float[Tensor, "D E"],
    own: Int[Tensor, " P"],
    temperature: float,
    dims: Sequence[int],
) -> Float[Tensor, ""]:
    """Contrast in both directions between each picture and the text of its own words; texts get no gradient.

    So the vision tower moves towards the vectors of the words that it sees, and does not pull the texts to where all
    pictures begin. Zhai et al. 2022, arXiv 2111.07991 (LiT).

    Args:
        pictures: Unit rows.
        texts: Unit rows of all texts.
        own: The text with the words of each picture, a different one for each.
        temperature: Divides the similarities.
        dims: Widths that the vectors are cut to.
    """
    every = torch.zeros(len(pictures), len(texts), dtype=torch.bool, device=pictures.device)
    return matryoshka_nce(pictures, texts.detach(), own, every, temperature, dims, both_ways=True)


def batched_maxsim(
    queries: Float[Tensor, "K E"],
    query_owner: Int[Tensor, " K"],
    documents: Float[Tensor, "C E"],
    document_lengths: Sequence[int],
    num_queries: int,
) -> Float[Tensor, "Q D"]:
    """MaxSim between packed queries and packed documents, divided by the query's tokens as the paper does in training.

    The similarities of rows are computed in blocks of whole documents, at most `SIMILARITIES` of them at once.

    Args:
        queries: Unit rows of all queries.
        query_owner: The query that each row belongs to.
        documents: Unit rows of all documents.
        document_lengths: Rows per document.
        num_queries: Q, the number of queries.
    """
    blocks = list(_blocks(document_lengths, max(1, SIMILARITIES // max(1, len(queries)))))
    match = _best_matches
    if len(blocks) > 1 and torch.is_grad_enabled():  # they are computed again on the way back, one block at a time
        match = partial(checkpoint, _best_matches, use_reentrant=False, preserve_rng_state=False)
    rows = torch.split(documents, [sum(lengths) for lengths in blocks])
    best = torch.cat([match(queries, some, lengths) for some, lengths in zip(rows, blocks, strict=True)], dim=1)
    sums = torch.zeros(num_queries, best.shape[1], dtype=best.dtype, device=best.device).index_add(0, query_owner, best)
    return sums / torch.bincount(query_owner, minlength=num_queries)[:, None]


def _best_matches(
    queries: Float[Tensor, "K E"], documents: Float[Tensor, "C E"], document_lengths: Sequence[int]
) -> Float[Tensor, "K D"]:
    """The highest similarity of each query row in each document."""
    similarities = queries @ documents.T
    if similarities.is_cuda:  # one kernel, where the other way has one per document
        return best_of_each(similarities, document_lengths)
    return torch.stack([each.amax(dim=1) for each in torch.split(similarities, list(document_lengths), dim=1)], dim=1)


def best_of_each(similarities: Float[Tensor, "K C"], document_lengths: Sequence[int]) -> Float[Tensor, "K D"]:
    """The highest similarity of each query row in each document, by scattering.

    Args:
        similarities: Of query rows and document rows.
        document_lengths: Rows per document; they add up to C.
    """
    lengths = torch.tensor(document_lengths, device=similarities.device)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    empty = similarities.new_zeros(len(similarities), len(lengths))
    return empty.scatter_reduce(1, owner.expand_as(similarities), similarities, "amax", include_self=False)


def _blocks(document_lengths: Sequence[int], most_rows: int) -> Iterator[Sequence[int]]:
    """The lengths of documents in blocks of at most `most_rows` rows; a longer document is a block of its own."""
    block: list[int] = []
    rows = 0
    for length in document_lengths:
        if block and rows + length > most_rows:
            yield block
            block, rows = [], 0
        block.append(length)
        rows += length
    yield block


def grounding_nce(
    queries: Float[Tensor, "K E"],
    cells: Float[Tensor, "C E"],
    here: Bool[Tensor, "K C"],
    ignore: Bool[Tensor, "K C"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Each query token against every visual token of the batch: those that show its letters should win.

    The renderer knows where each word is drawn, which no scanned page tells. The loss is -log of the softmax mass on
    the right cells, averaged over the tokens that are drawn anywhere.

    Args:
        queries: Unit rows.
        cells: Unit rows of the visual tokens.
        here: Where the token's letters are drawn.
        ignore: Other places where the same word is drawn: neither right nor wrong.
        temperature: Divides the similarities.
    """
    grounded = here.any(dim=1)
    logits = (queries[grounded] @ cells.T / temperature).masked_fill(ignore[grounded] & ~here[grounded], -torch.inf)
    right = logits.masked_fill(~here[grounded], -torch.inf)
    return (logits.logsumexp(dim=1) - right.logsumexp(dim=1)).mean()


def reading_loss(logits: Float[Tensor, "P R L"], letters: Int[Tensor, "P R"]) -> Float[Tensor, ""]:
    """Cross-entropy of the letter at each reading point of each patch; label 0 stands for no letter.

    Args:
        logits: One per letter, and one for no letter.
        letters: See `letter_grid`.
    """
    return F.cross_entropy(logits.flatten(0, 1), letters.flatten())
