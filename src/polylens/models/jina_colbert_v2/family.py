"""The description of jina-colbert-v2: its files and its outputs.

The published names are those of a plain XLM-RoBERTa in Jina's form below `roberta.`, and `linear.weight`. Sources:
vLLM's `ColBERTJinaRobertaModel`, which drops that prefix where it is there and skips a pooler, and its test, which
reads `linear.weight` of the published file. The sizes of the published file, 559,497,216 numbers, are the sum of these:
a vocabulary of 250,004, the pooler, and a head of 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import nn

from polylens.models.description import Family, Header, Json, TowerPart, Usage, WeightPart
from polylens.models.files import read_json
from polylens.models.jina_colbert_v2.config import METADATA, JinaColbertConfig, parse_config
from polylens.models.jina_colbert_v2.model import JinaColbert
from polylens.models.jina_colbert_v2.padded import padded_network
from polylens.models.jina_colbert_v2.processing import JinaColbertProcessor
from polylens.models.jina_colbert_v2.state_dict import published_rules
from polylens.models.padded import PaddedNetwork
from polylens.models.protocol import Model, Processor


def _claims(config: Json) -> bool:
    """ColBERT's library writes this architecture for every backbone; the rotary one is this family's."""
    is_colbert = "HF_ColBERT" in (config.get("architectures") or ())
    return is_colbert and config.get("position_embedding_type") == "rotary"


def _read(folder: Path, published: Json) -> Header:
    config = parse_config(published, read_json(folder / METADATA))
    return Header(
        family=FAMILY,
        folder=folder,
        config=config,
        processing=JinaColbertProcessor.from_folder(folder, config),
        dim=config.dim,
        matryoshka_dims=(config.dim,),
        multivector_dim=config.dim,
        modalities=("text",),
        context=config.text.max_length,
        usage=Usage(default_task="retrieval.passage"),  # clients always say which; a document is cut least
    )


def _build(header: Header) -> nn.Module:
    return JinaColbert(header.config)


def _weights(header: Header, _network: nn.Module, names: frozenset[str]) -> Sequence[WeightPart]:
    config: JinaColbertConfig = header.config
    prefix = "roberta." if any(name.startswith("roberta.") for name in names) else ""
    # The pooler is a remnant of pretraining; no vector depends on it.
    return (WeightPart(rules=published_rules(config, prefix), skipped=(f"{prefix}pooler.",)),)


def _padded(model: Model, processor: Processor, task: str | None) -> Sequence[PaddedNetwork]:
    processor.role(task, None)
    return [padded_network(cast("JinaColbert", model))]


FAMILY = Family(
    name="jina_colbert_v2",
    model_types=("HF_ColBERT with rotary positions",),
    outputs=frozenset({"multi"}),
    claims=_claims,
    read=_read,
    build=_build,
    weights=_weights,
    identifying=(METADATA,),
    towers=(TowerPart("text"),),
    padded=_padded,
)
