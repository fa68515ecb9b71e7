"""Plots as SVG: bars of ratios, latency against load."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from settings import OURS

INK, MUTED, GRID, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
ACCENT, OTHER, BESIDE = "#0969da", "#8c959f", "#d1d9e0"
COLORS = {
    OURS: ACCENT,
    "the release before": "#54aeff",
    "FastAPI by hand": "#0a7c72",
    "FastAPI": "#1a7f37",
    "Flask tutorial": "#9a6700",
    "BentoML": "#cf222e",
    "MLServer": "#8250df",
    "LitServe": "#bf3989",
}
FONT = "font-family=\"-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif\""


class Bar(NamedTuple):
    """A server's share of our rate, and its rate; ``beside`` marks servers that are not peers."""

    name: str
    share: float
    rate: float
    beside: bool


class Panel(NamedTuple):
    """The bars for one load."""

    title: str
    bars: list[Bar]


class Series(NamedTuple):
    """A server's points: rate, p50 and p99 in milliseconds."""

    name: str
    points: list[tuple[float, float, float]]


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """Return a text element; underscores in its attributes become hyphens."""
    given = {"fill": INK, "font_size": 12, **attributes}
    listed = " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in given.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" {listed}>{escape(content)}</text>'


def document(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    """Return the whole file, on white, since a page may be dark."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
            f' height="{height}" role="img" {FONT}>',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="6" fill="{PAPER}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def bars(panels: Sequence[Panel]) -> str:
    """Draw panels in two columns, each with a bar per server; ours is 1."""
    width, margin, label, row, head = 900, 24, 118, 20, 34
    column = (width - 3 * margin) // 2
    title = f"Requests a second, {OURS} = 1"
    parts = [text(margin, 36, title, font_size=17, font_weight=600)]
    top = 52
    for start in range(0, len(panels), 2):
        pair = panels[start : start + 2]
        for number, panel in enumerate(pair):
            left = margin + number * (column + margin)
            parts.append(text(left, top + 18, panel.title, font_size=13, font_weight=600))
            longest = max([1.0, *(bar.share for bar in panel.bars)])
            room = column - label - 112
            for index, bar in enumerate(panel.bars):
                y = top + head + index * row
                size = max(1.5, bar.share / longest * room)
                ours = bar.name == OURS
                color = ACCENT if ours else BESIDE if bar.beside else OTHER
                weight = 600 if ours else 400
                parts += [
                    text(left + label - 8, y + 11, bar.name, text_anchor="end", font_weight=weight),
                    f'<rect x="{left + label}" y="{y}" width="{size:.1f}" height="14" rx="2"'
                    f' fill="{color}"/>',
                    text(
                        left + label + size + 6,
                        y + 11,
                        "1" if ours else share(bar.share),
                        font_weight=600,
                    ),
                    text(
                        left + label + size + 46,
                        y + 11,
                        f"{bar.rate:,.0f}/s",
                        fill=MUTED,
                    ),
                ]
        top += head + row * max(len(panel.bars) for panel in pair) + 16
    return document(width, top + 8, title, parts)


def share(value: float) -> str:
    """Format with two significant digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, ... within the range."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return [one for one in found if low <= one <= high]


def lines(series: Sequence[Series]) -> str:
    """Plot p99 as a line and p50 as a thin one against the rate, both axes logarithmic."""
    width, height = 900, 520
    left, right, top, bottom = 64, width - 150, 84, height - 56
    title = "Latency against load: logistic model, one row, 64 connections, arrivals at random"
    parts = [
        text(24, 36, title, font_size=17, font_weight=600),
        text(24, 58, "p99 as a thick line, p50 as a thin one; milliseconds", fill=MUTED),
    ]
    points = [point for one in series for point in one.points]
    if not points:
        return document(width, height, title, parts)
    x_low, x_high = min(one[0] for one in points) / 1.15, max(one[0] for one in points) * 1.15
    y_low, y_high = min(one[1] for one in points) / 1.3, max(one[2] for one in points) * 1.3

    def place(rate: float, latency: float) -> tuple[float, float]:
        across = math.log(rate / x_low) / math.log(x_high / x_low)
        up = math.log(latency / y_low) / math.log(y_high / y_low)
        return left + across * (right - left), bottom - up * (bottom - top)

    for tick in ticks(x_low, x_high):
        x, _ = place(tick, y_low)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="{GRID}"/>')
        parts.append(text(x, bottom + 18, f"{tick:,.0f}", fill=MUTED, text_anchor="middle"))
    for tick in ticks(y_low, y_high):
        _, y = place(x_low, tick)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="{GRID}"/>')
        parts.append(text(left - 8, y + 4, f"{tick:g}", fill=MUTED, text_anchor="end"))
    parts.append(
        text((left + right) / 2, height - 16, "requests a second", text_anchor="middle", fill=MUTED)
    )
    labels = []
    for one in series:
        color = COLORS.get(one.name, OTHER)
        for column, stroke in ((1, 1.2), (2, 2.6)):
            spots = [place(point[0], point[column]) for point in one.points]
            path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
            parts.append(
                f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{stroke}"'
                ' stroke-linejoin="round"/>'
            )
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{stroke + 0.6}" fill="{color}"/>'
                for x, y in spots
            ]
        labels.append((*place(one.points[-1][0], one.points[-1][2]), one.name, color))
    parts += [
        text(x + 8, y + 4, name, fill=color, font_weight=600) for x, y, name, color in apart(labels)
    ]
    return document(width, height, title, parts)


def apart(
    labels: list[tuple[float, float, str, str]],
) -> list[tuple[float, float, str, str]]:
    """Return the labels, moved down if two would overlap."""
    placed: list[tuple[float, float, str, str]] = []
    for x, y, name, color in sorted(labels, key=lambda one: one[1]):
        for other in placed:
            if abs(other[0] - x) < 110 and y - other[1] < 15:
                y = other[1] + 15
        placed.append((x, y, name, color))
    return placed
