"""Pictures of telephones, browsers and scanners beyond PNG and JPEG."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
from tests.support.pages import pages_of, reason

WITHOUT = """
import sys
sys.modules["pi_heif"] = None  # as where the extra is not installed
from polylens.documents import open_document
from polylens.errors import DocumentError
try:
    open_document(sys.argv[1])
except DocumentError as error:
    print(error)
"""


def picture() -> PIL.Image.Image:
    image = PIL.Image.new("RGB", (64, 48), "white")
    image.paste("red", (0, 0, 32, 48))
    return image


@pytest.mark.parametrize("suffix", ["avif", "jp2", "ico", "ppm"])
def test_what_pillow_reads(tmp_path: Path, suffix: str) -> None:
    picture().save(tmp_path / f"a.{suffix}")
    [page] = pages_of(tmp_path / f"a.{suffix}")
    assert page.image is not None and page.image.mode == "RGB"
    red, green, _ = page.image.getpixel((5, 20))  # type: ignore[misc]
    assert red > 230 and green < 40


class TestHeif:
    @pytest.fixture
    def heic(self, tmp_path: Path) -> Path:
        pytest.importorskip("pi_heif", reason="the extra files is not installed: pip install 'polylens[files]'")
        writer = pytest.importorskip("pillow_heif")
        file = writer.from_pillow(picture())
        file.save(tmp_path / "a.heic", quality=95)
        return tmp_path / "a.heic"

    def test_a_picture(self, heic: Path) -> None:
        [page] = pages_of(heic)
        assert page.image is not None and page.image.size == (64, 48)
        red, green, _ = page.image.getpixel((5, 20))  # type: ignore[misc]
        assert red > 230 and green < 40

    def test_damaged(self, heic: Path) -> None:
        heic.write_bytes(heic.read_bytes()[:-200])
        assert reason(heic).startswith("a.heic: ")
        heic.write_bytes(b"")
        assert "is empty (0 bytes)" in reason(heic)

    def test_without_the_extra(self, tmp_path: Path) -> None:
        (tmp_path / "a.heic").write_bytes(b"x")
        said = subprocess.run(
            [sys.executable, "-c", WITHOUT, tmp_path / "a.heic"], capture_output=True, text=True, check=True
        ).stdout
        assert said == "a.heic is a HEIF picture; pip install 'polylens[files]' adds what reads it\n"
