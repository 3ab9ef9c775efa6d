"""The objective of jina-clip-v2: contrast both ways, with hard negatives one way only.

jina-clip-v2 (arXiv 2412.08802), section 3; jina_clip_v2 facts, section 2.1. Shapes: P pairs, D documents, E width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polylens.train.losses import info_nce
from polylens.train.pairs import Pair, Side


def both_ways_nce(
    queries: Float[Tensor, "P E"],
    documents: Float[Tensor, "D E"],
    right: Bool[Tensor, "P D"],
    temperature: float | Tensor,
) -> Float[Tensor, ""]:
    """InfoNCE from queries to documents plus that from documents to queries.

    With hard negatives it is the paper's NCE+: they are in every query's denominator, and the direction from documents
    to queries is between the pairs alone.

    Args:
        queries: Unit rows, one per pair.
        documents: Unit rows: the document of each pair in the same order, then any hard negatives.
        right: Documents that are right for a query: its own, and others that are left out of its denominator.
        temperature: Divides the cosines; a tensor learns.

    Example:
        >>> pairs = torch.eye(2)
        >>> round(float(both_ways_nce(pairs, pairs, torch.eye(2, dtype=torch.bool), 1.0)), 4)
        0.6265
    """
    count = len(queries)
    own = torch.arange(count, device=queries.device)
    ignore = right.clone()
    ignore[own, own] = False
    scores = queries @ documents.T
    back = info_nce(scores[:, :count].T, own, ignore[:, :count].T, temperature)
    return info_nce(scores, own, ignore, temperature) + back


def known_right(pairs: Sequence[Pair]) -> Bool[Tensor, "P D"]:
    """The documents of a batch that are known to be right for each query: those of every pair with the same query.

    An image with five captions may be five times in a batch, and is never a negative of any of them; nor is a document
    the hard negative of a query that it answers.

    Args:
        pairs: The pairs of one batch. Documents are theirs in order, then the hard negatives of each pair in order.

    Example:
        >>> known_right([Pair("a", "x"), Pair("b", "x", ("y", "z")), Pair("b", "z")]).int().tolist()
        [[1, 1, 0, 0, 0], [1, 1, 1, 0, 1], [1, 1, 1, 0, 1]]
    """
    answers: dict[Side, set[Side]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(pair.document)
    documents = [*(pair.document for pair in pairs), *(each for pair in pairs for each in pair.negatives)]
    numbers = {document: number for number, document in enumerate(dict.fromkeys(documents))}
    right = torch.zeros(len(pairs), len(numbers), dtype=torch.bool)
    for row, pair in enumerate(pairs):
        right[row, [numbers[document] for document in answers[pair.query]]] = True
    return right[:, [numbers[document] for document in documents]]
