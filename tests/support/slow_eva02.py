"""The EVA02 tower as a plain reading of the facts: one image, one head, one channel at a time, in float64.

No code is shared with the package. jina_clip_v2 facts, section 1.5.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from safetensors.torch import load_file
from tests.support import tiny_clip

Array = np.ndarray


class SlowTower:
    """The facts, word for word: from normalised pixels to a vector of unit length."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        stored = load_file(folder / "model.safetensors")
        self.weights = {name.removeprefix("vision_model."): tensor.double().numpy() for name, tensor in stored.items()}
        self.head_width, self.patch, self.layers = config["head_width"], config["patch_size"], config["layers"]
        self.heads = config["width"] // self.head_width
        self.side = config["image_size"] // self.patch
        self.pretrained = config["pt_hw_seq_len"] if config["intp_freq"] else self.side

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x: Array, name: str) -> Array:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-6) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def turned(self, vector: Array, row: int, column: int) -> Array:
        """Neighbouring channels (2j, 2j + 1) turn together; the first half of a head by the row, the second by the
        column; positions are scaled from the grid to the pretrained one."""
        result = vector.copy()
        half = self.head_width // 2
        for axis, at in enumerate((row, column)):
            for j in range(half // 2):
                angle = at / self.side * self.pretrained * 10_000.0 ** (-2 * j / half)
                even = axis * half + 2 * j
                a, b = vector[even], vector[even + 1]
                result[even] = a * math.cos(angle) - b * math.sin(angle)
                result[even + 1] = b * math.cos(angle) + a * math.sin(angle)
        return result

    def attention(self, x: Array, name: str) -> Array:
        queries = x @ self.weights[f"{name}.q_proj.weight"].T + self.weights[f"{name}.q_bias"]
        keys = x @ self.weights[f"{name}.k_proj.weight"].T
        values = x @ self.weights[f"{name}.v_proj.weight"].T + self.weights[f"{name}.v_bias"]
        mixed = np.zeros_like(x)
        for head in range(self.heads):
            part = slice(head * self.head_width, (head + 1) * self.head_width)
            q, k, v = queries[:, part].copy(), keys[:, part].copy(), values[:, part]
            for token in range(1, len(x)):  # the class token is not turned
                row, column = divmod(token - 1, self.side)
                q[token], k[token] = self.turned(q[token], row, column), self.turned(k[token], row, column)
            for token in range(len(x)):
                scores = np.exp(k @ q[token] / math.sqrt(self.head_width))
                mixed[token, part] = (scores[:, None] * v).sum(0) / scores.sum()
        return self.linear(self.norm(mixed, f"{name}.inner_attn_ln"), f"{name}.proj")

    def mlp(self, x: Array, name: str) -> Array:
        gate = self.linear(x, f"{name}.w1")
        hidden = gate / (1 + np.exp(-gate)) * self.linear(x, f"{name}.w2")
        return self.linear(self.norm(hidden, f"{name}.ffn_ln"), f"{name}.w3")

    def __call__(self, pixels: Array) -> Array:
        """`pixels`: `[3, side, side]`, normalised. The kernel slides by its own size; what is left over is not seen."""
        kernel = self.weights["patch_embed.proj.weight"]
        tokens = [self.weights["cls_token"][0, 0]]
        for row in range(self.side):
            for column in range(self.side):
                top, left = row * self.patch, column * self.patch
                square = pixels[:, top : top + self.patch, left : left + self.patch]
                tokens.append((kernel * square).sum(axis=(1, 2, 3)) + self.weights["patch_embed.proj.bias"])
        x = np.stack(tokens) + self.weights["pos_embed"][0]
        for layer in range(self.layers):
            block = f"blocks.{layer}"
            x = x + self.attention(self.norm(x, f"{block}.norm1"), f"{block}.attn")
            x = x + self.mlp(self.norm(x, f"{block}.norm2"), f"{block}.mlp")
        answer = self.norm(x, "norm")[0]
        return answer / np.linalg.norm(answer)


def normalised(image: PIL.Image.Image) -> Array:
    pixels = np.asarray(image, dtype=np.float64) / 255
    return ((pixels - np.array(tiny_clip.MEAN)) / np.array(tiny_clip.STD)).transpose(2, 0, 1)
