"""Images and PDFs fetched from URLs that a client sent, without opening our own network to that client.

A host is resolved once. In mode "public" all its addresses must be public, and the connection goes to an address that
was judged, never to the name again: a name server can change its answer between two lookups.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import httpcore2

from polylens.errors import InputError
from polylens.server.intake.addresses import WebAddress, is_address, is_public, parse_url, shown
from polylens.server.settings import FetchPolicy

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Resolves host and port to IP addresses, best first. Raises OSError where there are none."""

PUBLIC_PORTS = frozenset({80, 443, 8080, 8443})
"""The ports that mode "public" connects to; others belong to services that are not web servers."""

CONNECT_TIMEOUT = 5.0
"""Seconds after which the next address of a host is tried."""

MAX_CONNECTIONS = 32
"""Fetches that run at once. More of them wait, and their timeout includes the wait."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HTTP_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError)


async def resolve_host(host: str, port: int) -> list[str]:
    """Resolves a host by the system's resolver; a function of type `Resolve`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL led to."""

    data: bytes
    url: str
    """The address that answered, after all redirects."""
    content_type: str
    """What the response says it is, in lower case, with its parameters; "" where it says nothing."""


class Fetcher:
    """Fetches URLs under one policy, for as long as the server runs.

    Args:
        policy: The URLs that may be fetched, and the limits.
        resolve: The function that resolves hosts; None is the system's resolver.
    """

    def __init__(self, policy: FetchPolicy, *, resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=0,  # an address was judged for one fetch only
            network_backend=_JudgingBackend(resolve or resolve_host, only_public=policy.mode == "public"),
        )

    async def fetch(self, url: str, *, kinds: tuple[str, ...]) -> bytes:
        """Fetches the content of a URL.

        Args:
            url: An http or https URL.
            kinds: Beginnings of the content types to accept, such as `("image/",)`. A response without a type, or of
                type application/octet-stream, is accepted as well.

        Returns:
            The body of the response, at most `max_bytes` long.

        Raises:
            InputError: The policy does not allow the URL, or the response cannot be used.
        """
        return (await self.fetch_whole(url, kinds=kinds)).data

    async def fetch_whole(self, url: str, *, kinds: tuple[str, ...]) -> Fetched:
        """Fetches the content of a URL, as `fetch` does, and says where it came from and what it is."""
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
        """Closes the connections."""
        await self._pool.aclose()

    async def _follow(self, url: str, kinds: tuple[str, ...]) -> Fetched:
        address = parse_url(url)
        for _ in range(self._policy.max_redirects + 1):
            self._require_permitted(address)
            found = await self._get(address, kinds)
            if isinstance(found, Fetched):
                return found
            address = found
        raise InputError(f"{shown(url)} redirects more than {self._policy.max_redirects} times")

    def _require_permitted(self, address: WebAddress) -> None:
        """Refuses what can be judged without a resolver."""
        if self._policy.mode == "allow":
            if self._policy.allowed_hosts.isdisjoint(_entries_for(address)):
                raise InputError(f"{shown(str(address))} is not fetched: its host is not one that this server allows")
        elif address.port not in PUBLIC_PORTS:
            ports = ", ".join(map(str, sorted(PUBLIC_PORTS)))
            raise InputError(f"{shown(str(address))} is not fetched: its port must be one of {ports}")

    async def _get(self, address: WebAddress, kinds: tuple[str, ...]) -> Fetched | WebAddress:
        """Sends one request, and returns the response or the address that it redirects to."""
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
                declared = next(iter(_header_values(response, b"content-type")), "")
                return Fetched(await self._read(response), str(address), declared)
        except _Refusal as error:
            raise InputError(f"{shown(str(address))} {error}") from error
        except _HTTP_ERRORS as error:
            raise InputError(f"{shown(str(address))} cannot be fetched: {_connection_failure(error)}") from error

    def _require_usable(self, response: httpcore2.Response, kinds: tuple[str, ...]) -> None:
        """Refuses a response by its head, before its body is read."""
        if response.status != 200:
            raise _Refusal(f"answers with status {response.status}")
        if any(encoding not in ("", "identity") for encoding in _header_values(response, b"content-encoding")):
            raise _Refusal("answers with compressed data, which was not asked for")
        for kind in _header_values(response, b"content-type"):
            media = kind.partition(";")[0].strip()
            if media and not media.startswith((*kinds, "application/octet-stream")):
                raise _Refusal(f"is {media[:60]!r}, expected {' or '.join(kinds)}")
        if any(int(length) > self._policy.max_bytes for length in _header_values(response, b"content-length")):
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
    """The reason why an address is not fetched, worded to follow its URL."""


class _JudgingBackend(httpcore2.AsyncNetworkBackend):
    """Connects the pool to hosts: resolves once, judges every address, and connects to one that it has judged."""

    def __init__(self, resolve: Resolve, *, only_public: bool) -> None:
        self._resolve = resolve
        self._only_public = only_public
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # our callers limit the whole fetch
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError("no address")
        for address in await self._judged(host, port):
            try:
                return await self._backend.connect_tcp(
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
    """All entries of an allow list that would match an address."""
    hosts = {address.bracketed_host}
    if not is_address(address.host):
        labels = address.host.split(".")
        hosts |= {"*." + ".".join(labels[start:]) for start in range(1, len(labels))}
    return hosts | {f"{host}:{address.port}" for host in hosts}


def _redirect_of(address: WebAddress, response: httpcore2.Response) -> WebAddress:
    locations = [value for name, value in response.headers if name.lower() == b"location"]
    if len(locations) != 1:
        raise _Refusal("redirects without a location, or with several")
    try:
        location = urllib.parse.urljoin(str(address), locations[0].decode("utf-8", "replace"))
    except ValueError as error:
        raise _Refusal("redirects to a URL that is not well-formed") from error
    target = parse_url(location)
    if address.scheme == "https" and target.scheme == "http":
        raise _Refusal("redirects from https to http")
    return target


def _header_values(response: httpcore2.Response, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in response.headers if key.lower() == name]


def _connection_failure(error: Exception) -> str:
    """The reason why a connection failed. The error's own words would reveal the address behind the host."""
    if any(isinstance(cause, ssl.SSLError) for cause in (error, *error.args)):
        return "its certificate or encryption is not accepted"
    if isinstance(error, (httpcore2.ConnectError, httpcore2.ConnectTimeout)):
        return "no connection to its host could be made"
    if isinstance(error, httpcore2.ProtocolError):
        return "its response is incomplete or not HTTP"
    return "the connection was lost"
