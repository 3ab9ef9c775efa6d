"""URLs that clients send: what is refused before a byte leaves this machine, and what is fetched, how far and how long.

Addresses outside this machine are never dialled: where a test needs one, `wired` leads it to a server on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpcore2
import PIL.Image
import pytest
from tests.support.waiting import HANG

from polylens.errors import InputError
from polylens.server.intake import fetching
from polylens.server.intake.addresses import is_public, normal_host, parse_url, shown
from polylens.server.intake.fetching import Fetcher, Resolve, resolve_host
from polylens.server.settings import FetchPolicy

T = TypeVar("T")
Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]

PUBLIC = "93.184.215.14"
IMAGES = ("image/",)

LOOPBACK_SPELLINGS = """
    127.0.0.1 127.1 127.0.1 2130706433 0177.0.0.1 017700000001 0x7f.1 0x7f000001 0X7F.0.0.1 127.0.0.1. 0x7f.0.0x0.0x1
    １２７.０.０.１ 127。0。0。1 127．0．0．1 ①②⑦.⓪.⓪.① 127.0.0.\u00ad1 0 0.0.0.0 127.255.255.254
    [::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:0:127.0.0.1]
    [2002:7f00:1::] [2001:0:7f00:1::] [64:ff9b::127.0.0.1] [64:ff9b:1::7f00:1]
    localhost LOCALHOST localhost. ｌocalhost intern.example
""".split()  # noqa: SIM905
MALFORMED_HOSTS = """
    %31%32%37.0.0.1 127%2e0.0.1 [fe80::1%25eth0] [fe80::1%eth0] [::1 ::1 [127.0.0.1] [] 08.0.0.1 256.1.1.1 1.2.3.4.5
    127.0.0.1.. a..example .example 1.2.3.0x100 0x1ffffffff a.0x1 user@127.0.0.1 user:pw@127.0.0.1 @127.0.0.1
    [::1]x x[::1] ĿOCALHOST -a.example a_b-.example a*b.example xn--a.é
""".split()  # noqa: SIM905
PRIVATE_ADDRESSES = """
    10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.53 169.254.169.254 169.254.0.1 100.64.0.1 100.127.255.255
    100.100.100.200 168.63.129.16 0.1.2.3 192.0.0.192 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9
    192.88.99.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::10.0.0.1 ::8.8.8.8 fc00::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1
    100::1 2001:db8::1 3fff::1 2001::1 2001:0:a00:1::1 2001:2::1 2001:10::1 2001:20::1 2002:a00:1::1 2002:808:808::1
    64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 64:ff9b:1::808:808 4000::1 5f00::1
    fe80::1%eth0 2606:4700::1111%eth0 1.1.1.1.example nonsense
""".split()  # noqa: SIM905
PUBLIC_ADDRESSES = """
    1.1.1.1 8.8.8.8 93.184.215.14 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0
    169.253.255.255 192.0.1.1 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 126.255.255.255 128.0.0.1
    2606:4700:4700::1111 2a00:1450:4001:81b::200e 2001:4860:4860::8888 2001:200::1 64:ff9b::8.8.8.8
""".split()  # noqa: SIM905


class Served:
    """A small server on this machine that counts who comes."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections = 0
        self.paths: list[str] = []
        self.heads: list[str] = []
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            self.paths.append(head.split()[1])
            await self.handler(self.paths[-1], writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def served(answer: bytes | Handler = b"", *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    async def plain(path: str, writer: asyncio.StreamWriter) -> None:
        assert isinstance(answer, bytes)
        writer.write(answer)
        await writer.drain()

    canary = Served(plain if isinstance(answer, bytes) else answer)
    server = await asyncio.start_server(canary, "127.0.0.1", 0, ssl=tls)
    canary.port = server.sockets[0].getsockname()[1]
    try:
        yield canary
    finally:
        server.close()
        await server.wait_closed()


def answer(body: bytes = b"", *, status: str = "200 OK", length: bool = True, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status=status, Location=location)


def png() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (3, 2), "red").save(file, "PNG")
    return file.getvalue()


def answers(*addresses: str) -> Resolve:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


async def fetch(
    url: str, policy: FetchPolicy, *, resolve: Resolve | None = None, kinds: tuple[str, ...] = IMAGES
) -> bytes:
    fetcher = Fetcher(policy, resolve=resolve)
    try:
        return await fetcher.fetch(url, kinds=kinds)
    finally:
        await fetcher.close()


def run(scenario: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(scenario, 30))


def public(**options: Any) -> FetchPolicy:
    return FetchPolicy(mode="public", **options)


def allow(*hosts: str, **options: Any) -> FetchPolicy:
    return FetchPolicy(mode="allow", allowed_hosts=frozenset(hosts or {"127.0.0.1"}), **options)


def error_of(answer: bytes | Handler, policy: FetchPolicy | None = None, **options: Any) -> str:
    """What is said of a server's answer."""

    async def scenario() -> str:
        async with served(answer) as server:
            with pytest.raises(InputError) as caught:
                await fetch(server.url("/a?token=secret"), policy or allow(), **options)
            return str(caught.value)

    return run(scenario())


class Wire:
    """Notes what is dialled, and leads it to a port of this machine."""

    def __init__(self) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.ports: dict[int, int] = {}
        self.dead: set[str] = set()


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire, connect = Wire(), httpcore2.AnyIOBackend.connect_tcp

    async def connect_tcp(
        self: httpcore2.AnyIOBackend, host: str, port: int, timeout: float | None = None, **options: Any
    ) -> Any:
        wire.dialled.append((host, port))
        if host in wire.dead:
            raise httpcore2.ConnectError(f"no route to {host}")
        return await connect(self, "127.0.0.1", wire.ports.get(port, port), timeout, **options)

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect_tcp)
    return wire


class TestAddresses:
    @pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
    def test_not_public(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
    def test_public(self, address: str) -> None:
        assert is_public(address)

    @pytest.mark.parametrize(
        ("spelling", "meaning"),
        [
            ("EXAMPLE.org", "example.org"),
            ("example.org.", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER。example", "xn--bcher-kva.example"),
            ("ｅxample．org", "example.org"),
            ("my_host-1.example", "my_host-1.example"),
            ("134744072", "8.8.8.8"),
            ("0x8.010.8", "8.8.0.8"),
            ("1.example1", "1.example1"),
            ("[2606:4700:4700:0:0:0:0:1111]", "2606:4700:4700::1111"),
        ],
    )
    def test_one_spelling(self, spelling: str, meaning: str) -> None:
        assert normal_host(spelling) == meaning

    def test_path_and_query_are_encoded_and_the_fragment_goes(self) -> None:
        assert str(parse_url("http://a.example/é b".replace(" ", "%20") + "?q=ü&r=[1]#x")) == (
            "http://a.example/%C3%A9%20b?q=%C3%BC&r=%5B1%5D"
        )

    def test_the_authority_names_the_port_only_where_it_says_something(self) -> None:
        assert parse_url("https://a.example:443/").authority == "a.example"
        assert parse_url("http://[2606::1]:8080").authority == "[2606::1]:8080"

    def test_messages_show_no_secrets(self) -> None:
        assert shown("https://me:pass@h.example/p?key=1#f") == "'https://h.example/p'"
        assert shown("me:pass@h.example/p") == "'h.example/p'"
        assert len(shown("http://h.example/" + "x" * 9999)) == 82


class TestRefusedWithoutAConnection:
    @pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
    def test_every_spelling_of_this_machine(self, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> int:
            async with served(answer(png())) as canary:
                monkeypatch.setattr(fetching, "PUBLIC_PORTS", {canary.port})
                with pytest.raises(InputError, match=r"is not fetched: its host is not on the public internet$"):
                    await fetch(canary.url(host=host), public(), resolve=answers("127.0.0.1"))
                return canary.connections

        assert run(scenario()) == 0

    @pytest.mark.parametrize("host", MALFORMED_HOSTS)
    @pytest.mark.parametrize("policy", [public(), allow()], ids=["public", "allow"])
    def test_hosts_that_are_none(self, host: str, policy: FetchPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> int:
            async with served(answer(png())) as canary:
                monkeypatch.setattr(fetching, "PUBLIC_PORTS", {canary.port})
                with pytest.raises(InputError, match=r"percent|user name|IPv4|IPv6|host|well-formed"):
                    await fetch(canary.url(host=host), policy, resolve=answers("127.0.0.1"))
                return canary.connections

        assert run(scenario()) == 0

    @pytest.mark.parametrize("host", ["127%2e0.0.1", "[fe80::1%25eth0]"])
    def test_encoded_hosts_and_zones_are_named_as_such(self, host: str) -> None:
        with pytest.raises(InputError, match=r"has a percent sign \(an encoded letter or a zone\) in its host$"):
            run(fetch(f"http://{host}/", public()))

    @pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
    def test_names_of_private_addresses(self, address: str, wired: Wire) -> None:
        with pytest.raises(InputError) as caught:
            run(fetch("http://a.example/x", public(), resolve=answers(PUBLIC, address)))
        assert not wired.dialled
        assert address not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        ["file:///etc/passwd", "/etc/passwd", "a.png", "", "http:a/b", "ftp://a.example/x", "data:,x",
         "http:///x", "//a.example/x", "gopher://a.example", "unix:/x", "http:\\\\127.0.0.1/", "http://a.example\\@b/",
         "http://a.example/x y", "http://a.exa\tmple/", "\x01http://a.example", "http://a.example:99999/",
         "http://a.example:0/", "http://a.example:8x/", "http://a.example:-1/", "http://a.example:８０/",
         "http://[::1]:80:80/", "http://a.example/" + "x" * 5000, "http://" + "a." * 200 + "example/"],
    )  # fmt: skip
    @pytest.mark.parametrize("policy", [public(), allow("a.example")], ids=["public", "allow"])
    def test_what_is_no_web_address(self, url: str, policy: FetchPolicy, wired: Wire) -> None:
        with pytest.raises(InputError):
            run(fetch(url, policy, resolve=answers(PUBLIC)))
        assert not wired.dialled

    @pytest.mark.parametrize("port", [1, 22, 25, 81, 6379, 8000, 9200, 65535])
    def test_ports_of_other_services(self, port: int, wired: Wire) -> None:
        with pytest.raises(InputError, match="its port must be one of 80, 443, 8080, 8443"):
            run(fetch(f"http://a.example:{port}/", public(), resolve=answers(PUBLIC)))
        assert not wired.dialled

    @pytest.mark.parametrize("failure", [socket.gaierror(-2, "Name or service not known"), TimeoutError(), None])
    def test_a_host_that_cannot_be_resolved(self, failure: OSError | None) -> None:
        async def resolve(host: str, port: int) -> list[str]:
            if failure:
                raise failure
            return []

        with pytest.raises(InputError, match=r"^'http://a.example/' is not fetched: its host cannot be resolved$"):
            run(fetch("http://a.example/", public(), resolve=resolve))

    def test_a_resolver_that_answers_with_a_name(self, wired: Wire) -> None:
        with pytest.raises(InputError, match="cannot be resolved"):
            run(fetch("http://a.example/", allow("a.example"), resolve=answers("b.example")))
        assert not wired.dialled

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://a.example/x.png", "file:///etc/passwd"])
    def test_mode_off(self, url: str, wired: Wire) -> None:
        with pytest.raises(InputError, match="fetches no URLs; send the bytes as a data URI or as base64"):
            run(fetch(url, FetchPolicy(mode="off", allowed_hosts=frozenset({"127.0.0.1"}))))
        assert not wired.dialled

    def test_credentials_are_not_repeated(self) -> None:
        with pytest.raises(InputError) as caught:
            run(fetch("http://me:pa55@a.example/x?key=k3y", public()))
        assert str(caught.value) == "'http://a.example/x' contains a user name or password; leave them out"


class TestPublic:
    def test_the_address_that_was_judged_is_dialled(self, wired: Wire) -> None:
        asked: list[tuple[str, int]] = []

        async def rebinding(host: str, port: int) -> list[str]:
            asked.append((host, port))
            return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

        async def scenario() -> bytes:
            async with served(answer(png())) as server:
                wired.ports[80] = server.port
                body = await fetch("http://Rebind.example./x", public(), resolve=rebinding)
                assert "Host: rebind.example\r\n" in server.heads[0]
                return body

        assert run(scenario()) == png()
        assert asked == [("rebind.example", 80)]
        assert wired.dialled == [(PUBLIC, 80)]

    def test_a_second_fetch_is_judged_anew(self, wired: Wire) -> None:
        addresses = iter([[PUBLIC], ["127.0.0.1"]])

        async def stays_open(path: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(png()))
            await asyncio.sleep(0.5)

        async def rebinding(host: str, port: int) -> list[str]:
            return next(addresses)

        async def scenario() -> None:
            async with served(stays_open) as server:
                wired.ports[80] = server.port
                fetcher = Fetcher(public(), resolve=rebinding)
                await fetcher.fetch("http://a.example/x", kinds=IMAGES)
                with pytest.raises(InputError, match="not on the public internet"):
                    await fetcher.fetch("http://a.example/x", kinds=IMAGES)
                await fetcher.close()

        run(scenario())
        assert wired.dialled == [(PUBLIC, 80)]

    def test_the_next_address_where_one_does_not_answer(self, wired: Wire) -> None:
        async def scenario() -> bytes:
            async with served(answer(png())) as server:
                wired.ports[8080] = server.port
                wired.dead.add("2606:4700::1")
                return await fetch("http://a.example:8080/", public(), resolve=answers("2606:4700::1", PUBLIC))

        assert run(scenario()) == png()
        assert wired.dialled == [("2606:4700::1", 8080), (PUBLIC, 8080)]

    def test_an_allow_list_opens_nothing_here(self) -> None:
        policy = FetchPolicy(mode="public", allowed_hosts=frozenset({"127.0.0.1"}))
        with pytest.raises(InputError, match="not on the public internet"):
            run(fetch("http://127.0.0.1:8080/", policy))

    def test_proxies_of_the_environment_are_ignored(self, wired: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> tuple[int, int]:
            async with served(answer(png())) as server, served(answer(b"proxied")) as proxy:
                for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
                    monkeypatch.setenv(name, proxy.url())
                wired.ports[80] = server.port
                assert await fetch("http://a.example/", public(), resolve=answers(PUBLIC)) == png()
                return server.connections, proxy.connections

        assert run(scenario()) == (1, 0)

    def test_netrc_is_ignored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

        async def scenario() -> str:
            async with served(answer(png())) as server:
                await fetch(server.url(), allow())
                return server.heads[0]

        assert "authorization" not in run(scenario()).lower()

    def test_the_system_is_asked_by_default(self) -> None:
        assert run(resolve_host("127.0.0.1", 80)) == ["127.0.0.1"]


class TestAllowed:
    def test_a_png_of_a_listed_host_and_port(self) -> None:
        async def scenario() -> bytes:
            async with served(answer(png(), Content_Type="image/png")) as server:
                body = await fetch(server.url("/a.png?x=1"), allow(f"127.0.0.1:{server.port}"))
                assert server.heads[0].startswith(f"GET /a.png?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n")
                return body

        assert PIL.Image.open(io.BytesIO(run(scenario()))).size == (3, 2)

    def test_a_name_of_a_private_address(self) -> None:
        async def scenario() -> bytes:
            async with served(answer(png())) as server:
                policy = allow("*.intern.example")
                return await fetch(server.url(host="A.B.Intern.example"), policy, resolve=answers("127.0.0.1"))

        assert run(scenario()) == png()

    def test_another_spelling_of_a_listed_address_means_the_same(self) -> None:
        async def scenario() -> bytes:
            async with served(answer(png())) as server:
                return await fetch(server.url(host="0x7f.1"), allow())

        assert run(scenario()) == png()

    @pytest.mark.parametrize(
        ("entry", "url"),
        [
            ("a.example", "http://b.example/"),
            ("a.example", "http://x.a.example/"),
            ("a.example", "http://a.example.b.example/"),
            ("a.example:8080", "http://a.example/"),
            ("a.example:80", "https://a.example/"),
            ("*.a.example", "http://a.example/"),
            ("*.a.example", "http://ba.example/"),
            ("*.a.example:81", "http://b.a.example/"),
            ("*.0.0.1", "http://127.0.0.1/"),
            ("a.example", f"http://{PUBLIC}/"),
            ("[::1]:80", "http://[::1]:81/"),
        ],
    )
    def test_what_is_not_listed(self, entry: str, url: str, wired: Wire) -> None:
        with pytest.raises(InputError, match="its host is not one that this server allows"):
            run(fetch(url, allow(entry), resolve=answers(PUBLIC)))
        assert not wired.dialled

    @pytest.mark.parametrize("entry", ["A.example", "http://a.example", "a.example/", "", "*", "::1", "a.example:x"])
    def test_an_entry_that_could_never_match(self, entry: str) -> None:
        with pytest.raises(InputError, match="an allowed host is a host or host:port in lower case"):
            allow(entry)


class TestRedirects:
    def follow(self, *locations: str, policy: FetchPolicy | None = None, first: str = "/0") -> tuple[bytes, list[str]]:
        """Fetch from a server that redirects /0 to the first location, /1 to the second and so on, then gives a PNG."""

        async def handler(path: str, writer: asyncio.StreamWriter) -> None:
            step = int(path[1:])
            writer.write(redirect(locations[step]) if step < len(locations) else answer(png()))

        async def scenario() -> tuple[bytes, list[str]]:
            async with served(handler) as server:
                body = await fetch(server.url(first), policy or allow(f"127.0.0.1:{server.port}"))
                return body, server.paths

        return run(scenario())

    def test_three_are_followed(self) -> None:
        assert self.follow("/1", "2", "./3") == (png(), ["/0", "/1", "/2", "/3"])

    def test_a_fourth_is_not(self) -> None:
        with pytest.raises(InputError, match="redirects more than 3 times"):
            self.follow("/1", "/2", "/3", "/4")

    def test_a_loop(self) -> None:
        with pytest.raises(InputError, match="redirects more than 3 times"):
            self.follow("/0")

    @pytest.mark.parametrize("status", ["301 Moved", "303 See Other", "307 Temporary", "308 Permanent"])
    def test_every_kind(self, status: str) -> None:
        assert "redirects more than 3 times" in error_of(redirect("/", status))

    @pytest.mark.parametrize(
        "location",
        ["file:///etc/passwd", "ftp://127.0.0.1/", "http://10.0.0.1/", "http://other.example/", "//other.example/x",
         "http://me:pw@127.0.0.1/", "http://127.0.0.1:1/", "\\\\other.example/", "http://[::1/"],
    )  # fmt: skip
    def test_to_what_is_not_allowed(self, location: str) -> None:
        with pytest.raises(InputError):
            self.follow(location)

    def test_without_a_location(self) -> None:
        assert "redirects without a location, or with several" in error_of(answer(status="302 Found"))

    @pytest.mark.parametrize("location", ["http://127.0.0.1:8080/", "http://0x7f.1/", "http://[::1]/", "http://169.254.169.254/",
                                          "http://intern.example/", "https://intern.example/"])  # fmt: skip
    def test_from_a_public_host_to_a_private_one(self, location: str, wired: Wire) -> None:
        async def resolve(host: str, port: int) -> list[str]:
            return ["10.0.0.1"] if host == "intern.example" else [PUBLIC]

        async def scenario() -> int:
            async with served(redirect(location)) as server, served(answer(png())) as canary:
                wired.ports = {80: server.port, 8080: canary.port, 443: canary.port}
                with pytest.raises(InputError, match="not on the public internet"):
                    await fetch("http://a.example/", public(), resolve=resolve)
                return canary.connections

        assert run(scenario()) == 0
        assert wired.dialled == [(PUBLIC, 80)]

    def test_to_another_port_of_a_public_host(self, wired: Wire) -> None:
        async def scenario() -> None:
            async with served(redirect("http://a.example:6379/")) as server:
                wired.ports[80] = server.port
                with pytest.raises(InputError, match="its port must be one of"):
                    await fetch("http://a.example/", public(), resolve=answers(PUBLIC))

        run(scenario())


async def drip(path: str, writer: asyncio.StreamWriter) -> None:
    """Single bytes, for ever, and never a pause that is long."""
    writer.write(answer(length=False))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(path: str, writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    await asyncio.sleep(1.0)


class TestLimits:
    @pytest.mark.parametrize("handler", [drip, silence])
    def test_time(self, handler: Handler) -> None:
        said = error_of(handler, allow(timeout=0.3))  # where it is not held to, `drip` never ends
        assert said.startswith("'http://127.0.0.1:") and said.endswith("/a' did not finish within 0.3 s")

    def test_time_of_a_resolver(self) -> None:
        async def slow(host: str, port: int) -> list[str]:
            await asyncio.sleep(20)
            return []

        with pytest.raises(InputError, match=r"did not finish within 0\.1 s"):
            run(fetch("http://a.example/", public(timeout=0.1), resolve=slow))

    def test_time_of_all_redirects_together(self) -> None:
        async def handler(path: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.2)
            writer.write(redirect("/"))

        assert "did not finish within 0.5 s" in error_of(handler, allow(timeout=0.5, max_redirects=50))

    def test_fetches_that_ran_out_of_time_hold_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetching, "MAX_CONNECTIONS", 2)

        async def handler(path: str, writer: asyncio.StreamWriter) -> None:
            await (drip(path, writer) if path == "/slow" else asyncio.sleep(0))
            writer.write(answer(png()))

        async def scenario() -> bytes:
            async with served(handler) as server:
                fetcher = Fetcher(allow(timeout=0.2))
                patient = replace(fetcher._policy, timeout=HANG)
                slow = (fetcher.fetch(server.url("/slow"), kinds=IMAGES) for _ in range(6))
                outcomes = await asyncio.gather(*slow, return_exceptions=True)
                assert all(isinstance(outcome, InputError) for outcome in outcomes)
                monkeypatch.setattr(fetcher, "_policy", patient)  # a good fetch may take longer on a busy machine
                body = await fetcher.fetch(server.url("/"), kinds=IMAGES)
                await fetcher.close()
                return body

        assert run(scenario()) == png()

    @pytest.mark.parametrize("length", [True, False])
    def test_bytes(self, length: bool) -> None:
        async def scenario(size: int) -> bytes:
            async with served(answer(b"x" * size, length=length)) as server:
                return await fetch(server.url(), allow(max_bytes=1000))

        assert len(run(scenario(1000))) == 1000
        with pytest.raises(InputError, match="answers with more than 1,000 bytes"):
            run(scenario(1001))

    def test_an_announced_length_is_believed_before_the_body_comes(self) -> None:
        async def handler(path: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(length=False, Content_Length="2000"))
            await silence(path, writer)

        assert error_of(handler, allow(max_bytes=1000, timeout=HANG)).endswith("answers with more than 1,000 bytes")

    def test_endless_chunks(self) -> None:
        async def handler(path: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(length=False, Transfer_Encoding="chunked"))
            while True:
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await writer.drain()

        assert error_of(handler, allow(max_bytes=100_000)).endswith("answers with more than 100,000 bytes")


class TestAnswers:
    @pytest.mark.parametrize("kind", ["image/png", "IMAGE/JPEG; charset=x", "application/octet-stream", "", " "])
    def test_kinds_that_pass(self, kind: str) -> None:
        async def scenario() -> bytes:
            async with served(answer(png(), Content_Type=kind) if kind else answer(png())) as server:
                body = await fetch(server.url(), allow())
                assert "accept: image/*\r\n" in server.heads[0].lower()
                assert "accept-encoding: identity\r\n" in server.heads[0].lower()
                return body

        assert run(scenario()) == png()

    @pytest.mark.parametrize("kind", ["text/html", "application/json", "application/pdf", "ximage/png"])
    def test_kinds_that_do_not(self, kind: str) -> None:
        said = error_of(answer(b"secret body", Content_Type=kind))
        assert said.endswith(f"/a' is {kind!r}, expected image/")
        assert "secret" not in said

    def test_other_kinds_where_they_are_asked_for(self) -> None:
        async def scenario() -> bytes:
            async with served(answer(b"%PDF-", Content_Type="application/pdf")) as server:
                return await fetch(server.url(), allow(), kinds=("application/pdf",))

        assert run(scenario()) == b"%PDF-"

    def test_a_type_that_is_said_twice(self) -> None:
        raw = answer(b"x", content_type="text/html", Content_Type="image/png")
        assert "is 'text/html'" in error_of(raw)

    @pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
    def test_compressed(self, encoding: str) -> None:
        assert "answers with compressed data" in error_of(answer(gzip.compress(png()), Content_Encoding=encoding))

    @pytest.mark.parametrize("status", ["404 Secret words", "500 Oh", "204 No Content", "206 Partial Content", "304 x"])
    def test_status(self, status: str) -> None:
        said = error_of(answer(status=status))
        assert said.endswith(f"/a' answers with status {status[:3]}")

    @pytest.mark.parametrize(
        "raw", [b"SSH-2.0-OpenSSH_9.6\r\n", b"", answer(length=False, Content_Length="9") + b"abc"]
    )
    def test_what_is_not_whole_or_not_http(self, raw: bytes) -> None:
        said = error_of(raw)
        assert said.endswith("/a' cannot be fetched: its response is incomplete or not HTTP")

    def test_nobody_listens(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://inner.example:{unused.getsockname()[1]}/"
            with pytest.raises(InputError) as caught:
                run(fetch(url, allow("inner.example"), resolve=answers("127.0.0.1")))
        assert str(caught.value) == f"{url!r} cannot be fetched: no connection to its host could be made"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for pictures.example, and its key."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=DNS:pictures.example", "-keyout", str(key), "-out", str(certificate)]
    usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run([*command.split(), *names, *usage], check=True, capture_output=True, timeout=HANG)
    return certificate, key


class TestTls:
    def fetch(self, url: str, certificate: tuple[Path, Path], wired: Wire, raw: bytes) -> tuple[bytes, list[str]]:
        """Fetch from a TLS server behind the public address; the names that it was asked for come along."""
        names: list[str] = []
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
        tls.sni_callback = lambda _socket, name, _context: names.append(name)

        async def scenario() -> bytes:
            async with served(raw, tls=tls) as server, served(answer(png())) as plain:
                wired.ports = {443: server.port, 80: plain.port}
                return await fetch(url, public(), resolve=answers(PUBLIC))

        return run(scenario()), names

    def test_the_name_is_verified_though_an_address_is_dialled(
        self, certificate: tuple[Path, Path], wired: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        body, names = self.fetch("https://pictures.example/a", certificate, wired, answer(png()))
        assert (body, names) == (png(), ["pictures.example"])
        assert wired.dialled == [(PUBLIC, 443)]

    def test_a_certificate_of_another_name(
        self, certificate: tuple[Path, Path], wired: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with pytest.raises(InputError, match="its certificate or encryption is not accepted"):
            self.fetch("https://other.example/a", certificate, wired, answer(png()))

    def test_a_certificate_that_nobody_vouches_for(self, certificate: tuple[Path, Path], wired: Wire) -> None:
        with pytest.raises(InputError, match="its certificate or encryption is not accepted"):
            self.fetch("https://pictures.example/a", certificate, wired, answer(png()))

    def test_a_redirect_from_https_to_http(
        self, certificate: tuple[Path, Path], wired: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with pytest.raises(InputError, match="redirects from https to http"):
            self.fetch("https://pictures.example/", certificate, wired, redirect("http://pictures.example/"))
        assert wired.dialled == [(PUBLIC, 443)]

    def test_a_redirect_from_http_to_https(
        self, certificate: tuple[Path, Path], wired: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

        async def scenario() -> bytes:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            async with served(answer(png()), tls=tls) as secure, served(redirect("https://pictures.example/")) as plain:
                wired.ports = {443: secure.port, 80: plain.port}
                return await fetch("http://pictures.example/", public(), resolve=answers(PUBLIC))

        assert run(scenario()) == png()
