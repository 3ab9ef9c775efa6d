"""The published tensor names and ours: one rule per tensor, and none changes a number.

jina_embeddings_v4 facts, sections 1.3 and 1.4. The base file has the names of the first Qwen2.5-VL release (`model.*`,
`visual.*`). The adapter file has PEFT's names, where the decoder is `language_model`.
"""

from __future__ import annotations

from collections.abc import Iterator

from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.qwen_vl.state_dict import DECODER_LINEAR, decoder_names, vision_names


def base_names(config: JinaV4Config) -> dict[str, str]:
    """Returns published name -> our name, for every tensor of the base checkpoint."""
    return {
        **decoder_names(config.decoder),
        **vision_names(config.vision),
        "multi_vector_projector.weight": "projector.weight",
        "multi_vector_projector.bias": "projector.bias",
    }


def adapter_names(config: JinaV4Config) -> dict[str, str]:
    """Returns published name -> our name, for every tensor of `adapters/adapter_model.safetensors`."""
    return dict(_adapter_rules(config))


def _adapter_rules(config: JinaV4Config) -> Iterator[tuple[str, str]]:
    for task in config.lora.tasks:
        for published_half, half in (("lora_A", "lora_a"), ("lora_B", "lora_b")):
            for i in range(config.decoder.num_layers):
                for name, (published, _) in DECODER_LINEAR.items():
                    yield (
                        f"base_model.model.model.language_model.layers.{i}.{published}.{published_half}.{task}.weight",
                        f"decoder.blocks.{i}.{name}.{half}.{task}",
                    )
            yield (
                f"base_model.model.multi_vector_projector.{published_half}.{task}.weight",
                f"projector.{half}.{task}",
            )
