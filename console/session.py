"""What every command shares: the store it is asked of, agents by name, and how it ends."""

from __future__ import annotations

import functools
import importlib
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

import runtime
from runtime import place
from runtime.plain import HIDDEN

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
agent_option = click.option("--agent", help="module:object of the agent; by default those that the configuration lists.")
DIFFERS, FAILED = 1, 2


class State:
    """What the options before the command say."""

    def __init__(self, store: str | None) -> None:
        self.place = place.find()
        self.options = "" if store is None else f"--store {shlex.quote(store)} "
        """As they have to be repeated in the next command."""
        self.runtime = runtime.configure(store)


def fail(message: str) -> NoReturn:
    """End with a sentence on standard error."""
    click.echo(f"kitchenlog: {message}", err=True)
    sys.exit(FAILED)


def clearly(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A user's error is a sentence, not a traceback."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except (runtime.KitchenlogError, ValueError) as error:
            fail(str(error))

    return call


def load(name: str) -> Any:
    """The object that `module:object` names. Only the user's command line and configuration come here, never a trace."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        fail(f"{name!r} is not module:object, as in bot:agent")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        fail(f"{name}: {error}")
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        fail(f"{name}: {error}")


def load_agent(name: str) -> runtime.Agent[Any, Any]:
    """The agent that `module:object` names."""
    found = load(name)
    if not isinstance(found, runtime.Agent):
        fail(f"{name} is a {type(found).__name__}, not an agent: graph.build(...) returns one")
    return found


def register(state: State, agent: str | None) -> runtime.Agent[Any, Any] | None:
    """Make agents known: the one named, and those of the configuration."""
    for name in state.place.agents:
        state.runtime.register(load_agent(name))
    if agent is None:
        return None
    found = load_agent(agent)
    state.runtime.register(found)
    return found


def emit(data: Any) -> None:
    """Print JSON."""
    text = json.dumps(data, ensure_ascii=False, indent=2)
    click.echo(HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
