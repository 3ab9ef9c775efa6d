"""Docstrings and their functions, from the source of the running Python's standard library.

The query is the first sentence of a docstring, the document the function without it. Modules are split by the hash of
their name, as they are for screenshots of code; a query or function that a held-out module has, too, is left out of
training. Another version of Python gives other pairs.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

from polylens.lab.corpora.split import Split
from polylens.lab.corpora.text import TextPair, key

LEFT_OUT = frozenset({"test", "tests", "idle_test", "lib2to3", "site-packages", "dist-packages", "pydoc_data"})
"""Folders with tests, packages of others, or modules that later versions lack."""

WORDS = (4, 40)  # fewest and most per query
LINES = (2, 60)  # fewest and most per function, without its docstring

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
_CODE = re.compile(r"->|>>>|\w=|^[\[(<]")  # a signature further on, an example, a grammar
_SIGNATURE = re.compile(r"^[\w.]+\([^)]*\)\s*(?:->|=>|--|:)?")  # with which some docstrings begin


def is_held_out_module(module: str) -> bool:
    """Whether a module is kept out of training: one in four is, by the hash of its dotted name."""
    return hashlib.sha256(module.encode()).digest()[0] % 4 == 0


def pairs(split: Split) -> tuple[TextPair, ...]:
    """All pairs, the query first, without duplicates, in a fixed order.

    Args:
        split: Of the modules.
    """
    return tuple(pair for found in by_module(split).values() for pair in found)


@functools.cache
def by_module(split: Split) -> dict[str, tuple[TextPair, ...]]:
    """Dotted name of a module -> its pairs, without those that an earlier module has."""
    taken = set(held_out_keys()) if split == "train" else set[str]()
    found: dict[str, tuple[TextPair, ...]] = {}
    for module, path in modules(split).items():
        new = []
        for pair in in_module(path.read_text(encoding="utf-8", errors="replace")):
            keys = {key(pair.query), key(pair.document)}
            if not keys & taken:
                taken |= keys
                new.append(pair)
        if new:
            found[module] = tuple(new)
    return found


def held_out_keys() -> frozenset[str]:
    """The keys of all queries and functions of the held-out modules."""
    return frozenset(key(text) for pair in pairs("held_out") for text in (pair.query, pair.document))


def modules(split: Split) -> dict[str, Path]:
    """Dotted name of a module of the standard library -> its source."""
    folder = Path(sysconfig.get_path("stdlib"))
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        module = ".".join(parts)
        if not LEFT_OUT & set(parts) and is_held_out_module(module) == (split == "held_out"):
            found[module] = path
    return found


def in_module(source: str) -> Iterator[TextPair]:
    """The pairs of a module, in the order of its functions; none where this Python cannot parse it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # some files are invalid on purpose, for tests
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            question, answer = first_sentence(ast.get_docstring(node) or ""), without_docstring(node, lines)
            if question and answer:
                yield TextPair(question, answer)


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring, without a leading signature; "" where there is none.

    Example:
        >>> first_sentence("copy(x) -> Return a shallow copy of x.  See the module.")
        'Return a shallow copy of x.'
    """
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    sentence = _SENTENCE_END.split(_SIGNATURE.sub("", paragraph).strip())[0]
    is_sentence = WORDS[0] <= len(sentence.split()) <= WORDS[1] and not _CODE.search(sentence)
    return sentence if is_sentence else ""


def without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """The source of a function without its docstring, dedented; "" where it is too short or too long.

    Args:
        node: A function with a docstring.
        lines: The lines of its module.
    """
    docstring, *body = node.body
    assert docstring.end_lineno is not None and node.end_lineno is not None
    if not body or body[0].lineno <= docstring.end_lineno:  # on one line with it
        return ""
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
    kept = [*lines[first : docstring.lineno - 1], *lines[docstring.end_lineno : node.end_lineno]]
    kept = [line.rstrip() for line in kept if line.strip()]
    says_nothing = all(isinstance(each, ast.Pass | ast.Raise) for each in body)
    if says_nothing or not LINES[0] <= len(kept) <= LINES[1]:
        return ""
    return textwrap.dedent("\n".join(kept))
