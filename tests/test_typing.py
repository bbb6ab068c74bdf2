"""A wrong edge is an error in mypy and in pyright alike, and a right one in neither."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "typing"
BAD = {number for number, line in enumerate((FOLDER / "bad.py").read_text("utf-8").splitlines(), 1) if line.endswith("# BAD")}


def run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    ).stdout


def mypy(name: str) -> set[int]:
    printed = run("mypy", "--no-incremental", str(FOLDER / name))
    return {int(number) for number in re.findall(rf"{name}:(\d+): error", printed)}


def pyright(name: str) -> set[int]:
    # With the folder's own configuration: the project's leaves bad.py out.
    told = json.loads(run("pyright", "--outputjson", "-p", str(FOLDER)))
    found = [one for one in told["generalDiagnostics"] if one["severity"] == "error" and one["file"].endswith(name)]
    return {one["range"]["start"]["line"] + 1 for one in found}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_both_checkers_agree(checker: object) -> None:
    assert callable(checker)

    assert checker("good.py") == set()
    assert checker("bad.py") == BAD
