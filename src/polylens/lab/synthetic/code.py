"""Screenshots of code: the standard library's own source in an editor, with line numbers, light or dark.

Modules are split by the hash of their name. Words are not: code of any module says `return`. The source is the running
Python's, so another version of Python gives other pages.
"""

from __future__ import annotations

import ast
import functools
import random
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, String, Token

from polylens.lab.corpora.functions import is_held_out_module
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import Canvas, Colour
from polylens.lab.synthetic.design import Design, draw_design
from polylens.lab.synthetic.fonts import SizedFont, monospaced, sized
from polylens.lab.synthetic.page import Box, Fact, SyntheticPage, Term

WIDTH, HEIGHT = 1120, 784
LONGEST = 88  # letters per line
LINES, STEP = 26, 27.0  # per picture, and pixels from one to the next
_LEFT_OUT = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "encodings", "pydoc_data"}
)

_THEMES: dict[str, dict[str, Colour]] = {
    "light": {
        "paper": (255, 255, 255),
        "ink": (30, 30, 34),
        "quiet": (150, 155, 165),
        "keyword": (150, 20, 120),
        "string": (20, 110, 50),
        "comment": (110, 118, 128),
        "name": (20, 70, 170),
    },
    "sepia": {
        "paper": (252, 246, 227),
        "ink": (60, 66, 70),
        "quiet": (150, 150, 130),
        "keyword": (130, 110, 0),
        "string": (30, 120, 110),
        "comment": (128, 136, 130),
        "name": (30, 100, 180),
    },
    "dark": {
        "paper": (30, 31, 38),
        "ink": (222, 224, 230),
        "quiet": (120, 124, 136),
        "keyword": (230, 130, 190),
        "string": (150, 210, 130),
        "comment": (140, 146, 160),
        "name": (120, 180, 250),
    },
    "night": {
        "paper": (12, 22, 36),
        "ink": (214, 222, 235),
        "quiet": (95, 110, 135),
        "keyword": (200, 146, 234),
        "string": (236, 196, 141),
        "comment": (120, 136, 150),
        "name": (130, 170, 255),
    },
}


@dataclass(frozen=True, slots=True)
class Snippet:
    """Lines of a module, from the start of a function or a class."""

    module: str
    start: int
    """The number of its first line in the file."""
    lines: tuple[str, ...]
    names: tuple[str, ...]
    """The names that are defined in it from top to bottom, then the longest of its other names."""
    summary: str
    """The first line of the first definition's docstring; "" where it has none."""


def code(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws an editor with one function or class."""
    design = draw_design(
        rng,
        "code",
        split,
        theme=tuple(_THEMES),
        numbers=(True, False),
        bar=("top", "none"),
        guides=(True, False),
        size=(17.0, 18.0, 19.0),
    )
    theme = _THEMES[design["theme"]]
    snippet = rng.choice(snippets(rng.choice(modules(split))))
    face = rng.choice(monospaced(split))
    canvas = Canvas(WIDTH, HEIGHT, theme["paper"])
    margin = 84.0 if design["numbers"] else 28.0
    size = min(design["size"], (WIDTH - margin - 16) / (LONGEST * sized(face, 100.0).font.getlength("0") / 100))
    font = sized(face, round(4 * size) / 4)
    file = f"{snippet.module.replace('.', '/')}.py"
    if design["bar"] == "top":
        canvas.block(0, 0, WIDTH, 40, _between(theme["paper"], theme["ink"]))
        _write(canvas, font, 28, 27, file, theme["ink"])
    _listing(canvas, snippet, design, theme, font, margin, 58.0 if design["bar"] == "top" else 24.0)
    own, *others = (_term(name) for name in snippet.names[:6])
    module = [_term(file)] if design["bar"] == "top" else []
    return canvas.page(
        "code",
        language,
        design.id,
        title=(own, *module),
        facts=tuple(Fact((own,), other) for other in others),
        look="screenshot of code",
        summary=_term(snippet.summary) if snippet.summary else None,
    )


def _listing(
    canvas: Canvas,
    snippet: Snippet,
    design: Design,
    theme: dict[str, Colour],
    font: SizedFont,
    margin: float,
    top: float,
) -> None:
    """Draws the lines, letter by letter on a grid, with line numbers and guides for the indentation."""
    advance = font.font.getlength("0")
    colours = _colours("\n".join(snippet.lines), theme)
    for i, (line, inks) in enumerate(zip(snippet.lines, colours, strict=True)):
        baseline = top + (i + 0.75) * STEP
        if design["numbers"]:
            label = str(snippet.start + i)
            _write(canvas, font, margin - 26 - len(label) * advance, baseline, label, theme["quiet"])
        indent = len(line) - len(line.lstrip())
        if design["guides"]:
            for column in range(4, indent, 4):
                x = margin + column * advance
                canvas.rule(x, baseline - 0.75 * STEP, x, baseline + 0.25 * STEP, theme["quiet"])
        for column, (letter, ink) in enumerate(zip(line, inks, strict=True)):
            if letter != " ":
                canvas.draw.text((margin + column * advance, baseline), letter, fill=ink, font=font.font, anchor="ls")
        if line.strip():
            left, right = margin + indent * advance, margin + len(line) * advance
            canvas.boxes.append(Box(line.strip(), left, baseline - 0.7 * STEP, right, baseline + 0.25 * STEP))
            canvas.words += re.findall(r"\w+", line)


def _term(text: str) -> Term:
    """The term for a name in code, which is asked about in English."""
    return Term(text, f"code:{text}", "en")


def _between(paper: Colour, ink: Colour) -> Colour:
    """The colour of the paper, a little darker or lighter."""
    red, green, blue = (round(0.9 * p + 0.1 * i) for p, i in zip(paper, ink, strict=True))
    return red, green, blue


def _write(canvas: Canvas, font: SizedFont, x: float, baseline: float, text: str, ink: Colour) -> None:
    canvas.draw.text((x, baseline), text, fill=ink, font=font.font, anchor="ls")
    canvas.words.append(text)
    canvas.boxes.append(Box(text, x, baseline - 14, x + font.font.getlength(text), baseline + 4))


@functools.cache
def modules(split: Split) -> tuple[str, ...]:
    """The modules of the standard library that fill a picture, by their dotted names."""
    folder = Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted((*folder.glob("*.py"), *folder.glob("[a-z]*/*.py"))):
        relative = path.relative_to(folder)
        module = ".".join(relative.with_suffix("").parts)
        if _LEFT_OUT & set(relative.parts) or path.stem.startswith("_") or not 3_000 < path.stat().st_size < 120_000:
            continue
        if is_held_out_module(module) == (split == "held_out") and snippets(module):
            found.append(module)
    return tuple(found)


@functools.cache
def snippets(module: str) -> tuple[Snippet, ...]:
    """The pieces of a module that fit a picture, each from the start of a function or a class."""
    path = Path(sysconfig.get_path("stdlib"), *module.split(".")).with_suffix(".py")
    source = path.read_text(encoding="utf-8", errors="replace")
    lines = source.splitlines()
    try:
        tree = ast.parse(source)
    except SyntaxError:  # kept there on purpose, to be tested with
        return ()
    kinds = (ast.FunctionDef, ast.ClassDef)
    defined = [node for node in ast.walk(tree) if isinstance(node, kinds) and not node.name.startswith("__")]
    found = []
    for node in defined:
        last = node.lineno + LINES - 1
        block = lines[node.lineno - 1 : last]
        if any(line[: node.col_offset].strip() for line in block):  # a method at the end of its class
            continue
        body = tuple(line[node.col_offset :].rstrip() for line in block)
        if len(body) < LINES or max(map(len, body)) > LONGEST or not all(line.isascii() for line in body):
            continue
        inside = sorted((each.lineno, each.name) for each in defined if node.lineno <= each.lineno < last)
        summary = (ast.get_docstring(node) or "").partition("\n")[0].strip()
        visible = summary if len(summary) > 20 and any(summary in line for line in body) else ""
        used = sorted(
            set(re.findall(r"(?<![\w'\"])[A-Za-z_]{7,}(?=[.(\[ =,)])", "\n".join(body))), key=lambda n: (-len(n), n)
        )
        names = tuple(dict.fromkeys([*(name for _, name in inside), *used[:5]]))
        if len(names) > 2:
            found.append(Snippet(module, node.lineno, body, names, visible))
    return tuple(found)


def _colours(source: str, theme: dict[str, Colour]) -> list[list[Colour]]:
    """The colour of each letter, by line."""
    kinds = ((Comment, "comment"), (String, "string"), (Keyword, "keyword"), (Number, "string"))
    rows: list[list[Colour]] = [[]]
    for token, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens(source):
        named = token in Name.Function or token in Name.Class or token in Name.Builtin
        role = next((role for kind, role in kinds if token in kind), "name" if named else "ink")
        assert token in Token
        for letter in text:
            if letter == "\n":
                rows.append([])
            else:
                rows[-1].append(theme[role])
    return rows
