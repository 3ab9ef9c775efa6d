"""A web page as Markdown: its main content by trafilatura, or all of it, with addresses made absolute."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

from polylens.documents.formats.archive import local
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.webpage import parse_page
from polylens.documents.markdown.reading import Reading, Wish
from polylens.documents.markdown.writing import Writer
from polylens.errors import DocumentError, InputError

NOT_CLEANED = (
    "menus, banners and other things around the content are left in: pip install 'polylens[read]' adds what finds them"
)

_ADDRESSES = ("href", "src", "data-src", "data-original")
_MADE = {"list": "ul", "item": "li", "row": "tr", "graphic": "img", "lb": "br", "quote": "blockquote", "ref": "a"}
"""The tags of trafilatura's tree (TEI) -> HTML's."""
_STYLES = {"#b": "strong", "#i": "em", "#t": "code", "#sub": "sub", "#sup": "sup"}


def read_webpage(data: bytes, wish: Wish) -> Reading:
    """Reads a web page.

    Args:
        data: Its bytes.
        wish: What is wanted of it. Without an address (`wish.url`), relative links stay text.

    Raises:
        DocumentError: The bytes are not text, or nothing is left of the page.
        InputError: A selector is not CSS, or selects nothing.
    """
    text = decode(data, wish.name, declared=wish.charset)
    root = parse_page(text)
    if root is None:
        raise DocumentError(f"{wish.name} is empty")
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = local(element).lower()
    reading = Reading(title=_title(root), url=wish.url, html=text)
    reading.description = _meta(root, "description", "og:description", "twitter:description")
    reading.published = _meta(root, "article:published_time", "date", "dc.date", "datepublished")
    _make_absolute(root, wish.url)
    chosen = _chosen(root, wish)
    main = None if wish.whole or wish.target else _main(chosen, wish.url, reading)
    writer, plain = Writer(), Writer(plain=True)
    try:
        reading.content = writer.write(chosen if main is None else main)
        reading.text = plain.write(chosen)
    except RecursionError as error:
        raise DocumentError(f"{wish.name} is nested too deeply") from error
    if main is not None and not reading.content:
        reading.content = (writer := Writer()).write(chosen)
    if not reading.content:
        raise DocumentError(f"{wish.name} has no text; a page that a script fills in is not run here")
    reading.links, reading.images = writer.links, writer.images
    return reading


def _title(root: Any) -> str:
    own = next((" ".join("".join(each.itertext()).split()) for each in root.iter("title")), "")
    heading = next((" ".join("".join(each.itertext()).split()) for each in root.iter("h1")), "")
    return own or _meta(root, "og:title") or heading


def _meta(root: Any, *names: str) -> str:
    for name in names:
        for each in root.iter("meta"):
            called = each.get("name") or each.get("property") or each.get("itemprop") or ""
            if called.lower() == name and (found := " ".join((each.get("content") or "").split())):
                return found
    return ""


def _make_absolute(root: Any, url: str) -> None:
    base = url
    for element in root.iter("base"):
        if element.get("href"):
            base = _joined(url, element.get("href"))
            break
    for element in list(root.iter("base")):
        element.getparent().remove(element)
    for element in root.iter():
        for name in _ADDRESSES:
            if isinstance(element.tag, str) and (address := element.get(name)):
                element.set(name, _joined(base, address.strip()))
        if isinstance(element.tag, str) and (several := element.get("srcset")):
            parts = [part.split() for part in several.split(",") if part.strip()]
            element.set("srcset", ", ".join(" ".join([_joined(base, part[0]), *part[1:]]) for part in parts))


def _joined(base: str, address: str) -> str:
    try:
        return urljoin(base, address)
    except ValueError:  # such as a bracket that is no IPv6 address
        return address


def _chosen(root: Any, wish: Wish) -> Any:
    """The page without what is to be removed, or the parts of it that are aimed at, in one element."""
    for element in _selected(root, wish.remove, "remove"):
        if (parent := element.getparent()) is not None:
            _keep_tail(element)
            parent.remove(element)
    if not wish.target:
        body = next(root.iter("body"), root)
        return body
    found = _selected(root, wish.target, "target")
    outer = [each for each in found if not any(above in found for above in each.iterancestors())]
    if not outer:
        raise InputError(f"nothing on the page is selected by {wish.target[:100]!r}")
    holder = outer[0].makeelement("div")
    for each in outer:
        _keep_tail(each)
        holder.append(each)
    return holder


def _keep_tail(element: Any) -> None:
    """Gives the text behind an element that is to go to what stands before it."""
    if not element.tail:
        return
    before, parent = element.getprevious(), element.getparent()
    if before is not None:
        before.tail = (before.tail or "") + element.tail
    elif parent is not None:
        parent.text = (parent.text or "") + element.tail
    element.tail = None


def _selected(root: Any, selector: str, what: str) -> list[Any]:
    if not selector.strip():
        return []
    try:
        from cssselect import HTMLTranslator, SelectorError
    except ImportError as error:
        raise InputError(f"a {what} selector needs cssselect: pip install 'polylens[read]'") from error
    try:
        return root.xpath(HTMLTranslator().css_to_xpath(selector))
    except SelectorError as error:
        raise InputError(f"the {what} selector {selector[:100]!r} is not CSS: {error}") from error


def _main(chosen: Any, url: str, reading: Reading) -> Any:
    """The main content as a tree with HTML's tags; None where none is found, or trafilatura is not here."""
    try:
        import trafilatura
    except ImportError:
        reading.warning = NOT_CLEANED
        return None
    from lxml import etree

    for caption in list(chosen.iter("caption")):  # which would come back as a row of the table
        _put_before(caption)
    page = f"<html>{etree.tostring(chosen, method='html', encoding='unicode', with_tail=False)}</html>"
    found = trafilatura.bare_extraction(
        page,
        url=url or None,
        include_comments=False,
        include_links=True,
        include_images=True,
        include_formatting=True,
        include_tables=True,
    )
    body = getattr(found, "body", None)
    if body is None or not "".join(body.itertext()).strip():
        return None
    return _as_html(body)


def _put_before(caption: Any) -> None:
    """Moves the caption of a table in front of it, as a paragraph."""
    whole = caption.getparent()
    if whole is None or (around := whole.getparent()) is None:
        return
    _keep_tail(caption)
    whole.remove(caption)
    caption.tag = "p"
    around.insert(around.index(whole), caption)


def _as_html(body: Any) -> Any:
    for element in list(body.iter()):
        if not isinstance(element.tag, str):
            continue
        rend = element.get("rend") or ""
        if element.tag == "head":
            element.tag = rend if re.fullmatch("h[1-6]", rend) else "h2"
        elif element.tag == "hi":
            element.tag = _STYLES.get(rend, "span")
        elif element.tag == "cell":
            element.tag = "th" if element.get("role") == "head" else "td"
        elif element.tag == "list" and rend == "ol":
            element.tag = "ol"
        elif element.tag == "code" and _is_code_block(element):
            element.tag = "pre"
        elif element.tag == "ref":
            element.set("href", element.get("target") or "")
        element.tag = _MADE.get(element.tag, element.tag)
    return body


def _is_code_block(element: Any) -> bool:
    return element.getparent().tag in ("body", "li", "blockquote", "div") or "\n" in "".join(element.itertext())
