"""LangGraph: a graph with the SQLite checkpointer; time travel as its documentation shows it."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.torture import kit as kits
from benchmarks.torture.cases import Case
from benchmarks.torture.contestant import Facts, Told, in_words
from benchmarks.torture.contestants import http_doors
from benchmarks.torture.kit import Step

# Any: the checkers see an environment without it.
httpx: Any = importlib.import_module("httpx")
graphs: Any = importlib.import_module("langgraph.graph")
funcs: Any = importlib.import_module("langgraph.func")
savers: Any = importlib.import_module("langgraph.checkpoint.sqlite.aio")
caches: Any = importlib.import_module("langgraph.cache.sqlite")
types: Any = importlib.import_module("langgraph.types")
typed_dict: Any = importlib.import_module("typing").TypedDict  # its keys are the steps' names, so no checker can know them

THREAD = {"configurable": {"thread_id": "torture"}}


class Doors(http_doors.Doors):
    """Each call with an effect is a task, as its page on durable execution says."""

    async def ask(self, text: str) -> Any:
        """The provider."""
        return await funcs.task(super().ask)(text)

    async def pay(self, text: str) -> Any:
        """The provider, with a side effect."""
        return await funcs.task(super().pay)(text)

    async def stock(self, item: str) -> Any:
        """The tool in the process."""
        return await funcs.task(super().stock)(item)

    async def entropy(self) -> list[str]:
        """Nondeterminism goes into a task as well."""
        drawn: list[str] = await funcs.task(super().entropy)()
        return drawn


class TimeTravel:
    """Its guide: find the checkpoint, `update_state` where a step is swapped, and invoke from there."""

    facts = Facts(
        "SqliteSaver; effects as `@task`; `update_state` from the checkpoint before the step, then `invoke(None, ...)`",
        cannot={
            "an exception of the program's own": "steps run again, as documented",
            "clock, random, uuid by the tool's door": "steps run again, as documented",
            "clock, random, uuid of the library": "steps run again, as documented",
        },
        reexecutes=True,
    )
    cached = False

    def _node(self, step: Step, kit: Doors) -> Any:
        async def node(state: dict[str, Any]) -> dict[str, Any]:
            return {step.name: await step.fn(kit, *[state[need] for need in step.needs])}

        node.__name__ = step.fn.__name__
        node.__qualname__ = step.fn.__qualname__
        return node

    @asynccontextmanager
    async def _graph(self, folder: Path, url: str, steps: tuple[Step, ...]) -> AsyncGenerator[Any]:
        keys = {"input": Any, **{step.name: Any for step in steps}}
        graph = graphs.StateGraph(typed_dict("State", keys))
        async with (
            httpx.AsyncClient(timeout=30) as client,
            savers.AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver,
        ):
            options = {"cache_policy": types.CachePolicy()} if self.cached else {}
            for step in steps:
                graph.add_node(f"node {step.name}", self._node(step, Doors(client, url)), **options)
                before = [graphs.START if need == "input" else f"node {need}" for need in step.needs]
                graph.add_edge(before if len(before) > 1 else before[0], f"node {step.name}")
            graph.add_edge(f"node {steps[-1].name}", graphs.END)
            cache = caches.SqliteCache(path=str(folder / "cache.sqlite")) if self.cached else None
            yield graph.compile(checkpointer=saver, cache=cache)

    async def record(self, folder: Path, url: str, case: Case, given: str) -> Any:
        """Run on one thread."""
        async with self._graph(folder, url, case.steps) as graph:
            state = await graph.ainvoke({"input": given}, THREAD)
        return state[case.steps[-1].name]

    async def replay(self, folder: Path, url: str, case: Case, given: str) -> Told:
        """From the first checkpoint in which steps are due."""
        told = Told()
        then = case.then or case.steps
        try:
            async with self._graph(folder, url, then) as graph:
                history = [one async for one in graph.aget_state_history(THREAD)]
                due = {f"node {name}" for name in case.swapped} or {f"node {then[0].name}"}
                [*_, before] = [one for one in history if due & set(one.next)]
                config = before.config
                for step in then:
                    if step.name in case.swapped:
                        config = await self._swap(graph, before, step)
                state = await graph.ainvoke(None, config)
                told.output = state.get(then[-1].name)
        except Exception as error:
            told.error = in_words(error)
        return told

    async def _swap(self, graph: Any, before: Any, step: Step) -> Any:
        kit: Any = kits.Tasks()
        value = await step.fn(kit, *[before.values[need] for need in step.needs])
        return await graph.aupdate_state(before.config, {step.name: value}, as_node=f"node {step.name}")


class Cached(TimeTravel):
    """With its node cache, which serves a node that is asked the same input again; a swapped node replaces the old one."""

    facts = Facts(
        "as LangGraph, and `CachePolicy()` on every node with SqliteCache; a swapped step replaces the node, "
        "after `clear_cache` for it",
        reexecutes=True,
    )
    cached = True

    async def _swap(self, graph: Any, before: Any, step: Step) -> Any:
        await graph.aclear_cache([f"node {step.name}"])
        return before.config
