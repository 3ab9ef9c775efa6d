"""The pair of GGUF files, read back with the reader of the package `gguf`: every weight once, and every key.

The table of names below is typed here on purpose: the code under test takes its names from the package.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support import tiny, tiny_gguf
from tests.support.root import ROOT
from torch import Tensor

from polylens.checkpoints.export import export_merged
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.formats import Format
from polylens.checkpoints.gguf import write_gguf
from polylens.checkpoints.loading import load_model, read_header
from polylens.errors import InputError
from polylens.models.description import Layout

TASK = "text-matching"
SHORT = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float32: "f32"}
NAMES = {
    r"model\.embed_tokens\.": "token_embd.",
    r"model\.norm\.": "output_norm.",
    r"model\.layers\.(\d+)\.input_layernorm\.": r"blk.\1.attn_norm.",
    r"model\.layers\.(\d+)\.post_attention_layernorm\.": r"blk.\1.ffn_norm.",
    r"model\.layers\.(\d+)\.self_attn\.o_proj\.": r"blk.\1.attn_output.",
    r"model\.layers\.(\d+)\.self_attn\.([qkv])_proj\.": r"blk.\1.attn_\2.",
    r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.": r"blk.\1.ffn_\2.",
    r"visual\.blocks\.(\d+)\.norm([12])\.": r"v.blk.\1.ln\2.",
    r"visual\.blocks\.(\d+)\.attn\.proj\.": r"v.blk.\1.attn_out.",
    r"visual\.blocks\.(\d+)\.mlp\.(gate|up|down)_proj\.": r"v.blk.\1.ffn_\2.",
    r"visual\.merger\.ln_q\.": "v.post_ln.",
    r"visual\.merger\.mlp\.([02])\.": r"mm.\1.",
}


def checkpoint(name: str | Path, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    header = read_header(resolve(name))
    return header.family, load_model(header, device=torch.device("cpu"), dtype=dtype), header.processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def layout(folder: Path) -> Layout:
    family, model, processor = checkpoint(folder, torch.float32)
    return family.adapters.merged(model, processor, TASK)


def expected(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if ".attn.qkv." in name:
            for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
                yield re.sub(r"visual\.blocks\.(\d+)\.attn\.qkv\.", rf"v.blk.\1.attn_{letter}.", name), piece
        elif name == "visual.patch_embed.proj.weight":
            yield "v.patch_embd.weight", tensor[:, :, 0]
            yield "v.patch_embd.weight.1", tensor[:, :, 1]
        else:
            [ours] = [re.sub(old, new, name) for old, new in NAMES.items() if re.match(old, name)]
            yield ours, tensor


def read(tensor: gguf.ReaderTensor) -> Tensor:
    data = torch.from_numpy(np.array(tensor.data))
    return data.view(torch.bfloat16) if tensor.tensor_type is gguf.GGMLQuantizationType.BF16 else data


def keys(file: Path) -> dict[str, Any]:
    fields = gguf.GGUFReader(file).fields
    return {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}


@pytest.mark.parametrize("dtype", SHORT, ids=SHORT.values())
@pytest.mark.parametrize("name", ["tiny", "nano"])
def test_every_weight_is_there_once_with_its_value(name: str, dtype: torch.dtype, folder: Path, tmp_path: Path) -> None:
    family, model, processor = checkpoint(folder if name == "tiny" else name, dtype)
    export_merged(tmp_path, family, model, processor, TASK, Format.GGUF)
    stem = f"{TASK}-{SHORT[dtype]}"
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}.gguf",
        f"mmproj-{stem}.gguf",
        f"{TASK}-projector.safetensors",
    }
    there = [t for file in (f"{stem}.gguf", f"mmproj-{stem}.gguf") for t in gguf.GGUFReader(tmp_path / file).tensors]
    by_name = {tensor.name: tensor for tensor in there}
    assert len(by_name) == len(there)
    merged = family.adapters.merged(model, processor, TASK).tensors
    wanted = dict(expected(merged))
    assert sum(tensor.numel() for tensor in wanted.values()) == sum(tensor.numel() for tensor in merged.values())
    assert by_name.keys() == wanted.keys()
    for each, tensor in wanted.items():
        data = read(by_name[each])
        exact = torch.float32 if tensor.ndim == 1 or ("patch" in each and dtype == torch.bfloat16) else dtype
        assert data.dtype == exact and torch.equal(data, tensor.to(exact)), each


def test_the_names_are_those_of_the_packages_tables(folder: Path, layout: Layout, tmp_path: Path) -> None:
    write_gguf(tmp_path, layout, "tiny")
    for file, arch in (
        ("tiny-f32.gguf", gguf.MODEL_ARCH.QWEN2VL),
        ("mmproj-tiny-f32.gguf", gguf.MODEL_ARCH.MMPROJ),
    ):
        known = {gguf.TENSOR_NAMES[kind] for kind in gguf.MODEL_TENSORS[arch]}
        stems = {
            re.sub(r"\.\d+(?=\.|$)", ".{bid}", re.sub(r"\.(weight|bias)(\.1)?$", "", tensor.name))
            for tensor in gguf.GGUFReader(tmp_path / file).tensors
        }
        assert stems <= known


def test_the_keys_of_the_text_model(layout: Layout, tmp_path: Path) -> None:
    write_gguf(tmp_path, layout, "tiny")
    found = keys(tmp_path / "tiny-f32.gguf")
    tokens, types = found.pop("tokenizer.ggml.tokens"), found.pop("tokenizer.ggml.token_type")
    assert tokens[256:] == ["th", "the", "Ġthe", *tiny.SPECIAL, "[PAD265]", "[PAD266]", "[PAD267]"]
    assert types == [1] * 259 + [3] * 6 + [5] * 3  # normal, control, unused
    assert found == {
        "general.architecture": "qwen2vl",
        "general.type": "model",
        "general.name": "tiny",
        "general.size_label": "69K",
        "general.file_type": 0,
        "general.quantization_version": 2,
        "qwen2vl.block_count": 3,
        "qwen2vl.context_length": 32_768,
        "qwen2vl.embedding_length": 48,
        "qwen2vl.feed_forward_length": 80,
        "qwen2vl.attention.head_count": 4,
        "qwen2vl.attention.head_count_kv": 2,
        "qwen2vl.attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
        "qwen2vl.rope.dimension_sections": [2, 2, 2, 0],
        "qwen2vl.rope.freq_base": 1e6,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.merges": ["t h", "th e", "Ġ the"],
        "tokenizer.ggml.bos_token_id": 259,
        "tokenizer.ggml.eos_token_id": 261,
        "tokenizer.ggml.padding_token_id": 259,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
    }


def test_the_keys_of_the_vision_tower(layout: Layout, tmp_path: Path) -> None:
    write_gguf(tmp_path, layout, "tiny")
    assert keys(tmp_path / "mmproj-tiny-f32.gguf") == {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": "tiny",
        "general.size_label": "295K",
        "general.file_type": 0,
        "general.quantization_version": 2,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "qwen2.5vl_merger",
        "clip.use_silu": True,
        "clip.vision.projection_dim": 48,
        "clip.vision.image_size": 560,
        "clip.vision.patch_size": 14,
        "clip.vision.embedding_length": 64,
        "clip.vision.feed_forward_length": 96,
        "clip.vision.block_count": 4,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": pytest.approx(1e-6),
        "clip.vision.n_wa_pattern": 2,
        "clip.vision.image_mean": pytest.approx(tiny.IMAGES.mean),
        "clip.vision.image_std": pytest.approx(tiny.IMAGES.std),
    }


def test_the_projection_of_the_multi_vectors_lies_beside(folder: Path, layout: Layout, tmp_path: Path) -> None:
    write_gguf(tmp_path, layout, "tiny")
    base, adapters = tiny.random_tensors(tiny_gguf.CONFIG)
    down, up = (adapters[f"base_model.model.multi_vector_projector.lora_{half}.{TASK}.weight"] for half in ("A", "B"))
    head = load_file(tmp_path / "tiny-projector.safetensors")
    assert head.keys() == {"multi_vector_projector.weight", "multi_vector_projector.bias"}
    merged = base["multi_vector_projector.weight"] + 2.0 * up @ down  # alpha 8, rank 4
    torch.testing.assert_close(head["multi_vector_projector.weight"], merged)
    assert torch.equal(head["multi_vector_projector.bias"], base["multi_vector_projector.bias"])


@pytest.mark.parametrize(
    ("vision", "says"),
    [
        ({"window_size": 56}, "window_size 112, got 56"),
        ({"temporal_patch_size": 1}, "temporal_patch_size 2, got 1"),
        ({"spatial_merge_size": 4}, "spatial_merge_size 2, got 4"),
        ({"fullatt_block_indexes": [0, 3]}, r"every n-th of the 4 vision layers, got \[0, 3\]"),
        ({"fullatt_block_indexes": [1]}, r"every n-th of the 4 vision layers, got \[1\]"),
        ({"fullatt_block_indexes": []}, r"every n-th of the 4 vision layers, got \[\]"),
    ],
)
def test_a_tower_that_llama_cpp_would_read_as_another_is_refused(
    layout: Layout, tmp_path: Path, vision: dict[str, Any], says: str
) -> None:
    config = {**layout.config, "vision_config": {**layout.config["vision_config"], **vision}}
    with pytest.raises(InputError, match=says):
        write_gguf(tmp_path / "out", replace(layout, config=config), "tiny")
    assert not (tmp_path / "out").exists()


def test_another_network_and_another_tokenizer_are_refused(layout: Layout, tmp_path: Path) -> None:
    other = replace(layout, config={**layout.config, "architectures": ["Qwen2VLForConditionalGeneration"]})
    with pytest.raises(InputError, match=r"for Qwen2_5_VLForConditionalGeneration, got .*Qwen2VLForCond"):
        write_gguf(tmp_path / "out", other, "tiny")
    for tokenizer in (tiny_gguf.tokenizer(split=r"\p{N}{1,3}"), tiny.byte_tokenizer()):
        with pytest.raises(InputError, match="needs a BPE that splits texts as Qwen2's does"):
            write_gguf(tmp_path / "out", replace(layout, tokenizer=tokenizer), "tiny")
    strange = replace(layout, tensors={**layout.tensors, "model.layers.0.strange.weight": torch.zeros(2, 2)})
    with pytest.raises(InputError, match=r"no name for the tensor model\.layers\.0\.strange\.weight"):
        write_gguf(tmp_path / "out", strange, "tiny")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"needs gguf, .*pip install 'polylens\[gguf\]'"):
        write_gguf(tmp_path / "out", layout, "tiny")
    assert not (tmp_path / "out").exists()


WRITE = """
import resource, signal, sys
from pathlib import Path
import torch
from polylens.checkpoints.export import export_merged
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.formats import Format
from polylens.checkpoints.loading import load_model, read_header
header = read_header(resolve(sys.argv[1]))
model = load_model(header, device=torch.device("cpu"), dtype=torch.float32)
signal.signal(signal.SIGXFSZ, getattr(signal, sys.argv[3]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for format in sys.argv[4:]:
    try:
        export_merged(Path(sys.argv[2]), header.family, model, header.processor, "code", Format(format))
    except OSError as full:
        print(format, "cannot be written" in str(full))
"""


def write_with_little_room(folder: Path, out: Path, end: str, *formats: Format) -> subprocess.CompletedProcess[str]:
    """Writes in a process that may write files of 100 kB at most: more fails (SIG_IGN), or kills it (SIG_DFL)."""
    command = [sys.executable, "-c", WRITE, str(folder), str(out), end, *formats]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_failed_write_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    done = write_with_little_room(folder, tmp_path, "SIG_IGN", *Format)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{format} True" for format in Format]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", [Format.GGUF, Format.TRANSFORMERS])
def test_a_killed_write_leaves_nothing_that_looks_whole(format: Format, folder: Path, tmp_path: Path) -> None:
    done = write_with_little_room(folder, tmp_path, "SIG_DFL", format)
    assert done.returncode == -signal.SIGXFSZ
    left = [path.name for path in tmp_path.iterdir()]
    assert left and all(name.endswith(".partial") or name.startswith(".tmp") for name in left), left


def test_the_tokenizers_files_agree(folder: Path) -> None:
    """The tiny tokenizer is Qwen2's in all but its merges: nano's has the same expression."""
    nano = json.loads((ROOT / "src/polylens/assets/nano/tokenizer.json").read_text(encoding="utf-8"))
    mine = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert nano["pre_tokenizer"]["pretokenizers"][0] == mine["pre_tokenizer"]["pretokenizers"][0]
