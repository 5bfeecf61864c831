"""What Matplotlib writes, made part of a page: its colours those of the style, its text the page's, nothing fetched."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from xml.etree import ElementTree

from parakh.cli.report.html import Markup

__all__ = ["FAINT", "INK", "LESS", "LINE", "MORE", "SOFT", "coloured", "colours", "in_page", "said", "short"]

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"

# Colours are drawn as stand-ins and become the style's own, which are light or dark as the reader likes it.
INK, SOFT, LINE, FAINT = "#010101", "#010102", "#010103", "#010104"
_SERIES = ("#010201", "#010202", "#010203", "#010204", "#010205", "#010206")
MORE, LESS = _SERIES[:2]
"""Numbers above and below 0."""

_STYLE = {
    INK: "var(--ink, #1f1d1a)",
    SOFT: "var(--soft, #6b665d)",
    LINE: "var(--line, #e4e0d7)",
    FAINT: "var(--faint, #f1eee7)",
    _SERIES[0]: "var(--caught, #1f7a6d)",
    _SERIES[1]: "var(--missed, #d2691e)",
    _SERIES[2]: "var(--review, #7c5cbf)",
    _SERIES[3]: "var(--challenge, #d9a31a)",
    _SERIES[4]: "var(--fraud, #c0352b)",
    _SERIES[5]: "var(--genuine, #8fa3ad)",
}
_NAMED = {
    "fraud": _SERIES[4],
    "good": _SERIES[5],
    "genuine": _SERIES[5],
    "block": _SERIES[4],
    "review": _SERIES[2],
    "challenge": _SERIES[3],
    "allow": _SERIES[5],
}


def colours(names: Iterable[str]) -> list[str]:
    """A colour a series: its own where the name says what it is, else the next of the palette that is free."""
    listed = list(names)
    own = {_NAMED[name] for name in listed if name in _NAMED}
    free = [one for one in _SERIES if one not in own] or list(_SERIES)
    rest = (free[number % len(free)] for number in range(len(listed)))
    return [_NAMED[name] if name in _NAMED else next(rest) for name in listed]


def in_page(drawing: str, title: str, description: str) -> Markup:
    """An SVG file as an element of a page, as wide as there is room."""
    whole = ElementTree.fromstring(drawing)
    salt = hashlib.sha256(drawing.encode()).hexdigest()[:8]
    _clean(whole, salt)
    for name in ("width", "height", "version"):
        whole.attrib.pop(name, None)
    whole.attrib |= {"class": "drawn", "role": "img", "width": "100%"}
    for number, (tag, words) in enumerate((("title", title), ("desc", description))):
        said_first = ElementTree.Element(f"{{{_SVG}}}{tag}")
        said_first.text = _plain(words)
        whole.insert(number, said_first)
    ElementTree.register_namespace("", _SVG)
    return coloured(ElementTree.tostring(whole, encoding="unicode", short_empty_elements=False))


def coloured(markup: str) -> Markup:
    """The markup with stand-ins for colours replaced by the style's."""
    return Markup(re.sub(r"#010[12]0\d", lambda found: _STYLE.get(found[0], found[0]), markup))


def said(value: float) -> str:
    """A number as short as four digits tell it.

    >>> said(0.123456), said(12345.6), said(float("nan")), said(-0.00001234), said(0.5)
    ('0.1235', '12,346', '–', '-1.23e-05', '0.5')
    """
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.0001 or not value else f"{value:.3g}"


def short(label: str, most: int) -> str:
    """A label of at most so many characters, its middle left out.

    >>> short("card.payments_10m", 9)
    'card…_10m'
    """
    label = _plain(label)
    if len(label) <= most:
        return label
    tail = (most - 1) // 2
    return f"{label[: most - 1 - tail]}…{label[len(label) - tail :]}"


def _plain(words: str) -> str:
    """Text without what XML may not hold."""
    return "".join(c if c >= " " and not 0x7F <= ord(c) < 0xA0 else "\ufffd" for c in words)


def _clean(node: ElementTree.Element, salt: str) -> None:
    """Drop what only a file of its own needs; names that drawings refer by are told apart from other drawings'."""
    for child in list(node):
        tag = child.tag.rpartition("}")[2]
        if tag in ("metadata", "style"):
            node.remove(child)
            continue
        _clean(child, salt)
        if tag == "defs" and not len(child):
            node.remove(child)
    node.tail = None
    if node.tag.endswith("}g"):
        node.attrib.pop("id", None)
    if not node.tag.endswith(("}text", "}tspan")):
        node.text = None
    if "id" in node.attrib:
        node.attrib["id"] = f"{salt}-{node.attrib['id']}"
    if _LINK in node.attrib:
        node.attrib["href"] = f"#{salt}-{node.attrib.pop(_LINK)[1:]}"
    if "clip-path" in node.attrib:
        node.attrib["clip-path"] = node.attrib["clip-path"].replace("url(#", f"url(#{salt}-")
    if "d" in node.attrib:
        node.attrib["d"] = re.sub(r"(\.\d\d)\d+", r"\1", node.attrib["d"].replace("\n", "").strip())
    if "style" in node.attrib:
        node.attrib["style"] = re.sub(r"font-family: [^;]*;? ?", "", node.attrib["style"])
