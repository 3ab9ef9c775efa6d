"""The sizes of the text tower, from the fields that Jina's checkpoints share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts
from polylens.nn.lora import LoRAConfig

Json = Mapping[str, Any]

_ONLY = {"hidden_act": "gelu", "type_vocab_size": 1, "position_embedding_type": "rotary"}
"""Fields of a `config.json` for which the tower has one way of computing."""


def adapter_key(task: str) -> str:
    """Returns the name of a task's adapter among the parameters, where a name cannot contain a dot.

    >>> adapter_key("retrieval.query")
    'retrieval_query'
    """
    return task.replace(".", "_")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The text tower."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    vocab_size: int
    norm_eps: float
    theta: float
    lora: LoRAConfig  # the adapters of the checkpoint
    always_on: str | None  # the adapter of every text, merged while loading; None if each text chooses one
    instructions: tuple[tuple[str, str], ...]  # task -> the instruction before its texts
    max_length: int  # tokens of the longest text
    default_length: int  # tokens at which a text is cut by default
    split_qkv: bool = False  # whether queries, keys and values have an adapter each; otherwise the three share one

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def chosen(self) -> LoRAConfig:
        """The adapters that are not merged, of which each text chooses one."""
        tasks = () if self.always_on is not None else tuple(map(adapter_key, self.lora.tasks))
        return LoRAConfig(tasks=tasks, rank=self.lora.rank, alpha=self.lora.alpha)

    @property
    def chosen_qkv(self) -> LoRAConfig:
        """The adapters of queries, keys and values together: three side by side have three times the rank."""
        chosen, times = self.chosen, 3 if self.split_qkv else 1
        return LoRAConfig(tasks=chosen.tasks, rank=times * chosen.rank, alpha=times * chosen.alpha)


def parse_text_config(
    backbone: Json,
    *,
    lora: LoRAConfig,
    always_on: str | None = None,
    instructions: tuple[tuple[str, str], ...] = (),
    default_length: int | None = None,
    split_qkv: bool = False,
) -> TextConfig:
    """Reads the sizes of the tower.

    Args:
        backbone: The fields of an XLM-RoBERTa's `config.json`, and `rotary_emb_base`.
        lora: The adapters of the checkpoint.
        always_on: The adapter of every text.
        instructions: Task and instruction.
        default_length: Tokens at which a text is cut by default; None is the longest text.
        split_qkv: Whether queries, keys and values have an adapter each.

    Raises:
        CheckpointError: A field asks for something that the tower does not have.
        KeyError: A field is missing.
    """
    for field, only in _ONLY.items():
        if backbone.get(field, only) != only:
            raise CheckpointError(
                f"{field} of the text tower is {backbone[field]!r}; this family is computed with {only!r} only"
            )
    longest = backbone["max_position_embeddings"] - 2  # XLM-RoBERTa never uses its first two positions
    return TextConfig(
        width=backbone["hidden_size"],
        num_layers=backbone["num_hidden_layers"],
        num_heads=backbone["num_attention_heads"],
        mlp_width=backbone["intermediate_size"],
        vocab_size=backbone["vocab_size"],
        norm_eps=backbone["layer_norm_eps"],
        theta=float(backbone["rotary_emb_base"]),
        lora=lora,
        always_on=always_on,
        instructions=instructions,
        max_length=longest,
        default_length=longest if default_length is None else min(default_length, longest),
        split_qkv=split_qkv,
    )


def check_text_config(config: TextConfig) -> None:
    """Checks that the sizes fit together.

    Raises:
        CheckpointError: A count is below 1, or the heads cannot share the width.
    """
    require_counts(config)
    require_counts(config.lora)
    if config.width % config.num_heads or config.head_dim % 2:
        raise CheckpointError(
            f"{config.num_heads} heads cannot share a width of {config.width} in multiples of 2 numbers"
        )
