"""The public face itself."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

import console
import replay
import runtime
import steps
import storage

ROOT = Path(__file__).parent.parent


def test_all_is_what_there_is() -> None:
    modules = {name for _, name, _ in pkgutil.iter_modules(runtime.__path__)}
    public = {name for name in vars(runtime) if not name.startswith("_")} - modules

    assert set(runtime.__all__) == public
    assert list(runtime.__all__) == sorted(runtime.__all__)


def test_no_module_takes_the_place_of_a_public_name() -> None:
    for package in (runtime, replay, steps, storage, console):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    for name in runtime.__all__:
        assert not isinstance(getattr(runtime, name), type(sys)), name


def test_importing_is_light() -> None:
    heavy = ("boto3", "numpy", "pydantic", "trio", "rich", "bm25s", "xllamacpp", "onnxruntime", "tokenizers", "openai")
    code = f"import sys, runtime; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["storage", "steps"])
def test_a_package_of_the_same_name_gets_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("", "utf-8")
    done = subprocess.run([sys.executable, "-c", "import runtime"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: kitchenlog's package '{name}' is at")
    assert str(tmp_path / name) in last


def test_a_plain_name_in_a_running_loop_names_its_twin(kitchen: runtime.Runtime) -> None:
    async def call() -> None:
        kitchen.run(None, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    with pytest.raises(runtime.RuntimeMisuse, match=r"await runtime\.arun"):
        anyio.run(call)


def test_where_and_list(kitchen: runtime.Runtime) -> None:
    async def echo(text: str) -> str:
        return text

    graph = runtime.Graph("echo", input=str)
    agent = graph.build(graph.add(echo, graph.input))
    for number in range(4):
        kitchen.run(agent, "x", attributes={"n": number, "variant": "AB"[number % 2]})

    assert len(kitchen.list()) == 4
    assert [line.attributes["n"] for line in kitchen.list("n >= 1 and not variant = 'A'")] == [3, 1]
    assert [line.attributes["n"] for line in kitchen.list("(n = 0 or n = 2) and status = 'ok'", limit=1)] == [2]
    assert kitchen.list("absent = null and n < 0") == []
    with pytest.raises(ValueError, match=r"expected a number"):
        kitchen.list("n = n")
    with pytest.raises(ValueError, match="expected"):
        kitchen.list("n ~ 3")


def test_a_traceparent_opens_the_trace(kitchen: runtime.Runtime) -> None:
    async def echo(text: str) -> str:
        return text

    graph = runtime.Graph("echo", input=str)
    agent = graph.build(graph.add(echo, graph.input))
    caller = "0af7651916cd43dd8448eb211c80319c"
    run = kitchen.run(agent, "x", traceparent=f"00-{caller}-b7ad6b7169203331-01", subject="cust_91")

    assert kitchen.open(caller).trace_id == run.trace_id
    assert run.recording.stored.header.subject is not None
    assert b"cust_91" not in b"".join(path.read_bytes() for path in (Path(kitchen.place) / "log").iterdir())
