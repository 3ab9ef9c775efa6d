"""Every way an image may come, each against pixel values worked out by hand."""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from polylens import types
from polylens.errors import ImageError
from polylens.media import fetch as fetching
from polylens.media import image as images
from polylens.media.image import read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def striped() -> PIL.Image.Image:
    """Three wide, two high: red, green, blue above blue, green, red."""
    image = PIL.Image.new("RGB", (3, 2))
    image.putdata([RED, GREEN, BLUE, BLUE, GREEN, RED])
    return image


def pixels(image: PIL.Image.Image) -> list[tuple[int, ...]]:
    assert image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


PNG = encoded(striped())
EXPECTED = [RED, GREEN, BLUE, BLUE, GREEN, RED]


class TestSources:
    @pytest.mark.parametrize(
        "make",
        [
            lambda path: path,
            str,
            lambda _: PNG,
            lambda _: bytearray(PNG),
            lambda _: memoryview(PNG),
            lambda _: striped(),
            lambda path: types.Image(path),
            lambda _: "data:image/png;base64," + base64.b64encode(PNG).decode(),
            lambda _: "DATA:image/png;charset=x;BASE64," + base64.b64encode(PNG).decode(),
            lambda _: "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG),
            lambda _: base64.b64encode(PNG).decode(),
            lambda _: base64.b64encode(PNG).decode().rstrip("="),
            lambda _: base64.urlsafe_b64encode(PNG).decode(),
            lambda _: base64.encodebytes(PNG).decode(),
        ],
        ids=lambda _: "",
    )
    def test_every_source_gives_the_same_pixels(self, tmp_path: Path, make: object) -> None:
        path = tmp_path / "striped.png"
        path.write_bytes(PNG)
        assert pixels(read_image(make(path))) == EXPECTED  # type: ignore[operator]

    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "ICO", "JPEG2000"])
    def test_lossless_formats(self, kind: str) -> None:
        options = {"lossless": True} if kind == "WEBP" else {"sizes": [(3, 2)]} if kind == "ICO" else {}
        assert pixels(read_image(encoded(striped(), kind, **options))) == EXPECTED

    def test_jpeg_is_near(self) -> None:
        image = PIL.Image.new("RGB", (16, 16), (200, 100, 50))
        assert np.abs(np.asarray(read_image(encoded(image, "JPEG"))).astype(int) - (200, 100, 50)).max() <= 3

    def test_callers_image_is_left_alone(self) -> None:
        image = PIL.Image.new("RGBA", (2, 2), (10, 20, 30, 40))
        image.info["transparency"] = 7
        before = image.tobytes()
        result = read_image(image)
        result.paste((1, 2, 3), (0, 0, 2, 2))
        assert (image.mode, image.tobytes(), image.info["transparency"]) == ("RGBA", before, 7)
        same = striped()
        read_image(same).putpixel((0, 0), (9, 9, 9))
        assert same.getpixel((0, 0)) == RED


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "value", "expected"),
        [
            ("1", 1, WHITE),
            ("L", 77, (77, 77, 77)),
            ("RGB", (1, 2, 3), (1, 2, 3)),
            ("LA", (0, 51), (204, 204, 204)),  # black at a fifth over white
            ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
            ("RGBA", (255, 0, 0, 0), WHITE),
            ("RGBa", (51, 0, 0, 51), (255, 204, 204)),  # the same, premultiplied
            ("La", (0, 51), (204, 204, 204)),
            ("CMYK", (0, 255, 255, 0), RED),
            ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
            ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
            ("YCbCr", (76, 85, 255), (254, 0, 0)),
            ("HSV", (0, 255, 255), RED),
            ("I", 257 * 100, (100, 100, 100)),
            ("I", 65535, WHITE),
            ("F", 0.5, (128, 128, 128)),
            ("F", 200.0, (200, 200, 200)),
        ],
    )
    def test_plain_colour(self, mode: str, value: object, expected: tuple[int, int, int]) -> None:
        result = read_image(PIL.Image.new(mode, (2, 1), value))  # type: ignore[arg-type]
        assert pixels(result) == [expected, expected]

    @pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
    def test_sixteen_bits_are_scaled_not_clipped(self, mode: str) -> None:
        values = [0, 257, 257 * 128, 65535]
        data = struct.pack(">4H" if mode == "I;16B" else "<4H", *values)
        image = PIL.Image.frombytes(mode, (4, 1), data)
        assert pixels(read_image(image)) == [(v // 257,) * 3 for v in values]

    def test_sixteen_bit_png_and_tiff(self) -> None:
        image = PIL.Image.fromarray(np.array([[0, 12850, 65535]], np.uint16))
        for kind in ("PNG", "TIFF"):
            assert pixels(read_image(encoded(image, kind))) == [(0, 0, 0), (50, 50, 50), WHITE]

    def test_lab(self) -> None:
        image = PIL.Image.new("LAB", (1, 1), (255, 128, 128))  # lightness 100, no colour
        assert np.abs(np.asarray(read_image(image)).astype(int) - 255).max() <= 1

    def test_integers_beyond_sixteen_bits_and_floats_beyond_a_byte_are_stretched(self) -> None:
        wide = PIL.Image.fromarray(np.array([[-100, 99_900, 199_900]], np.int32))
        assert pixels(read_image(wide)) == [(0, 0, 0), (128, 128, 128), WHITE]
        loud = PIL.Image.fromarray(np.array([[-1.0, np.nan, 1.0]], np.float32))
        assert pixels(read_image(loud)) == [(0, 0, 0), (128, 128, 128), WHITE]

    def test_palette(self) -> None:
        image = PIL.Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putdata([0, 1])
        assert pixels(read_image(image)) == [RED, BLUE]

    def test_palette_transparency_by_index_and_by_table(self) -> None:
        image = PIL.Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putdata([0, 1])
        assert pixels(read_image(encoded(image, "PNG", transparency=1))) == [RED, WHITE]
        assert pixels(read_image(encoded(image, "PNG", transparency=bytes([51, 255])))) == [(255, 204, 204), BLUE]

    def test_palette_with_alpha_band(self) -> None:
        alpha = PIL.Image.new("L", (1, 1), 51)
        image = PIL.Image.new("RGBA", (1, 1), (*RED, 51)).convert("PA")
        assert image.mode == "PA" and image.getchannel("A").tobytes() == alpha.tobytes()
        assert np.abs(np.asarray(read_image(image)).astype(int) - (255, 204, 204)).max() <= 1

    def test_transparent_colour_of_grey_and_rgb_png(self) -> None:
        grey = PIL.Image.new("L", (2, 1))
        grey.putdata([10, 20])
        assert pixels(read_image(encoded(grey, "PNG", transparency=10))) == [WHITE, (20, 20, 20)]
        colour = PIL.Image.new("RGB", (2, 1))
        colour.putdata([GREEN, BLUE])
        assert pixels(read_image(encoded(colour, "PNG", transparency=GREEN))) == [WHITE, BLUE]

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, orientation: int) -> None:
        """By the standard: where the first row and the first column of the stored pixels belong."""
        stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
        shown = {
            1: stored,
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: stored.T,
            6: stored[::-1].T,
            7: stored[::-1, ::-1].T,
            8: stored[:, ::-1].T,
        }[orientation]
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        for kind in ("PNG", "TIFF"):
            data = encoded(PIL.Image.fromarray(stored), kind, exif=exif)
            assert np.array_equal(np.asarray(read_image(data))[..., 0], shown), kind

    def test_broken_exif_does_not_cost_the_picture(self) -> None:
        assert pixels(read_image(encoded(striped(), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"))) == EXPECTED

    @pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_animations_give_their_first_frame(self, kind: str) -> None:
        frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert set(pixels(read_image(data))) == {RED}


def huge_png(width: int, height: int) -> bytes:
    """The header of an enormous PNG, with next to nothing behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\x00" * 100)) + chunk(b"IEND", b"")


class TestErrors:
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            (b"", "empty (0 bytes)"),
            (b"just some text, no image", "not a complete image of a supported format"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a complete image of a supported format"),
            (PNG[: len(PNG) // 2], "not a complete image"),
            (PNG[:-30], "truncated or broken"),
            (huge_png(20_000, 10_000), "too large"),
            (huge_png(100_000, 100_000), "too large"),
            (huge_png(13_378, 13_377), "too large"),  # one pixel row over Pillow's own limit
            (huge_png(10_000, 10_000), "truncated or broken"),  # allowed, over Pillow's warning: no warning leaks
            (PIL.Image.new("RGB", (0, 5)), "0 x 5"),
            ("no_such_file.png", "is not an existing file"),
            (Path("no_such_file.png"), "No such file"),
            (Path(), "is a folder"),
            (".", "is a folder"),
            ("", "is not an existing file"),
            ("data:image/png;base64", "has no comma"),
            ("data:image/png;base64,$$$$", "valid base64"),
            ("x" * 100_000 + "!", "is not an existing file"),
            ("nul\0byte", "is not an existing file"),
            ("ftp://example.org/x.png", "is not an existing file"),
            (None, "got NoneType"),
            (np.zeros((2, 2, 3)), "got ndarray"),
        ],
        ids=lambda _: "",
    )
    def test_says_what_was_wrong_and_which(self, source: object, words: str) -> None:
        with pytest.raises(ImageError) as caught:
            read_image(source, index=7)  # type: ignore[arg-type]
        assert words in str(caught.value)
        assert str(caught.value).startswith("image 7: ")
        assert caught.value.index == 7
        assert len(str(caught.value)) < 400

    def test_our_limit_holds_for_every_source(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", 5)
        for source in (PNG, striped()):
            with pytest.raises(ImageError, match="3 x 2 pixels"):
                read_image(source)

    def test_pillows_warnings_stay_inside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 4)  # 6 pixels are worth a warning then, 8 an error
        assert pixels(read_image(PNG)) == EXPECTED
        with pytest.warns(PIL.Image.DecompressionBombWarning), PIL.Image.open(io.BytesIO(PNG)):
            pass

    def test_the_limit_is_pillows(self) -> None:
        assert PIL.Image.MAX_IMAGE_PIXELS is not None
        assert abs(images.MAX_IMAGE_PIXELS - 2 * PIL.Image.MAX_IMAGE_PIXELS) <= 2

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
    def test_truncated_anywhere_and_garbled_never_hangs(self, kind: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        whole = encoded(PIL.Image.fromarray(noise), kind)
        rng = np.random.default_rng(1)
        for end in range(0, len(whole) - 1, max(1, len(whole) // 60)):
            garbled = bytearray(whole)
            garbled[rng.integers(len(whole))] = rng.integers(256)
            for data in (whole[:end], bytes(garbled)):
                with contextlib.suppress(ImageError):
                    assert read_image(data).mode == "RGB"
        with pytest.raises(ImageError):
            read_image(whole[: len(whole) // 2])

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os = pytest.importorskip("os")
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="not a regular file"):
            read_image(tmp_path / "pipe.png")

    def test_threads_leave_the_warning_filters_as_they_were(self) -> None:
        before = list(warnings.filters)
        threads = [threading.Thread(target=lambda: [read_image(PNG) for _ in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(warnings.filters) == before


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        target = {"/file": "file:///etc/hostname", "/ftp": "ftp://127.0.0.1/x", "/moved": "/ok.png"}.get(self.path)
        if target:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/ok.png", "/big") else 404)
        self.end_headers()
        if self.path == "/ok.png":
            self.wfile.write(PNG)
        if self.path == "/big":
            try:
                for _ in range(64):
                    self.wfile.write(bytes(1024))
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestUrls:
    def test_fetched_and_followed(self, site: str) -> None:
        assert pixels(read_image(f"{site}/ok.png")) == EXPECTED
        assert pixels(read_image(f"{site}/moved")) == EXPECTED

    @pytest.mark.parametrize("path", ["/file", "/ftp"])
    def test_redirects_to_elsewhere_are_refused(self, site: str, path: str) -> None:
        with pytest.raises(ImageError, match=r"not http\(s\)|not allowed"):
            read_image(site + path)

    def test_missing_and_unreachable(self, site: str) -> None:
        with pytest.raises(ImageError, match="404"):
            read_image(f"{site}/nothing", index=2)
        with pytest.raises(ImageError, match="cannot be fetched"):
            read_image("http://127.0.0.1:1/x.png")
        with pytest.raises(ImageError, match="cannot be fetched"):
            read_image("http://")

    def test_too_long_an_answer_is_cut_off(self, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetching, "MAX_FETCH_BYTES", 10_000)
        with pytest.raises(ImageError, match="more than 10,000 bytes"):
            read_image(f"{site}/big")
