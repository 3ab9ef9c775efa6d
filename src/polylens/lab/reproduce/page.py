"""The report as one HTML file without scripts or external resources, in light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from polylens.lab.reproduce.claims import Claim, Section, Verdict, figure
from polylens.lab.reproduce.plots import draw

_MEANING: dict[Verdict, str] = {
    "yes": "the 95 % interval lies above the threshold",
    "no": "the 95 % interval lies at or below the threshold",
    "unclear": "the 95 % interval contains the threshold",
    "left out": "not measured",
}
_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f7; --surface: #fff; --line: #d5dbdd; --text: #1b2427; --soft: #536065; --accent: #0f6f7c;
  --yes: #1c6b3a; --no: #9b1c31; --s0: #0f6f7c; --s1: #b4541a; --s2: #6a4fb3; --s3: #6b7a10;
  --font: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif;
  font: 16px/1.5 var(--font);
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12181a; --surface: #1b2326; --line: #333f43; --text: #e7edee; --soft: #a3b1b5; --accent: #6fc6d0;
    --yes: #7fd49b; --no: #ff9aa8; --s0: #6fc6d0; --s1: #f0a36b; --s2: #b9a3f5; --s3: #c3d25a;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.2rem 4rem; background: var(--ground); color: var(--text); }
h1 { margin: 0 0 .4rem; font-size: 1.7rem; }
h2 { margin: 0 0 .4rem; font-size: 1.2rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft { color: var(--soft); font-size: .9rem; }
section { margin-top: 1.4rem; padding: 1.1rem 1.2rem; background: var(--surface); border: 1px solid var(--line);
  border-radius: 10px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0; font-size: .9rem; }
th, td { padding: .45rem .7rem .45rem 0; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; } tr:first-child > * { border-top: 0; }
td.claim { min-width: 15rem; } td.published { min-width: 12rem; } td.ours { min-width: 22rem; }
td.ours div { display: flex; justify-content: space-between; gap: 1rem; font-variant-numeric: tabular-nums; }
td.ours span { white-space: nowrap; }
.verdict { font-weight: 700; white-space: nowrap; }
.yes { color: var(--yes); } .no { color: var(--no); } .unclear, .left-out { color: var(--soft); }
a { color: var(--accent); }
code { font-size: .92em; overflow-wrap: anywhere; }
svg { display: block; width: 100%; max-width: 45rem; height: auto; margin: 1rem 0 0; }
@media print { section { break-inside: avoid; } }
"""


def html(sections: Sequence[Section], made_with: Mapping[str, str]) -> str:
    """The report as HTML.

    Args:
        sections: In order.
        made_with: Names and values of models, sizes, seed and machine.
    """
    claims = [claim for section in sections for claim in section.claims]
    about = "".join(f"<tr><th>{escape(name)}</th><td>{_prose(value)}</td></tr>" for name, value in made_with.items())
    body = "\n".join(_section(number, section) for number, section in enumerate(sections, start=1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The claims, in miniature</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>The claims, in miniature</h1>
<p>The comparisons of the papers of jina-embeddings-v4 and jina-clip-v2, repeated with small models: the published
figures and ours side by side. Of {len(claims)} comparisons: {_counts(claims)}.</p>
<p class="soft">A claim is shown where the 95 % interval of our figure (a bootstrap over pages) lies above the
threshold, not shown where it lies at or below, and unclear otherwise. The published figures are of models hundreds of
times as large, on other data: not their size is compared, only whether the effect is there.</p>
<div class="wide"><table>{about}</table></div>
<nav class="wide"><table>{_contents(sections)}</table></nav>
{body}
</body>
</html>
"""


def _section(number: int, section: Section) -> str:
    rows = "\n".join(_row(claim) for claim in section.claims)
    plots = "\n".join(draw(plot) for plot in section.plots)
    return f"""<section id="s{number}">
<h2>{escape(section.title)}</h2>
<p class="soft">{_prose(section.method)}</p>
<div class="wide"><table>
<tr><th>claim</th><th>published</th><th>ours (95 % interval)</th><th>shows</th></tr>
{rows}
</table></div>
{plots}
</section>"""


def _row(claim: Claim) -> str:
    ours = "".join(
        f"<div>{escape(name)} <span>{figure(estimate)}</span></div>" for name, estimate in claim.ours.items()
    )
    return (
        f'<tr><td class="claim">{escape(claim.name)}<p>{_prose(claim.sentence)}</p></td>'
        f'<td class="published">{escape(claim.published)}<p class="soft">{escape(claim.source)}</p></td>'
        f'<td class="ours">{ours or "-"}</td><td>{_badge(claim.shows)}</td></tr>'
    )


def _badge(verdict: Verdict) -> str:
    return f'<span class="verdict {verdict.replace(" ", "-")}" title="{_MEANING[verdict]}">{verdict}</span>'


def _counts(claims: Sequence[Claim]) -> str:
    verdicts = [claim.shows for claim in claims]
    said: dict[Verdict, str] = {"yes": "show", "no": "do not", "unclear": "unclear", "left out": "left out"}
    return ", ".join(f"{verdicts.count(each)} {words}" for each, words in said.items() if each in verdicts)


def _contents(sections: Sequence[Section]) -> str:
    return "".join(
        f"<tr><td>{_link(number, section) if claim is section.claims[0] else ''}</td><td>{escape(claim.name)}</td>"
        f"<td>{_badge(claim.shows)}</td></tr>"
        for number, section in enumerate(sections, start=1)
        for claim in section.claims
    )


def _link(number: int, section: Section) -> str:
    return f'<a href="#s{number}">{escape(section.title)}</a>'


def _prose(text: str) -> str:
    """Text with `code` in it, as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
