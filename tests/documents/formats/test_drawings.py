"""SVG drawings: the words, the picture, and what a hostile one must not do."""

from __future__ import annotations

import gzip
import random
import sys
from pathlib import Path

import PIL.Image
import pytest
from tests.support.pages import pages_of, reason

from polylens.documents import open_document
from polylens.documents.formats import svg
from polylens.errors import DocumentError
from polylens.types import Page

pytest.importorskip("resvg_py", reason="the extra files is not installed: pip install 'polylens[files]'")

NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def write(path: Path, body: str, head: str = 'width="60" height="30"') -> Path:
    path.write_text(f"<svg {NAMES} {head}>{body}</svg>", encoding="utf-8")
    return path


def drawn(path: Path, max_pixels: int = 1_000_000) -> Page:
    with open_document(path, max_pixels=max_pixels) as document:
        assert document.num_pages == 1
        return document.page(1)


def colours(page: Page) -> set[object]:
    assert page.image is not None
    return {colour for _, colour in page.image.getcolors(10**6) or ()}


def test_words_and_picture(tmp_path: Path) -> None:
    body = (
        '<desc>A plan</desc><title>Quay 4</title><style>.a{}</style><rect width="30" height="30" fill="#f00"/>'
        '<text>Two <tspan>masts</tspan></text><foreignObject><p xmlns="http://www.w3.org/1999/xhtml">a note</p>'
        "</foreignObject><script>never()</script>"
    )
    [page] = pages_of(write(tmp_path / "a.svg", body))
    assert page.text == "# Quay 4\nA plan\nTwo masts\na note"
    assert page.image is not None and page.image.mode == "RGB" and page.image.size == (512, 256)
    assert page.image.getpixel((100, 200)) == (255, 0, 0) and page.image.getpixel((500, 200)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ('width="600" height="300"', (1250, 625)),
        ('viewBox="0 0 600 300"', (1250, 625)),
        ('viewBox="0 0 2 1" width="600"', (1250, 625)),
        ('viewBox="0 0 2 1" width="100%" height="100%"', (512, 256)),
        ('width="6in" height="3in"', (1200, 600)),
        ('width="9000" height="9000"', (1000, 1000)),
        ('width="1e9" height="-5"', (512, 512)),
        ('width="900000000" height="1"', (14142, 70)),
        ("", (512, 512)),
    ],
)
def test_size(tmp_path: Path, head: str, size: tuple[int, int]) -> None:
    page = drawn(write(tmp_path / "a.svg", "<rect/><text>x</text>", head))
    assert page.image is not None
    width, height = page.image.size
    assert abs(width - size[0]) <= 1 and abs(height - size[1]) <= 1 and width * height <= 1_000_000


def test_compressed(tmp_path: Path) -> None:
    data = write(tmp_path / "a.svg", "<text>words</text>").read_bytes()
    (tmp_path / "a.svgz").write_bytes(gzip.compress(data))
    [page] = pages_of(tmp_path / "a.svgz")
    assert page.text == "words" and page.image is not None
    (tmp_path / "b.svgz").write_bytes(gzip.compress(b" " * (svg.MAX_PART + 1)))
    with pytest.raises(DocumentError, match="too large when unpacked"):
        open_document(tmp_path / "b.svgz")


def test_without_what_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with open_document(write(tmp_path / "a.svg", "<text>words</text>")) as document:
        [page] = list(document)
        assert (page.text, page.image) == ("words", None)
        assert document.unread == {"the picture": "is not drawn; pip install 'polylens[files]' adds what draws it"}
    assert "pip install 'polylens[files]'" in reason(write(tmp_path / "b.svg", "<rect/>"))


class TestNothingOutside:
    """A picture of the disk or the network never gets into the drawing."""

    @pytest.mark.parametrize("attribute", ["href", "xlink:href"])
    @pytest.mark.parametrize("address", ["{file}", "file://{file}", "red.png", "http://192.0.2.1/red.png", " {file}"])
    def test_pictures(self, tmp_path: Path, attribute: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        PIL.Image.new("RGB", (9, 9), "red").save("red.png")
        source = address.format(file=tmp_path / "red.png")
        picture = f'<image {attribute}="{source}" width="60" height="30"/>'
        filtered = (
            f'<filter id="f"><feImage {attribute}="{source}"/></filter><rect width="60" height="30" filter="url(#f)"/>'
        )
        for body in (picture, filtered):
            page = drawn(write(tmp_path / "a.svg", body))
            assert page.image is not None and colours(page) <= {(255, 255, 255), (0, 0, 0)}

    def test_drawings_in_it(self, tmp_path: Path) -> None:
        PIL.Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
        inner = f"<svg {NAMES}><image href='{tmp_path}/red.png' width='60' height='30'/></svg>".replace('"', "'")
        inner = inner.replace("<", "%3C").replace(">", "%3E").replace("#", "%23")
        page = drawn(write(tmp_path / "a.svg", f'<image href="data:image/svg+xml,{inner}" width="60" height="30"/>'))
        assert page.image is not None and colours(page) == {(255, 255, 255)}

    def test_pictures_in_the_file_are_drawn(self, tmp_path: Path) -> None:
        import base64

        PIL.Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
        data = base64.b64encode((tmp_path / "red.png").read_bytes()).decode()
        page = drawn(write(tmp_path / "a.svg", f'<image href="data:image/png;base64,{data}" width="9" height="9"/>'))
        assert page.image is not None and page.image.getpixel((5, 50)) == (255, 0, 0)

    def test_entities(self, tmp_path: Path) -> None:
        (tmp_path / "secret.txt").write_text("secret")
        for entity in (f'SYSTEM "{tmp_path}/secret.txt"', 'SYSTEM "http://192.0.2.1/secret"', '"secret"'):
            path = tmp_path / "a.svg"
            path.write_text(f"<!DOCTYPE svg [<!ENTITY e {entity}>]><svg {NAMES}><text>a&e;b</text></svg>")
            assert "secret" not in drawn(path).text


class TestHostile:
    def test_no_drawing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.svg"
        for data, said in ((b"", "is empty"), (b"words", "is damaged, or no SVG"), (b"<html/>", "begins with <html>")):
            path.write_bytes(data)
            assert said in reason(path)

    def test_uses_of_uses(self, tmp_path: Path) -> None:
        groups = "".join(f'<g id="g{n}">' + f'<use href="#g{n - 1}"/>' * 10 + "</g>" for n in range(1, 12))
        body = f'<defs><g id="g0"><rect width="5" height="5"/></g>{groups}</defs><use href="#g11"/>'
        assert "cannot be drawn" in reason(write(tmp_path / "a.svg", body))
        page = drawn(write(tmp_path / "b.svg", f"{body}<text>words</text>"))
        assert (page.text, page.image) == ("words", None)

    def test_a_picture_of_a_billion_pixels(self, tmp_path: Path) -> None:
        import base64
        import struct
        import zlib

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
        data = base64.b64encode(bomb).decode()
        body = f'<image href="data:image/png;base64,{data}" width="9" height="9"/><text>words</text>'
        assert drawn(write(tmp_path / "a.svg", body)).text == "words"

    def test_depth(self, tmp_path: Path) -> None:
        assert "is damaged" in reason(write(tmp_path / "a.svg", "<g>" * 5_000 + "</g>" * 5_000))

    @pytest.mark.parametrize("seed", range(8))
    def test_bytes_changed_and_cut(self, tmp_path: Path, seed: int) -> None:
        rng = random.Random(seed)
        path = write(tmp_path / "a.svg", '<text x="5" y="20">words</text><path d="M0 0 L9 9 Q 1 2 3 4"/>' * 5)
        data = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(100, len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            pages_of(path)
        except DocumentError as error:
            assert str(error).startswith("a.svg") and "\n" not in str(error)
