"""No remark of a library reaches the user's terminal, for it names no file and asks for nothing that a user could do.

Of this kind, and tried here: those of PDFium's wrapper on XFA forms, of libtiff on broken pixels, of lxml on XML.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
from reportlab.pdfgen.canvas import Canvas
from tests.support import papers

READ = """
import sys
from polylens.documents import open_document
from polylens.errors import DocumentError
for path in sys.argv[1:]:
    try:
        with open_document(path) as document:
            list(document)
    except DocumentError:
        pass
"""


def printed(*paths: Path) -> tuple[bytes, bytes]:
    """What a program prints, on both of its streams, that reads these files and sets nothing up."""
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, check=True, env=environment)
    return done.stdout, done.stderr


def test_remarks(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "plain.pdf"))
    canvas.acroForm.textfield(name="name", value="x", x=50, y=600)
    canvas.showPage()
    canvas.save()
    data = (tmp_path / "plain.pdf").read_bytes()
    (tmp_path / "xfa.pdf").write_bytes(data.replace(b"/Fields [", b"/XFA [(form) 99 0 R] /Fields [", 1))
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "group4", "jpeg"):
        path = tmp_path / f"{compression}.tif"
        PIL.Image.fromarray(noise).convert("1" if compression == "group4" else "L").save(path, compression=compression)
        broken = bytearray(path.read_bytes())
        broken[len(broken) // 2 : len(broken) // 2 + 300] = bytes(300)
        path.write_bytes(broken)
    papers.word_by_hand(tmp_path / "a.docx", "<w:p><w:r><w:t>a & b</w:t></w:r></w:p>")
    papers.make_xlsx(tmp_path / "a.xlsx")
    (tmp_path / "a.html").write_bytes(b"<p>&bogus; <unknown></p></p>\xff")
    assert printed(*sorted(tmp_path.iterdir())) == (b"", b"")
