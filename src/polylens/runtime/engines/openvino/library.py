"""The libraries openvino and nncf, imported without what they would do beside their work."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import torch

_TELEMETRY = "openvino_telemetry"


def _without_telemetry() -> None:
    """Keeps openvino and nncf from reporting their use: at import both would send it to a statistics service.

    They do without the package where it is not installed, so that is what they are told.
    """
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # an import of None raises ImportError


@cache
def openvino() -> Any:
    """Returns the module openvino."""
    _without_telemetry()
    import openvino
    from openvino.tools.ovc import convert_impl

    # It takes a flag --verbose of the program that it runs in for its own, and would then print to stdout.
    convert_impl.is_verbose = lambda *_: False
    return openvino


@cache
def core() -> Any:
    """Returns the process's one `openvino.Core`."""
    return openvino().Core()


@cache
def nncf() -> Any:
    """Returns the module nncf, which quantizes, without its log: it would go to stdout."""
    _without_telemetry()
    import nncf
    from nncf.common.logging.logger import disable_logging

    disable_logging()
    return nncf


@cache
def computes_in_bfloat16() -> bool:
    """Whether openvino has products in bfloat16 for this processor."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def multiplies_tiles() -> bool:
    """Whether this processor has Intel's AMX, whose products in bfloat16 are faster than others of 8-bit integers."""
    return computes_in_bfloat16() and bool(torch.cpu.get_capabilities().get("amx_bf16"))
