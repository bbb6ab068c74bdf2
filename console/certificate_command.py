"""`kitchenlog certificate`: checking what a replay was certified to have come to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

import runtime
from console.session import DIFFERS, State, clearly, emit, fail, json_option
from runtime.plain import visible

_COLOURS = {"authentic": "green", "consistent": "yellow", "altered": "bold red"}


@click.group()
def certificate() -> None:
    """Check certificates of replays."""


@certificate.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--store", help="The store whose key it was issued with; by default as for every command.")
@json_option
@click.pass_obj
@clearly
def verify(state: State, file: Path, store: str | None, *, as_json: bool) -> None:
    """Say whether the certificate in FILE is authentic, consistent (the key is not here) or altered.

    \b
    Example: kitchenlog certificate verify fix.json
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    kitchen = state.runtime if store is None else runtime.configure(store)
    try:
        found = kitchen.verify_certificate(data)
    finally:
        kitchen.close()
    if as_json:
        emit(found.to_json())
    else:
        _print(found)
    if not found.ok:
        sys.exit(DIFFERS)


def _print(found: Any) -> None:
    out = Console(highlight=False)
    head = found.told["head"]
    out.print(Text(found.verdict, style=_COLOURS[found.verdict]))
    for one in found.differs:
        out.print(f"  {visible(one)}", markup=False, soft_wrap=True)
    if found.reason:
        out.print(f"  {visible(found.reason)}", markup=False, soft_wrap=True)
    verdict = "proved" if head["proved"] else "ok" if head["ok"] else "not ok"
    counts = ", ".join(f"{number} {status}" for status, number in head["counts"].items())
    out.print(
        visible(f"it says: replay {head['replay']} of {head['trace']} by {head['agent']}: {verdict}: {counts}"),
        style="dim", markup=False, soft_wrap=True,
    )  # fmt: skip


def write(made: Any, file: Path) -> None:
    """Write the certificate of a replay as JSON."""
    try:
        file.write_text(f"{json.dumps(made.to_json(), ensure_ascii=False, indent=2)}\n", "utf-8")
    except OSError as error:
        fail(f"{file}: {error.strerror}")
