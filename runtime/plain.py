"""Decoded values for people: as plain JSON data, and in one line."""

from __future__ import annotations

import json
import re
from typing import Any, Final


def plain(value: Any) -> Any:
    """A decoded value as JSON data: bytes as hexadecimal text, vectors by shape, stand-ins by what they say."""
    box = [value]
    todo: list[Any] = [box]
    while todo:  # no recursion: what could just be recorded may be nested as deep as the stack has room
        holder = todo.pop()
        for place, item in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            if isinstance(item, dict):
                holder[place] = {str(key): inner for key, inner in item.items()}
                todo.append(holder[place])
            elif isinstance(item, (list, tuple)):
                holder[place] = list(item)
                todo.append(holder[place])
            else:
                holder[place] = _plain_leaf(item)
    return box[0]


def _plain_leaf(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)  # noqa: PLR0124 - NaN
    return value.hex() if isinstance(value, bytes) else repr(value)


def brief(value: Any, width: int = 100) -> str:
    """A value in one line."""
    try:
        text = json.dumps(plain(value), ensure_ascii=False)
    except RecursionError:
        return f"a {type(value).__name__}, nested too deep for a line"
    return text if len(text) <= width else f"{text[: width - 1]}…"


HIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What a terminal obeys, or what turns a text around; tab and line feed are not among them."""


def visible(text: str) -> str:
    """A recorded text that no terminal or page obeys: what is hidden in it as escapes."""
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
