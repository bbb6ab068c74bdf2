"""The records of a trace by their kinds."""

from __future__ import annotations

from collections.abc import Mapping

from storage.records import Annotation, End, Header, Intent, Link, Outcome, Record, Span


class ByKind:
    """Records, sorted.

    Args:
        records: by their record ids.
    """

    header: Header | None
    intents: dict[int, Intent]
    outcomes: dict[int, Outcome]
    """By the record id of their intent, the first of each."""
    spans: dict[int, Span]
    annotations: list[Annotation]
    links: list[Link]
    end: End | None
    doubled: list[tuple[int, int]]
    """(record id, intent) of outcomes that are not the first of theirs."""

    def __init__(self, records: Mapping[int, Record]) -> None:
        self.header, self.end = None, None
        self.intents, self.outcomes, self.spans = {}, {}, {}
        self.annotations, self.links, self.doubled = [], [], []
        for number, record in sorted(records.items()):
            match record:
                case Header():
                    self.header = record
                case Intent():
                    self.intents[number] = record
                case Outcome():
                    if record.intent in self.outcomes:
                        self.doubled.append((number, record.intent))
                    self.outcomes.setdefault(record.intent, record)
                case Span():
                    self.spans[number] = record
                case Annotation():
                    self.annotations.append(record)
                case Link():
                    self.links.append(record)
                case End():
                    self.end = record
