"""Text as sentences."""

from __future__ import annotations

import re
from typing import Final

_SENTENCE_END: Final = re.compile(r"(?<=[.!?])(?<!\b[Rr]s\.)(?<!\bno\.)(?<!\be\.g\.)(?<!\bi\.e\.)\s+|\n+")


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, in order. A line break ends one too; `Rs.`, `no.`, `e.g.` and `i.e.` do not."""
    return tuple(sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip())
