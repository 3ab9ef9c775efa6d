"""The adapters of jina-embeddings-v3 in transformers' own form: one folder per task, each as PEFT writes it.

The layout of jinaai/jina-embeddings-v3-hf: `retrieval_query`, `retrieval_passage`, `separation`, `classification` and
`text_matching`, each with `adapter_config.json` and `adapter_model.safetensors`. Sources: the integration tests of
`JinaEmbeddingsV3Model` in huggingface/transformers, which load each folder with `load_adapter`; and
sndcds/uranus-research-encoder, which names both files and records what an adapter changes: both embedding tables,
queries, keys, values and outputs of attention, both layers of the MLP, and the pooler, which no vector depends on. Rank
and alpha are read from `adapter_config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.description import WeightPart
from polylens.models.files import read_json
from polylens.models.jina_clip_v2.config import BACKBONE, NO_ADAPTERS
from polylens.models.xlm_rotary.config import TextConfig
from polylens.models.xlm_rotary.state_dict import PEFT_PREFIX, native_adapter_rules
from polylens.nn.lora import LoRAConfig

_FOLDERS = {task: task.replace(".", "_").replace("-", "_") for task in BACKBONE["lora_adaptations"]}

CONFIG_FILES = {task: f"{folder}/adapter_config.json" for task, folder in _FOLDERS.items()}
"""Task -> the file that describes its adapter, below the checkpoint's folder."""

WEIGHT_FILES = {task: f"{folder}/adapter_model.safetensors" for task, folder in _FOLDERS.items()}
"""Task -> the file with its adapter's weights, below the checkpoint's folder."""

_EMPTY = ("rank_pattern", "alpha_pattern", "modules_to_save", "use_rslora", "use_dora", "lora_bias", "fan_in_fan_out",
          "layer_replication", "alora_invocation_tokens")  # fmt: skip
"""Fields of `adapter_config.json` that would change the computation, and that these adapters leave empty or false."""


def read_adapters(folder: Path) -> LoRAConfig:
    """Reads which adapters a checkpoint has, and their rank and alpha.

    Args:
        folder: Folder of the checkpoint.

    Returns:
        The tasks whose folders are there, in the published order; none is a checkpoint without tasks.

    Raises:
        CheckpointError: An adapter is no plain LoRA, lacks its weights, or has another rank or alpha than the others.
    """
    found = {task: read_json(folder / file) for task, file in CONFIG_FILES.items() if (folder / file).exists()}
    if not found:
        return NO_ADAPTERS
    sizes = {task: _sizes(CONFIG_FILES[task], config) for task, config in found.items()}
    if len(set(sizes.values())) > 1:
        raise CheckpointError(f"all adapters must have one rank and one alpha, these differ: {sizes}")
    [(rank, alpha)] = set(sizes.values())
    return LoRAConfig(tasks=tuple(found), rank=rank, alpha=alpha)


def adapter_parts(config: TextConfig) -> tuple[WeightPart, ...]:
    """Returns where the parameters of each adapter come from."""
    return tuple(
        WeightPart(
            rules=list(native_adapter_rules(config, task)),
            file=WEIGHT_FILES[task],
            skipped=(f"{PEFT_PREFIX}pooler.",),
        )
        for task in config.lora.tasks
    )


def _sizes(file: str, config: Mapping[str, Any]) -> tuple[int, float]:
    """Returns rank and alpha of one adapter."""
    wrong = [field for field in _EMPTY if config.get(field)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or wrong:
        raise CheckpointError(
            f"{file} must describe a plain LoRA without biases, got peft_type {config.get('peft_type')!r}, "
            f"bias {config.get('bias')!r} and values for {wrong or 'nothing else'}"
        )
    try:
        return int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as missing:
        raise CheckpointError(f"{file} lacks r or lora_alpha as numbers: {missing!r}") from missing
