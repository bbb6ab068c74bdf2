"""The options that `replay` and `plan` share: what to swap, override and let go live."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable
from typing import Any

import attrs
import click

from console.session import State, agent_option, fail, json_option, load, register


@attrs.frozen
class ReplayOptions:
    """As they were given."""

    swap: tuple[str, ...]
    override: tuple[str, ...]
    live: tuple[str, ...]
    budget: float | None
    recorded_code: bool
    strict: bool
    control: bool
    agent: str | None

    def keywords(self, state: State) -> dict[str, Any]:
        """For `runtime.replay` and `runtime.plan`. Loads what they name."""
        options: dict[str, Any] = {
            "agent": register(state, self.agent),
            "live": list(self.live) or None,
            "budget_usd": self.budget,
        }
        if self.recorded_code:
            options["code"] = "recorded"
        if self.strict:
            options["guard"] = "strict"
        if self.control:
            options["control"] = True
        if self.swap:
            options["swap"] = {address: load(name) for address, name in (split_pair(one, "--swap") for one in self.swap)}
        if self.override:
            pairs = (split_pair(one, "--override") for one in self.override)
            options["override"] = {address: _json(text) for address, text in pairs}
        return options

    def again(self, state: State, done: Any) -> str | None:
        """The next command of a blocked replay."""
        if not done.blocked:
            return None
        parts = [f"kitchenlog {state.options}replay {done.recording.trace_id}"]
        parts += [f"--agent {shlex.quote(self.agent)}"] if self.agent else []
        parts += [f"--swap {shlex.quote(one)}" for one in self.swap]
        parts += [f"--override {shlex.quote(one)}" for one in self.override]
        parts += [word for word, said in (("--strict", self.strict), ("--control", self.control)) if said]
        parts += [f"--live {shlex.quote(one)}" for one in done.next_live]
        parts += [f"--budget {done.next_budget:g}"] if done.next_budget is not None else []
        return " ".join(parts)


def replay_options(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the options of a command, which is given them as one `ReplayOptions`."""

    @functools.wraps(fn)
    def call(**given: Any) -> Any:
        options = ReplayOptions(**{field.name: given.pop(field.name) for field in attrs.fields(ReplayOptions)})
        return fn(options=options, **given)

    made: Callable[..., Any] = call
    for option in (
        click.option(
            "--swap",
            multiple=True,
            metavar="ADDRESS=MODULE:OBJECT",
            help="Run this step instead; may be repeated.",
        ),
        click.option(
            "--override",
            multiple=True,
            metavar="ADDRESS=JSON",
            help="Take this value instead; may be repeated.",
        ),
        click.option("--live", multiple=True, metavar="ADDRESS", help='May call providers: an address, or "needed".'),
        click.option("--budget", type=float, help="The most that live calls may cost, in US dollars."),
        click.option("--recorded-code", is_flag=True, help="Reuse the values of steps whose code has changed."),
        click.option("--strict", is_flag=True, help="Refuse that steps write files; else those are named."),
        click.option("--control", is_flag=True, help="First repeat what runs again for changed input on its recorded input."),
        agent_option,
        json_option,
    ):
        made = option(made)
    return made


def split_pair(text: str, option: str) -> tuple[str, str]:
    """The two sides of `ADDRESS=...`, as it was given to an option."""
    address, sign, rest = text.partition("=")
    if not sign:
        fail(f"{option} is ADDRESS=..., not {text!r}")
    return address, rest


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        fail(f"--override takes JSON: {error}")
