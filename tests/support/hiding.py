"""What a bare machine lacks can be hidden from the tests: POLYLENS_TEST_HIDE=chromium,fonts.

Every test that needs a hidden thing must still be collected, and must then be skipped with a reason.
"""

from __future__ import annotations

import os

import pytest

COLLECTED = pytest.StashKey[list[str]]()
"""The ids of all tests that this session collected, before any was deselected."""

VARIABLE = "POLYLENS_TEST_HIDE"
CHOICES = frozenset({"chromium", "fonts"})

HIDDEN = frozenset(filter(None, os.environ.get(VARIABLE, "").split(",")))
if unknown := HIDDEN - CHOICES:
    raise ValueError(f"{VARIABLE} must list names out of {sorted(CHOICES)}, got {sorted(unknown)}")


def hide() -> None:
    """Hides the fonts where this was asked for; the browser is hidden where its fixture looks for it."""
    if "fonts" in HIDDEN:
        from polylens.lab.synthetic import fonts

        fonts.FONT_FOLDERS = ()
