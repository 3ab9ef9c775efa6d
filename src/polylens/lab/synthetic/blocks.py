"""The contents of a sheet: layouts that fill a whole crop, and blocks that are added to a page one below another.

A block takes the edges of its place in pixels and returns where it ends, in pixels from the top.
"""

from __future__ import annotations

import math
from dataclasses import replace

from polylens.lab.synthetic.fonts import sized
from polylens.lab.synthetic.palette import between, hue, tinted
from polylens.lab.synthetic.sheet import Sheet, Style, to_half_pixel


def fill_wall(sheet: Sheet, style: Style) -> None:
    """Lines of text one below another, each beginning and ending beyond the edges."""
    rng, font = sheet.rng, style.font
    baseline = rng.uniform(0, 1) * font.ascent
    while baseline - font.ascent < sheet.height:
        sheet.line(style, -rng.uniform(0, 6) * font.size, sheet.width + 8 * font.size, baseline)
        baseline += (font.ascent + font.descent) * rng.uniform(0.95, 1.15)


def fill_running_text(sheet: Sheet, style: Style) -> None:
    """Paragraphs that may begin and end outside the crop."""
    rng, size = sheet.rng, style.font.size
    left = rng.uniform(-0.3, 0.2) * sheet.width
    right = sheet.width * rng.uniform(0.85, 1.2)
    align = rng.choice(("start", "start", "start", "justify", "centre"))
    y = rng.uniform(-style.pitch, 2 * style.pitch)
    while y < sheet.height:
        if rng.random() < 0.25:
            large = to_half_pixel(size * rng.uniform(1.1, 1.5))
            heading = replace(style, font=sized(style.font.face, large), ink=tinted(rng, style.ink), pitch=1.4 * large)
            y = sheet.paragraph(heading, left, y, right, math.inf, rng.randint(1, 4)) + 0.3 * size
        count = rng.randint(8, 60)
        y = sheet.paragraph(style, left, y, right, sheet.height + 2 * style.pitch, count, align)
        y += style.pitch * rng.choice((0.0, 0.5, 1.0)) + 1


def fill_columns(sheet: Sheet, style: Style) -> None:
    """Two or three columns side by side, whose lines rarely share a baseline."""
    rng, size = sheet.rng, style.font.size
    width = max(rng.uniform(6, 14) * size, sheet.width / 3)
    gutter = size * rng.uniform(1.2, 2.5)
    left = -rng.uniform(0, 0.6) * width
    align = rng.choice(("start", "justify"))
    while left < sheet.width:
        y = rng.uniform(-style.pitch, 1.5 * style.pitch)
        sheet.paragraph(style, left, y, left + width, sheet.height + 2 * style.pitch, align=align)
        left += width + gutter
        if rng.random() < 0.2:
            sheet.draw.line(
                (left - gutter / 2, 0, left - gutter / 2, sheet.height), fill=between(sheet.background, style.ink)
            )


def fill_cells(sheet: Sheet, style: Style) -> None:
    """A table that is larger than the crop."""
    rng, size = sheet.rng, style.font.size
    left, top = rng.uniform(-4, 1) * size, rng.uniform(-2, 1) * size
    widths = [size * rng.uniform(4, 10) for _ in range(1 + int((sheet.width - left) / (4 * size)))]
    _grid(sheet, style, left, top, widths, 1 + int((sheet.height - top) / style.pitch))


def _grid(sheet: Sheet, style: Style, left: float, top: float, widths: list[float], num_rows: int) -> float:
    """Short cells in rows and columns, with or without rules. Returns its lower edge, in pixels from the top."""
    rng, size = sheet.rng, style.font.size
    row_height = max(style.pitch, style.font.ascent + style.font.descent) * rng.uniform(1.0, 1.6)
    rule = between(sheet.background, style.ink)
    rules = rng.choice(("none", "rows", "all"))
    bottom, right = top + num_rows * row_height, left + sum(widths)
    shaded = rng.random() < 0.3
    order = widths[::-1] if sheet.rtl else widths
    for row in range(num_rows):
        y = top + row * row_height
        if y > sheet.height:
            break
        if shaded and row % 2:
            sheet.draw.rectangle((left, y, right, y + row_height), fill=between(sheet.background, style.ink, 0.08))
        baseline = y + (row_height + style.font.ascent - style.font.descent) / 2
        x = right if sheet.rtl else left
        for width in order:
            cell = x - width if sheet.rtl else x
            if rng.random() < 0.9:
                sheet.line(style, cell + 0.4 * size, cell + width - 0.4 * size, baseline, rng.choice((1, 1, 1, 2, 3)))
            x += -width if sheet.rtl else width
        if rules != "none":
            sheet.draw.line((left, y, right, y), fill=rule)
    if rules == "all":
        edges = [left + sum(widths[:i]) for i in range(len(widths) + 1)]
        for edge in edges:
            sheet.draw.line((edge, top, edge, bottom), fill=rule)
    return bottom


def scatter_labels(sheet: Sheet, style: Style) -> None:
    """A few words here and there, as on a chart, a map or a form, each row in its own size."""
    rng = sheet.rng
    y = rng.uniform(-0.3, 1) * style.pitch
    while y < sheet.height:
        size = to_half_pixel(style.font.size * rng.uniform(0.8, 1.3))
        row = replace(style, font=sized(style.font.face, size), ink=tinted(rng, style.ink))
        left = rng.uniform(-0.2, 0.7) * sheet.width
        baseline = y + row.font.ascent
        if rng.random() < 0.3:
            box = (
                left - 0.5 * size,
                y - 0.2 * size,
                left + rng.uniform(3, 12) * size,
                baseline + row.font.descent + 0.2 * size,
            )
            sheet.draw.rectangle(box, outline=between(sheet.background, row.ink))
        sheet.line(row, left, left + 0.8 * sheet.width, baseline, rng.randint(1, 3))
        y = baseline + row.font.descent + rng.uniform(0.3, 3) * size


def add_paragraph(sheet: Sheet, style: Style, left: float, top: float, right: float, bottom: float) -> float:
    """A paragraph, at times under a heading."""
    rng = sheet.rng
    if rng.random() < 0.3:
        large = to_half_pixel(style.font.size * rng.uniform(1.1, 1.4))
        heading = replace(style, font=sized(style.font.face, large), ink=tinted(rng, style.ink), pitch=1.45 * large)
        top = sheet.paragraph(heading, left, top, right, bottom, rng.randint(1, 5)) + 0.2 * large
    return sheet.paragraph(
        style, left, top, right, bottom, rng.randint(18, 60), rng.choice(("start", "start", "justify"))
    )


def add_list(sheet: Sheet, style: Style, left: float, top: float, right: float, bottom: float) -> float:
    """Two to six items with bullets."""
    size = style.font.size
    inner = (left, right - 1.3 * size) if sheet.rtl else (left + 1.3 * size, right)
    for _ in range(sheet.rng.randint(2, 6)):
        if top + style.pitch > bottom:
            break
        x = right - 0.5 * size if sheet.rtl else left + 0.5 * size
        y = top + 0.65 * style.font.ascent
        sheet.draw.ellipse((x - 0.15 * size, y - 0.15 * size, x + 0.15 * size, y + 0.15 * size), fill=style.ink)
        top = sheet.paragraph(style, inner[0], top, inner[1], bottom, sheet.rng.randint(2, 9))
    return top


def add_table(sheet: Sheet, style: Style, left: float, top: float, right: float, bottom: float) -> float:
    """A small table; nothing where there is no room for two rows."""
    rows = min(sheet.rng.randint(3, 8), int((bottom - top) / (1.6 * style.pitch)))
    count = max(2, min(sheet.rng.randint(2, 5), int((right - left) / (6 * style.font.size))))
    return _grid(sheet, style, left, top, [(right - left) / count] * count, rows) if rows > 1 else top


def add_chart(sheet: Sheet, style: Style, left: float, top: float, right: float, bottom: float) -> float:
    """Bars, or a block of colours where a picture would be, with a caption."""
    rng, size = sheet.rng, style.font.size
    height = min(rng.uniform(7, 16) * size, bottom - top - 2 * style.pitch)
    if height < 4 * size:
        return bottom
    foot = top + height
    if rng.random() < 0.6:
        count = rng.randint(3, 8)
        step = (right - left) / count
        colour = hue(rng)
        for i in range(count):
            x = left + (i + 0.2) * step
            sheet.draw.rectangle((x, foot - rng.uniform(0.1, 1) * height, x + 0.6 * step, foot), fill=colour)
        sheet.draw.line((left, foot, right, foot), fill=style.ink)
    else:
        sheet.draw.rectangle((left, top, right, foot), fill=hue(rng))
        for _ in range(rng.randint(2, 6)):
            x, y, r = rng.uniform(left, right), rng.uniform(top, foot), rng.uniform(0.1, 0.4) * height
            box = (max(x - r, left), max(y - r, top), min(x + r, right), min(y + r, foot))
            sheet.draw.ellipse(box, fill=hue(rng))
    small = replace(style, font=sized(style.font.face, to_half_pixel(0.9 * size)))
    return sheet.paragraph(small, left, foot + 0.4 * size, right, bottom, rng.randint(2, 8))
