"""The description of jina-reranker-m0: its files and its one output, a score per pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from polylens.models.description import Family, Header, Json, Usage, WeightPart
from polylens.models.jina_reranker_m0.config import MAX_LENGTH, JinaRerankerM0Config, parse_config
from polylens.models.jina_reranker_m0.model import JinaRerankerM0
from polylens.models.jina_reranker_m0.processing import JinaRerankerM0Processor
from polylens.models.jina_reranker_m0.state_dict import SKIPPED, names
from polylens.models.qwen_vl.state_dict import places_in, renaming


def _claims(config: Json) -> bool:
    return "JinaVLForRanking" in (config.get("architectures") or ())


def _read(folder: Path, published: Json) -> Header:
    config = parse_config(published)
    return Header(
        family=FAMILY,
        folder=folder,
        config=config,
        processing=JinaRerankerM0Processor.from_folder(folder, config),
        dim=0,
        matryoshka_dims=(),
        multivector_dim=None,
        modalities=("text", "image"),
        context=MAX_LENGTH,
        usage=Usage(),
    )


def _build(header: Header) -> nn.Module:
    return JinaRerankerM0(header.config)


def _weights(header: Header, network: nn.Module, published: frozenset[str]) -> Sequence[WeightPart]:
    config: JinaRerankerM0Config = header.config
    rules = renaming(names(config, places_in(published)), config.trunk.vision, network)
    return (WeightPart(rules=rules, skipped=SKIPPED),)


FAMILY = Family(
    name="jina_reranker_m0",
    model_types=("qwen2_vl",),
    outputs=frozenset({"score"}),
    claims=_claims,
    read=_read,
    build=_build,
    weights=_weights,
    identifying=("tokenizer_config.json",),
    overflows_in_float16=True,  # as for Qwen2.5-VL
)
