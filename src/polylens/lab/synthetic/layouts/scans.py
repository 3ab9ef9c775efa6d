"""Scans: a report, a form or a receipt as it comes out of a scanner."""

from __future__ import annotations

import random
from dataclasses import replace

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.layouts.forms import form
from polylens.lab.synthetic.layouts.receipts import receipt
from polylens.lab.synthetic.layouts.reports import report
from polylens.lab.synthetic.page import SyntheticPage
from polylens.lab.synthetic.wear import scanned


def scan(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws a report, a form or a receipt, and scans it."""
    sheet = rng.choice((report, report, form, receipt))(rng, language, split)
    image, _ = scanned(rng, sheet.image)
    return replace(sheet, kind="scan", look=f"scanned {sheet.look}", design=f"scan of {sheet.design}", image=image)
