"""What the student's dense vector should be: the teacher's without what tells languages apart, main directions first.

The teacher's vectors of one language lie together, so an English question prefers English answers to better ones in
another language. The means of the languages' sentences span a space of a few directions; what a vector has in them,
beside the mean of all languages, is taken away, whatever its language is (Yang et al. 2021, "language information
removal", https://arxiv.org/abs/2109.04727). Half of the mean that all vectors share goes, too. The rest is rotated so
that its first dimensions carry most: cosines stay as they are, and a prefix is a good shorter vector.

Shapes: N texts, W width of the teacher's vectors, L languages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from polylens.atomic import write_beside
from polylens.lab.nano.distillation.taught import Shard, num_shards, shard
from polylens.lab.synthetic.lexicon import LANGUAGES, UNSPACED
from polylens.types import FloatArray

_SHARDS = 24  # that the means and directions are computed from
_LETTERS = 20  # fewest of a sentence; half as many in a script without spaces
_FEWEST = 30  # sentences of a language whose mean counts
_SHARED = 0.5  # of the mean of all languages that is taken away


@dataclass(frozen=True, slots=True)
class Targets:
    """From the teacher's vectors to the student's."""

    mean: FloatArray
    """`[W]`: that of all languages, each of which counts alike."""
    languages: FloatArray
    """`[L - 1, W]`, orthonormal rows: the directions in which the languages' means differ."""
    rotation: FloatArray
    """`[W, W]`, orthogonal: the main direction is the first column."""

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """The wanted vectors of the teacher's, both unit rows `[N, W]`."""
        apart = (vectors - self.mean) @ self.languages.T
        turned = (vectors - _SHARED * self.mean - apart @ self.languages) @ self.rotation
        return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-6)


def compute_targets(folder: Path) -> Targets:
    """Computes the means and directions from the first lessons; each language counts as much as any other."""
    sums: dict[str, FloatArray] = {}
    counts: dict[str, int] = {}
    shards = [shard(folder, number) for number in range(min(_SHARDS, num_shards(folder)))]
    for found in shards:
        spoken = _languages_of_sentences(found)
        for language in sorted(set(spoken) - {""}):
            rows = found.vectors[[each == language for each in spoken]]
            sums[language] = sums.get(language, np.zeros_like(rows[0])) + rows.sum(axis=0)
            counts[language] = counts.get(language, 0) + len(rows)
    means = np.stack([sums[language] / counts[language] for language in sums if counts[language] >= _FEWEST])
    mean = means.mean(axis=0)
    apart = np.linalg.svd(means - mean, full_matrices=False)[2][: len(means) - 1]
    width = len(mean)
    unturned = Targets(mean, apart, np.eye(width, dtype=np.float32))
    wanted = np.concatenate([unturned(found.vectors) for found in shards])
    rotation = np.linalg.eigh((wanted.T @ wanted).astype(np.float64))[1][:, ::-1]
    return Targets(mean, np.ascontiguousarray(apart), np.ascontiguousarray(rotation, dtype=np.float32))


def _languages_of_sentences(found: Shard) -> list[str]:
    """The language of each vector of a shard, "" where the text is no sentence."""
    said = [(each.language, each.text) for each in found.texts]
    said += [("en", each.english) for each in found.pairs]
    said += [(each.language, each.other) for each in found.pairs]
    return [language if len(text) >= _fewest_letters(language) else "" for language, text in said]


def _fewest_letters(language: str) -> int:
    return _LETTERS // 2 if LANGUAGES.get(language) in UNSPACED else _LETTERS


def save_targets(targets: Targets, path: Path) -> None:
    """Writes targets to a file, which appears whole or not at all."""
    tensors = {"mean": targets.mean, "languages": targets.languages, "rotation": targets.rotation}
    with write_beside(path) as beside:
        save_file(tensors, beside)


def load_targets(path: Path) -> Targets:
    """Reads what `save_targets` wrote."""
    return Targets(**load_file(path))
