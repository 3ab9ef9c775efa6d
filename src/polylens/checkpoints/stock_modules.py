"""A merged checkpoint as a folder of sentence-transformers: its own modules alone, so that it loads without remote
code.

The multi-vectors of one task can be said in them: the stock network, the projection as `Dense`, and `Normalize`. The
dense vector cannot, because no stock module pools an image over its visual tokens and the mark on either side of them.

The names are those of sentence-transformers 6 (`modules.json`, `sentence_bert_config.json`) and of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from polylens.errors import InputError
from polylens.models.description import ExtraFiles, Json, Layout, MultiVectorHead

WITHOUT_DENSE = (
    "the folder gives multi-vectors; it has no dense vectors, because no module of sentence-transformers pools an "
    "image over its visual tokens alone"
)
"""What the format leaves out, for whoever converts a model."""

MODULES = {
    "": "sentence_transformers.base.modules.transformer.Transformer",
    "1_Dense": "sentence_transformers.base.modules.dense.Dense",
    "2_MultiVectorMask": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask",
    "3_Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
"""Folder of each module -> its class, in the order in which they run."""

PROCESSOR = "PaddleOCRVLProcessor"
"""Of transformers' processors the one that is Qwen2.5-VL's without videos; Qwen's own asks for torchvision even
then."""

TOKENS = "token_embeddings"


def with_stock_modules(layout: Layout) -> Layout:
    """Adds to a merged checkpoint what sentence-transformers reads.

    Args:
        layout: As of `Adapters.merged`, with its head.

    Raises:
        InputError: The model has no multi-vectors.
    """
    head = layout.multivector
    if head is None or layout.preprocessor is None:
        raise InputError("the format sentence-transformers is for models with multi-vectors, and this one has none")
    width, dim = _sizes(head)
    json: dict[str, Json | Sequence[Json]] = {
        **layout.extra.json,
        "modules.json": [
            {"idx": index, "name": str(index), "path": path, "type": kind}
            for index, (path, kind) in enumerate(MODULES.items())
        ],
        "config_sentence_transformers.json": {
            "model_type": "MultiVectorEncoder",
            "prompts": dict(head.prompts),
            "default_prompt_name": "query",
            "similarity_fn_name": "maxsim",
        },
        "sentence_bert_config.json": _transformer(),
        "tokenizer_config.json": _tokenizer(head),
        "1_Dense/config.json": {
            "in_features": width,
            "out_features": dim,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
            "module_input_name": TOKENS,
            "module_output_name": TOKENS,
        },
        "2_MultiVectorMask/config.json": {"skiplist_words": [], "skiplist_tasks": [], "keep_only_token_ids": None},
        "3_Normalize/config.json": {"module_input_name": TOKENS, "module_output_name": TOKENS},
    }
    return replace(
        layout,
        preprocessor={**layout.preprocessor, "processor_class": PROCESSOR},
        extra=ExtraFiles(
            tensors={**layout.extra.tensors, "1_Dense/model.safetensors": _dense(head)},
            json=json,
            text={**layout.extra.text, "chat_template.jinja": _template(head.image_prompt)},
        ),
    )


def _transformer() -> Json:
    """Everything goes through the chat template, which is where an image gets its prompt."""
    forward = {"method": "forward", "method_output_name": "last_hidden_state"}
    return {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": forward, "image": forward, "message": {**forward, "format": "structured"}},
        "module_output_name": TOKENS,
        "processing_kwargs": {"chat_template": {"add_generation_prompt": False}},
        "unpad_inputs": False,
    }


def _tokenizer(head: MultiVectorHead) -> Json:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes `tokenizer.json` as it is
        "processor_class": PROCESSOR,
        "model_max_length": head.max_length,
        "pad_token": head.pad_token,
        "padding_side": "right",
        "truncation_side": "right",
        "extra_special_tokens": {"image_token": head.image_token},
    }


def _template(image_prompt: str) -> str:
    """A text is what it says behind the prompt, which arrives as the system's message; an image is its prompt alone."""
    return (
        "{%- set seen = namespace(image=false) -%}"
        "{%- for message in messages -%}{%- if message.content is not string -%}{%- for part in message.content -%}"
        "{%- if part.type in ('image', 'image_url') -%}{%- set seen.image = true -%}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}{%- endfor -%}"
        "{%- if seen.image -%}{{- '" + image_prompt.replace("\n", "\\n") + "' -}}"
        "{%- else -%}{%- for message in messages -%}"
        "{%- if message.content is string -%}{{- message.content -}}"
        "{%- else -%}{%- for part in message.content -%}{{- part.text -}}{%- endfor -%}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}"
    )


def _projection(head: MultiVectorHead) -> Mapping[str, Tensor]:
    return {name.rpartition(".")[2]: tensor for name, tensor in head.tensors.items()}


def _sizes(head: MultiVectorHead) -> tuple[int, int]:
    dim, width = _projection(head)["weight"].shape
    return int(width), int(dim)


def _dense(head: MultiVectorHead) -> dict[str, Any]:
    projection = _projection(head)
    return {"linear.weight": projection["weight"], "linear.bias": projection["bias"]}
