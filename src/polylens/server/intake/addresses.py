"""The host that an untrusted URL really points at. These are pure rules: nothing connects, nothing is resolved."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
import urllib.parse
from dataclasses import dataclass
from typing import Literal, cast

import idna

from polylens.errors import InputError

MAX_URL = 4096  # characters

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{0,5}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")

_NOT_PUBLIC_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata service of Alibaba Cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public number, but the platform's own service within Azure
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays to 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, benchmarks, ORCHID and other assignments of the IETF
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True, slots=True)
class WebAddress:
    """The parts of a URL, with its host in the one spelling that is judged and connected to."""

    scheme: Literal["http", "https"]
    host: str
    """A name in lower-case ASCII, or an IP address in its usual spelling; IPv6 without brackets."""
    port: int
    target: str
    """Path and query, as they are sent in the request."""

    @property
    def bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def authority(self) -> str:
        """The host, and the port where it is not the default of the scheme."""
        is_default = self.port == _DEFAULT_PORTS[self.scheme]
        return self.bracketed_host if is_default else f"{self.bracketed_host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(url: str) -> WebAddress:
    """Parses a URL.

    Args:
        url: Any text that a client sent, or the `Location` of a server's response.

    Returns:
        Its parts, with the host as `normal_host` spells it.

    Raises:
        InputError: The text is not a plain http or https URL, or its host is not valid.

    Example:
        >>> str(parse_url("HTTP://0x7f.1:8080/a?b#c"))
        'http://127.0.0.1:8080/a?b'
    """
    try:
        return _parse(url)
    except ValueError as error:
        raise InputError(f"{shown(url)} {error}") from error


def _parse(url: str) -> WebAddress:
    if len(url) > MAX_URL:
        raise ValueError(f"is longer than {MAX_URL:,} characters")
    if _FORBIDDEN.search(url):
        raise ValueError("contains a blank, a control character or a backslash; percent-encode it")
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise ValueError("is not a well-formed URL") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        raise ValueError("is not an http:// or https:// URL with a host")
    scheme = cast(Literal["http", "https"], parts.scheme)
    host, port = _split_authority(parts.netloc)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebAddress(
        scheme=scheme,
        host=normal_host(host),
        port=_DEFAULT_PORTS[scheme] if port is None else port,
        target=urllib.parse.quote(target, safe="/?%:@!$&'()*+,;=~"),
    )


def _split_authority(text: str) -> tuple[str, int | None]:
    if "@" in text:
        raise ValueError("contains a user name or password; leave them out")
    if "%" in text:
        raise ValueError("has a percent sign (an encoded letter or a zone) in its host")
    if not (match := _AUTHORITY.fullmatch(text)):
        raise ValueError("has no valid host, or no valid host and port")
    host, digits = match.groups()
    if digits and not 1 <= int(digits) <= 65535:
        raise ValueError("has a port outside 1 to 65535")
    return host, int(digits) if digits else None


def normal_host(text: str) -> str:
    """Normalises a host: full-width letters, IDNA, and octal, hexadecimal and short IPv4 addresses.

    Args:
        text: The host of a URL, IPv6 in brackets.

    Returns:
        A name in lower-case ASCII without a final dot, or an IP address in its usual spelling.

    Raises:
        ValueError: The host is neither a name nor an address.

    Example:
        >>> normal_host("0177.1"), normal_host("MÜNCHEN.example."), normal_host("[0:0::1]")
        ('127.0.0.1', 'xn--mnchen-3ya.example', '::1')
    """
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError as error:
            raise ValueError("has no IPv6 address between its brackets") from error
    name = _ascii_name(text).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # the system's resolver may take it for an address, so it must be one
        return str(_parse_v4(labels))
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has a host that is neither a name nor an address")
    return name


def _ascii_name(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).lower()
    if plain.isascii():
        return plain
    try:
        return idna.encode(plain, uts46=True).decode("ascii").lower()
    except UnicodeError as error:
        raise ValueError("has a host that is not a valid international name") from error


def _parse_v4(labels: list[str]) -> ipaddress.IPv4Address:
    """Parses as browsers and inet_aton do: up to four numbers, the last of which fills the remaining bytes."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        raise ValueError("has a host that ends like an IPv4 address and is not one")
    *heads, last = (_parse_number(label) for label in labels)
    room = 256 ** (4 - len(heads))
    if any(head > 255 for head in heads) or last >= room:
        raise ValueError("has an IPv4 address with a number that is too large")
    return ipaddress.IPv4Address(sum(head << (24 - 8 * index) for index, head in enumerate(heads)) + last)


def _parse_number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    try:
        return int(text, 8 if text.startswith("0") else 10)
    except ValueError as error:
        raise ValueError("has an IPv4 address with an invalid octal number") from error


def is_address(host: str) -> bool:
    """Whether a normalised host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and to nothing else.

    The tables are our own (the special-purpose registries of IANA, as of 2026), since those of `ipaddress` differ
    between versions of Python. Of IPv6 only global unicast counts. This excludes loopback, local, site-local and
    multicast addresses, and those that carry an IPv4 address (mapped, compatible, 6to4, Teredo). One such form is
    unwrapped and judged: NAT64, by which a network without IPv4 reaches the rest.

    Example:
        >>> is_public("1.1.1.1"), is_public("64:ff9b::101:101"), is_public("::ffff:1.1.1.1"), is_public("fd00:ec2::254")
        (True, True, False, False)
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:  # a zone: the address is valid only on one link of this machine
            return False
        if parsed not in _NAT64:
            return parsed in _GLOBAL_UNICAST and not any(parsed in network for network in _NOT_PUBLIC_V6)
        parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
    return not any(parsed in network for network in _NOT_PUBLIC_V4)


def shown(url: str) -> str:
    """A URL as messages show it: shortened, and without credentials, query and fragment.

    Example:
        >>> shown("https://me:secret@example.org/a?token=secret")
        "'https://example.org/a'"
    """
    head = re.split("[?#]", url[:MAX_URL], maxsplit=1)[0]
    head = re.sub(r"[^/\\]*@", "", head)
    return repr(head if len(head) <= 80 else head[:77] + "...")
