"""Decodes any image source to RGB pixels. The only place that opens image files; needs neither a model nor torch."""

from __future__ import annotations

import base64
import binascii
import contextlib
import ctypes
import ctypes.util
import functools
import io
import re
import threading
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import PIL.ExifTags
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps

from polylens import types
from polylens.errors import ImageError
from polylens.media.fetch import fetch, reason, shortened

MAX_IMAGE_PIXELS = 178_956_970
"""Largest number of pixels that a file's header may announce; half a gigabyte as RGB. It is Pillow's own hard limit."""

STRIP_PIXELS = 4_000_000
"""Pixels that are converted at a time, where that takes more bytes than the picture itself."""

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "ICO", "HEIF")

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}\Z")
_WHITE = (255, 255, 255, 255)
_ADVICE = "pass a PNG, JPEG, WebP, TIFF, GIF or BMP file"


def inline_image(text: str) -> bytes:
    """Returns the bytes of an image given as a `data:` URI or as bare base64; opens and fetches nothing.

    Raises:
        ImageError: The text is neither.

    Example:
        >>> inline_image("data:image/gif;base64,R0lGODlhAQABAAAAACw=")[:6]
        b'GIF89a'
    """
    if text[:5].lower() == "data:":
        return _data_uri(text)
    decoded = _base64(text)
    if decoded is None:
        raise ImageError(f"{shortened(text)} is neither a data: URI, base64 nor an http(s) URL")
    return decoded


def image_size(data: bytes, *, index: int | None = None) -> tuple[int, int]:
    """Returns the width and height of an image file in pixels, as its header gives them.

    Raises:
        ImageError: The bytes are not an image of a supported format.
    """
    try:
        with quiet_pillow(), _opened(io.BytesIO(data)) as image:
            return image.size
    except ImageError as error:
        raise ImageError(error.message, index) from error.__cause__
    except Exception as error:  # a fuzzed file makes a decoder raise almost anything
        raise ImageError(f"is broken ({reason(error)}); {_ADVICE}", index) from error


def read_image(source: types.ImageSource | types.Image | Any, *, index: int | None = None) -> PIL.Image.Image:
    """Reads any image source as RGB.

    EXIF orientation is applied, transparency is composited over white, 16-bit values are scaled to 8 bits, and an
    animated file gives its first frame. An image that was passed in is never changed.

    Args:
        source: A path, a PIL image, the bytes of an image file, a `data:` URI, bare base64, or an http(s) URL.
        index: Position among the caller's inputs, for the error message.

    Returns:
        A new RGB image, upright, at least 1 x 1 pixel.

    Raises:
        ImageError: The image is missing, empty, truncated, of an unsupported format, or too large.

    Example:
        >>> read_image(PIL.Image.new("LA", (2, 1), (0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    if isinstance(source, types.Image):
        source = source.source
    try:
        with quiet_pillow():
            if isinstance(source, PIL.Image.Image):
                return _upright_rgb(source)
            with _open_bytes(source) as file:
                return _decode(file)
    except ImageError as error:
        raise ImageError(error.message, index) from error.__cause__
    except MemoryError as error:
        raise ImageError("needs more memory than there is; scale it down first", index) from error
    except Exception as error:  # a fuzzed file makes a decoder raise almost anything
        raise ImageError(f"cannot be decoded, it is truncated or broken ({reason(error)}); {_ADVICE}", index) from error


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Returns the formats that are decoded, by Pillow's names. Pillow knows more; some start programs (EPS)."""
    PIL.Image.init()
    with contextlib.suppress(ImportError):  # the extra `files`
        import pi_heif

        pi_heif.register_heif_opener()
    return tuple(name for name in _FORMATS if name in PIL.Image.OPEN)  # older builds lack AVIF


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Converts an image of any mode to a new RGB image; transparency is composited over white.

    Floats (mode F) are read on a scale from 0 to 1 if all of them lie within it, else from 0 to 255 if all lie within
    that, else from the smallest to the largest of them. Integers of 16 and 32 bits are read on a scale from 0 to 65535,
    and likewise from the smallest to the largest where one exceeds it.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if mode.startswith("I") or mode == "F":
        return _scaled_to_rgb(image)
    if mode == "LAB":
        lab, srgb = PIL.ImageCms.createProfile("LAB"), PIL.ImageCms.createProfile("sRGB")
        converted = PIL.ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _in_strips(image, _on_white)
    return image.convert("RGB")


def _on_white(image: PIL.Image.Image) -> PIL.Image.Image:
    picture = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, _WHITE), picture).convert("RGB")


def _strips(image: PIL.Image.Image) -> Iterator[tuple[int, PIL.Image.Image]]:
    """Yields the parts of an image from top to bottom, each with its first row."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _in_strips(image: PIL.Image.Image, convert: Callable[[PIL.Image.Image], PIL.Image.Image]) -> PIL.Image.Image:
    """Converts an image to RGB strip by strip, so that nothing but it and the result takes much memory."""
    if image.width * image.height <= STRIP_PIXELS:
        return convert(image)
    converted = PIL.Image.new("RGB", image.size)
    for top, strip in _strips(image):
        converted.paste(convert(strip), (0, top))
    return converted


def _scaled_to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Scales samples of more than eight bits to eight, by the rules of `to_rgb`."""
    spans = [(float(each.min()), float(each.max())) for each in (_samples(strip) for _, strip in _strips(image))]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    top = 65535.0 if image.mode.startswith("I") else (1.0 if high <= 1.0 else 255.0)
    base = 0.0
    if low < 0.0 or high > top:
        base, top = low, max(high - low, float(np.finfo(np.float64).tiny))

    def scaled(strip: PIL.Image.Image) -> PIL.Image.Image:
        bytes_ = np.rint((_samples(strip) - base) / top * 255.0).astype(np.uint8)
        return PIL.Image.fromarray(bytes_).convert("RGB")

    return _in_strips(image, scaled)


def _samples(image: PIL.Image.Image) -> npt.NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0)


def _decode(file: io.BufferedIOBase) -> PIL.Image.Image:
    with _opened(file) as image:
        return _upright_rgb(image, is_ours=True)


def _opened(file: io.BufferedIOBase) -> PIL.Image.Image:
    try:
        return PIL.Image.open(cast(IO[bytes], file), formats=readable_formats())
    except PIL.UnidentifiedImageError as error:
        file.seek(0)
        head = file.read(8)
        if not head:
            raise ImageError(f"is empty (0 bytes); {_ADVICE}") from error
        raise ImageError(
            f"is not a complete image of a supported format (it starts with {head!r}); {_ADVICE}"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(_too_large(str(error))) from error


def _upright_rgb(image: PIL.Image.Image, *, is_ours: bool = False) -> PIL.Image.Image:
    """Returns a new image. One that is ours alone is turned in place, since a copy may take 0.7 GB."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels (its size is {width} x {height}); pass an image of at least 1 x 1")
    if width * height > MAX_IMAGE_PIXELS:
        raise ImageError(_too_large(f"{width} x {height} pixels"))
    image.load()
    upright = image
    # However broken the metadata is, the image itself is fine.
    with suppress(Exception):
        if image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1:
            if is_ours:
                PIL.ImageOps.exif_transpose(image, in_place=True)
            else:
                upright = PIL.ImageOps.exif_transpose(image)
    return to_rgb(upright)


def _too_large(found: str) -> str:
    return f"is too large ({found}); the limit is {MAX_IMAGE_PIXELS:,} pixels, so scale it down first"


def _open_bytes(source: object) -> io.BufferedIOBase:
    if isinstance(source, Path):
        return _open_file(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if not isinstance(source, str):
        raise ImageError(
            f"must be a path, a PIL image, bytes, a data: URI, base64 or an http(s) URL, got {type(source).__name__}"
        )
    if source[:8].lower().startswith(("http://", "https://")):
        return io.BytesIO(fetch(source))
    if source[:5].lower() == "data:":
        return io.BytesIO(_data_uri(source))
    if _exists(source):
        return _open_file(Path(source))
    decoded = _base64(source)
    if decoded is None:
        raise ImageError(f"{shortened(source)} is not an existing file, a data: URI, base64 or an http(s) URL")
    return io.BytesIO(decoded)


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # too long for a file name, or with a NUL in it: perhaps base64
        return False


def _open_file(path: Path) -> io.BufferedIOBase:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; pass the files in it")
    if path.exists() and not path.is_file():  # reading a pipe would block, /dev/zero never ends
        raise ImageError(f"{path} is not a regular file")
    try:
        return path.open("rb")
    except OSError as error:
        raise ImageError(f"{path} cannot be opened ({error.strerror})") from error


def _data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise ImageError(
            f"{shortened(uri)} is an incomplete data: URI, it has no comma; write data:image/png;base64,..."
        )
    if not head.lower().endswith(";base64"):
        return urllib.parse.unquote_to_bytes(body)
    decoded = _base64(urllib.parse.unquote(body))
    if decoded is None:
        raise ImageError(f"{shortened(uri)} does not hold valid base64")
    return decoded


def _base64(text: str) -> bytes | None:
    """Decodes base64: standard or URL-safe, padded or not, on one line or several. Returns None if it is not base64."""
    squeezed = "".join(text.split())
    if not _BASE64.match(squeezed):
        return None
    body = squeezed.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except binascii.Error:
        return None


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_filters = warnings.catch_warnings()


@functools.cache
def _quiet_libtiff() -> None:
    """Silences libtiff, which writes its remarks on broken files to the terminal; its errors are raised as well."""
    near = Path(PIL.__file__).parent
    bundled = [*near.parent.glob("[pP]illow.libs/libtiff*"), *near.glob(".dylibs/libtiff*")]
    name = str(bundled[0]) if bundled else ctypes.util.find_library("tiff")
    with suppress(OSError, AttributeError):  # Pillow may have been built without it
        library = ctypes.CDLL(name) if name else None
        for function in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            if library is not None:
                getattr(library, function)(None)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings about unusual files while at least one thread is reading.

    `warnings.catch_warnings` alone is not thread-safe: the last thread to leave may restore another thread's filters.
    """
    global _quiet_users, _quiet_filters
    with _quiet_lock:
        _quiet_users += 1
        if _quiet_users == 1:
            _quiet_libtiff()
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_filters.__exit__(None, None, None)
