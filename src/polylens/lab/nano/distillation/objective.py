"""The losses of a step of the text side: every vector like its target, and every ranking like the target's.

Shapes: N texts, T tokens of all texts together, V width of the dense vectors, E width of the multi-vectors, P pairs.
The texts are those that stand alone, then the pairs' English sides, then their other sides in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from polylens.errors import InputError
from polylens.lab.nano.distillation.plan import Distillation
from polylens.models.protocol import Outputs
from polylens.train.losses import batched_maxsim


def lesson_losses(
    found: Outputs, wanted: Tensor, num_pairs: int, plan: Distillation, dims: Sequence[int], english_asks: bool
) -> dict[str, Tensor]:
    """The losses, and their weighted sum as `total`.

    Args:
        found: The student's vectors, `[N, V]` dense and `[T, E]` multi.
        wanted: The targets, unit rows `[N, V]`.
        num_pairs: P.
        plan: Its weights and temperatures.
        dims: Widths that the dense vectors may be cut to.
        english_asks: Whether the English sides are the queries of late interaction, or else the other sides.

    Raises:
        InputError: The student is not as wide as its teacher.
    """
    if found.dense.shape != wanted.shape:
        raise InputError(
            f"the width of the student must be {wanted.shape[1]}, that of the teacher, got {found.dense.shape[1]}"
        )
    assert found.multivector is not None
    similar = wanted @ wanted.T
    partner = partners(len(wanted), num_pairs, wanted.device)
    should = distribution(similar, partner, plan)
    parts = []
    for dim in dims:
        short = F.normalize(found.dense[:, :dim].float(), dim=-1)
        parts.append(divergence(short @ short.T / plan.temperature, should))
    sizes = list(found.lengths)
    num_alone = len(sizes) - 2 * num_pairs
    first = num_alone + (0 if english_asks else num_pairs)
    asking = torch.arange(first, first + num_pairs, device=wanted.device)
    before, begin = sum(sizes[:num_alone]), sum(sizes[:first])
    asked = found.multivector[begin : begin + sum(sizes[first : first + num_pairs])]
    owner = torch.repeat_interleave(
        torch.arange(num_pairs, device=wanted.device),
        torch.tensor(sizes[first : first + num_pairs], device=wanted.device),
    )
    scores = batched_maxsim(asked, owner, found.multivector[before:], sizes[num_alone:], num_pairs)
    late = distribution(similar[asking][:, num_alone:], partner[asking] - num_alone, plan, itself=asking - num_alone)
    losses = {
        "cosine": (1 - (found.dense * wanted).sum(dim=1)).mean(),
        "dense": torch.stack(parts).mean(),
        "late": divergence(scores / plan.late_temperature, late, itself=asking - num_alone),
    }
    total = plan.cosine_weight * losses["cosine"] + losses["dense"] + losses["late"]
    return {"total": total, **losses}


def partners(count: int, num_pairs: int, device: torch.device) -> Tensor:
    """The other side of each text's pair, `[N]`; -1 for one that stands alone."""
    partner = torch.full((count,), -1, device=device)
    english = torch.arange(count - 2 * num_pairs, count - num_pairs, device=device)
    partner[english], partner[english + num_pairs] = english + num_pairs, english
    return partner


def distribution(similar: Tensor, partner: Tensor, plan: Distillation, itself: Tensor | None = None) -> Tensor:
    """How likely each text should be for each query, `[Q, N]`: as the teacher has it, mixed with a pair's own text.

    Args:
        similar: The targets' cosines, `[Q, N]`.
        partner: The column of each query's own text, or negative.
        plan: Its temperature and share.
        itself: The column of each query, which is left out; None is the diagonal.
    """
    should = (masked(similar, itself) / plan.temperature).softmax(dim=1)
    own = torch.zeros_like(should)
    rows = (partner >= 0).nonzero().squeeze(1)
    own[rows, partner[rows]] = plan.own_share
    return torch.where((partner >= 0)[:, None], (1 - plan.own_share) * should + own, should)


def divergence(logits: Tensor, should: Tensor, itself: Tensor | None = None) -> Tensor:
    """The cross-entropy of the student's distribution, less what no student could avoid (Kullback-Leibler).

    Args:
        logits: The student's similarities over their temperature, `[Q, N]`.
        should: The wanted distribution.
        itself: As for `distribution`.
    """
    likely = masked(logits, itself).log_softmax(dim=1)
    return (torch.special.xlogy(should, should) - should * likely.masked_fill(should == 0, 0.0)).sum(dim=1).mean()


def masked(scores: Tensor, itself: Tensor | None) -> Tensor:
    """Scores without those of the queries with themselves."""
    columns = torch.arange(len(scores), device=scores.device) if itself is None else itself
    return scores.scatter(1, columns[:, None], -torch.inf)
