"""mteb: models, rerankers and whole libraries in its evaluations. `pip install 'polylens[mteb]'`.

>>> mteb.evaluate(encoder(polylens.load("nano")), mteb.get_tasks(["STS12"]))  # doctest: +SKIP
"""

try:
    import mteb as _mteb  # noqa: F401
except ImportError as error:
    raise ImportError("this needs mteb: pip install 'polylens[mteb]'") from error

from polylens.integrations.mteb.library_search import LibrarySearch
from polylens.integrations.mteb.models import LateInteraction, PolylensEncoder, RerankerScores, encoder

__all__ = ["LateInteraction", "LibrarySearch", "PolylensEncoder", "RerankerScores", "encoder"]
