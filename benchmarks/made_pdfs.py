"""One-page PDFs of many sizes, for the benchmarks of indexing."""

from __future__ import annotations

import random
from pathlib import Path

SIDES = (150, 420)  # points; 200 dots per inch make 0.17 to 1.4 million pixels of them
MARGIN, LEADING = 18, 11  # points
WORDS = (  # noqa: SIM905
    "anchor barometer channel current depth drift estuary ferry gauge gale harbour heading keeper lantern ledger "
    "lighthouse mooring north pilot pressure quay repair rigging sail salt shoal signal station storm tide tower "
    "vessel voyage watch weather wharf winter"
).split()


def write_pdfs(folder: Path, count: int, *, seed: int = 0, sides: tuple[int, int] = SIDES) -> None:
    """Writes one-page PDFs whose sizes and lengths of text are drawn at random.

    Args:
        folder: Where to; it is made.
        count: The number of files.
        seed: Of the draws.
        sides: The shortest and the longest side of a page, in points.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number in range(count):
        width, height = rng.randint(*sides), rng.randint(*sides)
        (folder / f"page-{number:05}.pdf").write_bytes(_pdf(width, height, _lines(rng, width, height)))


def _lines(rng: random.Random, width: int, height: int) -> list[str]:
    """Lines that fill a random part of a page, in letters of 8 points, about 4 points each."""
    fits = (height - 2 * MARGIN) // LEADING
    return [
        " ".join(rng.choices(WORDS, k=30))[: (width - 2 * MARGIN) // 4] for _ in range(rng.randint(1, max(1, fits)))
    ]


def _pdf(width: int, height: int, lines: list[str]) -> bytes:
    shown = "\n".join(f"({line}) Tj T*" for line in lines)
    content = f"BT /F1 8 Tf {LEADING} TL {MARGIN} {height - MARGIN - 8} Td\n{shown}\nET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, starts = "%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        starts.append(len(file))
        file += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{start:010} 00000 n \n" for start in starts)
    size = len(objects) + 1
    end = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(file)}\n%%EOF\n"
    return f"{file}xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode("ascii")
