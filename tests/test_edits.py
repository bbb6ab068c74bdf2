"""Edit, restart, replay: a small user's project, in processes of its own and through `import runtime` alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage import frames
from storage.opening import open_store
from storage.pack.reader import PackReader
from storage.pack.writer import PackWriter
from storage.records import Kind

ROOT = Path(__file__).parent.parent
# `ran(name, value)` notes in a file that this code ran, and gives the value back.
AGENT = """
from bot import prompts
from bot.tally import ran
from bot.words import tidy
from runtime import Graph, effect, step

SIGNATURE = "the kitchen"

@effect
async def shelf(name: str) -> list[str]:
    ran("shelf", name)
    return [f"{name} note {number:02} {'e' * (number % 4)}" for number in range(30)]
@effect
async def complete(prompt: str) -> str:
    return ran("complete", prompt).upper()
@effect(side_effect=True)
async def stamp(what: str) -> str:
    return f"stamped {ran('stamp', what)}"

async def clean(question: str) -> str:
    return tidy(ran("clean", question).lower())
async def lookup(text: str) -> list[str]:
    return [f"{note} for {text}" for note in sorted(await shelf(ran("lookup", "orders")))[:20]]
@step
async def score(note: str) -> int:
    return abs(ran("score", note).split(" for ")[0].count("e"))
async def rank(text: str, notes: list[str]) -> list[str]:
    first = (await shelf(ran("rank", "ranks")))[0]
    scored = [(await score(note), note) for note in notes[:3]]
    last = await stamp("ranked")
    return [f"{note}, {first} {last}" for _, note in sorted(scored, reverse=True)[:9]]
def top(notes: list[str]) -> str:
    return min(ran("top", notes)[:1])
async def draft(text: str, note: str) -> str:
    return (await complete(ran("draft", prompts.TONE))).lower() + f": {text}, see {note}"
async def sign(question: str) -> str:
    return f"{await stamp(ran('sign', 'today'))}, {SIGNATURE.upper()}"
def send(body: str, signature: str) -> str:
    return tidy(f" {ran('send', body)} -- {signature}").strip()

graph = Graph("bot.answer", input=str)
text = graph.add(clean, graph.input)
body = graph.add(draft, text, graph.derive(top, graph.add(rank, text, graph.add(lookup, text))))
agent = graph.build(graph.add(send, body, graph.add(sign, graph.input)))
"""
TALLY = """
import os

def ran(name, value):
    with open(os.environ["RAN"], "a", encoding="utf-8") as file:
        file.write(name + " ")
    return value
"""
FILES = {
    "kitchenlog.toml": 'store = "recordings"\n',
    "bot/agent.py": AGENT,
    "bot/tally.py": TALLY,
    "bot/prompts.py": 'TONE = "Be kind"\n',
    "bot/words.py": "from bot.spaces import squeeze\n\ndef tidy(text: str) -> str:\n    return squeeze(text)\n",
    "bot/spaces.py": 'def squeeze(text: str) -> str:\n    return " ".join(text.split())\n',
    "bot/__init__.py": "",
}
EFFECTS = {"lookup/shelf", "rank/shelf", "rank/stamp", "draft/complete", "sign/stamp"}
SCORES = {"rank/score", "rank/score#2", "rank/score#3"}
ONCE = ["clean", "draft", "lookup", "rank", "score", "score", "score", "send", "sign", "top"]

# What every process begins with.
BEGIN = """
import json, os, sys
from pathlib import Path
import runtime
from bot.agent import agent

QUESTION = "Where is  My Order"
trace = sys.argv[1] if sys.argv[1:] else ""
runtime.register(agent)

def ran():
    file = Path(os.environ["RAN"])
    names = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return sorted(names)

def values(recording):
    return {address: [recording.inputs(span), span.result.value] for address, span in recording.spans.items()}

def output(replay):
    try:
        return replay.output
    except runtime.ReplayBlocked as error:
        return {"blocked": str(error)}

def told(trace, **options):
    replay = runtime.replay(trace, **options)
    return {
        "status": {entry.address: entry.status for entry in replay.certificate.entries},
        "ok": replay.certificate.ok, "proved": replay.certificate.proved,
        "ran": list(replay.ran), "planned": list(replay.plan.runs), "names": ran(),
        "plan": [[one.address, one.kind, one.mode, one.reason] for one in runtime.plan(trace, **options).steps],
        "output": output(replay), "kept": runtime.open(replay.trace_id).output,
    }

def tell(**found):
    print(json.dumps(found, default=repr))

"""
RECORD = "run = runtime.run(agent, QUESTION); tell(trace=run.trace_id, output=run.output, names=ran())"
# After an edit: what the code gives now, in a store of its own, beside what two replays make of the recording.
EDITED = """
fresh = runtime.Runtime("fresh").run(agent, QUESTION)
ran()
tell(
    old=values(runtime.open(trace)), new=values(fresh.recording), output=fresh.output,
    verified=told(trace), least=told(trace, live="needed"),
)
"""


def process(folder: Path, code: str, *arguments: str, here: Path | None = None, seed: str = "0") -> Any:
    """What a new process, started in the project's folder or `here`, tells as JSON."""
    environment = {
        **os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONHASHSEED": seed, "RAN": str(folder / "ran.txt"),
        "PYTHONDONTWRITEBYTECODE": "1",  # an edit within a second that keeps the size would run the old bytecode
    }  # fmt: skip
    command = [sys.executable, "-c", BEGIN + code, *arguments]
    done = subprocess.run(command, cwd=here or folder, env=environment, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def edit(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text("utf-8")
    assert text.count(old) == 1, old
    (folder / file).write_text(text.replace(old, new), "utf-8")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The project and what it told as it recorded a run."""
    folder = write(tmp_path_factory.mktemp("recorded"), FILES)
    return folder, process(folder, RECORD)


@pytest.fixture
def project(recorded: tuple[Path, Any], tmp_path: Path) -> tuple[Path, str]:
    """A copy of the project and its store, to be edited, and its trace."""
    folder = tmp_path / "project"
    shutil.copytree(recorded[0], folder)
    return folder, recorded[1]["trace"]


def expected(told: Any, edited: set[str], stands: str) -> dict[str, str]:
    """The status of every address, by what a live run of the edited code gave beside the recording."""
    found: dict[str, str] = {}
    for address, (given, value) in told["new"].items():
        was_given, was = told["old"][address]
        name = address.split("#")[0]
        touched = given != was_given or any(one == name or one.startswith(f"{name}/") for one in edited)
        found[address] = stands if not touched else "changed" if value != was else "cut off"
    if "top" not in edited or found["top"] != "changed":
        del found["top"]  # glue has no span, and is told only where its own code gives another value
    return found | dict.fromkeys(EFFECTS, "reused")


def check_edit(told: Any, edited: set[str]) -> None:
    for replay, stands in ((told["verified"], "reproduced"), (told["least"], "reused")):
        assert replay["status"] == expected(told, edited, stands)
        assert replay["output"] == replay["kept"] == told["output"]
        assert replay["ok"]
        assert set(replay["ran"]) <= set(replay["planned"])
    assert told["verified"]["names"] == ONCE
    ran = [one for one, was in told["least"]["status"].items() if was in {"changed", "cut off"} and one != "top"]
    assert sorted(told["least"]["ran"]) == sorted(ran)
    names = [address.split("/")[-1].split("#")[0] for address in ran]
    assert told["least"]["names"] == sorted([*names, "top"])  # every replay computes glue


EDITS = [
    ("clean", "lower())", "upper())", "changed"), ("clean", "lower())", "casefold())", "cut off"),
    ("lookup", "} for {", "} FOR {", "changed"), ("lookup", "[:20]", "[:19]", "changed"),
    ("lookup", "sorted(await", "list(await", "cut off"),
    ("rank", "reverse=True", "reverse=False", "changed"), ("rank", "[:9]", "[:1]", "changed"),
    ("rank", "[:9]", "[:8]", "cut off"),
    ("rank/score#2", 'count("e")', 'count("0")', "changed"), ("rank/score#2", 'count("e")', 'count("o")', "changed"),
    ("rank/score#2", "abs(", "int(", "cut off"),
    ("top", "[:1]", "[:3]", "changed"), ("top", "min(", "max(", "absent"),
    ("draft", "lower() +", "title() +", "changed"), ("draft", "lower() +", "casefold() +", "cut off"),
    ("sign", "upper()}", "title()}", "changed"), ("sign", "upper()}", "swapcase()}", "cut off"),
    ("send", ".strip", ".upper", "changed"), ("send", ".strip", ".lstrip", "cut off"),
]  # fmt: skip


@pytest.mark.parametrize(("address", "old", "new", "status"), EDITS)
def test_an_edit_reaches_its_step_and_what_its_output_reaches(
    project: tuple[Path, str], address: str, old: str, new: str, status: str
) -> None:
    folder, trace = project
    edit(folder, "bot/agent.py", old, new)

    told = process(folder, EDITED, trace)

    check_edit(told, {address.removesuffix("#2")})
    for replay in (told["verified"], told["least"]):
        assert replay["status"].get(address, "absent") == status
        if address in SCORES:
            assert replay["status"]["rank"] == ("changed" if '"0"' in new else "cut off")


def planned(replay: Any) -> dict[str, set[str]]:
    """The addresses of steps by what the plan says of them; `code` for those whose code changed."""
    found: dict[str, set[str]] = {}
    for address, kind, mode, reason in replay["plan"]:
        if kind == "step":
            found.setdefault("code" if reason.startswith("code: recorded ") else mode, set()).add(address)
    return found


@pytest.mark.parametrize(
    ("file", "old", "new", "edited", "below"),
    [
        ("bot/agent.py", "the kitchen", "the cellar", {"sign"}, {"send"}),
        ("bot/spaces.py", '" ".join', '"_".join', {"clean", "send"}, {"lookup", "rank", "draft", *SCORES}),
        ("bot/spaces.py", "text.split", "text.rsplit", {"clean", "send"}, {"lookup", "rank", "draft", *SCORES}),
    ],
)
def test_what_reads_a_constant_or_a_helper_two_calls_away_is_planned_and_run(
    project: tuple[Path, str], file: str, old: str, new: str, edited: set[str], below: set[str]
) -> None:
    folder, trace = project
    edit(folder, file, old, new)

    told = process(folder, EDITED, trace)

    others = set(told["old"]) - edited - {"top"}
    assert planned(told["verified"]) == {"code": edited, "maybe": below, "verify": others - below}
    assert planned(told["least"]) == {"code": edited, "maybe": below, "reuse": others - below}
    check_edit(told, edited)


def test_an_edited_prompt_stops_its_step_and_goes_live_alone(project: tuple[Path, str]) -> None:
    folder, trace = project
    edit(folder, "bot/prompts.py", "kind", "brief")

    told = process(folder, EDITED, trace)

    verified, least = told["verified"], told["least"]
    assert planned(verified)["code"] == planned(least)["code"] == {"draft"}
    assert planned(verified)["maybe"] == planned(least)["maybe"] == {"send"}
    stands = {"draft": "changed", "draft/complete": "live", "send": "changed"}
    kept = {one: "reused" if one in EFFECTS else "reproduced" for one in {*told["old"], *EFFECTS} - {"top"}}
    assert verified["status"] == kept | dict.fromkeys(stands, "blocked")
    assert verified["names"] == [name for name in ONCE if name != "send"]
    assert '.prompt: "Be kind" -> "Be brief"' in verified["output"]["blocked"]
    assert least["status"] == dict.fromkeys(kept, "reused") | stands
    assert least["names"] == ["complete", "draft", "send", "top"]
    assert least["output"] == least["kept"] == told["output"]


def test_an_edit_in_place_is_seen_after_a_restart_and_so_is_its_undoing(tmp_path: Path) -> None:
    folder = write(tmp_path, FILES)
    made = process(folder, RECORD)
    assert made["names"] == sorted([*ONCE, "shelf", "shelf", "stamp", "stamp", "complete"])
    for old, new, undone in (("=True", "=False", False), ("=False)[", "=True)[", True)):
        edit(folder, "bot/agent.py", f"reverse{old}", f"reverse{new}")

        told = process(folder, EDITED, made["trace"])

        assert (told["output"] == made["output"]) is undone
        check_edit(told, set() if undone else {"rank"})
        assert told["verified"]["proved"] is undone


def lose_long_output(folder: Path, *, only_content: bool) -> None:
    """Take the one span's output that is a record of its own out of the pack, or leave out its content."""
    store = open_store(folder / "recordings", create=False)
    [key] = store.packs()
    file = folder / "recordings" / key
    reader = PackReader.of_bytes(file.read_bytes(), mac=store.mac)
    header = reader.footer.header
    writer = PackWriter(header.store_id, header.writer_id, store.mac)
    for trace in reader.ids():
        found = reader.frames(trace)
        stored = store.load(trace)
        for shared in (stored.manifest, stored.environment):
            writer.share(store.mac("value", shared), shared)
        [number] = [span.output for span in stored.spans.values() if isinstance(span.output, int)]
        left = [one for one in found if one.kind != Kind.VALUE or one.record != number]
        if only_content:
            [value] = [one for one in found if one.kind == Kind.VALUE and one.record == number]
            body = value.body[:16] + len(value.body[16:]).to_bytes(8, "little")
            left.append(value._replace(flags=value.flags | frames.LEFT_OUT, body=body))
        writer.add(left)
    file.write_bytes(writer.build())


@pytest.mark.parametrize(
    ("only_content", "old", "new", "status"),
    [
        (False, "} for {", "} FOR {", {"unreplayable"}),
        (True, "} for {", "} FOR {", {"changed"}),
        (True, "sorted(await", "list(await", {"cut off", "unreplayable"}),
        (True, "reverse=True", "reverse=False", {"reproduced", "reused", "unreplayable"}),
        (True, ".strip", ".upper", {"reproduced", "reused", "unreplayable"}),
    ],
    ids=["no record", "changed", "equal", "edited below", "edited elsewhere"],
)
def test_a_step_without_its_recorded_output_is_computed_or_named(
    project: tuple[Path, str], only_content: bool, old: str, new: str, status: set[str]
) -> None:
    folder, trace = project
    lose_long_output(folder, only_content=only_content)
    edit(folder, "bot/agent.py", old, new)

    told = process(folder, EDITED, trace)

    for replay in (told["verified"], told["least"]):
        statuses = set(replay["status"].values())
        assert replay["output"] == told["output"] or (list(replay["output"]) == ["blocked"] and "unreplayable" in statuses)
        assert replay["ok"] is ("unreplayable" not in statuses)
        assert replay["status"]["lookup"] in status
        assert "diverged" not in statuses
        assert only_content or statuses == {"unreplayable"}


HASHED = """
from runtime import Graph, step

STOP = frozenset({"the", "and", "of"})

async def words(text: str) -> list[str]:
    return [word for word in set(text.split()) if word not in STOP and word not in {"a", "an", "or"}]
@step
async def shout(word: str) -> str:
    return word.upper()
async def pick(text: str) -> str:
    found = list(set(text.split()) - STOP - {"a"})
    return await shout(found[0]) if found[0] == "late" else found[0]

graph = Graph("bot.hashed", input=str)
found = graph.add(words, graph.input), graph.add(pick, graph.input)
agent = graph.build(graph.derive(lambda words, word: f"{len(words)} {word}", *found))
"""
QUESTION_OF_A_SET = "QUESTION = 'the order of a late big parcel and box'\n"


def test_the_order_of_a_set_diverges_by_name_under_another_hash_seed(tmp_path: Path) -> None:
    folder = write(tmp_path, {**FILES, "bot/agent.py": HASHED})
    made = process(folder, QUESTION_OF_A_SET + RECORD, seed="1")

    same, other = (process(folder, QUESTION_OF_A_SET + EDITED, made["trace"], seed=seed) for seed in ("1", "2"))

    assert same["new"] == same["old"]
    assert same["verified"]["proved"]
    old, new = other["old"]["words"][1], other["new"]["words"][1]
    assert old != new
    assert sorted(old) == sorted(new)
    replay = other["verified"]
    assert replay["status"]["words"] == replay["status"]["pick"] == "diverged"
    assert not replay["ok"]
    assert replay["output"] == made["output"] == "5 LATE"


def test_a_nested_step_that_its_diverged_parent_does_not_reach_is_in_the_certificate(tmp_path: Path) -> None:
    folder = write(tmp_path, {**FILES, "bot/agent.py": HASHED})
    made = process(folder, QUESTION_OF_A_SET + RECORD, seed="1")

    told = process(folder, QUESTION_OF_A_SET + EDITED, made["trace"], seed="2")

    assert "pick/shout" in told["old"]
    assert "pick/shout" not in told["new"]
    assert told["verified"]["status"].get("pick/shout") == "dropped"


FIXED = """
from bot.tally import ran as tally

async def fixed(note: str) -> int:
    return -len(tally("fixed", note).split("e"))

tell(again=told(trace, swap={"rank/score": fixed}))
"""


def test_a_nested_swap_runs_its_parent_on_recorded_effects(project: tuple[Path, str]) -> None:
    folder, trace = project

    told = process(folder, FIXED, trace)["again"]

    assert told["names"] == ["draft", "fixed", "fixed", "fixed", "rank", "send", "top"]
    swapped = dict.fromkeys(("rank", "draft", "send"), "changed") | dict.fromkeys(SCORES, "swapped")
    assert told["status"] == dict.fromkeys({"clean", "lookup", "sign", *EFFECTS}, "reused") | swapped
    assert told["ok"]
    assert "note 00" in told["output"] == told["kept"]


SHOP = """
import attrs
from bot.tally import ran
from runtime import Graph, current, effect

@effect
async def ask(prompt: str, urgent: bool) -> str:
    current().attributes["gen_ai.cost_usd"] = 0.01
    return ran("ask", prompt).title() + ("!" if urgent else ".")
@effect(side_effect=True)
async def book(order: str) -> str:
    return "booked " + ran("book", order)

async def words(question: str) -> list[str]:
    return question.split()
async def urgent(question: str) -> bool:
    return question.endswith("!")
async def order(words: list[str], urgent: bool) -> str:
    return await book(await ask(" ".join(words), urgent))

async def first(question: str) -> list[str]:
    return question.split()[:1]
@attrs.frozen
class Last:
    count: int
    async def __call__(self, question: str) -> list[str]:
        return question.split()[-self.count :]

def make(words):
    graph = Graph("bot.order", input=str)
    return graph.build(graph.add(order, graph.add(words, graph.input, name="words"), graph.add(urgent, graph.input)))

agent, other = make(words), make(first)
"""
# A replay that stops, the call its error ends with, what stops that one, and so on; beside it, all allowed at once.
CALLS = """
from bot.agent import Last, first, other
trace = runtime.run(agent, QUESTION).trace_id
ran()
options = {OPTIONS}
replay = runtime.replay(trace, **options)
stops = []
while replay.blocked and len(stops) < 3:
    call = output(replay)["blocked"].splitlines()[-1].strip()
    [one] = replay.blocked
    stops.append([one.address, one.nearest, [field.path for field in one.fields], one.side_effect, ran()])
    replay = eval(call, {"runtime": runtime, "first": first, "Last": Last, "agent": options.get("agent")})
everything = {**options, "live": ["needed", "order/book"], "budget_usd": None}
tell(
    stops=stops, output=output(replay), names=ran(), ok=replay.certificate.ok,
    wanted=output(runtime.replay(trace, **everything)),
)
"""


OPTIONS = [
    'dict(swap={"words": first})', 'dict(swap={"words": first}, code="recorded")', 'dict(swap={"words": Last(2)})',
    'dict(override={"words": ["soon"]})', 'dict(override={"words": ["tomorrow"] * 20})', 'dict(override={"urgent": True})',
    'dict(swap={"words": first}, live="needed", budget_usd=0.001)', "dict(agent=other)",
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_the_call_that_a_blocked_replay_ends_with_is_python_that_goes_on(tmp_path: Path, options: str) -> None:
    folder = write(tmp_path, {**FILES, "bot/agent.py": SHOP})

    told = process(folder, CALLS.replace("{OPTIONS}", options))

    assert told["stops"] == [
        ["order/ask", "order/ask", [".urgent" if "urgent" in options else ".prompt"], False, []],
        ["order/book", "order/book", [".order"], True, ["ask"]],
    ]
    assert told["names"] == ["ask", "book"]
    assert told["ok"]
    assert told["output"] == told["wanted"]


@pytest.mark.parametrize("config", ["kitchenlog.toml", "pyproject.toml"])
def test_a_process_in_a_folder_below_uses_the_store_of_the_project(tmp_path: Path, config: str) -> None:
    text = 'store = "recordings"\n' if config == "kitchenlog.toml" else '[tool.kitchenlog]\nstore = "recordings"\n'
    files = {name: text for name, text in FILES.items() if name != "kitchenlog.toml"}
    folder = write(tmp_path, {**files, config: text, "notes/pyproject.toml": '[project]\nname = "x"\n', "notes/new/x": ""})
    below = folder / "notes" / "new"

    made = [process(folder, RECORD, here=here)["trace"] for here in (folder, below)]

    for trace, here in ((made[0], below), (made[1], folder)):
        told = process(folder, "tell(traces=[one.trace_id for one in runtime.list()], again=told(trace))", trace, here=here)
        assert told["again"]["proved"]
        assert set(told["traces"]) >= set(made)
    assert [path.name for path in below.iterdir()] == ["x"]


def test_an_unknown_trace_names_the_store_that_was_searched(recorded: tuple[Path, Any], tmp_path: Path) -> None:
    folder, made = recorded
    code = "try: runtime.replay(trace)\nexcept runtime.KitchenlogError as error: tell(kind=type(error).__name__, text=str(error))"

    none = process(folder, code, made["trace"], here=tmp_path)
    for _ in range(2):
        process(folder, RECORD, here=tmp_path)
    two = process(folder, code, made["trace"], here=tmp_path)

    assert none["kind"] == "StoreError"
    assert f"no recordings in {tmp_path / '.kitchenlog'}" in none["text"]
    assert two["kind"] == "TraceNotFound"
    assert f"no trace {made['trace']} in {tmp_path / '.kitchenlog'}, which holds 2 traces" in two["text"]
