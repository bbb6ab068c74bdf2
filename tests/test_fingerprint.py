"""Fingerprints: what changes one, and what does not."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from runtime.fingerprint import code_fingerprint, step_fingerprint

SOURCE = '''
PROMPT = "Answer in one sentence."
WORDS = frozenset({"refund", "late", "order"})

def deep(text):
    return text.strip()

def helper(text):
    return deep(text) + PROMPT

async def answer(text: str, limit: int = 3) -> str:
    """What it does."""
    found = [word for word in text.split() if word in WORDS]
    return helper(" ".join(found[:limit]))

async def other(text: str) -> str:
    return text
'''


def load(folder: Path, name: str, source: str) -> ModuleType:
    (folder / f"{name}.py").write_text(source, "utf-8")
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def digests(folder: Path, name: str, source: str) -> tuple[bytes, bytes]:
    module = load(folder, name, source)
    return code_fingerprint(module.answer).digest, code_fingerprint(module.other).digest


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        (1, "found[:limit]", "found[1:limit]"),
        (2, "one sentence", "two sentences"),
        (3, "text.strip()", "text.lstrip()"),
        (4, "limit: int = 3", "limit: int = 4"),
        (5, '"late", ', ""),
    ],
)
def test_what_a_step_reads_changes_it_alone(tmp_path: Path, number: int, old: str, new: str) -> None:
    assert old in SOURCE
    before = digests(tmp_path, f"fp_before_{number}", SOURCE)
    after = digests(tmp_path, f"fp_after_{number}", SOURCE.replace(old, new))

    assert before[0] != after[0]
    assert before[1] == after[1]


def test_layout_comments_and_docstrings_change_nothing(tmp_path: Path) -> None:
    moved = SOURCE.replace('"""What it does."""', '"""Other words."""').replace("    found", "    # a comment\n\n    found")

    assert digests(tmp_path, "fp_plain", SOURCE) == digests(tmp_path, "fp_moved", "\n\n" + moved)


def test_what_is_reached_is_listed(tmp_path: Path) -> None:
    found = code_fingerprint(load(tmp_path, "fp_reached", SOURCE).answer)

    assert found.reached == ("fp_reached.answer", "fp_reached.deep", "fp_reached.helper")
    assert found.notes == ()


def test_a_file_edited_since_lends_no_text(tmp_path: Path) -> None:
    source = SOURCE.replace("in WORDS", "in WORDS and word")  # code that no other test has: equal code has equal source
    module = load(tmp_path, "fp_edited", source)
    (tmp_path / "fp_edited.py").write_text(source.replace("found[:limit]", "found[2:limit]"), "utf-8")

    found = code_fingerprint(module.answer)

    assert any(note.startswith("from bytecode: fp_edited.answer") for note in found.notes)


def test_a_mutable_global_is_listed(tmp_path: Path) -> None:
    module = load(tmp_path, "fp_mutable", "CACHE = {}\n\nasync def answer(text: str) -> str:\n    return CACHE.get(text, text)\n")

    assert step_fingerprint(module.answer).notes == ("reads mutable global fp_mutable.CACHE",)


def test_the_hash_seed_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "fp_seed.py").write_text(SOURCE, "utf-8")
    code = "import fp_seed; from runtime.fingerprint import code_fingerprint as f; print(f(fp_seed.answer).digest.hex())"
    root = Path(__file__).parent.parent
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}:{tmp_path}"},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip

    assert len(printed) == 1
