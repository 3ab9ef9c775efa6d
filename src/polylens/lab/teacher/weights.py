"""The encoder with the tensors of a file: each tensor is used exactly once."""

from __future__ import annotations

import numpy as np
import torch

from polylens.errors import CheckpointError
from polylens.lab.teacher.encoder import Encoder
from polylens.lab.teacher.file import TeacherFile

_TABLES = {
    "pieces.weight": "emb.word",
    "positions.weight": "emb.pos",
    "segments.weight": "emb.type",
    "embed_norm.weight": "emb.ln.w",
    "embed_norm.bias": "emb.ln.b",
}
_LAYERS = {
    "qkv": ("q", "k", "v"),
    "out": ("ao",),
    "attention_norm": ("aln",),
    "up": ("fi",),
    "down": ("fo",),
    "mlp_norm": ("oln",),
}
_PARTS = {"weight": "w", "bias": "b"}


def sources(num_layers: int) -> dict[str, tuple[str, ...]]:
    """Our name of a parameter -> the names in the file of the tensors that it consists of, one below the other."""
    found: dict[str, tuple[str, ...]] = {ours: (theirs,) for ours, theirs in _TABLES.items()}
    for layer in range(num_layers):
        for ours, theirs in _LAYERS.items():
            for part, short in _PARTS.items():
                found[f"blocks.{layer}.{ours}.{part}"] = tuple(f"l{layer}.{each}.{short}" for each in theirs)
    return found


def build(read: TeacherFile) -> Encoder:
    """Builds the encoder in float32.

    Raises:
        CheckpointError: A tensor is missing, is too many or has another size.
    """
    table = sources(read.sizes.num_layers)
    wanted = {name for names in table.values() for name in names}
    if wanted != read.tensors.keys():
        missing, unknown = sorted(wanted - read.tensors.keys()), sorted(read.tensors.keys() - wanted)
        raise CheckpointError(f"the teacher's file lacks the tensors {missing} and has unknown ones {unknown}")
    with torch.device("meta"):
        encoder = Encoder(read.sizes)
    state = {}
    for ours, parameter in encoder.named_parameters():
        numbers = np.concatenate([read.tensors[name] for name in table[ours]])
        if numbers.size != parameter.numel():
            raise CheckpointError(
                f"{' + '.join(table[ours])} of the teacher's file must have {parameter.numel():,} numbers, "
                f"got {numbers.size:,}"
            )
        state[ours] = torch.from_numpy(numbers).view(parameter.shape)
    encoder.load_state_dict(state, strict=True, assign=True)
    return encoder.requires_grad_(False).eval()
