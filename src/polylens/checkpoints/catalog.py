"""The models that polylens knows by name. Data only: nothing here touches a disk or a network."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from polylens.errors import ModelNotFoundError


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogEntry:
    """Facts about a model that are known before any of its files is opened."""

    name: str
    aliases: tuple[str, ...]  # other names of the same model
    repository: str | None  # on the hub; None where the weights ship inside the package
    revision: str | None  # commit of the repository, so that a name always means the same weights
    licence: str  # of the weights; the code is Apache-2.0
    parameters: int  # numbers in the checkpoint, every adapter counted
    dims: tuple[int, ...]  # widths of a dense vector, ascending, the last its full one; none for a reranker
    multivector_dim: int | None  # width of each vector of a multi-vector; None where there is no late interaction
    context: int  # tokens of the longest input
    modalities: tuple[Literal["text", "image"], ...]
    languages: str  # number of languages, as its model card says


CATALOG: tuple[CatalogEntry, ...] = (
    CatalogEntry(
        name="nano",
        aliases=(),
        repository=None,
        revision=None,
        licence="Apache-2.0",
        parameters=8_698_816,
        dims=(64, 128, 256),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="28",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v4",
        aliases=("jina-embeddings-v4",),
        repository="jinaai/jina-embeddings-v4",
        revision="26239889730c735ed7e9a4db9180c8935faf4ba0",
        licence="Qwen Research License (non-commercial)",
        parameters=3_934_695_552,
        dims=(128, 256, 512, 1024, 2048),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="30+",
    ),
    CatalogEntry(
        name="jinaai/jina-clip-v2",
        aliases=("jina-clip-v2",),
        repository="jinaai/jina-clip-v2",
        revision="344d954da76eb8ad47a7aaff42d012e30c15b8fe",
        licence="CC BY-NC 4.0 (non-commercial)",
        parameters=865_278_477,
        dims=(32, 64, 128, 256, 512, 768, 1024),
        multivector_dim=None,
        context=8192,
        modalities=("text", "image"),
        languages="89",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v3",
        aliases=("jina-embeddings-v3",),
        repository="jinaai/jina-embeddings-v3",
        revision="343dbf534c76fe845f304fa5c2d1fd87e1e78918",
        licence="CC BY-NC 4.0 (non-commercial)",
        parameters=572_310_396,
        dims=(32, 64, 128, 256, 512, 768, 1024),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="89",
    ),
    CatalogEntry(
        name="jinaai/jina-reranker-m0",
        aliases=("jina-reranker-m0",),
        repository="jinaai/jina-reranker-m0",
        revision="94bfe0aeb2d4dd7978362699cddd5893d4e0adc8",
        licence="CC BY-NC 4.0 (non-commercial)",
        parameters=2_444_721_665,
        dims=(),
        multivector_dim=None,
        context=10_240,
        modalities=("text", "image"),
        languages="29+",
    ),
)

_BY_NAME = {name: entry for entry in CATALOG for name in (entry.name, *entry.aliases)}


def known_names() -> tuple[str, ...]:
    """Returns every name and alias that `find` understands."""
    return tuple(_BY_NAME)


def find(name: str) -> CatalogEntry:
    """Returns the entry of the catalog for a name or an alias.

    Raises:
        ModelNotFoundError: No model has this name; the message lists the known names.

    Example:
        >>> find("jina-embeddings-v4").repository
        'jinaai/jina-embeddings-v4'
    """
    if name not in _BY_NAME:
        raise unknown(name)
    return _BY_NAME[name]


def unknown(name: str) -> ModelNotFoundError:
    """Returns the error for an unknown name, with the closest name, all known names, and a hint that a folder works."""
    close = get_close_matches(name, _BY_NAME, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return ModelNotFoundError(
        f"no model {name!r}. {hint}Known by name: {', '.join(_BY_NAME)}. "
        "A folder in the official layout works too (config.json, *.safetensors and tokenizer.json in it), "
        "and so does 'user/name' of a repository on the hub."
    )
