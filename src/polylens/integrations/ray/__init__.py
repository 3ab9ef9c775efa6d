"""polylens on a Ray cluster: many files embedded into one index, rows of a dataset embedded, and the server's replicas.

Needs the extra `ray`. `index` and `RayExecutor` are for files, `embed` for a dataset, `app` for Ray Serve:

>>> from polylens.integrations.ray import index  # doctest: +SKIP
>>> index("s3://shelf/reports", "s3://shelf/index", ray="local")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polylens.integrations.ray.actors import Model
    from polylens.integrations.ray.bulk import RayExecutor, Work, index
    from polylens.integrations.ray.rows import embed
    from polylens.integrations.ray.serving import app

_PLACES = {
    "Model": "actors",
    "RayExecutor": "bulk",
    "Work": "bulk",
    "index": "bulk",
    "embed": "rows",
    "app": "serving",
}

__all__ = ["Model", "RayExecutor", "Work", "app", "embed", "index"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and only then Ray."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
