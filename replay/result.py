"""A finished replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from replay import plan as planning
from replay.alignment import compare_replay
from replay.blocked import Blocked
from replay.certificate import NOT_OK, Certificate
from replay.damage import refuse
from replay.guard import guarded
from replay.plan import Plan
from replay.replayer import Replayer
from replay.selection import Request, as_list, as_selection, glue_addresses, known_addresses
from replay.shared_state import with_shared_state
from replay.trace_diff import TraceDiff
from replay.unknown import opaque
from runtime import effects, failure
from runtime.agent import Agent
from runtime.declaration import describe
from runtime.errors import BuildError, ReplayBlocked
from runtime.parts import parts_of
from runtime.recording import Recording, Result, static
from storage import codec


@attrs.define(eq=False)
class Replay:
    """What a replay did and what it proved."""

    recording: Recording
    """The original."""
    plan: Plan
    certificate: Certificate
    blocked: tuple[Blocked, ...]
    """Calls that the recording could not answer and nobody allowed."""
    ran: tuple[str, ...]
    """Addresses whose code ran, in order."""
    notes: tuple[str, ...]
    """Steps whose code differs from the recorded."""
    spent_usd: float
    """What live calls said they cost."""
    result: Result | None
    replayer: Replayer
    _call: str
    """The arguments of `runtime.replay` before `live`, for the hint."""
    trace_id: str = ""
    """Of the replay's own trace; empty where it was not recorded."""
    controlled: tuple[str, ...] = ()
    """Addresses that were repeated on their recorded input, each before it ran on another. They count in nothing else."""

    @property
    def output(self) -> Any:
        """What the run returns now.

        Raises:
            ReplayBlocked: it depends on a call without a recorded answer; the text ends with the call that allows it.
            Exception: the run ends in an error, as the recorded one did or because of the change.
        """
        result = self.result
        if result is None:
            raise ReplayBlocked("the recording does not tell what the run returned", ())
        if result.status == "blocked":
            raise ReplayBlocked(self.hint(), [one.address for one in self.blocked])
        if not result.ok:
            raise failure.rebuild(result.error)
        if result.data is not None and (unknown := codec.unknown_part(result.data)) is not None:
            raise ReplayBlocked(opaque("the output", unknown), ())
        agent = self.replayer.agent
        wanted = agent.input_codec if agent.output < 0 else agent.nodes[agent.output].codec
        return wanted.decode(result.data or b"\xc0")

    @property
    def next_call(self) -> str | None:
        """The exact call that allows what is blocked, or None where nothing is."""
        if not self.blocked:
            return None
        wanted = self.next_live
        options = ', live="needed"' if wanted == ["needed"] else f", live={wanted!r}"
        budget = self.next_budget
        if budget is not None:
            options += f", budget_usd={budget!r}"
        return f"runtime.replay({self._call}{options})"

    @property
    def next_budget(self) -> float | None:
        """The budget that reaches what is blocked, in USD; None where none is set, or none would do."""
        given = self.replayer.request.budget_usd
        needs = [one.needs_usd for one in self.blocked if one.needs_usd is not None]
        if given is None or math.inf in needs:
            return None
        return max([given, *[math.ceil(need * 1e6) / 1e6 for need in needs]])

    @property
    def next_live(self) -> list[str]:
        """What `live` has to name for the blocked calls to be made; what it names already stays."""
        request = self.replayer.request
        by_name = request.needed or any(one.side_effect for one in self.blocked)
        kept = [*request.live.keys(), *(["needed"] if request.needed else [])]
        return list(dict.fromkeys([*kept, *([one.address for one in self.blocked] if by_name else ["needed"])]))

    def hint(self) -> str:
        """What is blocked, and how to go on."""
        if not self.blocked:
            found = [str(one) for one in self.certificate.entries if one.status in NOT_OK]
            return "\n".join([f"the replay of {self.recording.trace_id[:12]} has no output:", *found])
        lines = [
            f"the replay of {self.recording.trace_id[:12]} reaches {len(self.blocked)} call(s) that the recording cannot answer"
        ]
        lines += [str(one) for one in self.blocked]
        if self.next_call is not None:
            lines += ["to make the call for real:", f"    {self.next_call}"]
        return "\n".join(lines)

    def diff(self) -> TraceDiff:
        """What came out otherwise than in the recording, address by address."""
        return compare_replay(self.recording, self.replayer, self.trace_id or f"replay of {self.recording.trace_id}", self.result)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "trace_id": self.trace_id,
            "replay_of": self.recording.trace_id,
            "certificate": self.certificate.to_json(),
            "blocked": [one.to_json() for one in self.blocked],
            "next_call": self.next_call,
            "ran": list(self.ran),
            "controlled": list(self.controlled),
            "notes": list(self.notes),
            "spent_usd": self.spent_usd,
            "diff": self.diff().to_json(),
        }

    def __repr__(self) -> str:
        return f"<Replay of {self.recording.trace_id}: {self.certificate}>"


def request_of(
    recording: Recording,
    agent: Agent[Any, Any],
    *,
    swap: Mapping[str, Any] | None,
    override: Mapping[str, Any] | None,
    live: str | Sequence[str] | None,
    budget_usd: float | None,
    code: str,
    guard: str = "standard",
    control: bool = False,
    pace: str = "fast",
) -> Request:
    """What the caller asked for, its keys resolved.

    Raises:
        UnknownAddress: a key names no span.
        BuildError: what stands in for glue is async.
        ValueError: `code` is neither current nor recorded, `guard` neither standard nor strict, or `pace` neither fast nor
            recorded.
    """
    if code not in {"current", "recorded"}:
        raise ValueError(f"code is 'current' or 'recorded', not {code!r}")
    if guard not in {"standard", "strict"}:
        raise ValueError(f"guard is 'standard' or 'strict', not {guard!r}")
    if pace not in {"fast", "recorded"}:
        raise ValueError(f"pace is 'fast' or 'recorded', not {pace!r}")
    parts = parts_of(agent)
    names = [*[spec.name for spec in agent.nodes], *parts]
    known = [*known_addresses(recording, names), *glue_addresses(recording, parts)]
    named = as_list(live)
    needed = "needed" in named
    recorded = set(map(static, recording.addresses()))
    fresh = [name for name in names if name not in recorded]
    chosen = as_selection(dict.fromkeys([key for key in named if key != "needed"], True), "live", known, fresh)
    chosen.widen(parts)
    swaps = as_selection(swap, "swap", known)
    glue = {name for name, part in parts.items() if part.kind == "derive"}
    glue |= {spec.name for spec in agent.nodes if spec.kind == "derive"}
    for key, stand_in in swaps.items():
        if static(key) in glue and describe(stand_in).is_async:
            raise BuildError(f"swap: {key} is glue, which is computed at once; what is to stand in for it is async")
    return Request(
        swaps, as_selection(override, "override", known), chosen, needed, budget_usd,
        code == "recorded", guard == "strict", control, pace == "recorded",
    )  # fmt: skip


async def replay(
    recording: Recording,
    agent: Agent[Any, Any],
    request: Request,
    *,
    redact: Callable[[Any], Any],
    call: str,
    replayer: Callable[..., Replayer] = Replayer,
) -> Replay:
    """Replay a recording."""
    planned = planning.make(recording, agent, request)
    worker = replayer(recording, agent, request, redact=redact)
    entries = refuse(recording)
    if entries is not None:
        certificate = Certificate(recording.trace_id, entries)
        return Replay(recording, planned, certificate, (), (), (), 0.0, None, worker, call)
    with effects.replaying(recording.trace_id), guarded():
        result = await worker.run()
    order = {address: place for place, address in enumerate(recording.addresses())}
    listed = sorted(worker.entries.values(), key=lambda entry: order.get(entry.address, len(order)))
    certificate = Certificate(recording.trace_id, with_shared_state(listed, agent, request, worker.ran))
    blocked = {one.address: one for one in worker.frontier.blocked}
    return Replay(
        recording, planned, certificate, tuple(blocked.values()), tuple(worker.ran), tuple(dict.fromkeys(worker.notes)),
        worker.frontier.spent_usd, result, worker, call,
        controlled=() if worker.controls is None else tuple(worker.controls.ran),
    )  # fmt: skip
