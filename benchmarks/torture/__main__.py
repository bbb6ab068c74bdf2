"""`python -m benchmarks.torture`: every case to every contestant, and docs/replay-torture.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import environments
from benchmarks.torture.cases import CASES, Case, Seen
from benchmarks.torture.contestant import NAMES, SECONDS, module_of
from benchmarks.torture.page import PAGE, ROOT, page
from benchmarks.torture.verdict import Cell, verdict


def python_of(name: str) -> str:
    """The interpreter of a contestant's environment, which is made if it has to be.

    Raises:
        CalledProcessError: it could not be made; there may be no package index.
    """
    module = module_of(name)
    return sys.executable if module == "kitchenlog" else environments.python(f"torture_{module}")


def put(name: str, case: Case) -> tuple[Cell, dict[str, Any], Seen]:
    """One case to one contestant, in a process of its environment."""
    command = [python_of(name), "-m", "benchmarks.torture.contestant", name, case.key]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3 * SECONDS, check=False)
    except subprocess.TimeoutExpired:
        seen = Seen(broken="it did not end")
        return verdict(case, seen), {}, seen
    if done.returncode:
        raise SystemExit(f"{name}, {case.key}: {done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    seen = Seen(**told["seen"])
    facts = told["facts"]
    return verdict(case, seen, reexecutes=facts["reexecutes"], cannot=facts["cannot"]), facts, seen


def main() -> None:
    """Run, and write the page or print the chosen cells."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--only", help="one case, by its name", choices=[case.key for case in CASES], metavar="CASE")
    parser.add_argument("--tool", help="one contestant", choices=list(NAMES), metavar="TOOL")
    chosen = parser.parse_args()
    names = [chosen.tool] if chosen.tool else list(NAMES)
    cases = [case for case in CASES if chosen.only in {None, case.key}]
    for name in names:
        python_of(name)
    cells: dict[str, dict[str, Cell]] = {name: {} for name in names}
    facts: dict[str, dict[str, Any]] = {name: {} for name in names}
    jobs = [(name, case) for name in names for case in cases]
    with ThreadPoolExecutor(2) as pool:
        for (name, case), (cell, fact, seen) in zip(jobs, pool.map(lambda job: put(*job), jobs), strict=True):
            cells[name][case.key] = cell
            facts[name] = facts[name] or fact
            print(f"{name:18} {case.key:40} {cell.word:20} {cell.why}", flush=True)
            if chosen.only:
                print(json.dumps(seen.__dict__, indent=2)[:4000])
    if not chosen.only and not chosen.tool:
        PAGE.write_text(page(cells, facts))
        print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
