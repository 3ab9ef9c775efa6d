"""Everything that can be set about a server.

`Settings` is the one source: each field has a flag of `polylens serve`, an environment variable `POLYLENS_...` and a
row in `docs/reference/settings.md`. Flags win over variables, variables win over defaults.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from polylens.caches import NO_HOME
from polylens.errors import InputError
from polylens.index.storage.opening import is_remote

PREFIX = "POLYLENS_"  # before the name of every environment variable

OTHER_VARIABLES = frozenset(
    {
        "POLYLENS_CACHE",
        "POLYLENS_DATABASE_SCHEMAS",
        "POLYLENS_DEPLOY_TOOLS",
        "POLYLENS_INDEX",
        "POLYLENS_INDEX_CACHE_GB",
        "POLYLENS_KEY",
        "POLYLENS_MODEL",
        "POLYLENS_SCREENSHOTS",
        "POLYLENS_TEST_HIDE",
        "POLYLENS_PEERS_ENV",
        "POLYLENS_POOL",
        "POLYLENS_RAY",
        "POLYLENS_REBUILD",
        "POLYLENS_VERBOSE",
        "POLYLENS_WEIGHTS",
        "POLYLENS_WRITE_DOCS",
    }
)
"""Variables with the prefix that are no settings of a server: the folder for what can be made again, those of
`polylens index`, the key in the search page's examples, and those of the tests."""

MB = 1024 * 1024
FETCH_SECONDS, FETCH_REDIRECTS = 20.0, 3

FetchMode = Literal["public", "allow", "off"]

_HOST = re.compile(r"(\*\.)?[a-z0-9_.-]+(:[0-9]+)?|\[[0-9a-f:.]+\](:[0-9]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchPolicy:
    """Which URLs the server fetches.

    Args:
        mode: "public": any host whose addresses are all public. "allow": only the listed hosts, whatever their
            addresses. "off": none.
        allowed_hosts: The hosts of mode "allow", in lower case: `host`, `host:port`, `*.example.org` for every name
            below example.org; IPv6 in brackets. Without a port, every port is allowed.

    Raises:
        InputError: An entry of `allowed_hosts` could never match.
    """

    mode: FetchMode
    allowed_hosts: frozenset[str] = frozenset()
    max_bytes: int = 20 * MB  # bytes of a response body
    timeout: float = FETCH_SECONDS  # seconds per URL, redirects included
    max_redirects: int = FETCH_REDIRECTS

    def __post_init__(self) -> None:
        for entry in sorted(self.allowed_hosts):
            if not _HOST.fullmatch(entry):
                raise InputError(
                    f"an allowed host is a host or host:port in lower case, such as 'img.example.org', "
                    f"'*.example.org' or '[::1]:8080'; got {entry!r}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of one request, and of one key per minute; `Settings` has the defaults."""

    body_bytes: int  # per request body
    inputs: int  # items per list
    input_tokens: int  # per text; a model may take fewer
    request_tokens: int  # per request, as the model sees them, images counted
    request_bytes: int  # for the body, fetched files and rendered pages of one request
    held_bytes: int  # the same for all requests under way
    image_bytes: int  # per image file
    image_pixels: int  # per image, read from its header
    pdf_pages: int  # per PDF
    pdf_seconds: float  # to render one PDF
    request_seconds: float  # from the whole request read to its response
    requests_per_minute: int | None  # per key; None sets no limit
    tokens_per_minute: int | None  # per key, as `usage` counts them


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How a setting is written by the person who sets it.

    Args:
        metavar: The word behind its flag in `--help`; the unit of a number.
        text: A description of its values; "" derives one from the type and the bounds.
        flag: The flag, where it is not the field's name: flags of lists are singular and may be repeated.
    """

    metavar: str
    text: str = ""
    flag: str = ""


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    """`PUBLISHED=NAME` texts as a mapping."""
    if isinstance(value, Mapping):
        return value
    pairs = [str(pair).partition("=") for pair in _split(value)]
    if any(not (published and name) for published, _, name in pairs):
        raise ValueError("a pair without a name on one side")
    return {published: name for published, _, name in pairs}


def _usable(hosts: frozenset[str]) -> frozenset[str]:
    return FetchPolicy(mode="allow", allowed_hosts=hosts).allowed_hosts


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # a user without a home; writing there raises an error that names the path
        return NO_HOME.joinpath(*path.parts[1:])


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Hosts = Annotated[frozenset[str], NoDecode, BeforeValidator(_split), AfterValidator(_usable)]
Pairs = Annotated[Mapping[str, str], NoDecode, BeforeValidator(_pairs), AfterValidator(MappingProxyType)]
HomePath = Annotated[Path, AfterValidator(_expanded)]
HomeOrBucket = Annotated[Path | str, BeforeValidator(lambda at: at if is_remote(at) else _expanded(Path(at)))]


def _set(default: Any, description: str, form: Form | str, **bounds: float) -> Any:
    form = Form(metavar=form) if isinstance(form, str) else form
    return Field(default=default, description=description, json_schema_extra={"form": form}, **bounds)  # type: ignore[call-overload]


class Settings(BaseSettings):
    """The settings of a server. They are immutable; what is not given is read from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", allow_inf_nan=False
    )

    models: Texts = _set(
        ("nano",),
        "Models to serve: names of `polylens models`, or folders. Where none is named, the model that the library's "
        "index was made with.",
        Form(metavar="NAME", flag="model"),
    )
    aliases: Pairs = _set(
        {},
        "Other names for served models.",
        Form(metavar="PUBLISHED=NAME", text="`PUBLISHED=NAME`, such as `jina-embeddings-v4=nano`", flag="alias"),
    )
    library: str | None = _set(
        None,
        "Folder to keep searchable, with a page to search it on; or s3://BUCKET/PREFIX, searched as it is.",
        "FOLDER",
    )
    ocr: str | None = _set(
        None,
        "Whether the words are read of the library's pages that are pictures only: auto (with what is installed), off, "
        "or ISO 639 codes such as de,ru. By default the setting of the index, or auto.",
        "auto|off|LANGS",
    )
    host: str = _set("127.0.0.1", "Address to listen on; 0.0.0.0 listens on all interfaces.", "ADDRESS")
    port: int = _set(8000, "TCP port to listen on; 0 takes any free one.", "NUMBER", ge=0, le=65535)
    lazy: bool = _set(False, "Load a model at its first request, not at start.", "true|false")
    device: str | None = _set(
        None, "Device to compute on: cpu, cuda, cuda:1. By default a GPU if there is one.", "DEVICE"
    )
    dtype: str | None = _set(
        None, "Number format of the weights: bfloat16, float32 or float16. By default what suits the device.", "NAME"
    )
    engine: str | None = _set(
        None,
        "What computes: torch, or openvino with its extra. By default what polylens bench found to be faster here.",
        "NAME",
    )
    quantization: str | None = _set(
        None,
        "int8 computes in 8-bit integers, int4 holds a decoder's weights in 4 bits; by the engine openvino. By default "
        "nothing is quantized.",
        "NAME",
    )
    workers: int = _set(1, "Worker processes per model; each loads its own copy.", "NUMBER", ge=1)
    threads: int | None = _set(
        None, "CPU threads per worker process. By default the workers share the cores.", "NUMBER", ge=1
    )
    batch_tokens: int | None = _set(
        None, "Tokens per forward pass. By default 512 on a CPU, 16384 on a GPU.", "TOKENS", ge=1
    )
    max_wait: float = _set(
        60.0, "Maximum work that may wait in a queue; a request that would wait longer is refused.", "SECONDS", ge=0
    )
    stall_seconds: float = _set(
        30.0, "Time beyond what a batch should take, after which its worker counts as hung.", "SECONDS", ge=0
    )
    cache_mb: int = _set(256, "Memory for finished vectors; 0 keeps none.", "MB", ge=0)
    keys: HomePath | None = _set(
        None, "File of API keys, made with `polylens key`. Without it anyone who reaches the server may use it.", "FILE"
    )
    classifiers: HomeOrBucket = _set(
        Path("~/.local/share/polylens/classifiers"),
        "Folder of trained classifiers, made when the first one is trained; s3://BUCKET/PREFIX for several servers.",
        "FOLDER",
    )
    batches: HomePath = _set(
        Path("~/.local/share/polylens/batches"),
        "Folder of the files and batches of OpenAI's interface, of one server at a time; made at the first upload.",
        "FOLDER",
    )
    batch_days: int = _set(30, "Time after which such files, and batches that ended, are deleted.", "DAYS", ge=1)
    max_batches_mb: int = _set(4_096, "Maximum disk for such files, answers included.", "MB", ge=1)
    cors_origins: Texts = _set(
        (), "Web origins whose pages may call the server from a browser.", Form(metavar="ORIGIN", flag="cors-origin")
    )
    fetch: FetchMode = _set(
        "public",
        "URLs of images and PDFs to fetch: on public addresses, on the hosts of `--fetch-host` only, or none.",
        "public|allow|off",
    )
    fetch_hosts: Hosts = _set(
        frozenset(),
        "Hosts to fetch from with `--fetch allow`, whatever their addresses.",
        Form(metavar="HOST", text="`host`, `host:port` or `*.host`, in lower case", flag="fetch-host"),
    )
    fetch_seconds: float = _set(FETCH_SECONDS, "Maximum time to fetch one URL, redirects included.", "SECONDS", gt=0)
    fetch_redirects: int = _set(FETCH_REDIRECTS, "Maximum redirects to follow per URL.", "NUMBER", ge=0)
    requests_per_minute: int | None = _set(
        None, "Maximum requests per minute and key. By default no limit.", "REQUESTS", ge=1
    )
    tokens_per_minute: int | None = _set(
        None, "Maximum tokens per minute and key, as `usage` counts them. By default no limit.", "TOKENS", ge=1
    )
    max_body_mb: int = _set(64, "Maximum size of a request body.", "MB", ge=1)
    max_inputs: int = _set(2_048, "Maximum items per list of a request.", "ITEMS", ge=1)
    max_text_tokens: int = _set(8_192, "Maximum tokens per text; a model may take fewer.", "TOKENS", ge=1)
    max_request_tokens: int = _set(
        600_000, "Maximum tokens per request as the model sees them, images counted.", "TOKENS", ge=1
    )
    max_request_mb: int = _set(
        512, "Maximum memory for the body, fetched files and rendered pages of one request.", "MB", ge=1
    )
    max_memory_mb: int = _set(2_048, "Maximum of the same memory for all requests under way.", "MB", ge=1)
    max_image_mb: int = _set(20, "Maximum size of an image or PDF file, sent or fetched.", "MB", ge=1)
    max_image_pixels: int = _set(64_000_000, "Maximum pixels per image, read from its header.", "PIXELS", ge=1)
    max_pdf_pages: int = _set(100, "Maximum pages per PDF.", "PAGES", ge=1)
    max_pdf_seconds: float = _set(60.0, "Maximum time to render one PDF, or to read one page or file.", "SECONDS", gt=0)
    max_request_seconds: float = _set(
        600.0, "Maximum time from the end of the request to its response.", "SECONDS", gt=0
    )

    @property
    def fetch_policy(self) -> FetchPolicy:
        """Which URLs are fetched."""
        return FetchPolicy(
            mode=self.fetch,
            allowed_hosts=self.fetch_hosts,
            max_bytes=self.max_image_mb * MB,
            timeout=self.fetch_seconds,
            max_redirects=self.fetch_redirects,
        )

    @property
    def limits(self) -> Limits:
        """What requests and keys may ask for."""
        return Limits(
            body_bytes=self.max_body_mb * MB,
            inputs=self.max_inputs,
            input_tokens=self.max_text_tokens,
            request_tokens=self.max_request_tokens,
            request_bytes=self.max_request_mb * MB,
            held_bytes=self.max_memory_mb * MB,
            image_bytes=self.max_image_mb * MB,
            image_pixels=self.max_image_pixels,
            pdf_pages=self.max_pdf_pages,
            pdf_seconds=self.max_pdf_seconds,
            request_seconds=self.max_request_seconds,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One field of `Settings`, as its flag, its variable and its row in the reference show it."""

    name: str
    field: FieldInfo
    form: Form

    @property
    def flag(self) -> str:
        return f"--{self.form.flag or self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def meaning(self) -> str:
        return self.field.description or ""

    @property
    def is_list(self) -> bool:
        """Whether the flag may be repeated; a variable separates the values by commas."""
        return bool(self.form.flag)

    @property
    def is_switch(self) -> bool:
        return self.field.annotation is bool

    @property
    def value(self) -> str:
        """What a value looks like."""
        if self.is_switch:
            return "`true` or `false`"
        if get_origin(self.field.annotation) is Literal:
            return f"one of {', '.join(f'`{each}`' for each in get_args(self.field.annotation))}"
        numbers = {int: "a whole number", float: "a number"}
        kinds = [numbers[kind] for kind in (self.field.annotation, *get_args(self.field.annotation)) if kind in numbers]
        if not kinds:
            return self.form.text or f"`{self.form.metavar}`"
        unit = self.form.metavar if self.form.metavar == "MB" else self.form.metavar.lower()
        return f"{kinds[0]}{'' if unit == 'number' else f' of {unit}'}{self._bounds()}"

    @property
    def default(self) -> str:
        """The default as it would be written; "" where there is none."""
        value = self.field.default
        if value in (None, (), frozenset(), {}):
            return ""
        if self.is_list:
            return ",".join(value)
        return str(value).lower() if self.is_switch else f"{value:g}" if isinstance(value, float) else str(value)

    def _bounds(self) -> str:
        low, high = (
            next((getattr(bound, side) for bound in self.field.metadata if hasattr(bound, side)), None)
            for side in ("ge", "le")
        )
        if high is not None:
            return f" from {low} to {high}"
        return " above 0" if low is None else f", at least {low}"


def all_settings() -> Iterator[Setting]:
    """Every setting, in the order of the class."""
    for name, field in Settings.model_fields.items():
        extra: Any = field.json_schema_extra
        yield Setting(name=name, field=field, form=extra["form"])


def read_settings(given: Mapping[str, Any]) -> Settings:
    """The settings of a server that is started from a command line.

    Args:
        given: The values of the flags that were given, by field; the environment and the defaults say the rest.

    Raises:
        InputError: A value cannot be used; the message names its flag or variable.
    """
    try:
        return Settings(**given)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False)[0]
        setting = next(each for each in all_settings() if each.name == first["loc"][0])
        by_flag = setting.name in given
        wrong = _wrong_entry(setting, first["input"]) if setting.is_list else first["input"]
        several = ", several separated by commas" if setting.is_list and not by_flag else ""
        raise InputError(
            f"{setting.flag if by_flag else setting.variable} must be {setting.value.replace('`', '')}{several}, "
            f"got {wrong!r}"
        ) from invalid


def _wrong_entry(setting: Setting, value: Any) -> Any:
    """The first entry of a list that cannot be used by itself; the whole value where all can."""
    for entry in _split(value):
        alone: dict[str, Any] = {setting.name: [entry]}
        try:
            Settings(**alone)
        except ValidationError as invalid:
            if any(error["loc"][0] == setting.name for error in invalid.errors()):
                return entry
    return value


def unknown_variables(names: Iterable[str]) -> dict[str, str]:
    """The variables among these that look like settings and are none, each with the one that it resembles most.

    Example:
        >>> unknown_variables(["POLYLENS_PROT", "POLYLENS_HOST", "PATH"])
        {'POLYLENS_PROT': 'POLYLENS_PORT'}
    """
    known = [setting.variable for setting in all_settings()]
    return {
        name: difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
        for name in sorted(names)
        if name.upper().startswith(PREFIX) and name.upper() not in {*known, *OTHER_VARIABLES}
    }


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name; only this one is known to stay here
        return host == "localhost"


def require_keys_for_others(settings: Settings) -> None:
    """Refuses a library that other machines could read without a key.

    Raises:
        InputError: There is a library, no file of keys, and an address that is not this machine's alone.
    """
    if settings.library is not None and settings.keys is None and not is_loopback(settings.host):
        raise InputError(
            f"--library on --host {settings.host} needs --keys: every page of every indexed file could be read from "
            "other machines. Make a key with `polylens key`, or listen on 127.0.0.1"
        )
