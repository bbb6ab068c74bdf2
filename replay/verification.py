"""Whether a certificate in a file is what a replay came to (docs/certificate.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import msgspec

from replay import certificate
from replay.certificate import SCHEMA, STATUSES, VERSION, Entry
from replay.difference import changes
from runtime.errors import KitchenlogError
from runtime.recording import Recording
from storage import codec
from storage.digest import Mac
from storage.errors import StorageError

MAX_BYTES: Final = 64 * 2**20
_KINDS: Final = frozenset({"step", "effect", "derive"})


class BadCertificate(KitchenlogError, ValueError):
    """The data is no certificate that this version reads."""


@attrs.frozen
class Verification:
    """What was found out about a certificate."""

    verdict: str
    """authentic: issued with the store's key and not altered since. consistent: it does not contradict itself, and the key that
    would tell more is not here. altered."""
    told: dict[str, Any]
    """The certificate, as JSON data."""
    differs: tuple[str, ...] = ()
    """What is not as it was certified."""
    reason: str = ""
    """Why it is no more than consistent."""

    @property
    def ok(self) -> bool:
        """Not altered, as far as the key tells."""
        return self.verdict != "altered"

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {"verdict": self.verdict, "differs": list(self.differs), "reason": self.reason, "head": self.told["head"]}


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    address: str
    status: str
    kind: str
    reason: str
    digest: str


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    trace: str
    replay: str
    agent: str
    fingerprint: str
    recorded_fingerprint: str
    store: str
    key: str
    counts: dict[str, int]
    ok: bool
    proved: bool


class _Certificate(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    version: int
    head: _Head
    entries: list[_Entry]
    digest: str


def verify(
    data: bytes, mac: Mac | None, stored: Callable[[str], Any] | None = None, *, missing: str = "no store is here"
) -> Verification:
    """Check a certificate.

    Args:
        data: the JSON text of a certificate.
        mac: of the store that it may have been issued by.
        stored: gives the certificate that the replay's own trace holds, or None; it names what was altered, and decides nothing.
        missing: why there are no digests.

    Raises:
        BadCertificate: it is none, or of a newer version.
    """
    told, read = _read(data)
    differs = list(_contradictions(read))
    if mac is None or mac.key_id.hex() != read.head.key:
        why = missing if mac is None else f"the store's key is {mac.key_id.hex()}"
        reason = f"it was issued with key {read.head.key} of store {read.head.store}; {why}"
        return Verification("altered" if differs else "consistent", told, tuple(differs), reason)
    head = told["head"]
    for place, entry in enumerate(told["entries"]):
        if certificate.entry_digest(mac, head, place, entry) != entry["digest"]:
            differs.append(f"entry {place}, {entry['address']}: it is not what was certified there")
    listed = [entry["digest"] for entry in told["entries"]]
    if certificate.whole_digest(mac, head, listed) != read.digest:
        differs.append("the head, or the list of entries: not what was certified")
    known = None if not differs or stored is None else stored(read.head.replay)
    if known is not None:
        differs += [f"the replay's trace says otherwise: {change}" for change in changes(known, _content(told))]
    return Verification("altered" if differs else "authentic", told, tuple(differs))


def _content(told: dict[str, Any]) -> dict[str, Any]:
    """A certificate without its digests, as the replay's trace holds it."""
    entries = [{name: value for name, value in entry.items() if name != "digest"} for entry in told["entries"]]
    return {name: entries if name == "entries" else value for name, value in told.items() if name != "digest"}


def stored_in(load: Callable[[str], Recording], trace: str) -> Any:
    """The certificate that a replay's own trace holds, as JSON data; None where there is no such trace."""
    try:
        recording = load(trace)
        told = [recording.stored.value(note.value) for note in recording.stored.annotations if note.kind == "certificate"]
        return codec.decode_any(told[0]) if told else None
    except StorageError:
        return None


def _read(data: bytes) -> tuple[dict[str, Any], _Certificate]:
    if len(data) > MAX_BYTES:
        raise BadCertificate(f"a certificate has at most {MAX_BYTES:,} bytes, this has {len(data):,}")
    try:
        told = json.loads(data, object_pairs_hook=_object, parse_constant=_refuse)
        json.dumps(told, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadCertificate(f"this is no certificate in JSON: {error}") from error
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise BadCertificate(f"this is no certificate: it does not say that its schema is {SCHEMA}")
    version = told.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BadCertificate(f"the certificate is of version {version}; this kitchenlog reads {VERSION}: install a newer one")
    try:
        read = msgspec.convert(told, _Certificate)
    except msgspec.ValidationError as error:
        raise BadCertificate(f"this is no certificate: {error}") from error
    if read.version != VERSION:
        raise BadCertificate(f"there is no version {read.version} of certificates")
    return told, read


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a field is there twice")
    return made


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _contradictions(read: _Certificate) -> Iterator[str]:
    """What can be seen to be wrong without a key."""
    entries = [Entry(one.address, one.status, one.kind, one.reason) for one in read.entries]
    seen: set[str] = set()
    for place, entry in enumerate(entries):
        if entry.status not in STATUSES:
            yield f"entry {place}, {entry.address}: there is no status {entry.status!r}"
        if entry.kind not in _KINDS:
            yield f"entry {place}, {entry.address}: there is no kind {entry.kind!r}"
        if entry.address in seen:
            yield f"entry {place}, {entry.address}: its address is there twice"
        seen.add(entry.address)
    counts = certificate.count(entries)
    for status in dict.fromkeys([*read.head.counts, *counts]):
        said, found = read.head.counts.get(status, 0), counts.get(status, 0)
        if said != found:
            yield f"head.counts: it says {said} {status}, the entries {found}"
    for name, said, found in (
        ("ok", read.head.ok, certificate.is_ok(entries)),
        ("proved", read.head.proved, certificate.is_proved(entries)),
    ):
        if said != found:
            yield f"head.{name}: it says {str(said).lower()}, the entries {str(found).lower()}"
