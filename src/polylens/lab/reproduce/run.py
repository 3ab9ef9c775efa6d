"""The whole reproduction: models in, sections out."""

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
    """The models that are compared."""

    unified: Embedder
    dual: Embedder | None
    without_kl: Embedder | None

    def named(self) -> dict[str, Embedder]:
        """The given models, by their names in the report."""
        every = {UNIFIED: self.unified, DUAL: self.dual, WITHOUT_KL: self.without_kl}
        return {name: embedder for name, embedder in every.items() if embedder is not None}


def check(models: Models) -> None:
    """Refuses models that cannot be compared.

    Raises:
        InputError: A model does not take texts and images, is of the wrong family for its role, or both sides of the
            ablation are the same model.
    """
    for option, embedder in (("--model", models.unified), ("--dual", models.dual), ("--without-kl", models.without_kl)):
        if embedder is None:
            continue
        if set(embedder.modalities) != {"text", "image"}:
            raise InputError(f"{option} must take texts and images, {embedder.model_id} takes {embedder.modalities[0]}")
        if option != "--dual" and (embedder.multivector_dim is None or not set(ADAPTERS) <= set(embedder.tasks)):
            raise InputError(
                f"{option} must be of jina-embeddings-v4's family, such as nano; {embedder.model_id} is not"
            )
        if option == "--dual" and embedder.multivector_dim is not None:
            raise InputError(
                f"--dual must be of jina-clip-v2's family, such as a model of `polylens train nano-clip`; "
                f"{embedder.model_id} is not"
            )
    if models.without_kl is not None and _fingerprint(models.without_kl) == _fingerprint(models.unified):
        raise InputError("--without-kl must be another model than --model; both have the same weights")


def reproduce(
    models: Models, crops: Iterator[Crop], pages: int, seed: int, progress: Callable[[int, int], None]
) -> list[Section]:
    """Measures all claims; every model sees the same pages, crops and queries.

    Args:
        models: Models that `check` accepts.
        crops: Held out from training; as many are used as there are pages in total.
        pages: Pages per task of the synthetic benchmark, at least 2.
        seed: Decides pages and queries.
        progress: Called after each batch with the number of finished images, and their total.

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
    """Models, sizes, seed and machine of the figures, for the report."""
    return {
        **{name: f"`{each.model_id}`, {_size(each) / 1e6:.1f} M parameters" for name, each in models.named().items()},
        "pages": f"{pages} per task of {len(TASKS)} tasks, and as many crops as pages",
        "seed": str(seed),
        **measured_on(),
    }


def _size(embedder: Embedder) -> int:
    assert isinstance(embedder.model, nn.Module)
    return sum(parameter.numel() for parameter in embedder.model.parameters())


def _fingerprint(embedder: Embedder) -> str:
    return embedder.model_id.rpartition("@")[2]
