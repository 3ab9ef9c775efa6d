"""What every framework is told of a page that was found."""

from __future__ import annotations

from typing import Any

from polylens.index.search import Hit
from polylens.library.library import Library


def identity(hit: Hit) -> str:
    """A name for the page that stays the same from search to search."""
    return f"{hit.file}#page={hit.page}"


def metadata(library: Library, hit: Hit) -> dict[str, Any]:
    """Where the page is and how it was found.

    Returns:
        `source`, the file's full path, or where the files are not on this machine its path behind the index's address;
        `file`, as `Library` names it; `page` from 1; `kind`; `language`, its ISO 639 code or
        ""; `modified`, when the file was, as ISO 8601; `score`, at most 1, by which pages are ranked
        (`Hit.fused_score`); `snippet`, the part of the text that fits best.
    """
    return {
        "source": str(library.folder / hit.file) if library.has_files else f"{library.name}/{hit.file}",
        "file": hit.file,
        "page": hit.page,
        "kind": hit.kind,
        "language": hit.language,
        "modified": hit.modified.isoformat(timespec="seconds"),
        "score": round(hit.fused_score, 4),
        "snippet": hit.snippet,
    }
