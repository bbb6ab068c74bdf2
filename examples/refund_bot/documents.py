"""The shop's policies: Markdown files with a few lines of front matter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from steps.hybrid import Document

CORPUS: Final = Path(__file__).parent / "corpus"
_FRONT_MATTER: Final = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)


class BadDocument(ValueError):
    """Raised for a file without the front matter that a policy needs."""


def read(folder: Path = CORPUS) -> tuple[Document, ...]:
    """Every policy of a folder, in the order of the files' names.

    Raises:
        BadDocument: a file is no policy.
    """
    return tuple(parse(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.md")))


def parse(name: str, text: str) -> Document:
    """One policy. The front matter is not part of its text: a model never reads it.

    Raises:
        BadDocument: the front matter is missing or lacks a field.
    """
    found = _FRONT_MATTER.match(text)
    if found is None:
        raise BadDocument(f"{name} has no front matter between two lines of ---")
    fields = dict(line.split(": ", 1) for line in found[1].splitlines() if ": " in line)
    try:
        return Document(
            fields["id"], fields["title"], " ".join(found[2].split()), fields["version"], fields["status"], fields["tenant"]
        )  # fmt: skip
    except KeyError as error:
        raise BadDocument(f"{name}: its front matter has no {error.args[0]}") from error


def in_force(documents: Iterable[Document]) -> tuple[Document, ...]:
    """Those that are policy today."""
    return tuple(document for document in documents if document.status == "current")


def indexed(documents: Iterable[Document]) -> tuple[Document, ...]:
    """What goes into the search index: old versions are left out."""
    return tuple(document for document in documents if document.status != "superseded")


def title_words(documents: Iterable[Document]) -> tuple[str, ...]:
    """The words of the titles, lower case, without the shortest ones."""
    return tuple(sorted({word for document in documents for word in re.findall(r"[a-z]{4,}", document.title.lower())}))
