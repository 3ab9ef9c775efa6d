"""A sheet with one held-out page of each kind, and the time to make each.

    python benchmarks/synthetic_pages.py OUT.png [--seed 7] [--number KIND=N ...]

The picture in docs/guides/evaluate.md was made with
`--number chart=4 invoice=4 slide=3 scan=4 multilingual=3 report=0`. Needs the fonts that `.ci/run` installs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from polylens.lab.synthetic.pages import LAYOUTS, page

ROWS = (("table", "chart", "slide", "code"), ("invoice", "scan", "multilingual", "receipt", "form", "report"))
WIDTH, PAD, LABEL = 1640, 12, 22  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--number", nargs="*", default=[], metavar="KIND=N", help="number of the page in its stream (default: 1)"
    )
    options = parser.parse_args()
    numbers = {kind: 1 for kind in LAYOUTS} | {
        kind: int(n) for kind, _, n in (each.partition("=") for each in options.number)
    }

    rows = []
    for kinds in ROWS:
        pictures = []
        for kind in kinds:
            began = time.perf_counter()
            pictures.append(Image.fromarray(page(kind, "held_out", options.seed, numbers[kind]).image))
            print(f"{kind}: {time.perf_counter() - began:.3f} s, the first of its kind")
        height = int((WIDTH - PAD * (len(kinds) + 1)) / sum(picture.width / picture.height for picture in pictures))
        rows.append((kinds, height, pictures))
    sheet = Image.new("RGB", (WIDTH, PAD + sum(height + PAD + LABEL for _, height, _ in rows)), (228, 230, 235))
    draw, font, y = ImageDraw.Draw(sheet), ImageFont.load_default(14), PAD
    for kinds, height, pictures in rows:
        x = PAD
        for kind, picture in zip(kinds, pictures, strict=True):
            small = picture.resize((int(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)
            draw.text((x, y), kind, fill=(40, 44, 52), font=font)
            sheet.paste(small, (x, y + LABEL))
            x += small.width + PAD
        y += height + PAD + LABEL
    sheet.quantize(160, dither=Image.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
