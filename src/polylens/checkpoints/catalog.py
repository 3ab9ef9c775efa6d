"""The models that polylens knows by name. Data only: nothing here touches a disk or a network."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
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
    dims: tuple[int, ...]  # widths to which a dense vector may be truncated, ascending; the last is its full width
    multivector_dim: int | None  # width of each vector of a multi-vector; None where there is no late interaction
    context: int  # tokens of the longest input
    modalities: tuple[Literal["text", "image"], ...]
    languages: str  # number of languages, as its model card says
    prompt_set: str | None = None  # name of its prompts for its family, where only the code of its repository has them


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
        name="Alibaba-NLP/gme-Qwen2-VL-2B-Instruct",
        aliases=("gme-Qwen2-VL-2B-Instruct",),
        repository="Alibaba-NLP/gme-Qwen2-VL-2B-Instruct",
        revision="ce765ae71b8cdb208203cd8fb64a170b1b84293a",
        licence="Apache-2.0",
        parameters=2_208_985_600,
        dims=(1536,),
        multivector_dim=None,
        context=1800,
        modalities=("text", "image"),
        languages="2",
        prompt_set="gme",
    ),
    CatalogEntry(
        name="Alibaba-NLP/gme-Qwen2-VL-7B-Instruct",
        aliases=("gme-Qwen2-VL-7B-Instruct",),
        repository="Alibaba-NLP/gme-Qwen2-VL-7B-Instruct",
        revision="477027a6480f8630363be77751f169cc3434b673",
        licence="Apache-2.0",
        parameters=7_746_378_240,
        dims=(3584,),
        multivector_dim=None,
        context=1800,
        modalities=("text", "image"),
        languages="2",
        prompt_set="gme",
    ),
    CatalogEntry(
        name="llamaindex/vdr-2b-multi-v1",
        aliases=("vdr-2b-multi-v1",),
        repository="llamaindex/vdr-2b-multi-v1",
        revision="2c4e54c8db4071cc61fc3c62f4490124e40c37db",
        licence="Apache-2.0",
        parameters=2_208_985_600,
        dims=(512, 1024, 1536),
        multivector_dim=None,
        context=32768,
        modalities=("text", "image"),
        languages="5",
        prompt_set="vdr",
    ),
    CatalogEntry(
        name="marco/mcdse-2b-v1",
        aliases=("mcdse-2b-v1",),
        repository="marco/mcdse-2b-v1",
        revision="e826da95b7a291511a61fa72d4108b43ee8b143e",
        licence="Apache-2.0",
        parameters=2_208_985_600,
        dims=(256, 384, 512, 768, 1024, 1536),
        multivector_dim=None,
        context=32768,
        modalities=("text", "image"),
        languages="5",
        prompt_set="mcdse",
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


def entry_at(folder: Path) -> CatalogEntry | None:
    """Returns the entry whose download a folder is: the hub's cache names the repository in the path of its snapshots.

    Example:
        >>> entry_at(Path("hub/models--jinaai--jina-clip-v2/snapshots/344d954")).name
        'jinaai/jina-clip-v2'
    """
    if folder.parent.name != "snapshots":
        return None
    cached = folder.parent.parent.name
    return next(
        (row for row in CATALOG if row.repository and cached == "models--" + row.repository.replace("/", "--")), None
    )


def unknown(name: str) -> ModelNotFoundError:
    """Returns the error for an unknown name, with the closest name, all known names, and a hint that a folder works."""
    close = get_close_matches(name, _BY_NAME, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return ModelNotFoundError(
        f"no model {name!r}. {hint}Known by name: {', '.join(_BY_NAME)}. "
        "A folder in the official layout works too (config.json, *.safetensors and tokenizer.json in it), "
        "and so does 'user/name' of a repository on the hub."
    )
