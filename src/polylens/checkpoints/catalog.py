"""The models that polylens knows by name. Data only: nothing here touches a disk or a network."""

from __future__ import annotations

from collections.abc import Mapping
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
    revision: str | None  # commit of the repository, so that a name always means the same weights; None: not known
    licence: str  # of the weights; the code is Apache-2.0
    parameters: int | None  # numbers in the checkpoint, every adapter counted that is not merged; None: not known
    dims: tuple[int, ...]  # widths of a dense vector, ascending, the last its full one; none for a reranker
    multivector_dim: int | None  # width of each vector of a multi-vector; None where there is no late interaction
    context: int  # tokens of the longest input
    modalities: tuple[Literal["text", "image"], ...]
    languages: str  # number of languages, as its model card says
    matches: Literal["meaning", "words"] = "meaning"  # "words": it finds what has the query's words, or parts of them
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
        matches="words",
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
        name="jinaai/jina-embeddings-v3-hf",
        aliases=("jina-embeddings-v3-hf",),
        repository="jinaai/jina-embeddings-v3-hf",
        revision="d18862d9a48706220815554fac3ebb4dfa46fc28",
        licence="CC BY-NC 4.0 (non-commercial)",
        parameters=573_293_436,  # with adapters of rank 4, that of the official form
        dims=(32, 64, 128, 256, 512, 768, 1024),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="89",
    ),
    CatalogEntry(
        name="jinaai/jina-colbert-v2",
        aliases=("jina-colbert-v2",),
        repository="jinaai/jina-colbert-v2",
        revision="4cf816e5e2b03167b132a3c847a9ecd48ba708e1",
        licence="CC BY-NC 4.0 (non-commercial)",
        parameters=559_497_216,
        dims=(128,),
        multivector_dim=128,
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
    CatalogEntry(
        name="jinaai/jina-clip-v1",
        aliases=("jina-clip-v1",),
        repository="jinaai/jina-clip-v1",
        revision="ceb3e44ca4d6eceaa4f3fb58b1c1a5748b3f29b6",
        licence="Apache-2.0",
        parameters=222_647_041,
        dims=(768,),
        multivector_dim=None,
        context=8192,
        modalities=("text", "image"),
        languages="1",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v2-base-en",
        aliases=("jina-embeddings-v2-base-en",),
        repository="jinaai/jina-embeddings-v2-base-en",
        revision="322d4d7e2f35e84137961a65af894fda0385eb7a",
        licence="Apache-2.0",
        parameters=137_368_320,
        dims=(768,),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="1",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v2-small-en",
        aliases=("jina-embeddings-v2-small-en",),
        repository="jinaai/jina-embeddings-v2-small-en",
        revision="44e7d1d6caec8c883c2d4b207588504d519788d0",
        licence="Apache-2.0",
        parameters=32_690_688,
        dims=(512,),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="1",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v2-base-code",
        aliases=("jina-embeddings-v2-base-code",),
        repository="jinaai/jina-embeddings-v2-base-code",
        revision="516f4baf13dec4ddddda8631e019b5737c8bc250",
        licence="Apache-2.0",
        parameters=160_869_120,  # implied by its sizes and names; the file of 322 MB in 16 bits agrees
        dims=(768,),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="1 and code",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v2-base-de",
        aliases=("jina-embeddings-v2-base-de",),
        repository="jinaai/jina-embeddings-v2-base-de",
        revision="3f9eede875721714945b6a99a3198299243cf2be",
        licence="Apache-2.0",
        parameters=None,
        dims=(768,),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="2",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v2-base-es",
        aliases=("jina-embeddings-v2-base-es",),
        repository="jinaai/jina-embeddings-v2-base-es",
        revision="8e2d780d8fd38f81ca9123ee28e4c5a968aaf21e",
        licence="Apache-2.0",
        parameters=None,
        dims=(768,),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="2",
    ),
    CatalogEntry(
        name="jinaai/jina-embeddings-v2-base-zh",
        aliases=("jina-embeddings-v2-base-zh",),
        repository="jinaai/jina-embeddings-v2-base-zh",
        revision="c1ff9086a89a1123d7b5eff58055a665db4fb4b9",
        licence="Apache-2.0",
        parameters=None,
        dims=(768,),
        multivector_dim=None,
        context=8192,
        modalities=("text",),
        languages="2",
    ),
    CatalogEntry(
        name="vidore/colqwen2-v1.0",
        aliases=("colqwen2-v1.0",),
        repository="vidore/colqwen2-v1.0",
        revision="530094e83a40ca4edcb5c9e5ddfa61a4b5ea0d2f",
        licence="Apache-2.0",
        parameters=2_209_182_336,
        dims=(128,),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="1",
    ),
    CatalogEntry(
        name="vidore/colqwen2-v1.0-hf",
        aliases=("colqwen2-v1.0-hf",),
        repository="vidore/colqwen2-v1.0-hf",
        revision=None,
        licence="Apache-2.0",
        parameters=2_209_182_336,
        dims=(128,),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="1",
    ),
    CatalogEntry(
        name="vidore/colqwen2.5-v0.2",
        aliases=("colqwen2.5-v0.2",),
        repository="vidore/colqwen2.5-v0.2",
        revision="6f6fcdfd1a114dfe365f529701b33d66b9349014",
        licence="Apache-2.0, on a base under the Qwen Research License (non-commercial)",
        parameters=3_754_885_248,
        dims=(128,),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="1",
    ),
    CatalogEntry(
        name="nomic-ai/colnomic-embed-multimodal-3b",
        aliases=("colnomic-embed-multimodal-3b",),
        repository="nomic-ai/colnomic-embed-multimodal-3b",
        revision="86627b4a9b0cade577851a70afa469084f9863a4",
        licence="Apache-2.0, on a base under the Qwen Research License (non-commercial)",
        parameters=3_754_885_248,
        dims=(128,),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="5",
    ),
    CatalogEntry(
        name="nomic-ai/colnomic-embed-multimodal-7b",
        aliases=("colnomic-embed-multimodal-7b",),
        repository="nomic-ai/colnomic-embed-multimodal-7b",
        revision="09dbc9502b66605d5be56d2226019b49c9fd3293",
        licence="Apache-2.0",
        parameters=7_747_628_160,
        dims=(128,),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="5",
    ),
    CatalogEntry(
        name="ApsaraStackMaaS/EvoQwen2.5-VL-Retriever-3B-v1",
        aliases=("EvoQwen2.5-VL-Retriever-3B-v1",),
        repository="ApsaraStackMaaS/EvoQwen2.5-VL-Retriever-3B-v1",
        revision="aeacaa2775f2758d82721eb1cf2f5daf1a392da9",
        licence="Apache-2.0, on a base under the Qwen Research License (non-commercial)",
        parameters=3_754_885_248,
        dims=(128,),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="1",
    ),
    CatalogEntry(
        name="ApsaraStackMaaS/EvoQwen2.5-VL-Retriever-7B-v1",
        aliases=("EvoQwen2.5-VL-Retriever-7B-v1",),
        repository="ApsaraStackMaaS/EvoQwen2.5-VL-Retriever-7B-v1",
        revision="8952ac6ee0e7de2e9211b165921518caf9202110",
        licence="Apache-2.0",
        parameters=7_747_628_160,
        dims=(128,),
        multivector_dim=128,
        context=32768,
        modalities=("text", "image"),
        languages="1",
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

BASES: dict[str, str | None] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": "66285546d2b821cf421d4f5eb2576359d3770cd3",
    "Qwen/Qwen2.5-VL-7B-Instruct": "cc594898137f460bfe9f0759e9844b3ce807cfb5",
    "vidore/colqwen2-base": None,
    "vidore/colqwen2.5-base": None,
}
"""Repositories of base models, which adapters name -> commit; None is the head of the default branch."""

_T5 = (
    "is a T5 encoder, which polylens has no network for, and its repository has the weights as a pickle "
    "(pytorch_model.bin), which polylens never reads. transformers can load it in another environment, and its "
    "save_pretrained(FOLDER, safe_serialization=True) writes safetensors, but for other programs: polylens could not "
    "load that folder either. jinaai/jina-embeddings-v2-small-en and jinaai/jina-embeddings-v2-base-en followed it"
)

NOT_LOADABLE: Mapping[str, str] = {f"jinaai/jina-embedding-{size}-en-v1": _T5 for size in ("s", "b", "l")}
"""Published models of the same maker that cannot be loaded: name -> why, and what would do."""


_SHOWN = ("nano", "jinaai/jina-embeddings-v4", "jinaai/jina-clip-v2")  # in an error; the whole list is a page long

_BY_NAME = {name: entry for entry in CATALOG for name in (entry.name, *entry.aliases)}


def known_names() -> tuple[str, ...]:
    """Returns every name and alias that `find` understands."""
    return tuple(_BY_NAME)


def find(name: str) -> CatalogEntry:
    """Returns the entry of the catalog for a name or an alias.

    Raises:
        ModelNotFoundError: No model has this name; the message says where the known names are listed.

    Example:
        >>> find("jina-embeddings-v4").repository
        'jinaai/jina-embeddings-v4'
    """
    if name not in _BY_NAME:
        raise unknown(name)
    return _BY_NAME[name]


def base_repository(last: str) -> str | None:
    """Returns the repository of a base model by the last part of its name; None for an unknown one.

    Example:
        >>> base_repository("colqwen2.5-base")
        'vidore/colqwen2.5-base'
    """
    return next((repository for repository in BASES if repository.endswith(f"/{last}")), None)


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
    """Returns the error for an unknown name, with the closest name, some known ones, and a hint that a folder works.

    For a published model that cannot be loaded, the error says why.
    """
    for published, reason in NOT_LOADABLE.items():
        if name in (published, published.partition("/")[2]):
            return ModelNotFoundError(f"{name!r} {reason}")
    close = get_close_matches(name, _BY_NAME, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return ModelNotFoundError(
        f"no model {name!r}. {hint}`polylens models` lists those known by name, among them {', '.join(_SHOWN)}. "
        "A folder in the official layout works too (config.json, *.safetensors and tokenizer.json in it), "
        "and so does 'user/name' of a repository on the hub."
    )
