"""Curves over the hours of a day as an SVG: one small chart a figure, one below the other, the same hours under all."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["curves"]

_WIDTH, _HEIGHT, _MARGIN = 640, 90, 56
_INK, _LINE, _GRID = "#1f2937", "#0f766e", "#d1d5db"


def curves(title: str, hours: Sequence[int], figures: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A chart for each named figure, from nought to its largest value.

    >>> curves("A day", [1, 2], [("log, MB", [1.0, 3.0])]).count("<polyline")
    1
    """
    height = 40 + len(figures) * (_HEIGHT + 34) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 2 * _MARGIN} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{_INK}">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(figures):
        parts.append(_chart(name, hours, values, top=52 + number * (_HEIGHT + 34)))
    return "\n".join([*parts, "</svg>\n"])


def _chart(name: str, hours: Sequence[int], values: Sequence[float], *, top: int) -> str:
    most = max(values) or 1.0
    span = max(1, hours[-1] - hours[0])
    left, base = _MARGIN, top + _HEIGHT
    points = " ".join(
        f"{left + _WIDTH * (hour - hours[0]) / span:.1f},{base - _HEIGHT * value / most:.1f}"
        for hour, value in zip(hours, values)
    )
    marks = "".join(
        f'<text x="{left + _WIDTH * (hour - hours[0]) / span:.1f}" y="{base + 14}" text-anchor="middle" '
        f'font-size="10">{hour}</text>'
        for hour in hours
        if hour % 6 == 0 or hour == hours[0]
    )
    return (
        f'<text x="{left}" y="{top - 6}">{escape(name)}</text>'
        f'<text x="{left - 6}" y="{top + 10}" text-anchor="end" font-size="10">{most:,.0f}</text>'
        f'<path d="M{left} {top}V{base}H{left + _WIDTH}" fill="none" stroke="{_GRID}"/>'
        f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.8"/>{marks}'
    )
