"""What the student's dense vector should be: the teacher's without what tells languages apart, main directions first.

The teacher's vectors of one language lie together, so an English question prefers English answers to better ones in
another language. The means of the languages' sentences span a space of a few directions; what a vector has in them,
beside the mean of all languages, is taken away, whatever its language is (Yang et al. 2021, "language information
removal", https://arxiv.org/abs/2109.04727). Half of the mean that all vectors share goes, too. The rest is rotated so
that its first dimensions carry most: cosines stay as they are, and a prefix is a good shorter vector.

Shapes: N texts, W width of the teacher's vectors, L languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from polylens.atomic import write_beside
from polylens.lab.synthetic.lexicon import LANGUAGES, UNSPACED

_LETTERS = 20  # fewest of a sentence; half as many in a script without spaces
_FEWEST = 30  # sentences of a language whose mean counts
_SHARED = 0.5  # of the mean of all languages that is taken away


@dataclass(frozen=True, slots=True)
class Targets:
    """From the teacher's vectors to the student's."""

    mean: Tensor
    """`[W]`: that of all languages, each of which counts alike."""
    languages: Tensor
    """`[L - 1, W]`, orthonormal rows: the directions in which the languages' means differ."""
    rotation: Tensor
    """`[W, W]`, orthogonal: the main direction is the first column."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """The wanted vectors of the teacher's, both unit rows `[N, W]`."""
        apart = (vectors - self.mean) @ self.languages.T
        return F.normalize((vectors - _SHARED * self.mean - apart @ self.languages) @ self.rotation, dim=-1, eps=1e-6)

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        return Targets(self.mean.to(device), self.languages.to(device), self.rotation.to(device))


def compute_targets(vectors: Tensor, languages: Sequence[str], texts: Sequence[str]) -> Targets:
    """Computes the means and directions of some texts; each language counts as much as any other.

    Args:
        vectors: The teacher's, `[N, W]`.
        languages: That of each text.
        texts: The texts. Only sentences show the language's mean: words are often the same in several languages.
    """
    spoken: dict[str, list[int]] = {}
    for number, (language, text) in enumerate(zip(languages, texts, strict=True)):
        if len(text) >= _fewest_letters(language):
            spoken.setdefault(language, []).append(number)
    means = torch.stack(
        [vectors[spoken[language]].mean(dim=0) for language in sorted(spoken) if _counts(spoken, language)]
    )
    mean = means.mean(dim=0)
    apart = torch.linalg.svd(means - mean, full_matrices=False)[2][: len(means) - 1]
    unturned = Targets(mean, apart, torch.eye(len(mean)))
    wanted = unturned(vectors).double()
    rotation = torch.linalg.eigh(wanted.T @ wanted)[1].flip(1)
    return Targets(mean, apart.contiguous(), rotation.float().contiguous())


def _counts(spoken: dict[str, list[int]], language: str) -> bool:
    return len(spoken[language]) >= _FEWEST


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
