"""Every snippet of the README and of docs/ runs, and prints what the page says it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in page.read_text("utf-8")]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_pages_that_teach_have_snippets() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "agents.md", "providers.md", "tutorial.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run_and_print_what_is_shown(page: Path, tmp_path: Path) -> None:
    printed = ""
    ran = 0
    for kind, text in BLOCK.findall(page.read_text("utf-8")):
        if kind == "text":
            assert printed == text
            continue
        name = text.partition("\n")[0].removeprefix("# ") if text.startswith("# ") else f"snippet{ran}.py"
        (tmp_path / name).write_text(text, "utf-8")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        done = subprocess.run(
            [sys.executable, name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=50
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout
        ran += 1
    assert ran
