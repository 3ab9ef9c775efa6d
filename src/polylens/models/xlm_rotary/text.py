"""The text tower: XLM-RoBERTa with rotary positions and post-norm; its families pool or project its states.

Shapes: T tokens of all texts together, W width.

jina_clip_v2 facts, section 1.4; jina-embeddings-v3, https://arxiv.org/abs/2409.10173, section 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.xlm_rotary.config import TextConfig
from polylens.nn.attention import attention
from polylens.nn.lora import AdapterRows, LoRAEmbedding, LoRALinear
from polylens.nn.packing import Packing
from polylens.nn.rope import Rotation, axial_angles, rotate


class TextAttention(nn.Module):
    """Attention in which every token of a text attends to every other."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = LoRALinear(config.width, 3 * config.width, bias=True, lora=config.chosen_qkv)
        self.out = LoRALinear(config.width, config.width, bias=True, lora=config.chosen)

    def forward(
        self, x: Float[Tensor, "T W"], rotation: Rotation, packing: Packing, adapters: list[AdapterRows]
    ) -> Float[Tensor, "T W"]:
        queries, keys, values = self.qkv(x, adapters).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        mixed = attention(rotate(queries, rotation), rotate(keys, rotation), values, packing, causal=False)
        return self.out(mixed.flatten(1), adapters)


class TextMLP(nn.Module):
    """An MLP of two layers with the exact GELU."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.up = LoRALinear(config.width, config.mlp_width, bias=True, lora=config.chosen)
        self.down = LoRALinear(config.mlp_width, config.width, bias=True, lora=config.chosen)

    def forward(self, x: Float[Tensor, "T W"], adapters: list[AdapterRows]) -> Float[Tensor, "T W"]:
        return self.down(F.gelu(self.up(x, adapters)), adapters)


class TextBlock(nn.Module):
    """Post-norm block: the residual is added before the norm."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = TextAttention(config)
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.mlp = TextMLP(config)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(
        self, x: Float[Tensor, "T W"], rotation: Rotation, packing: Packing, adapters: list[AdapterRows]
    ) -> Float[Tensor, "T W"]:
        x = self.attention_norm(x + self.attention(x, rotation, packing, adapters))
        return self.mlp_norm(x + self.mlp(x, adapters))


class TextTower(nn.Module):
    """The text tower: from tokens to hidden states. `<s>` and `</s>` are ordinary tokens, and there is no padding."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = LoRAEmbedding(config.vocab_size, config.width, lora=config.chosen)
        self.segment = LoRAEmbedding(
            1, config.width, lora=config.chosen
        )  # "token type" embeddings, of which there is one
        self.embed_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.num_layers))

    def forward(
        self, token_ids: Int[Tensor, " T"], packing: Packing, adapters: list[AdapterRows]
    ) -> Float[Tensor, "T W"]:
        """Returns the last hidden states of a packed batch.

        Args:
            token_ids: The tokens of all texts, one text after the other.
            packing: The texts; none attends to another.
            adapters: Which tokens use which task's adapter.
        """
        x = self.embed_norm(self.embed(token_ids, adapters) + self.segment(torch.zeros_like(token_ids), adapters))
        return self.layers(x, packing, adapters)

    def layers(self, x: Float[Tensor, "T W"], packing: Packing, adapters: list[AdapterRows]) -> Float[Tensor, "T W"]:
        """Returns the last hidden states; see `protocol.Tower`.

        Args:
            x: The embedded tokens of a packed batch.
            packing: The texts.
            adapters: Which tokens use which task's adapter.
        """
        rotation = Rotation.by(axial_angles(packing.positions[:, None], self.config.head_dim, self.config.theta))
        for block in self.blocks:
            x = block(x, rotation, packing, adapters)
        return x
