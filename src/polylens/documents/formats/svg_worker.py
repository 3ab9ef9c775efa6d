"""The process that draws an untrusted SVG: `python -m polylens.documents.formats.svg_worker`.

It reads the drawing from standard input and writes a PNG to standard output. Who starts it limits it.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Draws standard input at its own size."""
    import resvg_py

    svg = sys.stdin.buffer.read().decode("utf-8")
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # whatever the library prints must not get into the picture
        out.write(bytes(resvg_py.svg_to_bytes(svg_string=svg)))


if __name__ == "__main__":
    main()
