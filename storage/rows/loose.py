"""Traces that have records in record files, whose rows are made whenever they are asked for."""

from __future__ import annotations

import os

from storage import frames
from storage.ids import NO_TRACE

_SUFFIX = ".log"


def loose_traces(folder: str) -> set[bytes]:
    """The traces of which there are records in the record files of a folder.

    To be asked before packs are: a file that is sealed meanwhile is one of them then.
    """
    found: set[bytes] = set()
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return found
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                data = file.read()
        except FileNotFoundError:  # sealed since it was listed
            continue
        for one in frames.scan(data[frames.FILE_HEADER_BYTES :], frames.FILE_HEADER_BYTES):
            if isinstance(one, frames.Frame):
                found.add(one.trace)
    return found - {NO_TRACE}
