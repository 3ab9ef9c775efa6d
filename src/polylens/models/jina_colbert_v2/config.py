"""The sizes of jina-colbert-v2, from `config.json` and from ColBERT's own `artifact.metadata`.

Sources: `config.json` at revision 426746d, `tokenizer_config.json` of jina-colbert-v2-64 and the model card, all of
jinaai on the hub; stanford-futuredata/ColBERT, whose library wrote `artifact.metadata`; and sentence-transformers,
which reads the same file in `multi_vector_encoder/model.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts
from polylens.models.xlm_rotary.config import TextConfig, check_text_config, parse_text_config
from polylens.nn.lora import LoRAConfig

Json = Mapping[str, Any]

NO_ADAPTERS = LoRAConfig(tasks=(), rank=1, alpha=1.0)

METADATA = "artifact.metadata"
"""The file in which ColBERT's library keeps its settings, JSON despite its name."""

_ONLY = {"attend_to_mask_tokens": True, "similarity": "cosine"}
"""Settings for which this family has one way of computing. Two early revisions differ in the first one: theirs hides
the mask tokens of a query from its words, and a later commit of the repository took that back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JinaColbertConfig:
    """The whole model."""

    text: TextConfig
    dim: int  # width of each token's vector
    query_length: int  # tokens of every query: a shorter one is filled up with mask tokens, a longer one is cut
    query_marker: str  # the token behind a query's <s>
    document_marker: str  # the token behind a document's <s>
    masks_punctuation: bool  # whether the punctuation of documents has no vectors


def parse_config(config: Json, metadata: Json) -> JinaColbertConfig:
    """Reads the sizes of a checkpoint.

    Args:
        config: The content of `config.json`.
        metadata: The content of `artifact.metadata`.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or asks for something that this family does not have.
    """
    for field, only in _ONLY.items():
        if metadata.get(field) != only:
            raise CheckpointError(
                f"{field} of {METADATA} is {metadata.get(field)!r}; this family is computed with {only!r} only"
            )
    try:
        parsed = JinaColbertConfig(
            text=parse_text_config(config, lora=NO_ADAPTERS),
            dim=metadata["dim"],
            query_length=metadata["query_maxlen"],
            query_marker=str(metadata["query_token_id"]),
            document_marker=str(metadata["doc_token_id"]),
            masks_punctuation=bool(metadata["mask_punctuation"]),
        )
    except KeyError as missing:
        raise CheckpointError(f"config.json or {METADATA} lacks the field {missing}") from missing
    except (TypeError, ValueError) as wrong:
        raise CheckpointError(f"a field of config.json or {METADATA} has the wrong type: {wrong}") from wrong
    check_text_config(parsed.text)
    require_counts(parsed)
    if not 4 <= parsed.query_length <= parsed.text.max_length:  # <s>, the marker, one token and </s>
        raise CheckpointError(
            f"query_maxlen of {METADATA} must lie within 4 and {parsed.text.max_length}, got {parsed.query_length}"
        )
    return parsed
