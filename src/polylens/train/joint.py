"""The objective of jina-embeddings-v4: contrast of both kinds of vectors, and KL distillation from late to dense.

jina-embeddings-v4, section 4 (arXiv 2506.18902), equations 3 to 6. Shapes: Q queries, D documents, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polylens.nn.pooling import truncate
from polylens.train.caching import CachedVectors
from polylens.train.losses import batched_maxsim, info_nce, matryoshka_nce


@dataclass(frozen=True, slots=True)
class Vectors:
    """Both outputs of a model for one side of a batch."""

    dense: Tensor
    """`[N, dim]`, unit rows."""
    tokens: Tensor
    """`[T, 128]`, unit rows of all inputs together."""
    lengths: tuple[int, ...]
    """Tokens of each input."""


def as_vectors(cached: CachedVectors) -> Vectors:
    """The cached outputs of a model with late interaction."""
    dense, tokens = cached.leaves
    return Vectors(dense, tokens, cached.lengths)


@dataclass(frozen=True, kw_only=True, slots=True)
class TermWeights:
    """The weight of each term of equation 6, in a batch of texts or in one with images.

    The paper does not print its weights; equal ones are the plainest choice.
    """

    dense: float  # w1, w4
    late: float  # w2, w5
    kl: float  # w3, w6


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The objective: temperature, widths and weights."""

    temperature: float  # divides every similarity; the paper's is 0.02
    dims: tuple[int, ...]  # widths to which dense vectors are cut (Matryoshka)
    texts: TermWeights  # of batches of texts
    images: TermWeights  # of batches with images
    late_teaches: bool  # whether the KL term moves the dense vectors only; the paper does not say, but its reason
    # for the term is that late-interaction scores "have much less error", which makes them the teacher


def kl_distillation(
    dense: Float[Tensor, "Q D"], late: Float[Tensor, "Q D"], ignore: Bool[Tensor, "Q D"], temperature: float
) -> Float[Tensor, ""]:
    """KL divergence between the dense and the late distribution over documents, averaged over queries. Equation 5.

    Args:
        dense: Cosines.
        late: MaxSim over the query's tokens.
        ignore: Documents left out of both distributions.
        temperature: Divides both.

    Example:
        >>> scores, nothing = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2, dtype=torch.bool)
        >>> float(kl_distillation(scores, scores, nothing, 0.02))
        0.0
    """
    ours, teacher = (F.log_softmax((s / temperature).masked_fill(ignore, -torch.inf), dim=1) for s in (dense, late))
    gap = (ours - teacher).masked_fill(ignore, 0.0)
    return (ours.exp() * gap).sum(dim=1).mean()


def cosent(scores: Float[Tensor, " P"], truth: Float[Tensor, " P"], temperature: float) -> Float[Tensor, ""]:
    """CoSENT: pairs with a higher degree should score higher. ln(1 + sum exp((s_j - s_i) / tau)), over i above j.

    The paper prints the temperature outside of the exponential; this is the loss as its authors published it
    (Su 2022, https://kexue.fm/archives/8847).

    Args:
        scores: Similarity of each pair.
        truth: The given degree of each pair.
        temperature: Divides the differences.

    Example:
        >>> round(float(cosent(torch.tensor([0.9, 0.1]), torch.tensor([0.0, 1.0]), 1.0)), 4)
        1.1711
    """
    above = truth[:, None] > truth[None, :]
    worse = ((scores[None, :] - scores[:, None]) / temperature)[above]
    return torch.cat((worse.new_zeros(1), worse)).logsumexp(dim=0)


def contrastive_loss(
    queries: Vectors,
    documents: Vectors,
    positives: Int[Tensor, " Q"],
    ignore: Bool[Tensor, "Q D"],
    objective: Objective,
    *,
    images: bool,
) -> dict[str, Tensor]:
    """The three terms of equation 6 for one batch, and their weighted sum as `total`.

    Hard negatives are more documents, which belong to no query: every positive and every hard negative of the batch
    stands in each query's denominator, which is the paper's NCE+.

    Args:
        queries: Of the batch.
        documents: The positives, and the hard negatives behind them.
        positives: The document that belongs to each query.
        ignore: Documents left out of a query's denominator: the same as its own.
        objective: Temperature, widths and weights.
        images: Whether images are in the batch.
    """
    temperature = objective.temperature
    late = late_scores(queries, documents)
    dense = queries.dense @ documents.dense.T
    terms = {
        "dense": matryoshka_nce(queries.dense, documents.dense, positives, ignore, temperature, objective.dims),
        "late": info_nce(late, positives, ignore, temperature),
        "kl": kl_distillation(dense, late.detach() if objective.late_teaches else late, ignore, temperature),
    }
    return _weighted(terms, objective.images if images else objective.texts)


def late_scores(queries: Vectors, documents: Vectors) -> Float[Tensor, "Q D"]:
    """MaxSim of every query with every document, divided by the number of the query's tokens."""
    owner = torch.repeat_interleave(torch.arange(len(queries.lengths)), torch.tensor(queries.lengths))
    owner = owner.to(queries.tokens.device)
    return batched_maxsim(queries.tokens, owner, documents.tokens, documents.lengths, len(queries.lengths))


def graded_loss(
    queries: Vectors, documents: Vectors, truth: Float[Tensor, " P"], objective: Objective, *, images: bool
) -> dict[str, Tensor]:
    """CoSENT on both kinds of vectors, which replaces the contrast for pairs with a degree of similarity.

    Args:
        queries: One side of each pair.
        documents: The other, in the same order.
        truth: The given degree of each pair.
        objective: Temperature, widths and weights; there are no distributions here, so no KL term.
        images: Whether images are in the batch.
    """
    cuts = [(truncate(queries.dense, dim) * truncate(documents.dense, dim)).sum(dim=1) for dim in objective.dims]
    terms = {
        "dense": torch.stack([cosent(scores, truth, objective.temperature) for scores in cuts]).mean(),
        "late": cosent(_paired_maxsim(queries, documents), truth, objective.temperature),
    }
    return _weighted(terms, objective.images if images else objective.texts)


def _paired_maxsim(queries: Vectors, documents: Vectors) -> Float[Tensor, " P"]:
    rows = zip(
        torch.split(queries.tokens, list(queries.lengths)),
        torch.split(documents.tokens, list(documents.lengths)),
        strict=True,
    )
    return torch.stack([(query @ document.T).amax(dim=1).mean() for query, document in rows])


def _weighted(terms: dict[str, Tensor], weights: TermWeights) -> dict[str, Tensor]:
    shares = {"dense": weights.dense, "late": weights.late, "kl": weights.kl}
    return {**terms, "total": torch.stack([shares[name] * term for name, term in terms.items()]).sum()}


def same_documents(keys: Sequence[str], positives: Sequence[int]) -> Bool[Tensor, "Q D"]:
    """The other places of the batch where a query's own document occurs again.

    Args:
        keys: What each document is.
        positives: The document that belongs to each query.

    Example:
        >>> same_documents(["a", "b", "a"], [0, 1]).tolist()
        [[False, False, True], [False, False, False]]
    """
    return torch.tensor(
        [[key == keys[own] and place != own for place, key in enumerate(keys)] for own in positives]
    ).view(len(positives), len(keys))
