"""Who may use the server: API keys that lie hashed in a file, and sessions of the search page.

Keys are random and long, so a plain SHA-256 of one says nothing about it, and neither does the time that it takes to
find the hash in a dictionary.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from polylens.errors import InputError, UnauthorizedError

PREFIX = "pl_"
_LINE = re.compile(r"([0-9a-f]{64})\s+(\S+)")

ANYONE = "anyone"
"""The owner of all requests where no key is asked for."""

SESSION_SECONDS = 12 * 3600  # after its last use
MAX_SESSIONS = 1_000


def new_key() -> str:
    """A new random key.

    Example:
        >>> len(new_key())
        46
    """
    return PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """The hash that is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def add_key(path: Path, name: str) -> str:
    """Makes a key and adds its hash to a file. A file that is missing is made, readable by its owner only.

    Args:
        path: The file, one `hash name` per line.
        name: Name of the key in logs.

    Returns:
        The key, which is stored nowhere.

    Raises:
        InputError: The name contains blanks or is taken.
    """
    if not re.fullmatch(r"\S{1,64}", name):
        raise InputError(f"a key's name must be 1 to 64 characters without blanks, got {name!r}")
    if path.exists() and name in read_keys(path).values():
        raise InputError(f"{path} already has a key named {name!r}; choose another name, or remove its line first")
    key = new_key()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{hashed(key)} {name}\n")
    return key


def read_keys(path: Path) -> dict[str, str]:
    """Hash -> name of every key in a file.

    Raises:
        InputError: The file cannot be read, or a line is not `hash name`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"the file of keys {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the file of keys {path} is not UTF-8 text; make keys with `polylens key`") from error
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

    @property
    def required(self) -> bool:
        """Whether a request must bring a key."""
        return self._keys is not None

    def owner(self, authorization: str | None) -> str:
        """The name of the key that a request brings.

        Args:
            authorization: The `Authorization` header of the request.

        Raises:
            UnauthorizedError: The request brings no key, or an unknown one.
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
        owner = self._keys.get(hashed(key.strip()))
        if owner is None:
            raise UnauthorizedError("Invalid API key.", code="AUTH_INVALID_API_KEY")
        return owner


class Sessions:
    """Who has logged in to the search page, by the token in a cookie. They end with the process.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, tuple[str, float]] = {}  # token -> owner, when it ends

    def open(self, owner: str) -> str:
        """A new token for an owner; beyond `MAX_SESSIONS` the oldest ends."""
        now = self._clock()
        self._sessions = {token: each for token, each in self._sessions.items() if each[1] > now}
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_urlsafe(32)
        self._sessions[token] = owner, now + SESSION_SECONDS
        return token

    def owner(self, token: str | None) -> str | None:
        """The owner of a token, None if it is unknown or has ended. One that is used lives on."""
        now = self._clock()
        owner, ends = self._sessions.get(token or "", ("", 0.0))
        if token is None or ends <= now:
            return None
        self._sessions[token] = owner, now + SESSION_SECONDS
        return owner
