"""The two halves of everything that is drawn: what training sees, and what only evaluation sees."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "held_out"]
