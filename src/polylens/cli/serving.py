"""The HTTP server, its search page and its keys."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from polylens.cli.app import app, model_of

if TYPE_CHECKING:
    from polylens.server.settings import Setting, Settings


class SettingsCommand(TyperCommand):
    """A command whose options are the settings of a server.

    They are looked up when the command runs or explains itself, so that no other command imports pydantic.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        if not self.params:
            made = typer.Typer(add_completion=False)
            made.command()(_with_options(_serve))
            command: Any = get_command(made)
            self.params, self.callback = command.params, command.callback
        return super().get_params(ctx)


@app.command(cls=SettingsCommand)
def serve() -> None:
    """Serve the HTTP interface of the published models, for Jina's and OpenAI's clients, until interrupted.

    Every option can also be set by an environment variable, named in parentheses. Options win over variables.
    """


def _serve(**given: Any) -> None:
    from polylens.server.run import run

    run(settings_of({name: value for name, value in given.items() if value is not None}))


def settings_of(given: dict[str, Any]) -> Settings:
    """The settings of a server; where neither flags nor variables name a model, it is that of the library's index.

    Args:
        given: As for `read_settings`.

    Raises:
        InputError: A value cannot be used.
    """
    from polylens.server.settings import read_settings

    settings = read_settings(given)
    if "models" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"models": (model_of(settings.library),)})


def _with_options(function: Any) -> Any:
    """The function with a signature from which typer makes one option per setting; None is one that was not given."""
    from polylens.server.settings import all_settings

    function.__signature__ = inspect.Signature(
        [
            inspect.Parameter(
                setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(setting)
            )
            for setting in all_settings()
        ]
    )
    return function


def _annotation(setting: Setting) -> Any:
    notes = [setting.variable, *([f"default {setting.default}"] if setting.default else [])]
    repeated = " May be repeated." if setting.is_list else ""
    flags = [setting.flag, *([f"--no-{setting.flag[2:]}"] if setting.is_switch else [])]
    option = typer.Option(
        "/".join(flags),
        help=f"{setting.meaning}{repeated} ({'; '.join(notes)})",
        metavar=None if setting.is_switch else setting.form.metavar,
        show_default=False,
    )
    kind: Any = bool | None if setting.is_switch else list[str] | None if setting.is_list else str | None
    return Annotated[kind, option]


@app.command(name="open")
def open_page(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to search, or s3://BUCKET/PREFIX.")] = ".",
    model: Annotated[str | None, typer.Option(help="Model to embed with, as for index.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes any free one.")] = 0,
) -> None:
    """Open the search page of a folder in the browser, and keep the folder searchable until interrupted."""
    import webbrowser

    from polylens.server.run import run
    from polylens.server.settings import read_settings

    def show(address: str) -> None:
        print(f"{address}  (Ctrl-C ends it)", file=sys.stderr)
        webbrowser.open(address)

    given = {"models": [model or model_of(folder)], "library": folder, "host": "127.0.0.1", "port": port, "keys": None}
    run(read_settings(given), show=show)


@app.command()
def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key's owner, used in logs.")],
    keys: Annotated[Path, typer.Option(help="The file that `serve --keys` reads; created if it is missing.")],
) -> None:
    """Create an API key for the server and print it. Only its hash is kept, so it cannot be shown again."""
    from polylens.server.http.access import add_key

    print(add_key(keys, name))
