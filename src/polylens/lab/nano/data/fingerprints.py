"""What a recipe learns from on this machine: how much there is of each kind, and its SHA-256.

Nothing is downloaded for it, so two machines may have different fonts, catalogues or versions of the locale data; a
run that moves from one to the other then sees other batches.
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
    """Kind -> `files` or `words`, their number, and `sha256`; of the kinds that the recipe draws from.

    Files are known by their names and what they hold, not by their folders.
    """
    drawn = [word for language in LANGUAGES for word in words(language, "train")]
    found: dict[str, dict[str, int | str]] = {
        "words": {"words": len(drawn), "sha256": hashlib.sha256("\n".join(drawn).encode()).hexdigest()},
        "fonts": _summed(fonts.files("train")),
    }
    if any(stage.pictograms for stage in recipe.stages):
        font = fonts.font_file(pictograms.FONT)
        found["pictograms"] = _summed([] if font is None else [font])
    if any(stage.pairs for stage in recipe.stages):
        found["catalogues"] = _summed(catalogues.files("train"))
        found["functions"] = _summed(functions.modules("train").values())
        found["manuals"] = _summed(manuals.files())
    return found


def _summed(paths: Iterable[Path]) -> dict[str, int | str]:
    lines = []
    for path in paths:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return {"files": len(lines), "sha256": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()}
