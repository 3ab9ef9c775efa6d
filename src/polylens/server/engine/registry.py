"""The models of a server, and their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from polylens.checkpoints.catalog import CatalogEntry, find, known_names
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import read_header
from polylens.errors import FieldError, InputError, ModelNotFoundError
from polylens.models.description import Header
from polylens.runtime.devices import choose_device, choose_dtype
from polylens.runtime.engines.choice import choose_engine, model_id, model_stem
from polylens.runtime.engines.fastest import fastest_engine
from polylens.server.engine.scheduler import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, ModelScheduler, SchedulerConfig
from polylens.server.engine.worker import WorkerConfig
from polylens.server.settings import Settings

PREFIX = "jina-ai/"  # before a name in the published list of models

ONLY_RANKS = "such a model scores documents for a query and produces no vectors; send the request to /v1/rerank"


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One model of the server."""

    name: str
    header: Header
    scheduler: ModelScheduler
    entry: CatalogEntry | None
    """The catalog entry of the model; None for a folder."""
    model_id: str
    """The name and fingerprint of the model: vectors of different ids cannot be compared."""

    @property
    def embeds(self) -> bool:
        """Whether the model produces vectors; a reranker does not."""
        return self.header.family.embeds

    @property
    def scores_pairs(self) -> bool:
        """Whether the model is trained to score pairs of a query and a document."""
        return self.header.family.scores


class Registry:
    """All models of a server.

    Args:
        settings: The settings of the server: which models to serve, under which names, and how.

    Raises:
        ModelNotFoundError: A model is unknown, or an alias refers to one that is not served.
        HubUnavailableError: The files of a model are not on this machine and cannot be fetched.
        CheckpointError: The files do not fit the model.
        InputError: The device does not exist, or a model cannot run in the number format.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.models:
            raise InputError("a server needs at least one model")
        self._settings = settings
        self._device = choose_device(settings.device)
        self._models: list[Served] = []
        self._by_name: dict[str, Served] = {}
        for name in dict.fromkeys(settings.models):
            self.add(self.open(name))
        for public, target in settings.aliases.items():
            if target not in self._by_name:
                raise ModelNotFoundError(
                    f"the alias {public}={target}: no model {target!r} is served; served are {', '.join(self.names())}"
                )
        self._by_name.update({public: self._by_name[target] for public, target in settings.aliases.items()})

    def __iter__(self) -> Iterator[Served]:
        return iter(self._models)

    def open(self, name: str) -> Served:
        """Opens a model that is not served yet, fetching its files if they are not on this machine. Takes a while.

        Raises:
            PolylensError: The model cannot be opened, for a reason that `Registry` lists.
        """
        return _open(name, self._settings, self._device)

    def add(self, served: Served) -> None:
        """Serves one more model; the others keep their names."""
        self._models.append(served)
        for name in _names(served):
            self._by_name.setdefault(name, served)

    def made(self, model_id: str) -> Served | None:
        """The served model with this id, which vectors in an index carry; None if it is not served."""
        return next((served for served in self._models if served.model_id == model_id), None)

    def names(self) -> list[str]:
        """Every name that `find` understands, without those that carry the prefix."""
        return [name for name in self._by_name if not name.startswith(PREFIX)]

    def find(self, name: str) -> Served:
        """The model with this name.

        Raises:
            ModelNotFoundError: No model has this name; the message lists those that are served.
        """
        served = self._by_name.get(name) or self._by_name.get(name.removeprefix(PREFIX))
        if served is None:
            hint = f"; start the server with --model {name}" if name in known_names() else ""
            raise ModelNotFoundError(
                f"Model '{name[:100]}' not found. Available models: {', '.join(self.names())}{hint}"
            )
        return served

    def find_embedder(self, name: str | None = None, *, field: str = "model") -> Served:
        """The model with this name, for a request that needs vectors; None is the first that produces any.

        Args:
            name: A name of a model.
            field: The field of the request that has the name, for error messages.

        Raises:
            ModelNotFoundError: No model has this name.
            FieldError: The model is a reranker, or all models are.
        """
        if name is None:
            found = next((served for served in self._models if served.embeds), None)
            if found is None:
                names = ", ".join(served.name for served in self._models)
                raise FieldError(f"is missing, and this server has only rerankers ({names}): {ONLY_RANKS}", field)
            return found
        served = self.find(name)
        if not served.embeds:
            raise FieldError(f"{served.name} is a reranker: {ONLY_RANKS}", field, name)
        return served

    def find_ranker(self) -> Served:
        """The model that ranks where a request names none: the first that is trained to, else the first."""
        return next((served for served in self._models if served.scores_pairs), self._models[0])


def _open(name: str, settings: Settings, device: torch.device) -> Served:
    folder = resolve(name)
    header = read_header(folder)
    dtype = choose_dtype(settings.dtype, device, float16_overflows=header.family.overflows_in_float16)
    asked = settings.engine
    if asked is None and settings.quantization is None and header.family.embeds:
        asked = fastest_engine(header, device=device, dtype=dtype)
    engine = choose_engine(asked, settings.quantization, family=header.family, device=device, dtype=dtype)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = settings.threads or (max(1, cores // settings.workers) if device.type == "cpu" else None)
    budget = settings.batch_tokens or (CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS)
    workers = [
        WorkerConfig(
            folder=folder,
            modalities=header.modalities,
            device=place,
            dtype=settings.dtype,
            threads=threads,
            engine=engine,
            quantization=settings.quantization,
            texts_apart=device.type == "cpu" and engine == "torch" and "image" in header.modalities,
        )
        for place in _places(device, settings)
    ]
    scheduler = ModelScheduler(
        workers,
        SchedulerConfig(batch_tokens=budget, max_wait=settings.max_wait, stall_seconds=settings.stall_seconds),
    )
    entry = find(name) if name in known_names() else None
    stem = entry.name if entry is not None else model_stem(name)
    made_by = model_id(stem, header, settings.quantization)
    return Served(name=stem, header=header, scheduler=scheduler, entry=entry, model_id=made_by)


def _places(device: torch.device, settings: Settings) -> list[str]:
    """The device of each worker: the GPUs in turn, unless one was named."""
    if device.type != "cuda" or device.index is not None:
        return [str(device)] * settings.workers
    return [f"cuda:{number % torch.cuda.device_count()}" for number in range(settings.workers)]


def _names(served: Served) -> list[str]:
    aliases = served.entry.aliases if served.entry is not None else ()
    short = served.name.rpartition("/")[2]
    return list(dict.fromkeys((served.name, *aliases, short)))
