"""Bars on a logarithmic scale, as SVG. Reads JSON from standard input: a title, and of each bar its label, number and colour."""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl

mpl.use("svg")
# Text as text, and equal figures as equal bytes.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "kitchenlog", "font.family": "sans-serif", "font.size": 10})

from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen


def main() -> None:
    """Draw."""
    told: dict[str, Any] = json.load(sys.stdin)
    labels, numbers, colours = zip(*told["bars"], strict=True)
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.36 * len(labels)), layout="constrained")
    bars = axes.barh(labels, numbers, color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xscale("log")
    axes.set_xlim(1, 2 * max(numbers))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.invert_yaxis()
    axes.set_title(told["title"], loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(sys.stdout.buffer, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
