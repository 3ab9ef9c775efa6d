"""A checkpoint of the jina-embeddings-v4 family for tests: a few thousand random weights, official layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from polylens.models.jina_v4.config import JinaV4Config, render_adapter_config, render_config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.state_dict import adapter_names, base_names
from polylens.models.qwen_vl.config import DecoderConfig, Qwen25VisionConfig
from polylens.models.qwen_vl.images import ImageConfig, render_image_config
from polylens.models.qwen_vl.state_dict import published_shape
from polylens.nn.lora import LoRAConfig

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TASKS = ("retrieval", "text-matching", "code")

DECODER = DecoderConfig(
    width=48,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    mlp_width=80,
    vocab_size=256 + len(SPECIAL),
    norm_eps=1e-6,
    theta=1e6,
    rope_sections=(2, 2, 2),
)

CONFIG = JinaV4Config(
    vision=Qwen25VisionConfig(
        width=64,
        num_layers=4,
        num_heads=2,
        mlp_width=96,
        output_width=48,
        patch_size=14,
        num_frames=2,
        merge_size=2,
        window_size=112,
        full_attention_layers=(1, 3),
    ),
    decoder=DECODER,
    lora=LoRAConfig(tasks=TASKS, rank=4, alpha=8.0),
    multivector_dim=16,
    matryoshka_dims=(8, 16, 48),
    max_length=32_768,
    image_token_id=256 + SPECIAL.index("<|image_pad|>"),
    vision_start_token_id=256 + SPECIAL.index("<|vision_start|>"),
    vision_end_token_id=256 + SPECIAL.index("<|vision_end|>"),
)

IMAGES = ImageConfig(
    patch_size=14,
    merge_size=2,
    num_frames=2,
    min_pixels=3136,
    max_pixels=602_112,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)


def byte_tokenizer() -> Tokenizer:
    """A tokenizer with one token per byte, followed by the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def random_tensors(
    config: JinaV4Config = CONFIG, seed: int = 0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Base and adapter tensors under their published names, scaled so that signals stay near one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: tuple(parameter.shape) for name, parameter in JinaV4(config).named_parameters()}

    def draw(ours: str) -> torch.Tensor:
        shape = published_shape(config.vision, ours, shapes[ours])
        noise = torch.randn(shape, generator=generator)
        if "norm" in ours:
            return 1 + 0.1 * noise
        if "embed.weight" in ours and "patch" not in ours:
            return noise
        return noise / max(1, noise[0].numel()) ** 0.5 if noise.ndim > 1 else 0.1 * noise

    base = {published: draw(ours) for published, ours in base_names(config).items()}
    adapters = {published: 0.5 * draw(ours) for published, ours in adapter_names(config).items()}
    return base, adapters


def write(folder: Path, config: JinaV4Config = CONFIG, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Writes the official layout into a folder and returns the folder."""
    base, adapters = random_tensors(config, seed)
    (folder / "adapters").mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.to(dtype) for name, tensor in base.items()}, folder / "model.safetensors")
    save_file(
        {name: tensor.to(dtype) for name, tensor in adapters.items()}, folder / "adapters/adapter_model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(render_config(config)))
    (folder / "adapters/adapter_config.json").write_text(json.dumps(render_adapter_config(config.lora)))
    (folder / "preprocessor_config.json").write_text(json.dumps(render_image_config(IMAGES)))
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
