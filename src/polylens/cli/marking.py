"""The places of a search's results: in words, and as marks on pictures of the pages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polylens.atomic import write_beside
from polylens.cli.escaping import shown
from polylens.errors import DocumentError, InputError

if TYPE_CHECKING:
    from polylens.index.ranking.places import Place
    from polylens.index.search import Hit
    from polylens.library.library import Library
    from polylens.library.view import View

_NAMES = (
    ("upper left", "top", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "bottom", "lower right"),
)


def in_words(places: Sequence[Place]) -> str:
    """Says in which ninth of the page the best place is; "" where there is none.

    Example:
        >>> from polylens.index.ranking.places import Place
        >>> from polylens.types import Box
        >>> in_words([Place(Box(0.7, 0.1, 0.2, 0.02), "invoice")])
        ', upper right'
    """
    if not places:
        return ""
    box = places[0].box
    across, down = box.left + box.width / 2, box.top + box.height / 2
    return f", {_NAMES[min(2, int(3 * down))][min(2, int(3 * across))]}"


def save_marked_pages(library: Library, view: View, hits: Sequence[Hit], folder: Path) -> None:
    """Writes `1.png`, `2.png`, ... by rank: the page's picture with its places marked. Pages without one are left out.

    Raises:
        InputError: The folder cannot be made.
        NotFoundError: The files are not on this machine.
    """
    from polylens.media.marks import marked

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made a folder ({error.strerror})") from error
    for rank, hit in enumerate(hits, start=1):
        try:
            image = library.page(hit.file, hit.page, view=view).image
        except DocumentError as error:
            print(shown(f"no picture of {hit.file}, page {hit.page}: {error}"), file=sys.stderr)
            continue
        if image is not None:
            with write_beside(folder / f"{rank}.png") as beside:
                marked(image, [place.box for place in hit.places]).save(beside, "PNG")
