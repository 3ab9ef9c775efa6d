"""HTML as Markdown."""

from __future__ import annotations

import pytest
from lxml import html
from markdown_it import MarkdownIt

from polylens.documents.markdown.writing import Writer, fenced, table


def written(source: str, *, plain: bool = False) -> str:
    return Writer(plain=plain).write(html.fromstring(f"<div>{source}</div>"))


CASES = [
    ("<h1>A</h1><p>b</p><h3>c <i>d</i></h3>", "# A\n\nb\n\n### c *d*"),
    ("<p>one<br>two</p>three", "one\ntwo\n\nthree"),
    ("<p>a <b>bold </b>word and <s>old</s></p>", "a **bold** word and ~~old~~"),
    ("<ul><li>a<ul><li>b</li></ul></li><li><p>c</p><p>d</p></li></ul>", "- a\n  - b\n- c\n\n  d"),
    ('<ol start="3"><li>a</li><li>b</li></ol>', "3. a\n4. b"),
    ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n>\n> b"),
    ("<p>use <code>a`b</code></p>", "use ``a`b``"),
    ('<pre><code class="language-py">a\n  b &lt; c\n</code></pre>', "```py\na\n  b < c\n```"),
    ('<div class="highlight-source-js"><pre>x</pre></div>', "```js\nx\n```"),
    ("<pre>```\nx\n```</pre>", "````\n```\nx\n```\n````"),
    ('<p><a href="https://a.example/b (c)">the link</a>.</p>', "[the link](https://a.example/b%20%28c%29)."),
    ('<p><a href="javascript:alert(1)">run</a> <a href="/relative">go</a></p>', "run go"),
    ('<p><img src="https://a.example/i.png" alt="a [b]"></p>', "![a (b)](https://a.example/i.png)"),
    ('<p><img src="data:image/png;base64,AA" alt="dot"></p>', "dot"),
    ('<p><img data-src="https://a.example/late.png"></p>', "![](https://a.example/late.png)"),
    ("<p>a</p><hr><p>b</p>", "a\n\n---\n\nb"),
    ("<p>1. no list</p><p># no heading</p><p>&lt;script&gt;</p>", "\\1. no list\n\n\\# no heading\n\n\\<script>"),
    ("<p hidden>a</p><p style='display: none'>b</p><script>c</script>d<noscript>e</noscript>", "d"),
    ("<span>a<p>b</p>c</span>", "a\n\nb\n\nc"),
    ('<a href="https://a.example"><div>a</div><div>b</div></a>', "[a b](https://a.example)"),
    ("<dl><dt>tide</dt><dd>water</dd></dl>", "tide\n\nwater"),
]


@pytest.mark.parametrize(("source", "expected"), CASES)
def test_an_element_as_markdown(source: str, expected: str) -> None:
    assert written(source) == expected


class TestTables:
    def test_columns_and_bars(self) -> None:
        source = (
            "<table><tr><th>Port</th><th>Berths</th></tr>"
            "<tr><td>Aveiro | north</td><td><p>1</p><p>2</p></td></tr></table>"
        )
        assert written(source) == "| Port | Berths |\n| --- | --- |\n| Aveiro \\| north | 1 2 |"

    def test_a_cell_over_several_columns_and_rows(self) -> None:
        source = (
            '<table><tr><td rowspan="2">a</td><td colspan="2">b</td></tr><tr><td>c</td><td>d</td></tr>'
            "<tr><td>e</td><td>f</td><td>g</td></tr></table>"
        )
        assert written(source) == "| a | b |  |\n| --- | --- | --- |\n|  | c | d |\n| e | f | g |"

    def test_a_table_for_the_layout_is_no_table(self) -> None:
        source = "<table><tr><td><h2>a</h2><table><tr><td>b</td><td>c</td></tr></table></td></tr></table>"
        assert written(source) == "## a\n\n| b | c |\n| --- | --- |"

    def test_absurd_spans_are_bounded(self) -> None:
        source = '<table><tr><td colspan="100000">a</td><td rowspan="-1">b</td></tr></table>'
        assert written(source).count("\n") == 1

    def test_a_reader_of_markdown_sees_the_table(self) -> None:
        made = table([["Port", "Berths"], ["Aveiro | north", "12"]])
        shown = MarkdownIt("commonmark").enable("table").render(made)
        assert "<td>Aveiro | north</td>" in shown and "<th>Berths</th>" in shown


def test_a_reader_of_markdown_gets_the_same_structure_back() -> None:
    source = (
        "<h2>T</h2><p>a <strong>b</strong> <a href='https://a.example'>c</a></p><ol><li>x<ul><li>y</li></ul></li></ol>"
        "<pre><code>z &amp; z</code></pre><blockquote><p>q</p></blockquote>"
    )
    shown = MarkdownIt("commonmark").render(written(source))
    for part in ("<h2>T</h2>", "<strong>b</strong>", '<a href="https://a.example">c</a>', "<ol>", "<ul>", "<li>y</li>"):
        assert part in shown
    assert "<pre><code>z &amp; z\n</code></pre>" in shown and "<blockquote>" in shown


def test_links_and_images_are_collected_in_order() -> None:
    writer = Writer()
    writer.write(
        html.fromstring(
            "<p><a href='https://b.example'><img src='https://a.example/i.png' alt='pic'> b</a> <a href='https://c.example'>c</a></p>"
        )
    )
    assert writer.links == [("pic b", "https://b.example"), ("c", "https://c.example")]
    assert writer.images == [("pic", "https://a.example/i.png")]


def test_plain_text_has_no_marks() -> None:
    source = (
        "<h1>A</h1><p><b>b</b> <a href='https://a.example'>c</a> &lt;d></p><ul><li>e</li></ul>"
        "<table><tr><td>f</td><td>g</td></tr></table>"
    )
    assert written(source, plain=True) == "A\n\nb c <d>\n\ne\n\nf\tg"


def test_fences_are_longer_than_what_they_hold() -> None:
    assert fenced("a````b", "md") == "`````md\na````b\n`````"
