"""transformers' Qwen2.5-VL in a process of its own, used as jina-embeddings-v4 uses it; see `process.py`.

Settings: `model`, a folder that `polylens convert` wrote, one task merged; `dtype`. A page's vector is the mean of the
last hidden states from `<|vision_start|>` to `<|vision_end|>`, as a user of the converted checkpoint pools it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from process import Encode, Settings, answer_requests
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

BEFORE, PAD = "<|im_start|>user\n<|vision_start|>", "<|image_pad|>"
AFTER = "<|vision_end|>Describe the image.<|im_end|>\n"


def load(settings: Settings) -> Encode:
    """Loads the network, its tokenizer and its image processor."""
    folder = Path(settings["model"])
    dtype = getattr(torch, settings.get("dtype", "float32"))
    network = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype).model.eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    images = Qwen2VLImageProcessorPil.from_pretrained(folder)

    @torch.inference_mode()
    def encode_one(path: str) -> np.ndarray:
        prepared = images(images=[Image.open(path).convert("RGB")], return_tensors="pt")
        grid = prepared["image_grid_thw"]
        num_visual = int(grid.prod()) // images.merge_size**2
        ids = torch.tensor([tokenizer.encode(BEFORE + num_visual * PAD + AFTER).ids])
        is_visual = ids == tokenizer.token_to_id(PAD)
        states = network(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=prepared["pixel_values"].to(dtype),
            image_grid_thw=grid,
            mm_token_type_ids=is_visual.long(),
        ).last_hidden_state[0]
        first = int(is_visual[0].int().argmax()) - 1
        pooled = states[first : first + num_visual + 2].float().mean(dim=0)
        return torch.nn.functional.normalize(pooled, dim=0).numpy()

    def encode(inputs: Sequence[str]) -> Sequence[np.ndarray]:
        return [encode_one(path) for path in inputs]

    return encode


if __name__ == "__main__":
    answer_requests(load, ("transformers", "torch"))
