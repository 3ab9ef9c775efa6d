"""Skips tests that draw text on machines that have no fonts for it."""

from __future__ import annotations

import pytest

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic import fonts


def need_fonts(language: str, split: Split = "train") -> None:
    """Skips the test where no font of a split can write a language; the reason says what to install."""
    try:
        fonts.faces(language, split)
    except InputError as error:
        pytest.skip(str(error))
