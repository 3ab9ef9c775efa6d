"""What `make docs` does beside Markdown: the navigation is the list of docs/README.md, and links lead somewhere.

The pages are written to be read in the repository, where they link to each other, to the files of the root and to the
code. On the site, the root's pages are pages too; a link to code becomes the name of the file, or a link into
the repository where `repo_url` names a public one.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs/README.md"
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
"""Pages of the repository's root, which the site has below `project/`."""

_SECTION = re.compile(r"^\*\*([\w ]+)\*\*", flags=re.MULTILINE)
_ITEM = re.compile(r"^\* \[([^\]]+)\]\(([^)#]+\.md)\)(.*)$", flags=re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", flags=re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = navigation(INDEX.read_text(encoding="utf-8"))
    config.watch.append(str(ROOT / "src/polylens"))
    return config


def navigation(index: str) -> list[dict[str, Any]]:
    """The navigation, from a page with `**Section**` and `* [Title](page.md): ...`.

    Example:
        >>> navigation("**Guides**\\n\\n* [Serve](guides/serve.md): over HTTP\\n")[1]
        {'Guides': [{'Serve': 'guides/serve.md'}]}
    """
    nav: list[dict[str, Any]] = [{"Overview": "README.md"}]
    parts = _SECTION.split(index)[1:]
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        pages = []
        for name, path, rest in _ITEM.findall(text):
            pages.append({f"{name}{rest}" if name.isdigit() else name: path})  # a decision's number is no title
        nav.append({title: pages})
    nav.append(
        {"Project": [{Path(name).stem.replace("_", " ").capitalize(): f"project/{name}"} for name in ROOT_PAGES]}
    )
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in ROOT_PAGES:
        files.append(File.generated(config, f"project/{name}", content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the site has them; what stands in code is left alone."""
    del files
    uri = page.file.src_uri
    home = "" if uri.startswith("project/") else posixpath.join("docs", posixpath.dirname(uri))
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _led(link, home, uri, config), part) for part in parts[::2]]
    return "".join(parts)


def _led(link: re.Match[str], home: str, uri: str, config: MkDocsConfig) -> str:
    """A link of a page that lies in the folder `home` of the repository, as the site has it."""
    mark, text, target = link.groups()
    path, hash_mark, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return link[0]
    there = posixpath.normpath(posixpath.join(home, path))
    if there.startswith("docs/") and (ROOT / there).is_file():
        led = there.removeprefix("docs/")
    elif there in ROOT_PAGES:
        led = f"project/{there}"
    elif config.repo_url:
        return f"{mark}[{text}]({config.repo_url.rstrip('/')}/blob/main/{there}{hash_mark}{anchor})"
    else:
        return text
    return f"{mark}[{text}]({os.path.relpath(led, posixpath.dirname(uri) or '.')}{hash_mark}{anchor})"
