"""The five commands of docs/tutorial.md, from a customer's 2 of 5 to a regression test, as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from examples.refund_bot import shipped
from tests.test_command import ROOT
from tests.test_refund_bot import needs_models, needs_shipped
from tests.test_regression import run_pytest

PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
COMMANDS = re.findall(r"^    kitchenlog (.*)$", PAGE, re.MULTILINE)


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    code = "from console.app import main; main()"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-c", code, *shlex.split(command)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip


@needs_models
@needs_shipped
def test_from_a_low_score_to_a_regression_test_in_five_commands(tmp_path: Path) -> None:
    shipped.copy_of(tmp_path / "shop").close()
    (tmp_path / "mended.py").write_text(
        re.findall(r"^```python\n(# mended\.py\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0], "utf-8"
    )
    assert len(COMMANDS) == 5
    found, shown, planned, repaired, kept = COMMANDS

    listed = run(tmp_path, found)
    assert listed.stdout.splitlines()[1].startswith("030a5be3")

    spans = run(tmp_path, shown)
    assert "retrieve/rerank" in spans.stdout
    assert 'rerank.top1_id: "pol_courtesy_v2_draft"' in spans.stdout

    plan = run(tmp_path, planned)
    assert plan.returncode == 0, plan.stderr
    assert "live calls 0-6" in plan.stdout
    bounds = json.loads(run(tmp_path, f"{planned} --json").stdout)["bounds"]
    assert (bounds["calls"]["high"], bounds["tokens"]["high"], bounds["cost_usd"]["high"]) == (6, 769, 0)

    fixed = run(tmp_path, repaired)
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert "first difference at retrieve/rerank/score" in fixed.stdout
    assert "gone from 1" in fixed.stdout
    certificate = run(tmp_path, "--store shop certificate verify fix.json")
    assert certificate.stdout.startswith("authentic")
    replay = fixed.stdout.split("recorded as ")[1].split()[0]
    assert json.loads((tmp_path / "fix.json").read_text("utf-8"))["head"]["replay"] == replay

    made = run(tmp_path, kept.replace("REPLAY", replay))
    assert made.returncode == 0, made.stderr
    [test] = tmp_path.glob("test_*.py")
    passed = run_pytest(tmp_path)
    assert passed.returncode == 0, passed.stdout
    assert "run.assert_contract()" in test.read_text("utf-8")

    test.write_text(test.read_text("utf-8").replace("from mended import", "from examples.refund_bot.bot import"), "utf-8")
    broken = run_pytest(tmp_path)
    assert broken.returncode == 1
    assert re.search(r"first divergence:\n.* retrieve", broken.stdout), broken.stdout
