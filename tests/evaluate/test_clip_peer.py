"""The scores of CLIP's protocols beside those of clip_benchmark, from the same vectors.

Only its metrics are needed: `pip install --no-deps clip_benchmark`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polylens.evaluate.clip import retrieval, zero_shot

pytest.importorskip("clip_benchmark", reason="pip install --no-deps clip_benchmark, to compare the scores with its own")
WIDTH = 8


class Vectors:
    """A model of clip_benchmark whose vectors are given: images are their own, a text is the number of its row."""

    def __init__(self, texts: Tensor) -> None:
        self._texts = texts

    def encode_image(self, images: Tensor) -> Tensor:
        return images

    def encode_text(self, numbers: Tensor) -> Tensor:
        return self._texts[numbers]


def tokenizer(texts: list[str]) -> Tensor:
    return torch.tensor([int(text) for text in texts])


def made(rows: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("k", [1, 5])
def test_retrieval(k: int) -> None:
    from clip_benchmark.metrics.zeroshot_retrieval import evaluate

    images, texts = made(30, 1), made(75, 2)
    owners = np.sort(np.concatenate([np.arange(30), np.random.default_rng(3).integers(0, 30, 45)]))
    said = [[str(row) for row in np.flatnonzero(owners == image)] for image in range(30)]
    batches: list[Any] = [(images[start : start + 10], said[start : start + 10]) for start in (0, 10, 20)]
    theirs = evaluate(Vectors(texts), batches, tokenizer, "cpu", amp=False, recall_k_list=[k])
    ours = retrieval(images.numpy(), texts.numpy(), owners, k)
    assert ours[f"text to image R@{k}"] == pytest.approx(theirs[f"image_retrieval_recall@{k}"])
    assert ours[f"image to text R@{k}"] == pytest.approx(theirs[f"text_retrieval_recall@{k}"])
    assert 0 < ours[f"image to text R@{k}"] < 1


def test_classification() -> None:
    """By its classifier and its logits: its own count of them does not run with NumPy 2.4."""
    from clip_benchmark.metrics.zeroshot_classification import run_classification, zero_shot_classifier
    from sklearn.metrics import balanced_accuracy_score

    classes, prompts, images = 9, 4, made(60, 4)
    texts = made(classes * prompts, 5)
    labels = np.random.default_rng(6).permutation(np.arange(60) % classes)
    names = {str(each): [str(each * prompts + place) for place in range(prompts)] for each in range(classes)}
    batches = [(images[start : start + 20], torch.from_numpy(labels[start : start + 20])) for start in (0, 20, 40)]

    classifier = zero_shot_classifier(Vectors(texts), tokenizer, list(names), names, "cpu", amp=False)
    logits, wanted = run_classification(Vectors(texts), classifier, batches, "cpu", amp=False)
    firsts = (logits.topk(5, dim=1).indices == wanted[:, None]).double().cumsum(dim=1).mean(dim=0)
    theirs = [firsts[0].item(), firsts[4].item(), balanced_accuracy_score(wanted, logits.argmax(dim=1))]

    means = texts.reshape(classes, prompts, WIDTH).mean(dim=1)
    ours = zero_shot(images.numpy(), torch.nn.functional.normalize(means, dim=1).numpy(), labels)
    assert theirs == pytest.approx([ours["top-1"], ours["top-5"], ours["mean per class"]])
    assert 0 < ours["top-1"] < ours["top-5"] < 1
