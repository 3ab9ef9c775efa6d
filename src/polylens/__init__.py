"""polylens: universal embeddings that you run yourself.

    >>> import polylens
    >>> embedder = polylens.load("nano")  # doctest: +SKIP

The names below are the public interface. They are imported on first use, so that `import polylens`
takes milliseconds and does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polylens import errors as errors
    from polylens.index.ranking.filters import Filters as Filters
    from polylens.library.library import Library as Library
    from polylens.library.reranking import Reranking as Reranking
    from polylens.runtime.embedder import Embedder as Embedder
    from polylens.runtime.embedder import load as load
    from polylens.runtime.reranker import Reranker as Reranker
    from polylens.runtime.reranker import load_reranker as load_reranker
    from polylens.types import Embedding as Embedding
    from polylens.types import Image as Image
    from polylens.types import RankedDocument as RankedDocument

__version__ = "0.1.0"

_HOMES = {
    "Embedder": "polylens.runtime.embedder",
    "Embedding": "polylens.types",
    "Filters": "polylens.index.ranking.filters",
    "Image": "polylens.types",
    "Library": "polylens.library.library",
    "RankedDocument": "polylens.types",
    "Reranker": "polylens.runtime.reranker",
    "Reranking": "polylens.library.reranking",
    "errors": "polylens.errors",
    "load": "polylens.runtime.embedder",
    "load_reranker": "polylens.runtime.reranker",
}

__all__ = [
    "Embedder",
    "Embedding",
    "Filters",
    "Image",
    "Library",
    "RankedDocument",
    "Reranker",
    "Reranking",
    "__version__",
    "errors",
    "load",
    "load_reranker",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'polylens' has no attribute {name!r}; it offers {', '.join(__all__)}")
    home = import_module(_HOMES[name])
    value = home if name == "errors" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
