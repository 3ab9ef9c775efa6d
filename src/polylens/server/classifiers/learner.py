"""The learner of few-shot classifiers: online multi-class learning over dense vectors.

Shapes: N samples, L labels, D width of the vectors. Weights are `[L, D]`, one row per label; vectors are `[N, D]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from polylens.errors import InputError
from polylens.types import FloatArray

Targets = Sequence[int] | npt.NDArray[np.int64]

AGGRESSIVENESS = 0.1
"""The longest step, C in the paper. On synthetic clusters of 2 and 8 labels it halved the errors of C = 1 where one
sample in ten had a wrong label; 0.02 learned too slowly for ten passes."""

TEMPERATURE = 0.1
"""The temperature of the softmax over margins. Learning stops at a margin of 1, which few unseen inputs reach: at
temperature 1 the winner of two labels would hardly ever score more than 0.73. At 0.1 a margin of a half means odds of
e^5, 148 to 1. On the same clusters 0.1 had a better likelihood than 1, 0.5 or 0.2, and where labels were wrong, 0.05
was no better. Scores rank labels and say how clear the choice was; they are not calibrated for anyone's data."""

_SEED = 0  # of the order of samples: the same request makes the same classifier


def fit(weights: FloatArray, vectors: FloatArray, targets: Targets, num_iters: int) -> FloatArray:
    """Learns from samples: passively where one is right by a margin of 1, aggressively where it is not.

    PA-I with one prototype per label: Crammer et al. 2006, "Online Passive-Aggressive Algorithms", JMLR 7, sections 3
    and 8. A sample moves the rows of its own label and of the best other label by min(C, loss / 2) along itself.

    All steps lie along samples, so the loop updates the scores of the samples instead of the weights: a step costs
    N + L instead of L times D, and 10 passes over 512 samples of 512 labels take 0.1 s instead of seconds.

    Args:
        weights: The weights learned before, with rows of zeros for new labels. They are not changed.
        vectors: Rows of unit length.
        targets: The row of `weights` that each sample belongs to.
        num_iters: The number of passes over the samples, each in an order of its own that is the same at every call.

    Returns:
        The new weights.

    Example:
        >>> vectors = np.eye(2, dtype=np.float32)
        >>> fit(np.zeros((2, 2), np.float32), vectors, [0, 1], num_iters=10).round(3)
        array([[ 0.5, -0.5],
               [-0.5,  0.5]], dtype=float32)
    """
    gram = (vectors @ vectors.T).astype(np.float64)
    scores = (weights @ vectors.T).astype(np.float64)  # L N
    steps = np.zeros_like(scores)  # L N
    rng = np.random.default_rng(_SEED)
    for _ in range(num_iters):
        if not _one_pass(gram, scores, steps, targets, rng.permutation(len(vectors))):
            break
    return (weights + steps @ vectors).astype(np.float32)


def _one_pass(
    gram: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
    targets: Targets,
    order: Iterable[int],
) -> bool:
    """Learns every sample once, in place, and returns whether there was anything to learn."""
    moved = False
    for sample in order:
        target = targets[sample]
        others = scores[:, sample].copy()
        others[target] = -np.inf
        rival = others.argmax()
        loss = 1.0 - scores[target, sample] + others[rival]
        if loss > 0:
            step = min(AGGRESSIVENESS, loss / 2)  # 2: a unit vector is added in one row and taken away in another
            for row, change in ((target, step), (rival, -step)):
                steps[row, sample] += change
                scores[row] += change * gram[sample]
            moved = True
    return moved


def probabilities(weights: FloatArray, vectors: FloatArray) -> FloatArray:
    """Computes how strongly each vector belongs to each label.

    Args:
        weights: The weights that `fit` learned.
        vectors: Rows of unit length.

    Returns:
        N rows of L values, not below 0, that sum to 1: the softmax of the margins at `TEMPERATURE`.

    Example:
        >>> probabilities(np.array([[0.5, 0.0], [0.0, 0.5]], np.float32), np.eye(2, dtype=np.float32)).round(3)
        array([[0.993, 0.007],
               [0.007, 0.993]], dtype=float32)
    """
    logits = (vectors @ weights.T) / TEMPERATURE
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def unit_rows(vectors: FloatArray, *, dim: int) -> FloatArray:
    """Scales vectors to unit length.

    Args:
        vectors: Vectors `[N, dim]` of any lengths above 0.
        dim: The width that they must have.

    Raises:
        InputError: The shape is another, or a vector is 0 or not finite.
    """
    array = np.asarray(vectors, np.float32)
    if array.ndim != 2 or array.shape[1] != dim or dim == 0:
        raise InputError(f"vectors must be [samples, {dim}] for this classifier, got {list(array.shape)}")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InputError("every vector must be finite and longer than 0, and one of these is not")
    return array / lengths
