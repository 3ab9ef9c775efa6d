"""Writes a merged checkpoint as a pair of GGUF files, which llama.cpp reads: the text model and the vision tower.

The names of tensors and keys are the package `gguf`'s, so they are those of llama.cpp's own converter; that converter
also decides what is written here, and in which dtype: matrices in the dtype of the checkpoint, everything of one
dimension in float32.

The format has no place for the projection of multi-vectors; it is written beside the pair as a safetensors file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.models.description import Json, Layout

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter, TensorNameMap

STOCK_NETWORK = "Qwen2_5_VLForConditionalGeneration"
"""The one value of `architectures` whose layout is known here."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The expression by which Qwen2's tokenizer splits a text into words; llama.cpp has it built in as "qwen2"."""

END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"

# What llama.cpp's code for this vision tower assumes and no key of the file can change.
ASSUMED = {"temporal_patch_size": 2, "spatial_merge_size": 2, "window_size": 112, "in_channels": 3}
VISION_NORM_EPS = 1e-6  # transformers has it in code, not in `config.json`
NOMINAL_IMAGE_SIZE = 560  # pixels per side; the key must be there, and images of any size are taken


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a GGUF file."""

    name: str
    tensor: Tensor
    kind: GGMLQuantizationType

    def numbers(self) -> np.ndarray[Any, Any]:
        """Returns the tensor in the file's dtype, bfloat16 as bytes; float32 and float16 hold every bfloat16 weight."""
        import gguf

        kinds = gguf.GGMLQuantizationType
        dtype = {kinds.BF16: torch.bfloat16, kinds.F16: torch.float16, kinds.F32: torch.float32}[self.kind]
        converted = self.tensor.to(dtype).contiguous()
        return (converted.view(torch.uint8) if dtype == torch.bfloat16 else converted).numpy()


def require_gguf() -> None:
    """Checks that the package `gguf` is installed.

    Raises:
        InputError: The message says how to install it.
    """
    try:
        import gguf  # noqa: F401
    except ModuleNotFoundError as missing:
        raise InputError(
            f"the format gguf needs {missing.name}, which is not installed; "
            "install it with pip install 'polylens[gguf]'"
        ) from missing


def write_gguf(folder: Path, layout: Layout, name: str) -> None:
    """Writes `NAME-DTYPE.gguf`, `mmproj-NAME-DTYPE.gguf` and, where there is one, `NAME-projector.safetensors`.

    DTYPE is bf16, f16 or f32, after the dtype of the layout's tensors. All files are written beside their places before
    the first one is renamed, the text model last: where it is, the others are.

    Args:
        folder: Created if it is missing; files of the same names are replaced.
        layout: A checkpoint in the layout of the stock network, as `Adapters.merged` returns it.
        name: Stem of the files, and the name of the model in them.

    Raises:
        InputError: The package `gguf` is missing, or llama.cpp has no such network or tokenizer.
    """
    require_gguf()
    _check(layout)
    text, vision = _text_writer(layout, name), _vision_writer(layout, name)
    text_entries, vision_entries = _text_entries(layout), _vision_entries(layout)
    dtype = _file_type(layout).name.rpartition("_")[2].lower()
    folder.mkdir(parents=True, exist_ok=True)
    with (
        write_beside(folder / f"{name}-{dtype}.gguf") as text_file,  # left, so renamed, last
        write_beside(folder / f"mmproj-{name}-{dtype}.gguf") as vision_file,
    ):
        _write(vision, vision_file, vision_entries)
        _write(text, text_file, text_entries)
        if layout.multivector is not None:
            with write_beside(folder / f"{name}-projector.safetensors") as projector_file:
                projector_file.write_bytes(save(dict(layout.multivector.tensors), metadata={"format": "pt"}))


def _check(layout: Layout) -> None:
    """Raises InputError for a network that llama.cpp would read as another one."""
    architectures = list(layout.config.get("architectures") or ())
    if architectures != [STOCK_NETWORK]:
        raise InputError(f"the format gguf is written for {STOCK_NETWORK}, got a checkpoint of {architectures}")
    vision: Json = layout.config["vision_config"]
    for key, assumed in ASSUMED.items():
        if vision[key] != assumed:
            raise InputError(f"llama.cpp assumes a vision tower with {key} {assumed}, got {vision[key]}")
    depth, full = vision["depth"], list(vision["fullatt_block_indexes"])
    period = full[0] + 1 if full else 0
    if not full or full != list(range(period - 1, depth, period)):
        raise InputError(f"llama.cpp needs full attention in every n-th of the {depth} vision layers, got {full}")


def _file_type(layout: Layout) -> Any:
    import gguf

    [dtype] = {tensor.dtype for tensor in layout.tensors.values()}
    types = gguf.LlamaFileType
    return {
        torch.bfloat16: types.MOSTLY_BF16,
        torch.float16: types.MOSTLY_F16,
        torch.float32: types.ALL_F32,
    }[dtype]


def _kind(tensor: Tensor, *, patches: bool = False) -> GGMLQuantizationType:
    """The dtype of a tensor in the file; the patch embedding, a convolution's kernel, is never bfloat16."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    if tensor.ndim == 1 or tensor.dtype == torch.float32 or (patches and tensor.dtype == torch.bfloat16):
        return kinds.F32
    return kinds.BF16 if tensor.dtype == torch.bfloat16 else kinds.F16


def _text_entries(layout: Layout) -> list[Entry]:
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2VL, layout.config["num_hidden_layers"])
    tensors = {name: tensor for name, tensor in layout.tensors.items() if not name.startswith("visual.")}
    return [Entry(_name(names, name), tensor, _kind(tensor)) for name, tensor in tensors.items()]


def _vision_entries(layout: Layout) -> list[Entry]:
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, layout.config["vision_config"]["depth"])
    entries = []
    for name, tensor in layout.tensors.items():
        if name == "visual.patch_embed.proj.weight":  # [width, channels, frames, rows, columns]: one kernel per frame
            first, second = tensor.unbind(2)
            target = _name(names, name)
            entries += [
                Entry(target, first, _kind(tensor, patches=True)),
                Entry(f"{target}.1", second, _kind(tensor, patches=True)),
            ]
        elif name.startswith("visual."):
            entries += [Entry(_name(names, part), piece, _kind(piece)) for part, piece in _split(name, tensor)]
    return entries


def _split(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yields a fused query, key and value projection as three, and any other tensor as it is."""
    if ".attn.qkv." not in name:
        yield name, tensor
        return
    for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
        yield name.replace(".attn.qkv.", f".attn.{letter}."), piece


def _name(names: TensorNameMap, published: str) -> str:
    found = names.get_name(published, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise InputError(f"the package gguf has no name for the tensor {published}; a newer one may")
    return found


def _text_writer(layout: Layout, name: str) -> GGUFWriter:
    """Returns a writer that has every key of the text model."""
    import gguf

    config = layout.config
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN2VL])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_sections([*config["rope_scaling"]["mrope_section"], 0])  # time, row, column, none
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(_file_type(layout))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, layout.tokenizer, config["vocab_size"])
    return writer


def _vision_writer(layout: Layout, name: str) -> GGUFWriter:
    """Returns a writer that has every key of the vision tower, which llama.cpp calls a multimodal projector."""
    import gguf

    vision, images = layout.config["vision_config"], layout.preprocessor
    assert images is not None
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.MMPROJ])
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_name(name)
    writer.add_file_type(_file_type(layout))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
    writer.add_vision_projection_dim(layout.config["hidden_size"])
    writer.add_vision_image_size(NOMINAL_IMAGE_SIZE)
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_attention_layernorm_eps(VISION_NORM_EPS)
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(vision["fullatt_block_indexes"][0] + 1)
    writer.add_vision_image_mean(images["image_mean"])
    writer.add_vision_image_std(images["image_std"])
    return writer


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer, vocab_size: int) -> None:
    """Adds a byte-level BPE with Qwen2's splitting; ids that have no token are marked as unused."""
    import gguf

    content: Mapping[str, Any] = json.loads(tokenizer.to_str())
    parts = (content.get("pre_tokenizer") or {}).get("pretokenizers") or ()
    patterns = [part["pattern"].get("Regex") for part in parts if part["type"] == "Split"]
    if content["model"]["type"] != "BPE" or patterns != [SPLIT] or not content["model"]["merges"]:
        raise InputError(f"the format gguf needs a BPE that splits texts as Qwen2's does, got one that uses {patterns}")
    added = {token["id"]: token for token in content["added_tokens"]}
    by_id = {token_id: token for token, token_id in tokenizer.get_vocab(with_added_tokens=True).items()}
    if max(by_id) >= vocab_size:
        raise InputError(f"the tokenizer has ids up to {max(by_id)}, and the model only {vocab_size} tokens")

    def kind(token_id: int) -> int:
        if token_id not in by_id:
            return gguf.TokenType.UNUSED
        if token_id not in added:
            return gguf.TokenType.NORMAL
        marked = by_id[token_id].startswith("<|") and by_id[token_id].endswith("|>")
        return gguf.TokenType.CONTROL if added[token_id]["special"] or marked else gguf.TokenType.USER_DEFINED

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([by_id.get(token_id, f"[PAD{token_id}]") for token_id in range(vocab_size)])
    writer.add_token_types([kind(token_id) for token_id in range(vocab_size)])
    merges = content["model"]["merges"]  # of two forms, after the version of the tokenizer's writer
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    for token, add in (
        (END_OF_TURN, writer.add_eos_token_id),
        (END_OF_TEXT, writer.add_bos_token_id),
        (END_OF_TEXT, writer.add_pad_token_id),
    ):
        if (token_id := tokenizer.token_to_id(token)) is not None:
            add(token_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _write(writer: GGUFWriter, file: Path, entries: Sequence[Entry]) -> None:
    """Writes a file tensor by tensor, so that only one is held in a second dtype at a time."""
    import gguf

    for entry in entries:
        shape = list(entry.tensor.shape)
        block, size = gguf.GGML_QUANT_SIZES[entry.kind]
        writer.add_tensor_info(
            entry.name, shape, np.dtype(np.float32), entry.tensor.numel() // block * size, raw_dtype=entry.kind
        )
    writer.add_size_label(gguf.size_label(*writer.get_total_parameter_count()))
    try:
        writer.write_header_to_file(file)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for entry in entries:
            writer.write_tensor_data(entry.numbers())
    except OSError as failed:  # NumPy counts elements only
        raise OSError(f"{file} cannot be written: {failed}") from failed
    finally:
        writer.close()
