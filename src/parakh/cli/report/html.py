"""Elements of HTML and SVG as text, escaped where they are made: no other module of the report writes a tag."""

from __future__ import annotations

import html
from collections.abc import Iterable

__all__ = ["Markup", "element", "join", "text"]


class Markup(str):
    """Text that is HTML already; everything else is escaped on its way into an element."""

    __slots__ = ()


_VOID = frozenset({"br", "hr", "meta", "line", "rect", "circle", "path"})


def text(value: object) -> Markup:
    """The value as HTML text; characters that a page may not hold are replaced."""
    if isinstance(value, Markup):
        return value
    shown = "".join(c if c in "\n\t" or (c >= " " and not 0x7F <= ord(c) < 0xA0) else "\ufffd" for c in str(value))
    return Markup(html.escape(shown, quote=True))


def join(parts: Iterable[object]) -> Markup:
    """Pieces one after another."""
    return Markup("".join(text(part) for part in parts))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Underscores in attribute names become hyphens, a last one is dropped (`class_`); None is left out.

    >>> element("p", "a < b", class_="note", title=None)
    '<p class="note">a &lt; b</p>'
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{pairs}/>")
    return Markup(f"<{name}{pairs}>{join(children)}</{name}>")
