"""Fragments of HTML that stand alone: inline styles, nothing loaded, and no recorded text that is not escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

from runtime.plain import visible

_FRAME: Final = "font:13px/1.45 system-ui,sans-serif;max-width:72rem;overflow-wrap:anywhere"
_CELL: Final = "text-align:left;vertical-align:top;padding:1px 12px 1px 0;border:0"
COLOURS: Final = {"removed": "#b3261e", "added": "#146c2e", "changed": "#8a5a00", "moved": "#00639b", "unknown": "#b3261e"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Any text, escaped."""
    return value if isinstance(value, Markup) else Markup(html.escape(visible(str(value)), quote=True))


def tag(name: str, *inner: object, style: str = "") -> Markup:
    """An element around texts, which are escaped, and other elements."""
    opened = f'<{name} style="{html.escape(style, quote=True)}">' if style else f"<{name}>"
    return Markup(f"{opened}{''.join(map(text, inner))}</{name}>")


def coloured(value: object, colour: str) -> Markup:
    """A text in a colour, or in none."""
    return tag("span", value, style=f"color:{colour}") if colour else text(value)


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Markup:
    """A table."""
    top = tag("tr", *(tag("th", one, style=f"{_CELL};color:gray;font-weight:normal") for one in head))
    body = (tag("tr", *(tag("td", cell, style=_CELL) for cell in row)) for row in rows)
    return tag("table", top, *body, style="border-collapse:collapse")


def fold(head: object, *inner: object, opened: bool) -> Markup:
    """What can be folded away under its head."""
    start = "<details open>" if opened else "<details>"
    return Markup(f"{start}{tag('summary', head)}{tag('div', *inner, style='margin-left:1.5em')}</details>")


def fragment(*inner: object) -> str:
    """The whole of it."""
    return str(tag("div", *inner, style=_FRAME))
