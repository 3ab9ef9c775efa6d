"""`polylens convert`: which files it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.support import tiny_clip, tiny_gguf
from tests.support.commands import polylens

from polylens.checkpoints.stock_modules import WITHOUT_DENSE

CHECKPOINT = {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ((), CHECKPOINT),
        (("--format", "vllm-multivector"), CHECKPOINT | {"chat_template.json", "chat_template.jinja"}),
        (
            ("--format", "sentence-transformers"),
            CHECKPOINT
            | {"modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "1_Dense"}
            | {"2_MultiVectorMask", "3_Normalize", "tokenizer_config.json", "chat_template.jinja"},
        ),
        (("--format", "gguf"), {"code-bf16.gguf", "mmproj-code-bf16.gguf", "code-projector.safetensors"}),
    ],
    ids=["transformers", "vllm-multivector", "sentence-transformers", "gguf"],
)
def test_its_files(model: Path, tmp_path: Path, options: tuple[str, ...], files: set[str]) -> None:
    out = tmp_path / "new" / "out"
    done = polylens("convert", out, "--task", "code", "--model", model, *options)
    form = options[-1] if options else "transformers"
    assert (done.returncode, done.stdout) == (0, "")
    told, *left_out = done.stderr.splitlines()
    assert told == f"{model} for code, as {form}, in {out}"
    assert left_out == ([WITHOUT_DENSE] if form == "sentence-transformers" else [])
    assert {path.name for path in out.iterdir()} == files


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_number_format(model: Path, tmp_path: Path, dtype: str) -> None:
    done = polylens("convert", tmp_path, "--task", "code", "--model", model, "--dtype", dtype)
    assert done.returncode == 0, done.stderr
    tensors = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["torch_dtype"] == dtype


def test_refusals(model: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "file"
    file.touch()
    dual = tiny_clip.write(tmp_path / "dual")
    for arguments, says in [
        (
            (out, "--task", "code", "--format", "mlx"),
            "'mlx' is not one of 'transformers', 'vllm-multivector', 'sentence-transformers'",
        ),
        ((out, "--task", "codes"), "polylens: task must be one of retrieval, text-matching, code, got 'codes'"),
        ((file, "--task", "code"), "polylens: FOLDER must be a folder or not exist yet, got the file"),
        ((out, "--task", "code", "--model", dual), "models of the family jina_clip_v2 have no adapters to merge"),
    ]:
        if "--model" not in arguments:
            arguments = (*arguments, "--model", model)
        done = polylens("convert", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in " ".join(done.stderr.replace("│", "").split()), done.stderr  # some of it in a frame
    assert not out.exists()
