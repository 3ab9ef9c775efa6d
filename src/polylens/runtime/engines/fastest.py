"""The engine that a model gets when none is named: the one that was measured to be the fastest here, or PyTorch."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec

import torch

from polylens.caches import cache_folder
from polylens.models.description import Header
from polylens.runtime.engines.choice import ENGINES, EngineName
from polylens.runtime.engines.winners import WinnerKey, read_winner

VARIABLE = "POLYLENS_ENGINE"  # names the engine of every model that is loaded without one

log = logging.getLogger("polylens.engines")


def fastest_engine(header: Header, *, device: torch.device, dtype: torch.dtype) -> EngineName | str:
    """Returns the name of the engine for a model that is loaded without one, and logs why.

    That is the one that the environment names; the winner of `polylens bench` for this model, processor, number format
    and these versions; and torch otherwise. No rule chooses, because openvino is faster with some models, slower with
    others, and takes more memory (docs/log.md, 2026-11-29). No quantization is ever chosen.

    Args:
        header: The header of its checkpoint.
        device: Where it will run.
        dtype: The number format of its weights.

    Returns:
        A name for `choose_engine`; one from the environment is not checked here.
    """
    name, reason = _choice(header, device, dtype)
    log.info("%s runs on the engine %s: %s", header.folder.name, name, reason)
    return name


def _choice(header: Header, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    if named := os.environ.get(VARIABLE):
        return named, f"{VARIABLE} names it"
    runs = bool(header.family.towers) and device.type == "cpu" and dtype != torch.float16
    if not runs or find_spec("openvino") is None:
        return "torch", "no other engine that is installed runs this model in this number format on this device"
    key = WinnerKey.here(header.fingerprint, str(dtype).removeprefix("torch."))
    winner = read_winner(cache_folder(), key)
    if winner is not None and winner.engine in ENGINES:
        return winner.engine, f"polylens bench of {winner.date} found {winner.figures}"
    return "torch", "nothing was measured to be faster; polylens bench measures it"
