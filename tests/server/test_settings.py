"""The settings of a server: each has a flag, a variable and a row in the reference, and wrong ones are named."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.root import ROOT
from typer.main import get_command

from polylens.cli import app
from polylens.errors import InputError
from polylens.server import run
from polylens.server.settings import (
    OTHER_VARIABLES,
    FetchPolicy,
    Setting,
    Settings,
    all_settings,
    read_settings,
    unknown_variables,
)

PAGE = ROOT / "docs/reference/settings.md"
MARK = "<!-- from here on written by tests/server/test_settings.py -->\n"

SETTINGS = list(all_settings())

OTHER: dict[str, tuple[str, Any]] = {
    "models": ("nano, jina-clip-v2", ("nano", "jina-clip-v2")),
    "aliases": ("a=nano,b=nano", {"a": "nano", "b": "nano"}),
    "library": ("s3://papers/all", "s3://papers/all"),
    "ocr": ("de,ru", "de,ru"),
    "host": ("0.0.0.0", "0.0.0.0"),
    "lazy": ("true", True),
    "device": ("cuda:1", "cuda:1"),
    "dtype": ("float32", "float32"),
    "engine": ("openvino", "openvino"),
    "quantization": ("int8", "int8"),
    "keys": ("/etc/keys", Path("/etc/keys")),
    "classifiers": ("~/kept", Path.home() / "kept"),
    "batches": ("~/later", Path.home() / "later"),
    "cors_origins": ("https://a.example,https://b.example", ("https://a.example", "https://b.example")),
    "fetch": ("allow", "allow"),
    "fetch_hosts": ("a.example,[::1]:80", frozenset({"a.example", "[::1]:80"})),
}
"""Field -> a value as it is written, and as it is read. Numbers are not listed: 7 suits each of them."""

WRONG = {"aliases": "ab", "lazy": "perhaps", "fetch": "sometimes", "fetch_hosts": "A.EXAMPLE"}
"""Field -> a value that can be told to be wrong; of numbers it is a word."""


def other(setting: Setting) -> tuple[str, Any]:
    return OTHER.get(setting.name, ("7", 7))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)


@cache
def options() -> dict[str, Any]:
    """Flag -> the option of `polylens serve`."""
    group: Any = get_command(app)
    context = group.make_context("polylens", ["models"], resilient_parsing=True)
    command = group.commands["serve"]
    return {flag: option for option in command.get_params(context) for flag in option.opts}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
class TestEach:
    def test_has_a_meaning_a_flag_and_a_row(self, setting: Setting) -> None:
        assert setting.meaning.endswith(".")
        option = options()[setting.flag]
        assert setting.meaning in option.help and setting.variable in option.help
        assert f"| `{setting.name}` | `{setting.variable}` | `{setting.flag}` |" in PAGE.read_text(encoding="utf-8")

    def test_is_read_from_its_variable(self, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
        written, expected = other(setting)
        assert getattr(read_settings({}), setting.name) != expected
        monkeypatch.setenv(setting.variable, written)
        assert getattr(read_settings({}), setting.name) == expected
        monkeypatch.setenv(setting.variable, "")
        assert getattr(read_settings({}), setting.name) != expected

    def test_its_flag_reaches_it(self, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
        given: list[Settings] = []
        monkeypatch.setattr("polylens.server.run.run", given.append)
        monkeypatch.setattr("polylens.cli.serving.model_of", lambda _library: "nano")
        written, expected = other(setting)
        values = [part.strip() for part in written.split(",")] if setting.is_list else [written]
        arguments = [part for value in values for part in (setting.flag, value)]
        group: Any = get_command(app)
        group.main(["serve", *([setting.flag] if setting.is_switch else arguments)], standalone_mode=False)
        assert getattr(given[0], setting.name) == expected
        changed = {name for name in Settings.model_fields if getattr(given[0], name) != getattr(Settings(), name)}
        assert changed == {setting.name}


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [(each, "-1x") for each in SETTINGS if "number" in each.value]
    + [(each, WRONG[each.name]) for each in SETTINGS if each.name in WRONG],
    ids=lambda value: value.name if isinstance(value, Setting) else "",
)
def test_a_wrong_value_is_named_with_its_variable_or_flag(
    setting: Setting, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setting.variable, wrong)
    with pytest.raises(InputError, match=f"^{setting.variable} must be .*, got '{wrong}'$"):
        read_settings({})
    with pytest.raises(InputError, match=f"^{setting.flag} must be .*, got '{wrong}'$"):
        read_settings({setting.name: [wrong] if setting.is_list else wrong})


def test_the_wrong_entry_of_a_list_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^--fetch-host must be .*, got 'B\.EXAMPLE'$"):
        read_settings({"fetch_hosts": ["a.example", "B.EXAMPLE"]})
    monkeypatch.setenv("POLYLENS_WORKERS", "many")  # wrong as well, and no reason to blame the first host
    monkeypatch.setenv("POLYLENS_ALIASES", "a=nano,b")
    with pytest.raises(InputError, match=r"^POLYLENS_ALIASES must be .*, got 'b'$"):
        read_settings({"workers": "1"})


class TestOrder:
    def test_flags_win_over_variables_and_variables_over_defaults(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert read_settings({}).port == 8000
        monkeypatch.setenv("POLYLENS_PORT", "1")
        assert read_settings({}).port == 1
        assert read_settings({"port": "2"}).port == 2

    def test_they_cannot_be_changed(self) -> None:
        with pytest.raises(ValidationError):
            Settings().port = 1  # type: ignore[misc]
        with pytest.raises(TypeError):
            Settings(aliases={"a": "b"}).aliases["a"] = "c"  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "value"), [("port", "65536"), ("port", "-1"), ("workers", "0"), ("max_wait", "nan"), ("max_wait", "inf")]
)
def test_numbers_out_of_bounds(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"must be a .*number.*, got '{value}'"):
        read_settings({name: value})


def test_every_limit_and_every_part_of_the_fetch_policy_can_be_set() -> None:
    changed = Settings(**{setting.name: other(setting)[1] for setting in SETTINGS})
    for before, after in ((Settings().limits, changed.limits), (Settings().fetch_policy, changed.fetch_policy)):
        for field in fields(before):
            assert getattr(before, field.name) != getattr(after, field.name), field.name


def test_the_defaults_of_fetching_are_those_of_the_policy() -> None:
    assert Settings().fetch_policy == FetchPolicy(mode="public")


@pytest.mark.parametrize("command", [["serve"], ["open"]], ids=lambda command: command[0])
def test_a_wrong_variable_ends_the_command_with_one_line(command: list[str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "polylens.cli", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "POLYLENS_WORKERS": "many"},
    )
    assert ended.returncode == 2
    assert ended.stderr == "polylens: POLYLENS_WORKERS must be a whole number, at least 1, got 'many'\n"


VARIABLE = re.compile(r"\bPOLYLENS_[A-Z_]*[A-Z]\b")


def test_no_variable_of_the_project_is_unknown() -> None:
    places = [
        ROOT / "Makefile",
        *(path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".js")),
    ]
    used = {name for path in places for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    made_up = {"POLYLENS_API_KEYS", "POLYLENS_PROT"}
    assert set(unknown_variables(used)) == made_up
    assert set(OTHER_VARIABLES) < used


def test_an_unknown_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    models = SimpleNamespace(names=lambda: ["nano"])
    app = SimpleNamespace(state=SimpleNamespace(server=SimpleNamespace(models=models)))
    monkeypatch.setattr(run, "create_app", lambda _settings: app)
    monkeypatch.setattr(run, "_log_to_stderr", lambda _level: None)
    monkeypatch.setattr(run, "_Server", lambda _config: SimpleNamespace(serve=served))
    monkeypatch.setenv("POLYLENS_PROT", "8000")
    monkeypatch.setenv("POLYLENS_WEIGHTS", "weights")
    run.run(Settings(port=0))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["the variable POLYLENS_PROT is no setting and is ignored; the closest one is POLYLENS_PORT"]


async def served(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def test_other_commands_do_without_pydantic() -> None:
    code = "import sys; from polylens.cli import app; from typer.main import get_command; get_command(app); "
    ended = subprocess.run(
        [sys.executable, "-c", code + "print([name for name in ('pydantic', 'starlette') if name in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "[]\n"


READ_WHERE_THEY_ARE_USED = {"ocr": "POLYLENS_OCR", "engine": "POLYLENS_ENGINE"}
"""Options of `polylens index` whose variables count only where neither the option nor the index says anything."""


def of_index() -> str:
    """The rows of `polylens index`; each option must have a variable that a server does not take for a mistake."""
    group: Any = get_command(app)
    context = group.make_context("polylens", ["models"], resilient_parsing=True)
    rows = ["| variable | flag | value | meaning |\n|---|---|---|---|\n"]
    for option in group.commands["index"].get_params(context):
        if option.name == "help":
            continue
        variable = option.envvar or READ_WHERE_THEY_ARE_USED[option.name]
        assert unknown_variables([variable]) == {}
        is_argument = option.param_type_name == "argument"
        flag = "FOLDER" if is_argument else ", ".join(option.opts)
        value = "`true` or `false`" if getattr(option, "is_flag", False) else f"`{option.metavar or 'NAME'}`"
        value = "a whole number, at least 1" if option.name == "pool" else value
        rows.append(f"| `{variable}` | `{flag}` | {value} | {option.help} |\n")
    return "".join(rows)


def test_the_reference_is_what_the_settings_are() -> None:
    """POLYLENS_WRITE_DOCS=1 writes the page anew instead."""
    introduction, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    head = "| setting | variable | flag | value | default | meaning |\n|---|---|---|---|---|---|\n"
    rows = [
        f"| `{each.name}` | `{each.variable}` | `{each.flag}` | {each.value} | "
        f"{f'`{each.default}`' if each.default else ''} | {each.meaning} |\n"
        for each in SETTINGS
    ]
    current = f"{introduction}{mark}\n## polylens serve\n\n{head}{''.join(rows)}\n## polylens index\n\n{of_index()}"
    if os.environ.get("POLYLENS_WRITE_DOCS"):
        PAGE.write_text(current, encoding="utf-8")
    assert mark
    assert PAGE.read_text(encoding="utf-8") == current, (
        "run POLYLENS_WRITE_DOCS=1 .venv/bin/python -m pytest tests/server/test_settings.py tests/test_docs.py"
    )
