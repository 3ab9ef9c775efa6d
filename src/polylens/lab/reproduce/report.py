"""The claims as a table for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from polylens.evaluate.figures import figures
from polylens.lab.reproduce.claims import Section, figure


def table(sections: Sequence[Section]) -> Table:
    """The table of claims, one per row."""
    rows = Table("claim", "ours (95 % interval)", "shows")
    for claim in (claim for section in sections for claim in section.claims):
        ours = "\n".join(f"{name}: {figure(estimate)}" for name, estimate in claim.ours.items())
        rows.add_row(f"{claim.name}\n[dim]published: {claim.published}[/dim]", ours, claim.shows)
    return rows


def as_json(sections: Sequence[Section], made_with: Mapping[str, str]) -> dict[str, Any]:
    """The content of the page, without its plots."""
    return {
        "benchmark": "claims",
        **made_with,
        "sections": [
            {
                "title": section.title,
                "method": section.method,
                "claims": [
                    {
                        "claim": claim.name,
                        "published": claim.published,
                        "source": claim.source,
                        "ours": {name: figures(estimate) for name, estimate in claim.ours.items()},
                        "shows": claim.shows,
                        "sentence": claim.sentence,
                    }
                    for claim in section.claims
                ],
            }
            for section in sections
        ],
    }
