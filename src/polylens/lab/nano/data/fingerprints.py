"""The amount and SHA-256 of each kind of training data on this machine.

No data is downloaded, so two machines may have different fonts, catalogues or versions of the locale data, and a run
that moves from one to the other then sees other batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from polylens.lab.corpora import catalogues, functions, manuals
from polylens.lab.nano.schedule import Recipe
from polylens.lab.synthetic import fonts, pictograms
from polylens.lab.synthetic.lexicon import LANGUAGES, words


def data_fingerprints(recipe: Recipe) -> dict[str, dict[str, int | str]]:
    """Each kind of data that the recipe draws from -> the number of its `files` or `words`, and `sha256`.

    Files are identified by name and contents, not by folder.
    """
    drawn = [word for language in LANGUAGES for word in words(language, "train")]
    found: dict[str, dict[str, int | str]] = {
        "words": {"words": len(drawn), "sha256": hashlib.sha256("\n".join(drawn).encode()).hexdigest()},
        "fonts": _fingerprint(fonts.files("train")),
    }
    if any(stage.pictograms for stage in recipe.stages):
        font = fonts.font_file(pictograms.FONT)
        found["pictograms"] = _fingerprint([] if font is None else [font])
    if any(stage.pairs for stage in recipe.stages):
        found["catalogues"] = _fingerprint(catalogues.files("train"))
        found["functions"] = _fingerprint(functions.modules("train").values())
        found["manuals"] = _fingerprint(manuals.files())
    return found


def _fingerprint(paths: Iterable[Path]) -> dict[str, int | str]:
    lines = []
    for path in paths:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return {"files": len(lines), "sha256": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()}
