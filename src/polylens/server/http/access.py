"""Who may ask, and how much: API keys that lie hashed in a file, and what each may send in a minute.

Keys are random and long, so a plain SHA-256 of one says nothing about it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from polylens.errors import InputError, RateLimitError, UnauthorizedError

PREFIX = "pl_"
_LINE = re.compile(r"([0-9a-f]{64})\s+(\S+)")

ANYONE = "anyone"
"""Whose requests are where no key is asked for."""


def new_key() -> str:
    """A key that nobody has had before.

    Example:
        >>> len(new_key())
        46
    """
    return PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def add_key(path: Path, name: str) -> str:
    """Makes a key and adds its hash to a file, which is made if it is not there and is for its owner's eyes only.

    Args:
        path: The file, one `hash name` a line.
        name: Whose key it is; it stands in logs and metrics.

    Returns:
        The key, which is kept nowhere.

    Raises:
        InputError: The name has blanks in it or is there already.
    """
    if not re.fullmatch(r"\S{1,64}", name):
        raise InputError(f"a key's name must be 1 to 64 characters without blanks, got {name!r}")
    if path.exists() and name in read_keys(path).values():
        raise InputError(f"{path} has a key named {name!r} already; take another name, or remove its line first")
    key = new_key()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{hashed(key)} {name}\n")
    return key


def read_keys(path: Path) -> dict[str, str]:
    """Hash -> name of every key in a file.

    Raises:
        InputError: It cannot be read, or a line is no `hash name`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as unreadable:
        raise InputError(f"the file of keys {path} cannot be read: {unreadable}") from unreadable
    keys = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"line {number} of {path} must be a SHA-256 and a name; make keys with `polylens key`")
        keys[match[1]] = match[2]
    return keys


class Keys:
    """The keys of a server.

    Args:
        keys: Hash -> name; None lets anyone in.
    """

    def __init__(self, keys: dict[str, str] | None) -> None:
        self._keys = keys

    def owner(self, authorization: str | None) -> str:
        """Whose request it is.

        Args:
            authorization: The header of that name.

        Raises:
            UnauthorizedError: It brings no key, or none that is known.
        """
        if self._keys is None:
            return ANYONE
        if not authorization:
            raise UnauthorizedError(
                "Authentication required. Provide your API key via the Authorization header: "
                "'Authorization: Bearer <api-key>'.",
                code="AUTH_MISSING_API_KEY",
            )
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthorizedError(
                "Invalid authorization format. Use 'Authorization: Bearer <api-key>'.", code="AUTH_INVALID_FORMAT"
            )
        given, owner = hashed(key.strip()), None
        for (
            known,
            name,
        ) in self._keys.items():  # all of them, each in constant time: nothing is told by how long it took
            if hmac.compare_digest(known, given):
                owner = name
        if owner is None:
            raise UnauthorizedError("Invalid API key.", code="AUTH_INVALID_API_KEY")
        return owner


@dataclass(slots=True)
class Bucket:
    """So much a minute, and at most a minute's worth at once."""

    per_minute: float
    at: float  # seconds, when it was last looked at
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.per_minute

    def refill(self, now: float) -> None:
        self.left = min(self.per_minute, self.left + (now - self.at) * self.per_minute / 60)
        self.at = now

    def seconds_until(self, amount: float) -> float:
        """Until so much is there again; of more than a minute's worth, until the bucket is full."""
        return max(0.0, min(amount, self.per_minute) - self.left) * 60 / self.per_minute


class RateLimits:
    """What each owner may send in a minute.

    Args:
        requests: A minute; None sets no limit.
        tokens: A minute, as `usage` counts them; None sets no limit.
        clock: Seconds that only grow.
    """

    def __init__(self, requests: int | None, tokens: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests, self.tokens, self._clock = requests, tokens, clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def take_request(self, owner: str) -> None:
        """Counts a request before it is looked at.

        Raises:
            RateLimitError: It is one too many, or earlier ones have used up the tokens; `retry_after` says until when.
        """
        requests, tokens = self._bucket("requests", owner), self._bucket("tokens", owner)
        if tokens is not None and tokens.left <= 0:
            raise RateLimitError(
                f"Token rate limit exceeded: {tokens.per_minute - tokens.left:,.0f}/{tokens.per_minute:,.0f} "
                "tokens per minute. Reduce batch sizes.",
                retry_after=tokens.seconds_until(1),
                code="RATE_TOKEN_LIMIT_EXCEEDED",
            )
        if requests is not None and requests.left < 1:
            raise RateLimitError(
                f"Request rate limit exceeded: {requests.per_minute:.0f}/{requests.per_minute:.0f} requests "
                "per minute. Reduce request frequency.",
                retry_after=requests.seconds_until(1),
            )
        if requests is not None:
            requests.left -= 1

    def take_tokens(self, owner: str, tokens: int) -> None:
        """Counts what a request came to, known when it is done: the one after it waits if that was too much."""
        bucket = self._bucket("tokens", owner)
        if bucket is not None:
            bucket.left -= tokens

    def headers(self, owner: str) -> dict[str, str]:
        """The published headers, of those limits that there are."""
        names = (("requests", "X-RateLimit-Remaining-Requests"), ("tokens", "X-RateLimit-Remaining-Tokens"))
        buckets = [(header, self._bucket(kind, owner)) for kind, header in names]
        return {header: str(max(0, int(bucket.left))) for header, bucket in buckets if bucket is not None}

    def _bucket(self, kind: str, owner: str) -> Bucket | None:
        limit = self.requests if kind == "requests" else self.tokens
        if limit is None:
            return None
        now = self._clock()
        bucket = self._buckets.setdefault((kind, owner), Bucket(limit, now))
        bucket.refill(now)
        return bucket
