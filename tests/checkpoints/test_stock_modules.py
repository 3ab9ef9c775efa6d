"""A folder of sentence-transformers' own modules, loaded where polylens cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import polylens
from polylens.checkpoints.export import export_merged
from polylens.checkpoints.formats import Format
from polylens.runtime.embedder import Embedder

TASKS = ("code", "text-matching")
TEXTS = ["port fees", "which ships leave the harbour at dawn?\nAnd which of them come back?  "]

# What a stranger runs: the folder's name and nothing of ours. The first lines make sure of that.
PROGRAM = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "polylens":
            raise ImportError("polylens must not be needed")

sys.meta_path.insert(0, Nothing())
import numpy as np
import PIL.Image
from sentence_transformers import MultiVectorEncoder

texts, pictures, folders = sys.argv[1:3], sys.argv[3:5], sys.argv[5:]
images = [PIL.Image.open(picture) for picture in pictures]
for folder in folders:
    model = MultiVectorEncoder(folder)
    found = {"query": model.encode_query(texts), "document": model.encode_document(texts), "any": model.encode(texts)}
    found["image"] = model.encode_document(images)
    found["both"] = model.encode_document([texts[0], images[0]])
    many = {f"{kind}{i}": each.numpy() for kind, some in found.items() for i, each in enumerate(some)}
    np.savez(f"{folder}.npz", **many)
"""


@pytest.fixture(scope="module")
def nano() -> Embedder:
    return polylens.load("nano", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def strange(nano: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what one strange process made of the exported model of each task, and of which pictures."""
    root = tmp_path_factory.mktemp("exported")
    for task in TASKS:
        export_merged(root / task, nano.family, nano.model, nano.processor, task, Format.SENTENCE_TRANSFORMERS)
    rng = np.random.default_rng(3)
    # of sizes that need no resampling: transformers' own differs with the library that does it
    pictures = [root / "0.png", root / "1.png"]
    for picture, size in zip(pictures, ((84, 112, 3), (56, 56, 3)), strict=True):
        PIL.Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(picture)
    program = [sys.executable, "-c", PROGRAM, *TEXTS, *pictures, *(root / task for task in TASKS)]
    done = subprocess.run(
        list(map(str, program)), capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.parametrize("task", TASKS)
def test_its_multi_vectors_are_ours(nano: Embedder, strange: Path, task: str) -> None:
    found = np.load(strange / f"{task}.npz")
    images = [polylens.Image(strange / name) for name in ("0.png", "1.png")]
    wanted = {
        "query": nano.encode_text(TEXTS, task, "query", return_multivector=True),
        "document": nano.encode_text(TEXTS, task, "passage", return_multivector=True),
        "any": nano.encode_text(TEXTS, task, return_multivector=True),
        "image": nano.encode_image(images, task, return_multivector=True),
        "both": [
            nano.encode_text(TEXTS[0], task, "passage", return_multivector=True),
            nano.encode_image(images[0], task, return_multivector=True),
        ],
    }
    for kind, many in wanted.items():
        for i, each in enumerate(many):
            # 1e-5 is float32's rounding through four layers; the adapter and the prompt move a number by 0.01 and more
            np.testing.assert_allclose(found[f"{kind}{i}"], each, atol=3e-5, err_msg=f"{kind} {i}")
