"""A pack that is not what was written."""

from __future__ import annotations

from storage.errors import CorruptRecord


class CorruptPack(CorruptRecord):
    """Bytes of a pack are not what was written.

    Args:
        pack: what the pack is called.
        section: which part of it: `trailer`, `footer`, `block 3`, ...
        offset: where that section begins in the pack, in bytes.
        why: what is wrong there.
    """

    def __init__(self, pack: str, section: str, offset: int, why: str) -> None:
        self.pack, self.section, self.offset, self.why = pack, section, offset, why
        super().__init__(f"{pack} is corrupt in its {section} at offset {offset}: {why}")
