"""`make bench`: every benchmark, each of which writes its section of docs/benchmarks.md; or the one that is named."""

from __future__ import annotations

import argparse

from benchmarks import speed

BENCHMARKS = {"speed": speed.main}

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar=f"{{{','.join(BENCHMARKS)}}}")
for name in parser.parse_args().names or BENCHMARKS:
    BENCHMARKS[name]()
