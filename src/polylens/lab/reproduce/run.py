"""All of it: models in, sections out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from polylens.errors import InputError
from polylens.evaluate.machine import measured_on
from polylens.lab.benchmarks.synthetic import TASKS
from polylens.lab.reproduce.adapters import ADAPTERS, adapters
from polylens.lab.reproduce.claims import Section
from polylens.lab.reproduce.kl_distillation import kl_distillation
from polylens.lab.reproduce.late_interaction import late_interaction
from polylens.lab.reproduce.material import DUAL, UNIFIED, WITHOUT_KL, read
from polylens.lab.reproduce.matryoshka import matryoshka
from polylens.lab.reproduce.modality import modality
from polylens.lab.synthetic.rendered import Crop
from polylens.runtime.embedder import Embedder


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """What is compared."""

    unified: Embedder
    dual: Embedder | None
    without_kl: Embedder | None

    def named(self) -> dict[str, Embedder]:
        """Those that are there, by what they are called in the report."""
        every = {UNIFIED: self.unified, DUAL: self.dual, WITHOUT_KL: self.without_kl}
        return {name: embedder for name, embedder in every.items() if embedder is not None}


def check(models: Models) -> None:
    """Refuses models that cannot be compared.

    Raises:
        InputError: The unified decoder or the one without the term has no multi-vectors, the dual encoder has, a model
            does not take texts and images, or both sides of the ablation are one model.
    """
    for option, embedder in (("--model", models.unified), ("--dual", models.dual), ("--without-kl", models.without_kl)):
        if embedder is None:
            continue
        if set(embedder.modalities) != {"text", "image"}:
            raise InputError(f"{option} must take texts and images, {embedder.model_id} takes {embedder.modalities[0]}")
        if option != "--dual" and (embedder.multivector_dim is None or not set(ADAPTERS) <= set(embedder.tasks)):
            raise InputError(f"{option} must be of jina-embeddings-v4's family, as nano is; {embedder.model_id} is not")
        if option == "--dual" and embedder.multivector_dim is not None:
            raise InputError(
                f"--dual must be of jina-clip-v2's family, as `polylens train nano-clip` makes it; {embedder.model_id} "
                "is not"
            )
    if models.without_kl is not None and _fingerprint(models.without_kl) == _fingerprint(models.unified):
        raise InputError("--without-kl must be another model than --model, got the same weights twice")


def reproduce(
    models: Models, crops: Iterator[Crop], pages: int, seed: int, progress: Callable[[int, int], None]
) -> list[Section]:
    """Measures everything; every model sees the same pages, crops and queries.

    Args:
        models: As `check` lets pass.
        crops: Held out from training; as many are taken as there are pages in all.
        pages: Of each task of `evaluate.synthetic`, at least 2.
        seed: Decides pages and queries.
        progress: Called after each batch with the number of pictures that are done, and of all.

    Raises:
        InputError: The fonts for the pages are not installed.
    """
    study = read(models.named(), crops, pages, seed, progress)
    return [
        late_interaction(study),
        matryoshka(study),
        *modality(study),
        adapters(study.tasks, models.unified),
        kl_distillation(study),
    ]


def made_with(models: Models, pages: int, seed: int) -> dict[str, str]:
    """What the figures were made with, for the report."""
    return {
        **{name: f"`{each.model_id}`, {_size(each) / 1e6:.1f} M parameters" for name, each in models.named().items()},
        "pages": f"{pages} of each of {len(TASKS)} tasks, and as many crops as pages",
        "seed": str(seed),
        **measured_on(),
    }


def _size(embedder: Embedder) -> int:
    assert isinstance(embedder.model, nn.Module)
    return sum(parameter.numel() for parameter in embedder.model.parameters())


def _fingerprint(embedder: Embedder) -> str:
    return embedder.model_id.rpartition("@")[2]
