"""Recordings that are not whole are refused by name, never replayed as if they were."""

from __future__ import annotations

from replay.certificate import Entry
from runtime.recording import Recording


def refuse(recording: Recording) -> tuple[Entry, ...] | None:
    """The entries of a recording that cannot be replayed, or None where it can."""
    stored = recording.stored
    if stored.state == "damaged":
        reason = f"damaged: {stored.damage[0]}" if stored.damage else "damaged"
    elif stored.state == "unfinished":
        reason = "unfinished: the process ended before the run did"
    elif stored.end is not None and stored.end.lost:
        reason = f"{stored.end.lost} records were lost while it was recorded"
    else:
        return None
    addresses = recording.addresses() or [node[0] for node in recording.nodes]
    return tuple(Entry(address, "unreplayable", "step", reason) for address in addresses)
