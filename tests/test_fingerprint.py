"""Fingerprints: what changes one, and what does not."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import linecache
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from runtime import effect, step
from runtime.fingerprint import code_fingerprint, config_digest, step_fingerprint
from runtime.fingerprint.traversal import Unfingerprintable

Load = Callable[..., types.ModuleType]

SOURCE = '''
PROMPT = "Answer in one sentence."
WORDS = frozenset({"refund", "late", "order"})

def deep(text):
    return text.strip()

def helper(text):
    return deep(text) + PROMPT

async def answer(text: str, limit: int = 3) -> str:
    """What it does."""
    found = [word for word in text.split() if word in WORDS]
    return helper(" ".join(found[:limit]))

async def other(text: str) -> str:
    return text
'''


def load(folder: Path, name: str, source: str) -> ModuleType:
    (folder / f"{name}.py").write_text(source, "utf-8")
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


def digests(folder: Path, name: str, source: str) -> tuple[bytes, bytes]:
    module = load(folder, name, source)
    return code_fingerprint(module.answer).digest, code_fingerprint(module.other).digest


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        (1, "found[:limit]", "found[1:limit]"),
        (2, "one sentence", "two sentences"),
        (3, "text.strip()", "text.lstrip()"),
        (4, "limit: int = 3", "limit: int = 4"),
        (5, '"late", ', ""),
    ],
)
def test_what_a_step_reads_changes_it_alone(tmp_path: Path, number: int, old: str, new: str) -> None:
    assert old in SOURCE
    before = digests(tmp_path, f"fp_before_{number}", SOURCE)
    after = digests(tmp_path, f"fp_after_{number}", SOURCE.replace(old, new))

    assert before[0] != after[0]
    assert before[1] == after[1]


def test_layout_comments_and_docstrings_change_nothing(tmp_path: Path) -> None:
    moved = SOURCE.replace('"""What it does."""', '"""Other words."""').replace("    found", "    # a comment\n\n    found")

    assert digests(tmp_path, "fp_plain", SOURCE) == digests(tmp_path, "fp_moved", "\n\n" + moved)


def test_what_is_reached_is_listed(tmp_path: Path) -> None:
    found = code_fingerprint(load(tmp_path, "fp_reached", SOURCE).answer)

    assert found.reached == ("fp_reached.answer", "fp_reached.deep", "fp_reached.helper")
    assert found.notes == ()


def test_a_file_edited_since_lends_no_text(tmp_path: Path) -> None:
    source = SOURCE.replace("in WORDS", "in WORDS and word")  # code that no other test has: equal code has equal source
    module = load(tmp_path, "fp_edited", source)
    (tmp_path / "fp_edited.py").write_text(source.replace("found[:limit]", "found[2:limit]"), "utf-8")

    found = code_fingerprint(module.answer)

    assert any(note.startswith("from bytecode: fp_edited.answer") for note in found.notes)


def test_a_mutable_global_is_listed(tmp_path: Path) -> None:
    module = load(tmp_path, "fp_mutable", "CACHE = {}\n\nasync def answer(text: str) -> str:\n    return CACHE.get(text, text)\n")

    assert step_fingerprint(module.answer).notes == ("reads mutable global fp_mutable.CACHE",)


def test_the_hash_seed_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "fp_seed.py").write_text(SOURCE, "utf-8")
    code = "import fp_seed; from runtime.fingerprint import code_fingerprint as f; print(f(fp_seed.answer).digest.hex())"
    root = Path(__file__).parent.parent
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}:{tmp_path}"},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip

    assert len(printed) == 1


SHOP = '''
import re

PROMPT = "Answer politely."
LIMITS = (3, 4.5)
STOP = frozenset({"the", "a", "of", "and", "to"})
WORD = re.compile(r"[a-z]+")
CACHE = {}


def clean(text):
    """Strip."""
    return text.strip()


def words(text):
    return [word for word in clean(text).split() if word not in STOP]


def answer(text, k=3):
    # a comment
    return PROMPT, words(text), k, LIMITS
'''


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a text as a module of a folder of its own."""
    numbers = itertools.count()

    def make(source: str, name: str = "shop", **others: str) -> types.ModuleType:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        found = None
        for one, text in {**others, name: source}.items():
            (folder / f"{one}.py").write_text(text, encoding="utf-8")
            spec = importlib.util.spec_from_file_location(one, folder / f"{one}.py")
            assert spec is not None
            assert spec.loader is not None
            found = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, one, found)
            spec.loader.exec_module(found)
        assert found is not None
        return found

    return make


def digest(imported: Load, source: str, name: str = "answer", **others: str) -> bytes:
    return step_fingerprint(getattr(imported(source, **others), name)).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("k, LIMITS", "k + 1, LIMITS"),
        ("politely", "briefly"),
        ("4.5", "4.6"),
        ("k=3", "k=4"),
        ("text.strip()", "text.lstrip()"),
        ('"the", ', ""),
        ("not in STOP", "in STOP"),
    ],
)
def test_an_edit_anywhere_it_reaches_changes_it(imported: Load, old: str, new: str) -> None:
    assert old in SHOP
    assert digest(imported, SHOP) != digest(imported, SHOP.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # a comment\n", ""),
        ('    """Strip."""\n', '    """Strip\n\n    the text."""\n'),
        ('    """Strip."""\n', ""),
        ("import re\n", "import re\n\n\n# moved\n\n"),
        ("PROMPT, words(text), k, LIMITS", "(\n        PROMPT,   words(text), k,\n LIMITS)"),
        ("[a-z]+", "[a-z]*"),  # nothing reads it
    ],
)
def test_layout_comments_and_docstrings_do_not(imported: Load, old: str, new: str) -> None:
    assert old in SHOP
    assert digest(imported, SHOP) == digest(imported, SHOP.replace(old, new))


def test_it_lists_what_it_reached(imported: Load) -> None:
    assert step_fingerprint(imported(SHOP).answer).reached == ("shop.answer", "shop.clean", "shop.words")


def test_it_is_pinned(imported: Load) -> None:
    made = step_fingerprint(imported(SHOP).answer)

    assert made.notes == ()
    assert made.digest.hex() == "88d6f85754fa09ee9c31b2a3afb603f5"


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("import re\nW = re.compile('a+')\ndef answer(t): return W.findall(t)", "a+", "a*"),
        ("def make(n):\n    def inner(t): return t * n\n    return inner\nanswer = make(2)", "make(2)", "make(3)"),
        ("answer = lambda t: t + 1", "+ 1", "+ 2"),
        ("answer, other = lambda t: t + 1, lambda t: t + 7", "+ 1", "+ 2"),
        ("def answer(n): return 1 if n < 2 else n * answer(n - 1)", "n < 2", "n < 3"),
        (
            "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return even(n - 1)\nanswer = even",
            "return even",
            "return not even",
        ),
        (
            (
                "import functools\ndef times(k):\n    def wrap(f):\n        @functools.wraps(f)\n"
                "        def inner(t): return f(t) * k\n        return inner\n    return wrap\n@times(2)\ndef answer(t): return t"
            ),
            "times(2)",
            "times(3)",
        ),
        (
            (
                "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def inner(t): return f(t) * 2\n    return inner\n"
                "@deco\ndef answer(t): return t"
            ),
            "f(t) * 2",
            "f(t) * 3",
        ),
        ("import functools\n@functools.lru_cache(maxsize=8)\ndef answer(t): return t + 1", "t + 1", "t + 2"),
        (
            "import functools\n@functools.singledispatch\ndef answer(t): return 0\n@answer.register\ndef _(t: str): return 1",
            "return 1",
            "return 2",
        ),
        ("class C:\n    LIMIT = (1, 2)\n    def f(self): return self.LIMIT\ndef answer(t): return C().f()", "1, 2", "1, 3"),
        ("class B:\n    def f(self): return 1\nclass C(B): pass\ndef answer(t): return C().f()", "return 1", "return 2"),
        ("class C:\n    @property\n    def f(self): return 1\ndef answer(t): return C().f", "return 1", "return 2"),
        (
            "import functools\nclass C:\n    @functools.cached_property\n    def f(self): return 1\ndef answer(t): return C().f",
            "return 1",
            "return 2",
        ),
        ("import attrs\n@attrs.frozen\nclass C:\n    n: int = 1\ndef answer(t): return C()", "= 1", "= 2"),
        ("import dataclasses\n@dataclasses.dataclass\nclass C:\n    n: int = 1\ndef answer(t): return C()", "= 1", "= 2"),
        ("import msgspec\nclass C(msgspec.Struct):\n    n: int = 1\ndef answer(t): return C()", "= 1", "= 2"),
        ("import enum\nclass C(enum.Enum):\n    A = 1\ndef answer(t): return C[t]", "= 1", "= 2"),
        ("import attrs\n@attrs.frozen\nclass C:\n    n: int\nCONFIG = C(1)\ndef answer(t): return CONFIG.n", "C(1)", "C(2)"),
        ("ON = frozenset({ValueError, KeyError})\ndef answer(t): return ON", "KeyError", "OSError"),
    ],
)
def test_kinds_of_code(imported: Load, source: str, old: str, new: str) -> None:
    assert digest(imported, source) == digest(imported, source)
    assert digest(imported, source) != digest(imported, source.replace(old, new, 1))


@pytest.mark.parametrize("helper", ["LIMIT = 1", "def LIMIT(): return 1", "class LIMIT:\n    n = 1"])
def test_what_it_reads_of_another_module_of_its_folder(imported: Load, helper: str) -> None:
    source = "import helpers\ndef answer(t): return helpers.LIMIT"
    made = digest(imported, source, helpers=helper)

    assert made == digest(imported, source, helpers=f"OTHER = 5\n{helper}")
    assert made != digest(imported, source, helpers=helper.replace("1", "2"))


def test_an_attribute_of_the_same_name_as_a_global_is_not_that_global(imported: Load) -> None:
    source = "strip = 1\ndef answer(t): return t.strip()"

    assert digest(imported, source) == digest(imported, source.replace("1", "2"))


def test_what_it_cannot_follow_is_noted(imported: Load) -> None:
    shop = imported(
        "import threading\nCACHE = {}\nLOCK = threading.Lock()\ncount = 0\n"
        "def answer(t):\n    global count\n    count += 1\n    import helpers\n    return CACHE, LOCK, helpers",
        helpers="",
    )
    made = step_fingerprint(shop.answer)
    shop.answer(1)
    shop.CACHE["a"] = 1

    assert made.notes == (
        "reads mutable global shop.CACHE",
        "could not follow shop.LOCK, a lock",
        "reads mutable global shop.count",
        "shop.answer imports helpers while it runs, which is not followed",
    )
    assert step_fingerprint(shop.answer).digest == made.digest


def test_a_file_edited_after_its_import_lends_no_text(imported: Load) -> None:
    shop = imported("def answer(t):\n    return 1\n")
    whole = digest(imported, "def answer(t):\n    return 1\n")
    Path(str(shop.__file__)).write_text("def answer(t):\n    return 2\n", encoding="utf-8")
    linecache.checkcache()
    made = step_fingerprint(shop.answer)

    assert made.notes == ("from bytecode: shop.answer",)
    assert made.digest != whole
    Path(str(shop.__file__)).write_text("# moved\n\n\ndef answer(t):\n\n    return 1  # one\n", encoding="utf-8")
    linecache.checkcache()
    assert step_fingerprint(shop.answer).digest == whole


def test_of_two_functions_of_a_name_the_running_one_counts(imported: Load) -> None:
    shop = imported("def answer(t):\n    return 1\n\n\nfirst = answer\n\n\ndef answer(t):\n    return 2\n")

    assert step_fingerprint(shop.first).digest == digest(imported, "def answer(t): return 1")
    assert step_fingerprint(shop.answer).digest == digest(imported, "def answer(t): return 2")


def test_code_without_a_file_is_told_by_its_bytecode(tmp_path: Path) -> None:
    program = (
        "import pathlib\nfrom runtime.fingerprint import step_fingerprint\npathlib.Path(__file__).unlink()\n"
        "def answer(t): return t in {'the', 'a', 'of', 'and', 'to'}\n"
        "made = step_fingerprint(answer)\nprint(made.digest.hex(), *made.notes)"
    )
    told: set[str] = set()
    for seed in ("1", "2", "3"):
        (tmp_path / "gone.py").write_text(program, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(tmp_path / "gone.py")],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            check=True,
            text=True,
        )
        told.add(done.stdout)

    assert len(told) == 1
    assert "from bytecode: __main__.answer" in told.pop()


@attrs.frozen
class Rerank:
    k: int = 3

    @step
    async def __call__(self, text: str) -> str:
        return text[: self.k]


@attrs.frozen
class Retrieve:
    rerank: Rerank = attrs.field(factory=Rerank)
    scale: Callable[[int], int] = abs

    async def __call__(self, text: str) -> str:
        return await self.rerank(text)

    async def twice(self, text: str) -> str:
        return await self(await self(text))


class Model:
    def __init__(self, name: str) -> None:
        self.name = name

    def fingerprint(self) -> str:
        return self.name

    @effect
    async def ask(self, text: str) -> str:
        return text


@attrs.frozen
class Generate:
    model: Any

    async def __call__(self, text: str) -> str:
        return str(await self.model.ask(text))


class Bare:
    async def __call__(self, text: str) -> str:
        return text


def double(n: int) -> int:
    return n * 2


def triple(n: int) -> int:
    return n * 3


def test_configuration_counts() -> None:
    assert step_fingerprint(Retrieve()).digest == step_fingerprint(Retrieve()).digest
    told = [Retrieve(), Retrieve(Rerank(4)), Retrieve(scale=double), Retrieve(scale=triple), Retrieve().twice]
    told += [functools.partial(double), functools.partial(double, 1), functools.partial(double, 2), double]
    told += [Generate(Model("small")), Generate(Model("large")), Retrieve(Rerank(4)).twice, Bare()]

    assert len({step_fingerprint(one).digest for one in told}) == len(told)


def test_a_nested_step_is_reached() -> None:
    reached = step_fingerprint(Retrieve(scale=double)).reached

    assert {name.removeprefix("tests.test_fingerprint.") for name in reached} >= {
        "Retrieve",
        "Rerank",
        "Rerank.__call__",
        "double",
    }


def test_a_bound_method_reaches_what_its_class_does() -> None:
    assert any(name.endswith("Retrieve.__call__") for name in step_fingerprint(Retrieve().twice).reached)


def test_configuration_that_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(Unfingerprintable, match=r"Generate\.model is a .*give its class a method `fingerprint\(self\) -> str`"):
        step_fingerprint(Generate(itertools.count()))
    with pytest.raises(Unfingerprintable, match=r"Generate\.model\[1\]\['a'\]"):
        config_digest(Generate([1, {"a": itertools.count()}]))


def test_configuration_that_holds_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)

    assert config_digest(Generate(loop)) == config_digest(Generate(loop))


def test_equal_configuration_is_equal_whether_shared_or_not() -> None:
    one = Rerank(5)

    assert config_digest(Generate((one, one))) == config_digest(Generate((one, Rerank(5))))


def test_the_settings_of_a_step_count(imported: Load) -> None:
    source = "from runtime import step\n@step(retry=2)\nasync def answer(t): return t"

    assert digest(imported, source) != digest(imported, source.replace("2", "3"))


def test_functions_of_others_are_names(imported: Load) -> None:
    made = step_fingerprint(
        imported("import json\nfrom textwrap import dedent\ndef answer(t): return json.loads(dedent(t))").answer
    )

    assert made.reached == ("shop.answer",)
    assert made.notes == ()


def test_it_is_made_once_for_a_function() -> None:
    assert code_fingerprint(double) is code_fingerprint(double)


def test_it_is_fast(imported: Load) -> None:
    answer = imported(SHOP).answer
    step_fingerprint(answer)
    took: list[float] = []
    for _ in range(20):
        start = time.perf_counter()
        step_fingerprint(answer)
        took.append(time.perf_counter() - start)

    assert min(took) < 0.003
