"""Any image source -> an RGB picture. The one place that opens image files; knows no model and no torch."""

from __future__ import annotations

import base64
import binascii
import functools
import io
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps

from polylens import types
from polylens.errors import ImageError

MAX_IMAGE_PIXELS = 178_956_970
"""More than this in a header is refused before anything is decoded: half a gigabyte of RGB, Pillow's own hard limit."""

MAX_FETCH_BYTES = 32 * 1024 * 1024
"""Largest answer accepted from an http(s) URL."""

FETCH_TIMEOUT = 20.0
"""Seconds without an answer, or without the next bytes of one, after which a URL is given up."""

FETCH_DEADLINE = 120.0
"""Seconds for one URL altogether: a server that drips single bytes never runs into FETCH_TIMEOUT."""

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "ICO")

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}\Z")
_WHITE = (255, 255, 255, 255)
_ADVICE = "pass a PNG, JPEG, WebP, TIFF, GIF or BMP file"


def inline_image(text: str) -> bytes:
    """The bytes of an image that came as a `data:` URI or as bare base64; nothing is opened or fetched.

    Raises:
        ImageError: It is neither.

    Example:
        >>> inline_image("data:image/gif;base64,R0lGODlhAQABAAAAACw=")[:6]
        b'GIF89a'
    """
    if text[:5].lower() == "data:":
        return _data_uri(text)
    decoded = _base64(text)
    if decoded is None:
        raise ImageError(f"{_shown(text)} is neither a data: URI, base64 nor an http(s) URL")
    return decoded


def image_size(data: bytes, *, index: int | None = None) -> tuple[int, int]:
    """Width and height of an image file in pixels, from its header.

    Raises:
        ImageError: It is no image of a supported kind.
    """
    try:
        with quiet_pillow(), _opened(io.BytesIO(data)) as image:
            return image.size
    except ImageError as error:
        raise ImageError(error.message, index) from error.__cause__
    except Exception as error:  # a fuzzed file makes a decoder raise almost anything
        raise ImageError(f"is broken ({_reason(error)}); {_ADVICE}", index) from error


def read_image(source: types.ImageSource | types.Image | Any, *, index: int | None = None) -> PIL.Image.Image:
    """Read any image source as RGB.

    EXIF orientation is applied, transparency is laid over white, 16-bit values are scaled to 8 bits, an animated
    file gives its first frame. A picture that was passed in is never changed.

    Args:
        source: A path, a PIL image, the bytes of an image file, a `data:` URI, bare base64, or an http(s) URL.
        index: Position among the caller's inputs, for the error message.

    Returns:
        A new RGB picture, upright, at least 1 by 1 pixel.

    Raises:
        ImageError: It is missing, empty, truncated, of an unsupported kind, or too large.

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
    except Exception as error:  # a fuzzed file makes a decoder raise almost anything
        raise ImageError(
            f"cannot be decoded, it is truncated or broken ({_reason(error)}); {_ADVICE}", index
        ) from error


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """What is decoded, by Pillow's names. Pillow itself knows more, some of which start programs (EPS)."""
    PIL.Image.init()
    return tuple(name for name in _FORMATS if name in PIL.Image.OPEN)  # older builds lack AVIF


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert any mode to RGB; a new picture, transparency over white.

    Floats (mode F) are read as 0 to 1 where all of them lie there, as 0 to 255 where all lie there, and are
    stretched from their least to their greatest otherwise. 16-bit and 32-bit integers count as 0 to 65535, and are
    stretched in the same way where they exceed that.
    """
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if mode.startswith("I") or mode == "F":
        return PIL.Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if mode == "LAB":
        lab, srgb = PIL.ImageCms.createProfile("LAB"), PIL.ImageCms.createProfile("sRGB")
        converted = PIL.ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    if mode == "La":
        image = image.convert("LA")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        picture = image.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, _WHITE), picture).convert("RGB")
    return image.convert("RGB")


def _to_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Samples of more than eight bits -> eight bits, by the rules of `to_rgb`."""
    samples = np.nan_to_num(values.astype(np.float64), nan=0.0)
    low, high = float(samples.min()), float(samples.max())
    top = 65535.0 if values.dtype.kind in "iu" else (1.0 if high <= 1.0 else 255.0)
    if low < 0.0 or high > top:
        samples, top = samples - low, max(high - low, np.finfo(np.float64).tiny)
    return np.rint(samples / top * 255.0).astype(np.uint8)


def _decode(file: io.BufferedIOBase) -> PIL.Image.Image:
    with _opened(file) as image:
        return _upright_rgb(image)


def _opened(file: io.BufferedIOBase) -> PIL.Image.Image:
    try:
        return PIL.Image.open(cast(IO[bytes], file), formats=readable_formats())
    except PIL.UnidentifiedImageError as error:
        file.seek(0)
        head = file.read(8)
        if not head:
            raise ImageError(f"is empty (0 bytes); {_ADVICE}") from error
        raise ImageError(f"is not a whole image of a supported kind (it starts with {head!r}); {_ADVICE}") from error
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(_too_large(str(error))) from error


def _upright_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels, its size is {width} x {height}; pass one of at least 1 x 1")
    if width * height > MAX_IMAGE_PIXELS:
        raise ImageError(_too_large(f"{width} x {height} pixels"))
    image.load()
    try:
        upright = PIL.ImageOps.exif_transpose(image)
    except Exception as error:  # noqa: BLE001  broken metadata in whatever way: the picture itself is fine
        del error
        upright = image
    return to_rgb(upright)


def _too_large(found: str) -> str:
    return f"is too large ({found}), the limit is {MAX_IMAGE_PIXELS:,} pixels; scale it down before passing it"


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
        return io.BytesIO(_fetch(source))
    if source[:5].lower() == "data:":
        return io.BytesIO(_data_uri(source))
    if _is_file(source):
        return _open_file(Path(source))
    decoded = _base64(source)
    if decoded is None:
        raise ImageError(f"{_shown(source)} is not a file here, nor a data: URI, base64 or an http(s) URL")
    return io.BytesIO(decoded)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a NUL in it: base64, perhaps
        return False


def _open_file(path: Path) -> io.BufferedIOBase:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; pass the files in it one by one")
    if path.exists() and not path.is_file():  # a pipe would be waited for, /dev/zero never ends
        raise ImageError(f"{path} is not a regular file")
    try:
        return path.open("rb")
    except OSError as error:
        raise ImageError(f"{path} cannot be opened ({error.strerror})") from error


def _data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise ImageError(f"{_shown(uri)} is not a whole data: URI, it has no comma; write data:image/png;base64,...")
    if not head.lower().endswith(";base64"):
        return urllib.parse.unquote_to_bytes(body)
    decoded = _base64(urllib.parse.unquote(body))
    if decoded is None:
        raise ImageError(f"{_shown(uri)} does not hold valid base64")
    return decoded


def _base64(text: str) -> bytes | None:
    """Decode standard or URL-safe base64, padded or not, wrapped over lines or not; None where it is neither."""
    squeezed = "".join(text.split())
    if not _BASE64.match(squeezed):
        return None
    body = squeezed.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except binascii.Error:
        return None


class _HttpRedirectsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise ImageError(f"{_shown(req.full_url)} redirects to {_shown(newurl)}, which is not http(s)")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str) -> bytes:
    opener = urllib.request.OpenerDirector()  # not build_opener, which would answer file: and ftp: too
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _HttpRedirectsOnly,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": "polylens", "Accept": "image/*"})
    deadline = time.monotonic() + FETCH_DEADLINE
    received = bytearray()
    try:
        with opener.open(request, timeout=FETCH_TIMEOUT) as response:
            while chunk := response.read1(65536):
                received += chunk
                if len(received) > MAX_FETCH_BYTES:
                    raise ImageError(f"{_shown(url)} answers with more than {MAX_FETCH_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise ImageError(f"{_shown(url)} did not finish within {FETCH_DEADLINE:.0f} s")
    except urllib.error.HTTPError as error:
        with error:
            raise ImageError(f"{_shown(url)} answers {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{_shown(url)} cannot be fetched ({_reason(error)})") from error
    return bytes(received)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


_quiet_lock = threading.Lock()
_quiet_users = 0
_quiet_filters = warnings.catch_warnings()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's remarks about odd files to itself, for as long as at least one thread is reading.

    `warnings.catch_warnings` alone is not safe with threads: the last to leave may put back what another had set.
    """
    global _quiet_users, _quiet_filters
    with _quiet_lock:
        _quiet_users += 1
        if _quiet_users == 1:
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
