"""Certificates as files: authentic with the store's key, consistent without it, and what was altered is named."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtime
from replay import BadCertificate
from replay.certificate import Certificate, Entry, Issue
from replay.verification import verify
from runtime import Graph, effect
from storage.digest import Mac
from tests.test_command import kitchenlog


@effect
async def complete(prompt: str) -> str:
    return prompt.upper()


async def words(question: str) -> list[str]:
    return sorted(question.split())


async def generate(question: str, found: list[str]) -> str:
    return await complete(f"{question} {found}")


def bot() -> runtime.Agent[str, str]:
    graph = Graph("bot", input=str)
    return graph.build(graph.add(generate, graph.input, graph.add(words, graph.input)))


@pytest.fixture
def certified(kitchen: runtime.Runtime) -> dict[str, Any]:
    """What a replay is certified to have come to."""
    run = kitchen.run(bot(), "where is it")
    told = kitchen.replay(run.trace_id).certificate.to_json()
    assert told["head"]["trace"] == run.trace_id
    return told


def data(told: Any) -> bytes:
    return json.dumps(told).encode()


def test_with_the_key_a_certificate_is_authentic(kitchen: runtime.Runtime, certified: dict[str, Any]) -> None:
    found = kitchen.verify_certificate(data(certified))

    assert (found.verdict, found.differs, found.reason) == ("authentic", (), "")
    head = certified["head"]
    assert certified["schema"] == "kitchenlog.certificate"
    assert head["agent"] == "bot"
    assert head["fingerprint"] == head["recorded_fingerprint"] == bot().fingerprint.hex()
    assert head["counts"] == {"reproduced": 2, "reused": 1}
    assert kitchen.open(head["replay"]).original == head["trace"]


def test_without_the_key_it_is_consistent(certified: dict[str, Any], tmp_path: Path) -> None:
    with runtime.Runtime(tmp_path / "other") as other:
        other.run(bot(), "x")
        elsewhere = other.verify_certificate(data(certified))
    with runtime.Runtime(tmp_path / "none") as nowhere:
        alone = nowhere.verify_certificate(data(certified))

    assert (elsewhere.verdict, alone.verdict) == ("consistent", "consistent")
    assert certified["head"]["key"] in elsewhere.reason
    assert "no store is there yet" in alone.reason
    assert not (tmp_path / "none").exists()


def places(told: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field of a certificate that can be altered."""
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def altered(told: Any, path: tuple[Any, ...]) -> Any:
    made = copy.deepcopy(told)
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    was = holder[path[-1]]
    holder[path[-1]] = not was if isinstance(was, bool) else was + 1 if isinstance(was, int) else _other(was)
    return made


def _other(text: str) -> str:
    return f"{'1' if text[:1] == '0' else '0'}{text[1:]}"


def test_every_field_that_is_altered_is_found_and_named(kitchen: runtime.Runtime, certified: dict[str, Any]) -> None:
    tried = 0
    for path in places(certified):
        if path in {("schema",), ("version",)}:
            continue
        found = kitchen.verify_certificate(data(altered(certified, path)))
        if path == ("head", "key"):
            assert found.verdict == "consistent"
            assert found.reason
            continue
        assert found.verdict == "altered", path
        named = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        if path[-1] == "digest":
            named = "the head, or the list" if len(path) == 1 else f"entry {path[1]}, "
        if path != ("head", "replay"):  # its trace is the one that would say so
            assert any(named in one for one in found.differs), (path, found.differs)
        tried += 1
    assert tried > 20


def test_an_entry_that_is_taken_out_put_in_or_moved_is_found(kitchen: runtime.Runtime, certified: dict[str, Any]) -> None:
    less, more, moved = (copy.deepcopy(certified) for _ in range(3))
    less["entries"].pop()
    more["entries"].append(more["entries"][0])
    moved["entries"].reverse()

    for told in (less, more, moved):
        assert kitchen.verify_certificate(data(told)).verdict == "altered"
    assert any("head.counts" in one for one in kitchen.verify_certificate(data(less)).differs)


def test_an_entry_of_another_certificate_of_the_same_store_does_not_pass(kitchen: runtime.Runtime) -> None:
    run = kitchen.run(bot(), "where is it")
    one, two = (kitchen.replay(run.trace_id).certificate.to_json() for _ in range(2))

    one["entries"] = two["entries"]

    assert kitchen.verify_certificate(data(one)).verdict == "altered"


def test_a_contradiction_is_seen_without_a_key(certified: dict[str, Any]) -> None:
    certified["entries"][0]["status"] = "diverged"

    found = verify(data(certified), None)

    assert found.verdict == "altered"
    assert "head.ok: it says true, the entries false" in found.differs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no certificate in JSON"),
        (b"[]", "does not say that its schema"),
        (b"{}", "does not say that its schema"),
        (b'{"schema": "kitchenlog.certificate", "version": 2}', "install a newer one"),
        (b'{"schema": "kitchenlog.certificate", "version": 1}', "no certificate"),
        (b'{"schema": "kitchenlog.certificate", "schema": "kitchenlog.certificate"}', "there twice"),
        (b'{"schema": NaN}', "NaN"),
        (b'{"schema": "\\ud800"}', "surrogates"),
        (b"[" * 100_000, "no certificate"),
        (b"\xff", "no certificate"),
    ],
)
def test_what_is_no_certificate_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(BadCertificate, match=said):
        verify(text, None)


def test_a_field_that_no_digest_covers_is_refused(certified: dict[str, Any]) -> None:
    for holder in (certified, certified["head"], certified["entries"][0]):
        holder["note"] = "approved"
        with pytest.raises(BadCertificate, match="note"):
            verify(data(certified), None)
        del holder["note"]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5, unique_by=lambda one: one[0]), TEXTS)
def test_what_was_issued_is_authentic_whatever_it_says(reasons: list[tuple[str, str]], agent: str) -> None:
    mac = Mac(bytes(range(32)))
    entries = tuple(Entry(address, "reproduced", "step", reason) for address, reason in reasons)
    issue = Issue("11" * 16, agent, "22", "33", "44", mac.key_id.hex())

    made = Certificate("00" * 16, entries, issue, mac)

    assert verify(data(made.to_json()), mac).verdict == "authentic"


def test_with_another_key_every_digest_is_another() -> None:
    entries = (Entry("retrieve", "reproduced", "step"),)
    told = [
        Certificate("00" * 16, entries, Issue("11" * 16, "bot", "22", "33", "44", "55"), Mac(bytes([key]) * 32)).to_json()
        for key in (1, 2)
    ]

    assert told[0]["digest"] != told[1]["digest"]
    assert told[0]["entries"][0]["digest"] != told[1]["entries"][0]["digest"]


def test_a_certificate_has_a_vector() -> None:
    """Pinned: docs/certificate.md says how the digests are made, and another reader must come to the same."""
    mac = Mac(bytes(range(32)))
    head = Issue("11" * 16, "bot", "22", "33", "44" * 16, mac.key_id.hex())
    entries = (Entry("retrieve", "reproduced", "step"), Entry("retrieve/ask", "blocked", "effect", "naïve “quotes”"))

    told = Certificate("00" * 16, entries, head, mac).to_json()

    assert [entry["digest"] for entry in told["entries"]] == VECTOR[:2]
    assert told["digest"] == VECTOR[2]


VECTOR = [
    "353a7a1d4d93292bb28da1f67dbe447c",
    "773a96205fb254e2baabc7c3b2009ae9",
    "8b870f6279a14e49622f9248b241efea",
]


BOT = """
from runtime import Graph, effect

@effect
async def complete(prompt: str) -> str:
    return prompt.upper()

async def generate(question: str) -> str:
    return await complete(question)

graph = Graph("bot", input=str)
agent = graph.build(graph.add(generate, graph.input))
"""


def test_the_command_writes_and_verifies_certificates(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(BOT, "utf-8")
    ran = kitchenlog(tmp_path, "run", "bot:agent", '"hello"', "--json")
    trace = json.loads(ran.stdout)["trace_id"]

    made = kitchenlog(tmp_path, "replay", trace, "--agent", "bot:agent", "--certificate", "fix.json")
    assert made.returncode == 0, made.stderr
    kept = kitchenlog(tmp_path, "certificate", "verify", "fix.json")
    elsewhere = kitchenlog(tmp_path, "certificate", "verify", "fix.json", "--store", "nowhere")
    file = tmp_path / "fix.json"
    file.write_text(file.read_text("utf-8").replace('"reused"', '"moved"', 1), "utf-8")
    lied = kitchenlog(tmp_path, "certificate", "verify", "fix.json")
    told = kitchenlog(tmp_path, "certificate", "verify", "fix.json", "--json")
    file.write_text("{", "utf-8")
    broken = kitchenlog(tmp_path, "certificate", "verify", "fix.json")
    missing = kitchenlog(tmp_path, "certificate", "verify", "nosuch.json")

    assert (kept.returncode, kept.stdout.splitlines()[0]) == (0, "authentic")
    assert (elsewhere.returncode, elsewhere.stdout.splitlines()[0]) == (0, "consistent")
    assert (lied.returncode, lied.stdout.splitlines()[0]) == (1, "altered")
    assert "reused" in lied.stdout
    assert json.loads(told.stdout)["verdict"] == "altered"
    assert (broken.returncode, missing.returncode) == (2, 2)
    assert "no certificate in JSON" in broken.stderr
