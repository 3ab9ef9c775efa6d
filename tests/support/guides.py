"""The Python of a page of documentation."""

from __future__ import annotations

import re
from pathlib import Path

NOT_RUN = "<!-- not run: "
"""Stands before a block that needs what a test cannot have, with the reason."""


def code(page: Path) -> tuple[list[str], list[str]]:
    """Python of a page: what is run, in order, and what is not."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(rf"({re.escape(NOT_RUN)}[^\n]+-->\n+)?```python\n(.*?)```", text, flags=re.DOTALL)
    return [block for mark, block in blocks if not mark], [block for mark, block in blocks if mark]
