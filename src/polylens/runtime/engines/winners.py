"""Which engine a measurement found to be the fastest for a model on this machine, kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from polylens.atomic import write_beside

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True, slots=True)
class WinnerKey:
    """What a measurement depends on. Another model, processor, version or number format needs one of its own."""

    fingerprint: str
    """That of the checkpoint."""
    dtype: str
    processor: str
    versions: tuple[tuple[str, str | None], ...]
    """Package -> version, None where it is missing."""

    @classmethod
    def here(cls, fingerprint: str, dtype: str) -> WinnerKey:
        """Returns the key of a model on this machine as it is."""
        versions = tuple((package, _version(package)) for package in ("torch", "openvino", "polylens"))
        return cls(fingerprint=fingerprint, dtype=dtype, processor=processor_name(), versions=versions)

    @property
    def file(self) -> str:
        """The path of its file, below the cache folder."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]
        return f"engines/{self.fingerprint}-{digest}.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Winner:
    """The fastest engine of a measurement."""

    engine: str
    date: str
    """Day of the measurement, as 2026-11-30."""
    figures: str
    """What was measured, in words, for a log."""


def read_winner(cache_folder: Path, key: WinnerKey) -> Winner | None:
    """Returns what was measured; None where nothing was, or where the file is broken."""
    try:
        return Winner(**json.loads((cache_folder / key.file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_winner(cache_folder: Path, key: WinnerKey, winner: Winner) -> None:
    """Keeps what was measured; a folder that cannot be written costs only that."""
    path = cache_folder / key.file
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_beside(path) as beside:
            beside.write_text(json.dumps(asdict(winner)) + "\n", encoding="utf-8")


@cache
def processor_name() -> str:
    """Returns the name of the processor, as its maker or the system calls it."""
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
