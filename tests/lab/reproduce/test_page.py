"""The page: well-formed, of one file, everything in it that the claims say; and its plots."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from polylens.evaluate.metrics import Estimate
from polylens.lab.reproduce.claims import Claim, Section
from polylens.lab.reproduce.page import html
from polylens.lab.reproduce.plots import SERIES, Dots, Histograms, Lines, Plot, draw
from polylens.lab.reproduce.report import as_json

DOTS = Dots("points & <more>", ("a", "b"), {"x": (Estimate(0.5, 0.25, 0.75), Estimate(0.0, 0.0, 0.0))}, 0.0, 1.0)
LINES = Lines("kept", (256, 128, 64), (256, 64), {"text": (1.0, 0.9, 0.35)})
HISTOGRAMS = Histograms("cosines", {"own": np.array([0.9, 0.8, 0.8]), "other": np.array([-0.4, 0.1])})


def claim(**fields: object) -> Claim:
    plain: dict[str, object] = {
        "name": "Big <models> win",
        "published": "7-10 %",
        "source": "a paper",
        "ours": {"ours & theirs": Estimate(0.1, 0.05, 0.15)},
        "shows": "yes",
        "sentence": "It does; `polylens train` made it.",
    }
    return Claim(**{**plain, **fields})  # type: ignore[arg-type]


SECTIONS = [
    Section(title="One", method="By `hand`.", claims=(claim(), claim(shows="left out", ours={})), plots=(DOTS, LINES)),
    Section(title="Two", method="Twice.", claims=(claim(shows="no"),), plots=(HISTOGRAMS,)),
]


def page() -> ET.Element:
    text = html(SECTIONS, {"seed": "1"})
    assert text.startswith("<!doctype html>\n")
    body = text.removeprefix("<!doctype html>\n")
    body = re.sub(r"<meta ([^>]+)>", r"<meta \1/>", body)
    return ET.fromstring(body)


def test_the_page_is_well_formed_and_says_everything() -> None:
    text = " ".join(" ".join(page().itertext()).split())
    for said in ("Big <models> win", "7-10 %", "ours & theirs", "0.100 (0.050 to 0.150)", "a paper", "seed"):
        assert said in text, said
    assert "Of 3 comparisons: 1 show, 1 do not, 1 left out." in text
    assert [code.text for code in page().iter("code")][:2] == ["hand", "polylens train"]


def test_the_page_is_one_file_with_both_schemes() -> None:
    text = html(SECTIONS, {})
    assert not re.search(r"https?://|<script|<link|<img|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    for colour in range(SERIES):
        assert text.count(f"--s{colour}: #") == 2


def style(element: ET.Element) -> dict[str, str]:
    return dict(part.split(": ", 1) for part in element.attrib.get("style", "").split("; ") if part)


def corners(path: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path.attrib["d"])]


def vertical(svg: ET.Element) -> list[float]:
    """Where the grid's lines stand, from the left."""
    return sorted(corners(path)[0][0] for path in svg.iter("path") if style(path).get("stroke") == "var(--line)")


@pytest.mark.parametrize("plot", [DOTS, LINES, HISTOGRAMS], ids=["points", "curves", "histograms"])
def test_plots_are_well_formed_and_stay_inside(plot: Plot) -> None:
    svg = ET.fromstring(draw(plot))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    assert svg.attrib["aria-label"] == plot.title
    for mark in (*svg.iter("use"), *svg.iter("text")):
        assert 0 <= float(mark.attrib["x"]) <= width and 0 <= float(mark.attrib["y"]) <= height
    ids = [each.attrib["id"] for each in svg.iter() if "id" in each.attrib]
    for path in svg.iter("path"):
        assert "nan" not in path.attrib["d"]
        if path.attrib.get("id") not in ids:
            assert all(0 <= x <= width and 0 <= y <= height for x, y in corners(path))
    assert {use.attrib["href"] for use in svg.iter("use")} == {f"#{id}" for id in ids}


@pytest.mark.parametrize("plot", [DOTS, LINES, HISTOGRAMS], ids=["points", "curves", "histograms"])
def test_every_colour_is_the_pages(plot: Plot) -> None:
    svg = draw(plot)
    assert set(re.findall(r"(?:fill|stroke|color): ([^;\"]+)", svg)) <= {
        "none",
        *(f"var(--{name})" for name in ("text", "soft", "line", "surface", "s0", "s1")),
    }
    assert set(re.findall(r"font-family: ([^;\"]+)", svg)) == {"var(--font)"}


def test_a_point_stands_at_its_figure_between_the_ends_of_its_interval() -> None:
    svg = ET.fromstring(draw(DOTS))
    interval = next(
        path for path in svg.iter("path") if style(path) == style(path) | {"stroke": "var(--s0)", "fill": "none"}
    )
    point = next(svg.iter("use"))
    (left, y), (right, _) = corners(interval)
    assert float(point.attrib["x"]) == pytest.approx((left + right) / 2, abs=0.1)
    assert float(point.attrib["y"]) == pytest.approx(y, abs=0.1)
    grid = vertical(svg)
    assert (left - grid[0]) / (grid[-1] - grid[0]) == pytest.approx(0.25, abs=0.001)
    assert (right - grid[0]) / (grid[-1] - grid[0]) == pytest.approx(0.75, abs=0.001)


def test_widths_that_training_knew_are_filled() -> None:
    svg = ET.fromstring(draw(LINES))
    marks = sorted(svg.iter("use"), key=lambda mark: -float(mark.attrib["x"]))
    assert [style(mark)["fill"] for mark in marks] == ["var(--s0)", "var(--surface)", "var(--s0)"]


def test_a_plot_of_nothing_is_a_plot() -> None:
    ET.fromstring(draw(Lines("kept", (256, 128), (256,), {})))


def test_json_says_what_the_page_says() -> None:
    report = as_json(SECTIONS, {"seed": "1"})
    assert report["seed"] == "1"
    first = report["sections"][0]["claims"][0]
    assert first["ours"] == {"ours & theirs": {"mean": 0.1, "95 %": [0.05, 0.15]}}
    assert (first["shows"], first["published"]) == ("yes", "7-10 %")
