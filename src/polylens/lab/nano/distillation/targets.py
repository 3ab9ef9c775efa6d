"""What the student's dense vector should be: the teacher's, without its language, along its main directions.

The teacher's vectors of one language share a direction, so an English question prefers English answers, whatever they
mean. Each language's mean is therefore taken away (Libovicky et al. 2020, https://arxiv.org/abs/2004.05160), and what
is left is rotated so that its first dimensions carry most: cosines stay as they are, and a prefix of the vector is
already a good shorter one.

Shapes: N texts, W width of the teacher's vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from polylens.atomic import write_beside
from polylens.lab.nano.distillation.taught import Shard, num_shards, shard
from polylens.types import FloatArray

_SHARDS = 24  # that the means and directions are computed from
_OTHER = "other"  # the name of the mean over all languages


@dataclass(frozen=True, slots=True)
class Targets:
    """From the teacher's vectors to the student's."""

    means: Mapping[str, FloatArray]
    """Language -> the mean of its texts, `[W]`; `other` is that of all languages."""
    directions: FloatArray
    """`[W, W]`, orthogonal: the main direction first."""

    def __call__(self, vectors: FloatArray, languages: Sequence[str]) -> FloatArray:
        """The wanted vectors, unit rows `[N, W]`.

        Args:
            vectors: Those of the teacher, `[N, W]`.
            languages: The language of each text.
        """
        other = self.means[_OTHER]
        centred = vectors - np.stack([self.means.get(language, other) for language in languages])
        turned = centred @ self.directions
        return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-6)


def languages_of(found: Shard) -> list[str]:
    """The language of each vector of a shard."""
    return [
        *(each.language for each in found.texts),
        *["en"] * len(found.pairs),
        *(each.language for each in found.pairs),
    ]


def compute_targets(folder: Path) -> Targets:
    """Computes the means and directions from the first lessons; each language counts as much as any other."""
    sums: dict[str, FloatArray] = {}
    counts: dict[str, int] = {}
    shards = [shard(folder, number) for number in range(min(_SHARDS, num_shards(folder)))]
    for found in shards:
        spoken = np.array(languages_of(found))
        for language in np.unique(spoken).tolist():
            rows = found.vectors[spoken == language]
            sums[language] = sums.get(language, 0.0) + rows.sum(axis=0)
            counts[language] = counts.get(language, 0) + len(rows)
    means = {language: (total / counts[language]).astype(np.float32) for language, total in sums.items()}
    means[_OTHER] = np.mean(list(means.values()), axis=0, dtype=np.float32)
    width = shards[0].vectors.shape[1]
    unturned = Targets(means, np.eye(width, dtype=np.float32))
    wanted = np.concatenate([unturned(found.vectors, languages_of(found)) for found in shards])
    _, directions = np.linalg.eigh((wanted.T @ wanted).astype(np.float64))
    return Targets(means, np.ascontiguousarray(directions[:, ::-1], dtype=np.float32))


def save_targets(targets: Targets, path: Path) -> None:
    """Writes targets to a file, which appears whole or not at all."""
    with write_beside(path) as beside:
        save_file({"directions": targets.directions, **{f"mean.{k}": v for k, v in targets.means.items()}}, beside)


def load_targets(path: Path) -> Targets:
    """Reads what `save_targets` wrote."""
    tensors = load_file(path)
    means = {name.removeprefix("mean."): row for name, row in tensors.items() if name.startswith("mean.")}
    return Targets(means, tensors["directions"])
