"""What every framework is given of a page that was found."""

from __future__ import annotations

from typing import Any

from polylens.index.search import Hit
from polylens.library.library import Library
from polylens.library.results import hit_dict


def identity(hit: Hit) -> str:
    """A name for the page that stays the same from search to search."""
    return f"{hit.file}#page={hit.page}"


def metadata(library: Library, hit: Hit) -> dict[str, Any]:
    """Where the page is and how it was found.

    Returns:
        `source`, the file's full path, or where the files are not on this machine its path behind the index's address;
        `snippet`, the passage of the text that fits best; and all of `results.hit_dict` but `text`: `file`, `page`,
        `match`, `score`, by which pages are ranked, the scores of the stages, `kind`, `language`, `modified`, and the
        `places` on the page that fit, as boxes in shares of its picture, with `places_from`.
    """
    found = hit_dict(hit)
    snippet = found.pop("text")
    source = str(library.folder / hit.file) if library.has_files else f"{library.name}/{hit.file}"
    return {"source": source, **found, "snippet": snippet}
