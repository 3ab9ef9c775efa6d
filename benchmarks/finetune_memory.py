"""What a step of fine-tuning needs, with gradient checkpointing and without: memory and seconds.

    python benchmarks/finetune_memory.py                  # writes 0.7 GB: 4 layers of v4's size; removes it
    python benchmarks/finetune_memory.py --layers 8 --part-tokens 1024
    python benchmarks/finetune_memory.py --json figures.json

Layers have the size of jina-embeddings-v4's, and their weights are random; texts only. Each measurement is a process of
its own. From what a layer keeps for each token follows what 36 layers keep: that line of the table is an estimate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from full_size import describe_machine, watch_anonymous
from random_weights import MODELS, shortened, write_checkpoint

from polylens.checkpoints.loading import load_model, read_header
from polylens.models.protocol import Item, Model
from polylens.train.caching import backprop_cached, embed_cached, in_parts
from polylens.train.checkpointing import checkpoint_layers
from polylens.train.finetune import finetune, unfreeze_adapter
from polylens.train.joint import Vectors, as_vectors, contrastive_loss, same_documents

TASK = "retrieval"
LETTERS = "abcdefgh"  # a token each
PUBLISHED_LAYERS = 36


class Tuning:
    """A checkpoint whose adapter is trained; the pieces of `polylens train finetune`, in one process.

    Args:
        folder: The checkpoint.
        device: "cpu" or "cuda".
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.device = torch.device(device)
        self.header = read_header(folder)
        self.model: Model = load_model(self.header, device=self.device, dtype=torch.bfloat16)
        self.named = unfreeze_adapter(self.model, TASK)
        self.optimiser = torch.optim.AdamW(self.named.values(), lr=1e-4)
        self.objective = replace(finetune("", [], task=TASK).objective, dims=self.header.matryoshka_dims)

    def texts(self, count: int, length: int) -> list[Item]:
        """As many texts of that many tokens, all different."""
        texts = [f"{number} " + LETTERS * length for number in range(count)]
        processor = self.header.processor
        return [processor.text(text, task=TASK, prompt_name="query", max_length=length) for text in texts]

    def make_context(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16)

    def step(self, items: Sequence[Item], part_tokens: int) -> float:
        """One step, in which the first half of the items are the queries of the others; returns the gradient's norm."""
        self.optimiser.zero_grad(set_to_none=True)
        parts = list(in_parts(items, part_tokens))
        cached = embed_cached(self.model, parts, self.make_context)
        half = len(items) // 2
        queries, documents = _halves(as_vectors(cached), half)
        own = list(range(half))
        ignore = same_documents([str(number) for number in own], own).to(self.device)
        positives = torch.tensor(own, device=self.device)
        contrastive_loss(queries, documents, positives, ignore, self.objective, images=False)["total"].backward()
        backprop_cached(self.model, parts, cached, self.make_context)
        norm = float(nn.utils.clip_grad_norm_(list(self.named.values()), 1.0))
        self.optimiser.step()
        return norm

    def kept(self, items: Sequence[Item]) -> int:
        """Bytes that the graph of one forward pass keeps besides the weights; a tensor and its views count once."""
        assert isinstance(self.model, nn.Module)
        weights = {each.untyped_storage().data_ptr() for each in self.model.parameters()}
        found: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), self.make_context():
            outputs = self.model.embed(items)
        del outputs
        return sum(found.values())

    def kept_by_a_layer(self, length: int) -> float:
        """Bytes that a layer of the decoder keeps for each token, from texts of that length."""
        decoder, per_token = self.model.decoder, []
        every = decoder.blocks
        for blocks in (every, every[:-1]):
            decoder.blocks = blocks
            one, two = (self.kept(self.texts(count, length)) for count in (1, 2))
            per_token.append((two - one) / length)
        decoder.blocks = every
        return per_token[0] - per_token[1]


def _halves(vectors: Vectors, half: int) -> tuple[Vectors, Vectors]:
    border = sum(vectors.lengths[:half])
    return (
        Vectors(vectors.dense[:half], vectors.tokens[:border], vectors.lengths[:half]),
        Vectors(vectors.dense[half:], vectors.tokens[border:], vectors.lengths[half:]),
    )


def measure(folder: Path, *, checkpointing: bool, num_texts: int, length: int, part_tokens: int) -> dict[str, Any]:
    """Takes two steps on the processor; the first one warms up.

    Returns:
        The second step's seconds, the peak of the memory of both that no file backs, beyond what was there before; the
        gradient's norm of the first; the bytes that a layer keeps for each token.
    """
    tuning = Tuning(folder, "cpu")
    if checkpointing:
        checkpoint_layers(tuning.model)
    items = tuning.texts(num_texts, length)
    kept = tuning.kept_by_a_layer(length)
    with watch_anonymous() as idle:
        time.sleep(0.1)
    with watch_anonymous() as peak:
        norm = tuning.step(items, part_tokens)
        start = time.perf_counter()
        tuning.step(items, part_tokens)
        seconds = time.perf_counter() - start
    return {
        "checkpointing": checkpointing,
        "seconds": seconds,
        "peak_bytes": peak[0] - idle[0],
        "kept_bytes": kept,
        "gradient": norm,
    }


def render(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    machine, layers, (plain, checkpointed) = result["machine"], result["layers"], result["runs"]
    rows = [
        ("a step, seconds", *(f"{run['seconds']:.1f}" for run in (plain, checkpointed))),
        ("peak memory beyond the weights, MB", *(f"{run['peak_bytes'] / 1e6:,.0f}" for run in (plain, checkpointed))),
        ("kept per token and layer, kB", *(f"{run['kept_bytes'] / 1e3:.1f}" for run in (plain, checkpointed))),
        (
            f"estimate: kept by {PUBLISHED_LAYERS} layers for 8,192 tokens, GB",
            *(f"{run['kept_bytes'] * PUBLISHED_LAYERS * 8192 / 1e9:.1f}" for run in (plain, checkpointed)),
        ),
        ("norm of the gradient", *(f"{run['gradient']:.6g}" for run in (plain, checkpointed))),
    ]
    head = f"{layers} layers, {result['texts']} texts of {result['length']} tokens, parts of {result['part_tokens']}"
    machine_line = f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}"
    lines = ["| what | as it is | checkpointed |", "|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join([f"{head}; {machine_line}", "", *lines])


# -- the command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4, help="of the decoder")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--length", type=int, default=512, help="tokens per text")
    parser.add_argument("--part-tokens", type=int, default=2048)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--measure", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    setting = {"length": given.length, "part_tokens": given.part_tokens}
    if given.measure:
        found = measure(given.measure, checkpointing=given.checkpointing, num_texts=given.texts, **setting)
        print(json.dumps(found))
        return 0
    model = MODELS["jina-embeddings-v4"]
    with tempfile.TemporaryDirectory(prefix="polylens-finetune-memory-") as folder:
        write_checkpoint(Path(folder), model, shortened(model.files(), given.layers))
        command = [sys.executable, __file__, "--measure", folder, "--texts", str(given.texts)]
        command += ["--length", str(given.length), "--part-tokens", str(given.part_tokens)]
        runs = [
            json.loads(subprocess.run([*command, *option], check=True, stdout=subprocess.PIPE, text=True).stdout)
            for option in ([], ["--checkpointing"])
        ]
    result = {"layers": given.layers, "texts": given.texts, **setting, "runs": runs}
    result["machine"] = describe_machine("cpu", "bfloat16")
    print(render(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
