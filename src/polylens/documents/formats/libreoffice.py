"""Older office files, and those of Apple's programs: LibreOffice converts them, where it is installed.

Texts and slides become a PDF, so that each page is seen as it would be printed; a workbook becomes a newer one, whose
rows are read. Conversions are kept on disk, since one takes seconds and each page of a file is asked for on its own.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from polylens.atomic import write_beside
from polylens.caches import cache_folder
from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, Picture, reading
from polylens.documents.formats.process import run
from polylens.errors import DocumentError
from polylens.types import Kind, Page

SECONDS = 120.0  # per file
MEMORY = 6 * 1024**3  # bytes of address space; LibreOffice maps a gigabyte before it has read anything
MAX_CACHE = 1024 * 1024 * 1024  # bytes of conversions that are kept; the oldest go first

_NEWER: dict[Kind, str] = {"document": ".docx", "slides": ".pptx", "sheet": ".xlsx"}
_HEADS = (
    bytes.fromhex("d0cf11e0"),  # the compound files of Office 97 to 2003
    *(b"\xdb\xa5", b"\x31\xbe", b"\x09\x00", b"\x09\x02", b"\x09\x04", b"\x09\x08"),  # those of the years before
    b"PK\3\4",  # Apple's files, and newer ones under an old name
)
"""First bytes. LibreOffice reads anything else as plain text, however little that says."""
_APPLE = frozenset({".pages", ".key", ".numbers"})
_PREVIEWS = ("preview.jpg", "QuickLook/Thumbnail.jpg", "preview-web.jpg")
_OFFLINE = ("unshare", "--user", "--map-root-user", "--net")
_SETTINGS = {
    "/org.openoffice.Office.Common/Security/Scripting": {
        "MacroSecurityLevel": 3,
        "DisableMacrosExecution": "true",
        "DisableActiveContent": "true",
        "BlockUntrustedRefererLinks": "true",
    },
    "/org.openoffice.Inet/Settings": {
        "ooInetProxyType": 2,
        "ooInetHTTPProxyName": "127.0.0.1",
        "ooInetHTTPProxyPort": 9,
        "ooInetHTTPSProxyName": "127.0.0.1",
        "ooInetHTTPSProxyPort": 9,
    },
}


class Converted(Document):
    """A file as LibreOffice prints it.

    Args:
        kind: The kind of the file itself.
        pdf: The open PDF.
    """

    def __init__(self, kind: Kind, pdf: Document) -> None:
        self.kind = kind
        self._pdf = pdf

    @property
    def num_pages(self) -> int:
        return self._pdf.num_pages

    def page(self, number: int) -> Page:
        return replace(self._pdf.page(number), kind=self.kind)

    def undrawn(self, number: int) -> Page:
        return replace(self._pdf.undrawn(number), kind=self.kind)

    def close(self) -> None:
        self._pdf.close()


def open_converted(path: Path, kind: Kind, *, max_pixels: int) -> Document:
    """Opens a file by way of LibreOffice.

    Args:
        path: The file.
        kind: Its kind.
        max_pixels: Largest number of pixels per rendered page.

    Raises:
        DocumentError: LibreOffice is missing, or cannot convert the file within its limits.
    """
    with path.open("rb") as file:
        head = file.read(5)
    if not head:
        raise DocumentError(f"{path.name} is empty (0 bytes)")
    if head == rb"{\rtf":  # which programs also save under the name .doc, as they do web pages
        from polylens.documents.formats.richtext import open_rtf

        return open_rtf(path)
    if head.lstrip(b"\xef\xbb\xbf\r\n \t").startswith(b"<"):
        from polylens.documents.formats.webpage import WebPage

        return WebPage(path)
    if not head.startswith(_HEADS):
        raise DocumentError(f"{path.name} is damaged, or not of the format that its name says")
    try:
        converted = _converted(path, kind)
    except DocumentError as error:
        if path.suffix.lower() in _APPLE and (preview := _preview(path, kind)):
            preview.unread["all but the preview"] = str(error).removeprefix(path.name).strip()
            return preview
        raise
    try:
        if kind == "sheet":
            from polylens.documents.formats.sheets import open_sheets

            return open_sheets(converted)
        from polylens.documents.formats.pdf import Pdf

        return Converted(kind, Pdf(converted, max_pixels=max_pixels))
    except DocumentError as error:
        reason = str(error).removeprefix(converted.name).lstrip(": ")
        raise DocumentError(f"{path.name}: what LibreOffice made of it {reason}") from error


def _preview(path: Path, kind: Kind) -> Document | None:
    """Returns the picture of the first page that Apple's programs save with a file; None if there is none."""
    try:
        archive = Archive(path)
        with reading(archive):
            found = Packed(kind, archive, [], [Picture(part, "") for part in _PREVIEWS if part in archive][:1])
    except DocumentError:
        return None
    return found if found.num_pages else None


def program() -> str | None:
    """Returns the path of LibreOffice; None where it is not installed."""
    found = shutil.which("soffice") or shutil.which("libreoffice")
    return found if found and _starts(found) else None


@functools.cache
def _starts(office: str) -> bool:
    """Returns whether LibreOffice is more than its launcher, which Debian keeps in a package of its own."""
    try:
        return subprocess.run([office, "--version"], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _converted(path: Path, kind: Kind) -> Path:
    """Returns the converted file, made now or before."""
    target = "xlsx" if kind == "sheet" else "pdf"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache_folder() / "converted"
    kept = folder / f"{digest}{path.suffix.lower()}.{target}"
    if kept.is_file():
        return kept
    office = program()
    if office is None:
        raise DocumentError(
            f"{path.name} is of a format that LibreOffice converts, which is not installed; install it (on Debian: apt "
            f"install libreoffice), or save the file as {_NEWER[kind]}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="polylens-") as name:
        made = _convert(office, path, target, Path(name))
        _make_room(folder, made.stat().st_size)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as beside:
            copy = Path(beside) / kept.name  # two processes may convert the same file at once
            with write_beside(copy) as partial:
                shutil.copyfile(made, partial)
            copy.replace(kept)
    return kept


def _convert(office: str, path: Path, target: str, folder: Path) -> Path:
    """Converts a file in a folder of its own, with a profile of its own that no other LibreOffice uses."""
    source = folder / f"file{path.suffix.lower()}"
    shutil.copyfile(path, source)
    profile = folder / "profile"
    (profile / "user").mkdir(parents=True)
    (profile / "user" / "registrymodifications.xcu").write_text(_settings(), encoding="utf-8")
    command = [
        *(_OFFLINE if _can_go_offline() else ()),
        *(office, f"-env:UserInstallation={profile.as_uri()}", "--headless", "--norestore", "--nodefault"),
        *("--nolockcheck", "--convert-to", target, "--outdir", str(folder / "out"), str(source)),
    ]
    variables = {"HOME": str(folder), "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    try:
        run(command, seconds=SECONDS, memory=MEMORY, environment=variables)
    except DocumentError as error:
        raise DocumentError(f"{path.name} cannot be converted by LibreOffice: it {error}") from error
    made = folder / "out" / f"file.{target}"
    if not made.is_file() or not made.stat().st_size:
        raise DocumentError(f"{path.name} cannot be converted by LibreOffice: it is damaged, locked or too new for it")
    return made


def _settings() -> str:
    """Returns the profile's settings: no macros, no links that are followed, and a proxy that leads nowhere."""
    items = "".join(
        f'<item oor:path="{path}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
        for path, values in _SETTINGS.items()
        for name, value in values.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry" '
        'xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"{items}</oor:items>"
    )


@functools.cache
def _can_go_offline() -> bool:
    """Returns whether this system lets a user start a program without any network."""
    try:
        return subprocess.run([*_OFFLINE, "true"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _make_room(folder: Path, needed: int) -> None:
    kept = []
    for file in folder.iterdir():
        try:
            status = file.stat()
        except OSError:  # another process has removed it
            continue
        if file.is_file():
            kept.append((status.st_mtime_ns, status.st_size, file))
    size = needed + sum(each[1] for each in kept)
    for _, freed, file in sorted(kept):
        if size <= MAX_CACHE:
            return
        file.unlink(missing_ok=True)
        size -= freed
