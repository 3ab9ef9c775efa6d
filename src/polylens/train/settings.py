"""The settings that all runs on files of pairs have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """A run on files of pairs. Each kind of run adds what it learns from and its loss."""

    name: str
    model: str  # what the run starts from: a name of the catalog or a folder
    evaluation: str | None  # file of held-out pairs
    steps: int
    batch_size: int  # pairs per batch, of all processes together
    learning_rate: float  # the peak; it falls along a cosine to zero
    warmup_steps: int
    weight_decay: float
    gradient_clip: float  # largest norm
    max_length: int  # tokens per text
    part_tokens: int  # tokens per part of a batch; one part's activations are in memory at once
    gradient_checkpointing: (
        bool | None
    )  # whether layers are computed twice to save memory; None goes by size and device
    dtype: str | None  # None goes by the device
    seed: int
    checkpoint_every: int  # steps
