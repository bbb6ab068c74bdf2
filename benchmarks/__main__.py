"""`make bench`: every benchmark, each of which writes its section of docs/benchmarks.md; or those that are named."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import costs, million, overload, query, speed, verify

BENCHMARKS: dict[str, Callable[[], None]] = {
    "speed": speed.main,
    "overload": overload.main,
    "million": million.main,
    "query": query.main,
    "verify": verify.main,
    "costs": costs.main,
}

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
for name in parser.parse_args().names or BENCHMARKS:
    if name not in BENCHMARKS:
        parser.error(f"there is no benchmark {name}, only {', '.join(BENCHMARKS)}")
    BENCHMARKS[name]()
