"""Everything that can be set about a server, with its unit; `polylens serve --help` shows the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from polylens.errors import InputError

_ENTRY = re.compile(r"(\*\.)?[a-z0-9_.-]+(:[0-9]+)?|\[[0-9a-f:.]+\](:[0-9]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchPolicy:
    """What may be fetched.

    Args:
        mode: "public": any host whose addresses are all public. "allow": the listed hosts and no others, whatever
            their addresses. "off": nothing.
        allowed_hosts: For mode "allow", in lower case: `host`, `host:port`, `*.example.org` for every name below
            example.org; IPv6 in brackets. Without a port, every port is allowed.

    Raises:
        InputError: An entry of `allowed_hosts` could never match.
    """

    mode: Literal["public", "allow", "off"]
    allowed_hosts: frozenset[str] = frozenset()
    max_bytes: int = 20 * 1024 * 1024  # bytes of an answer's body
    timeout: float = 20.0  # seconds for a URL altogether, redirects included
    max_redirects: int = 3

    def __post_init__(self) -> None:
        for entry in sorted(self.allowed_hosts):
            if not _ENTRY.fullmatch(entry):
                raise InputError(
                    f"an allowed host is a host or host:port in lower case, such as 'img.example.org', "
                    f"'*.example.org' or '[::1]:8080'; got {entry!r}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one request, and one key, may ask for."""

    body_bytes: int = 64 * 1024 * 1024  # of a request as it comes
    inputs: int = 2_048  # items in one list, as OpenAI's interface has it
    input_tokens: int = 8_192  # of one text, as the published interface has it; a model may take fewer
    request_tokens: int = 600_000  # that the model would see of one request, images counted
    request_bytes: int = 512 * 1024 * 1024  # of the body, fetched files and rendered pages of one request
    held_bytes: int = 2 * 1024 * 1024 * 1024  # likewise of all requests under way
    image_bytes: int = 20 * 1024 * 1024  # of one image file
    image_pixels: int = 64_000_000  # of one image, read from its header
    pdf_pages: int = 100
    pdf_seconds: float = 60.0  # to render one PDF
    request_seconds: float = 600.0  # from the whole request read to its answer
    requests_per_minute: int | None = None  # of one key; None sets no limit
    tokens_per_minute: int | None = None  # of one key, as `usage` counts them


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a server runs."""

    models: tuple[str, ...] = ("nano",)  # names of the catalog or folders; the first one is the default
    aliases: Mapping[str, str] = field(default_factory=dict)  # published name -> one of `models`
    library: str | Path | None = None  # folder, or s3:// address, that the search page searches; None has no page
    host: str = "127.0.0.1"  # address that it listens on
    port: int = 8000  # 0 takes any free one
    lazy: bool = False  # load a model when it is first asked for, not at start
    device: str | None = None
    dtype: str | None = None
    workers: int = 1  # processes a model, each with its own copy of the weights
    threads: int | None = None  # of each process; None shares the cores among the workers
    batch_tokens: int | None = None  # of one forward pass; None goes by the device
    max_wait: float = 60.0  # seconds of work that may wait in a queue before requests are refused
    stall_seconds: float = 30.0  # beyond what a batch should take, after which its worker counts as hung
    cache_bytes: int = 256 * 1024 * 1024  # of finished vectors; 0 keeps none
    keys: Path | None = None  # file of hashed API keys; None asks for none
    cors_origins: tuple[str, ...] = ()
    fetch: FetchPolicy = field(default_factory=lambda: FetchPolicy(mode="public"))
    classifiers: Path = field(default_factory=lambda: Path.home() / ".local/share/polylens/classifiers")
    limits: Limits = field(default_factory=Limits)
