"""Images and PDFs from URLs that a client sent, without becoming the client's hand inside our network.

A host is resolved once. In mode "public" every address it has must be public, and the connection goes to an address
that was judged, never to the name again: between two questions a name server can change its answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable

import httpcore2

from polylens.errors import InputError
from polylens.server.intake.addresses import WebAddress, is_address, is_public, parse_url, shown
from polylens.server.settings import FetchPolicy

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port -> IP addresses, best first. Raises OSError where there are none."""

PUBLIC_PORTS = frozenset({80, 443, 8080, 8443})
"""Ports that mode "public" dials: others belong to services that are no web servers."""

CONNECT_TIMEOUT = 5.0
"""Seconds after which the next address of a host is tried."""

MAX_CONNECTIONS = 32
"""Fetches that run at once; more wait, within their own time."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HTTP_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError)


async def resolve_host(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host; an instance of `Resolve`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Fetcher:
    """Fetches URLs by one policy, for as long as the server runs.

    Args:
        policy: What may be fetched.
        resolve: Who says where a host is; the system unless told otherwise.
    """

    def __init__(self, policy: FetchPolicy, *, resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=0,  # an address is good for the fetch that it was judged for, and no longer
            network_backend=_JudgingBackend(resolve or resolve_host, only_public=policy.mode == "public"),
        )

    async def fetch(self, url: str, *, kinds: tuple[str, ...]) -> bytes:
        """Get what a URL holds.

        Args:
            url: http or https.
            kinds: Beginnings of the content types to accept, such as `("image/",)`. An answer without a type, or of
                type application/octet-stream, is accepted as well.

        Returns:
            The body of the answer, at most `max_bytes` long.

        Raises:
            InputError: The policy does not allow it, or it did not answer as it should.
        """
        if self._policy.mode == "off":
            raise InputError(
                f"{shown(url)} is not fetched: this server fetches no URLs; send the bytes as a data URI or as base64"
            )
        try:
            async with asyncio.timeout(self._policy.timeout):
                return await self._follow(url, kinds)
        except TimeoutError as error:
            raise InputError(f"{shown(url)} did not finish within {self._policy.timeout:g} s") from error

    async def close(self) -> None:
        """Let go of the connections."""
        await self._pool.aclose()

    async def _follow(self, url: str, kinds: tuple[str, ...]) -> bytes:
        address = parse_url(url)
        for _ in range(self._policy.max_redirects + 1):
            self._require_permitted(address)
            answer = await self._get(address, kinds)
            if isinstance(answer, bytes):
                return answer
            address = answer
        raise InputError(f"{shown(url)} redirects more than {self._policy.max_redirects} times")

    def _require_permitted(self, address: WebAddress) -> None:
        """Refuse what can be judged without asking a resolver."""
        if self._policy.mode == "allow":
            if self._policy.allowed_hosts.isdisjoint(_entries_for(address)):
                raise InputError(f"{shown(str(address))} is not fetched: its host is not one that this server allows")
        elif address.port not in PUBLIC_PORTS:
            ports = ", ".join(map(str, sorted(PUBLIC_PORTS)))
            raise InputError(f"{shown(str(address))} is not fetched: its port must be one of {ports}")

    async def _get(self, address: WebAddress, kinds: tuple[str, ...]) -> bytes | WebAddress:
        """One request: its body, or where it redirects to."""
        url = httpcore2.URL(scheme=address.scheme, host=address.host, port=address.port, target=address.target)
        headers: list[tuple[bytes | str, bytes | str]] = [
            ("Host", address.authority),
            ("User-Agent", "polylens"),
            ("Accept", ", ".join(f"{kind}*" if kind.endswith("/") else kind for kind in kinds)),
            ("Accept-Encoding", "identity"),
        ]
        try:
            async with self._pool.stream("GET", url, headers=headers) as response:
                if response.status in _REDIRECTS:
                    return _redirect_of(address, response)
                self._require_usable(response, kinds)
                return await self._read(response)
        except _Refusal as error:
            raise InputError(f"{shown(str(address))} {error}") from error
        except _HTTP_ERRORS as error:
            raise InputError(f"{shown(str(address))} cannot be fetched: {_reason(error)}") from error

    def _require_usable(self, response: httpcore2.Response, kinds: tuple[str, ...]) -> None:
        """Refuse by the head of an answer, before its body is read."""
        if response.status != 200:
            raise _Refusal(f"answers with status {response.status}")
        if any(encoding not in ("", "identity") for encoding in _header(response, b"content-encoding")):
            raise _Refusal("answers with compressed data, which was not asked for")
        for kind in _header(response, b"content-type"):
            media = kind.partition(";")[0].strip()
            if media and not media.startswith((*kinds, "application/octet-stream")):
                raise _Refusal(f"is {media[:60]!r}, expected {' or '.join(kinds)}")
        if any(int(length) > self._policy.max_bytes for length in _header(response, b"content-length")):
            raise self._too_long()

    async def _read(self, response: httpcore2.Response) -> bytes:
        received = bytearray()
        async for chunk in response.aiter_stream():
            received += chunk
            if len(received) > self._policy.max_bytes:
                raise self._too_long()
        return bytes(received)

    def _too_long(self) -> _Refusal:
        return _Refusal(f"answers with more than {self._policy.max_bytes:,} bytes")


class _Refusal(Exception):
    """Why an address is not fetched, to be said after its URL."""


class _JudgingBackend(httpcore2.AsyncNetworkBackend):
    """Dials hosts for the pool: resolves once, judges every address, connects to one of those it has judged."""

    def __init__(self, resolve: Resolve, *, only_public: bool) -> None:
        self._resolve = resolve
        self._only_public = only_public
        self._dialler = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # our callers limit the whole
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError("no address")
        for address in await self._judged(host, port):
            try:
                return await self._dialler.connect_tcp(
                    address, port, CONNECT_TIMEOUT, local_address=local_address, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _judged(self, host: str, port: int) -> list[str]:
        addresses = [host] if is_address(host) else await self._resolved(host, port)
        if self._only_public and not all(map(is_public, addresses)):
            raise _Refusal("is not fetched: its host is not on the public internet")
        return addresses

    async def _resolved(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise _Refusal("is not fetched: its host cannot be resolved") from error
        if not addresses or not all(map(is_address, addresses)):  # anything else would be resolved again
            raise _Refusal("is not fetched: its host cannot be resolved")
        return addresses


def _entries_for(address: WebAddress) -> set[str]:
    """Every entry of an allow list that would cover an address."""
    hosts = {address.bracketed_host}
    if not is_address(address.host):
        labels = address.host.split(".")
        hosts |= {"*." + ".".join(labels[start:]) for start in range(1, len(labels))}
    return hosts | {f"{host}:{address.port}" for host in hosts}


def _redirect_of(address: WebAddress, response: httpcore2.Response) -> WebAddress:
    locations = [value for name, value in response.headers if name.lower() == b"location"]
    if len(locations) != 1:
        raise _Refusal("redirects without saying where to")
    try:
        location = urllib.parse.urljoin(str(address), locations[0].decode("utf-8", "replace"))
    except ValueError as error:
        raise _Refusal("redirects to what is not a well-formed URL") from error
    target = parse_url(location)
    if address.scheme == "https" and target.scheme == "http":
        raise _Refusal("redirects from https to http")
    return target


def _header(response: httpcore2.Response, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in response.headers if key.lower() == name]


def _reason(error: Exception) -> str:
    """Why a connection failed, without its own words: they name the address that was dialled."""
    if any(isinstance(cause, ssl.SSLError) for cause in (error, *error.args)):
        return "its certificate or encryption is not accepted"
    if isinstance(error, (httpcore2.ConnectError, httpcore2.ConnectTimeout)):
        return "there is no connection to its host"
    if isinstance(error, httpcore2.ProtocolError):
        return "what it answers is not whole or not HTTP"
    return "the connection broke off"
