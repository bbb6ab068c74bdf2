"""The seven standard steps, over providers of a few lines each."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtime
import steps.providers
from runtime import BuildError, Graph, Run, Runtime, Vector, vocabulary
from steps import Cite, Embed, Generate, Judge, Message, Part, Rerank, Retrieve, Rewrite, Scores, Support, Turn, Usage, Verdict
from steps.prompt import NAMES, Compose, FromDocuments, apportion
from steps.values import Answer, Candidate, ChatRequest, Cited, Claim, Completion, Draft, Embedding, Found, Hit, PartName

USAGE = Usage(100, 7, cost_usd=0.002, price_date="2026-11-01")


@attrs.frozen
class Canned:
    """Every provider in one; `asked` is what it was asked, and no setting."""

    text: str = "yes"
    usage: Usage = USAGE
    logprobs: tuple[tuple[Candidate, ...], ...] | None = None
    first_token_seconds: float | None = None
    hits: tuple[Hit, ...] = ()
    version: str = "v1"
    known: dict[str, str] = attrs.field(factory=dict)
    asked: list[Any] = attrs.field(factory=list)

    def fingerprint(self) -> str:
        return f"canned, version {self.version}"

    @runtime.effect
    async def complete(self, request: ChatRequest) -> Completion:
        self.asked.append(request)
        timed = self.first_token_seconds
        return Completion(self.text, "canned", "c-1", self.usage, "stop", "id-1", timed, logprobs=self.logprobs)

    @runtime.effect
    async def embed(self, text: str) -> Embedding:
        counts = Vector.of([float(text.count(letter)) for letter in "aeiou"])
        return Embedding(counts, "canned", "letters", Usage(3, cost_usd=0.0))

    @runtime.effect(snapshot=True)
    async def search(self, query: str, vector: Vector, k: int, tenant: str) -> Found:
        self.asked.append((query, k, tenant))
        return Found(self.hits[:k], "canned", "shelf", self.version)

    @runtime.effect
    async def score(self, query: str, texts: tuple[str, ...]) -> Scores:
        self.asked.append(query)
        return Scores(tuple(float(len(text)) for text in texts), "canned", "lengths", Usage(len(texts), cost_usd=0.0))

    @runtime.effect
    async def check(self, claims: tuple[str, ...]) -> tuple[Support, ...]:
        self.asked.append(claims)
        return tuple(Support(claim in self.known, self.known.get(claim)) for claim in claims)


@attrs.frozen
class Alone:
    """Calls the step under test, which makes it a span of its own."""

    step: Any
    given: tuple[Any, ...]

    async def __call__(self, begin: str) -> Any:
        return await self.step(*self.given)


def alone(kitchen: Runtime, step: Any, *given: Any) -> Run[Any]:
    """Run a step on these inputs and see that its recording replays."""
    graph = Graph("steps.alone", input=str)
    run = kitchen.run(graph.build(graph.add(Alone(step, given), graph.input)), "")
    assert kitchen.replay(run.trace_id).certificate.proved
    return run


TOLD_WITH_THE_TRACE = "prompt.composition_hash"  # made of the recorded request


def told(run: Run[Any], kind: str, *, worked: bool = True) -> dict[str, Any]:
    """What the span tells of itself. It is of the kind, and has all that one of its kind has to have."""
    [span] = [span for span in run.recording.spans.values() if span.name == kind]
    attributes = dict(span.record.attributes or {})
    assert attributes.pop(vocabulary.STEP_KIND) == kind
    assert not worked or set(vocabulary.REQUIRED[kind]) <= {*attributes, TOLD_WITH_THE_TRACE}
    return attributes


ASKED = Turn("Where is my refund?")
PAID = {"gen_ai.system": "canned", "gen_ai.request.model": "c-1", "gen_ai.response.id": "id-1"}
BILL = {
    "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 7, "gen_ai.cost_usd": 0.002,
    "gen_ai.price.date": "2026-11-01",
}  # fmt: skip
A, B, C = (Hit(name, "x" * size, 0.5, name.upper(), "7", "current", "shop") for name, size in (("a", 2), ("b", 3), ("c", 3)))


@pytest.mark.parametrize(("keeps", "expected"), [(True, "Where is my refund? late refund"), (False, "late refund")])
def test_rewrite_adds_search_words_to_the_message_or_gives_them_alone(kitchen: Runtime, *, keeps: bool, expected: str) -> None:
    run = alone(kitchen, Rewrite(Canned(" late\n refund "), keeps_message=keeps), ASKED)

    assert run.output == expected
    preview = {"input.preview": "Where is my refund?", "output": "late refund"}
    assert told(run, "rewrite") == {**PAID, **BILL, **preview}


def test_rewrite_asks_with_its_examples_and_grammar_and_previews_in_one_line(kitchen: Runtime) -> None:
    llm = Canned("late")
    rewrite = Rewrite(llm, "Words.", (("cup broke", "damaged"),), "root ::= [a-z]+", max_tokens=5)

    run = alone(kitchen, rewrite, Turn("one\ntwo " + "x" * 100))

    [request] = llm.asked
    said = [(message.role, message.text) for message in request.messages]
    assert said[:3] == [("system", "Words."), ("user", "cup broke"), ("assistant", "damaged")]
    assert said[3:] == [("user", "one\ntwo " + "x" * 100)]
    assert (request.grammar, request.max_tokens, request.temperature) == ("root ::= [a-z]+", 5, 0.0)
    preview = told(run, "rewrite")["input.preview"]
    assert preview.startswith("one two xxx")
    assert (len(preview), preview[-1]) == (80, "…")


def test_embed_gives_the_vector_and_tells_its_length(kitchen: Runtime) -> None:
    run = alone(kitchen, Embed(Canned()), "a refund")

    assert run.output == Vector.of([1.0, 1.0, 0.0, 0.0, 1.0])
    assert told(run, "embed") == {
        "gen_ai.system": "canned", "gen_ai.request.model": "letters", "gen_ai.usage.input_tokens": 3, "gen_ai.cost_usd": 0.0,
        "vector.dim": 5,
    }  # fmt: skip


def test_retrieve_tells_what_the_index_found_and_which_version_it_was(kitchen: Runtime) -> None:
    shelf = Canned(hits=(A, B, C), version="v9")

    run = alone(kitchen, Retrieve(shelf, k=2, tenant="shop"), "late refund", Vector.of([1.0]))

    assert run.output == (A, B)
    assert shelf.asked == [("late refund", 2, "shop")]
    assert told(run, "retrieve") == {
        "vectordb.system": "canned", "vectordb.index": "shelf", "vectordb.version": "v9", "retrieval.k": 2,
        "retrieval.doc_ids": ["a", "b"], "retrieval.scores": [0.5, 0.5], "retrieval.versions": ["7", "7"],
        "retrieval.tenants": ["shop", "shop"],
    }  # fmt: skip


def test_retrieve_gives_what_its_rerank_makes_of_the_hits_and_tells_them_as_found(kitchen: Runtime) -> None:
    run = alone(kitchen, Retrieve(Canned(hits=(A, B, C)), rerank=Rerank(Canned())), "late refund", Vector.of([1.0]))

    assert [hit.id for hit in run.output] == ["b", "c", "a"]
    assert told(run, "retrieve")["retrieval.doc_ids"] == ["a", "b", "c"]
    assert told(run, "rerank")["rerank.top1_id"] == "b"


@pytest.mark.parametrize(
    ("found", "keep", "expected", "changed"),
    [
        ((A, B, C), None, ["b", "c", "a"], True),
        ((C, A, B), None, ["c", "b", "a"], False),
        ((A, C, B), 2, ["c", "b"], True),
        ((A,), 5, ["a"], False),
    ],
    ids=["better first", "ties keep their order", "only the best", "fewer than may be kept"],
)
def test_rerank_orders_by_score(
    kitchen: Runtime, found: tuple[Hit, ...], keep: int | None, expected: list[str], *, changed: bool
) -> None:
    run = alone(kitchen, Rerank(Canned(), keep), "late refund", found)

    assert [hit.id for hit in run.output] == expected
    assert all(hit == msgspec.structs.replace(was, score=hit.score) for hit in run.output for was in found if was.id == hit.id)
    assert told(run, "rerank") == {
        "gen_ai.system": "canned", "gen_ai.request.model": "lengths", "gen_ai.usage.input_tokens": len(found),
        "gen_ai.cost_usd": 0.0, "rerank.model": "lengths", "rerank.top1_id": expected[0],
        "rerank.top1_score": float(len(run.output[0].text)), "rerank.changed_top1": changed,
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
def test_rerank_refuses_scores_that_are_not_one_for_each_text(kitchen: Runtime, count: int) -> None:
    class Miscounts(Canned):
        @runtime.effect
        async def score(self, query: str, texts: tuple[str, ...]) -> Scores:
            return Scores((1.0,) * count, "canned", "lengths", Usage(len(texts), cost_usd=0.0))

    with pytest.raises(ValueError, match=f"lengths gave {count} scores for 2 texts"):
        alone(kitchen, Rerank(Miscounts()), "late refund", (A, B))


def test_rerank_of_nothing_asks_nobody(kitchen: Runtime) -> None:
    scorer = Canned()

    run = alone(kitchen, Rerank(scorer), "late refund", ())

    assert run.output == ()
    assert scorer.asked == []
    assert told(run, "rerank", worked=False) == {"rerank.changed_top1": False}


def test_keep_and_k_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="keep"):
        Rerank(Canned(), keep=0)
    with pytest.raises(ValueError, match="k"):
        Retrieve(Canned(), k=0)


@attrs.frozen
class Drafted:
    """Compose what it is given."""

    draft: Draft

    async def __call__(self, turn: Turn, hits: tuple[Hit, ...]) -> Draft:
        return self.draft


PARTS = (Part("retrieval", "r" * 40), Part("system", "s" * 20), Part("user", "u" * 30), Part("tool", "t" * 10))


def generated(kitchen: Runtime, llm: Canned, compose: Compose) -> Run[Any]:
    return alone(kitchen, Generate(llm, compose), ASKED, (A, B))


def test_generate_makes_messages_of_the_parts_and_goes_on_from_the_prefill(kitchen: Runtime) -> None:
    llm = Canned(" 30 days. ", first_token_seconds=0.25)
    draft = Draft(PARTS, "Our window is", "root ::= any", ("\n",), 9, None, ("a",), ("A fact.",))

    run = generated(kitchen, llm, Drafted(draft))

    assert run.output == Answer("Our window is 30 days.", ("a",), ("A fact.",), "c-1")
    system, rest = Message("system", (PARTS[1],)), Message("user", (PARTS[0], PARTS[2], PARTS[3]))
    assert llm.asked == [ChatRequest((system, rest), "Our window is", 9, stop=("\n",), grammar="root ::= any")]
    assert told(run, "generate") == {
        **PAID, **BILL, "gen_ai.response.time_to_first_chunk": 0.25, "prompt.system_tokens": 20, "prompt.retrieval_tokens": 40,
        "prompt.user_tokens": 30, "prompt.tool_tokens": 10, "prompt.tokens_estimated": True,
    }  # fmt: skip


def test_generate_tells_the_providers_own_count_of_tokens_as_it_is(kitchen: Runtime) -> None:
    counts: dict[PartName, int] = {"system": 8, "retrieval": 61, "user": 12}

    run = generated(kitchen, Canned("Yes.", Usage(99, 2, counts, 0.0)), Drafted(Draft(PARTS)))

    attributes = told(run, "generate")
    assert [attributes[f"prompt.{name}_tokens"] for name in NAMES] == [8, 61, 12, 0]
    assert "prompt.tokens_estimated" not in attributes


def test_generate_gives_a_ready_reply_without_a_model(kitchen: Runtime) -> None:
    llm = Canned("never")

    run = generated(kitchen, llm, Drafted(Draft(reply="Ask a colleague.", sources=("a",), facts=("f",))))

    assert run.output == Answer("Ask a colleague.", ("a",), ("f",), "")
    assert llm.asked == []
    assert told(run, "generate", worked=False) == {"generate.model_called": False}


@pytest.mark.parametrize("best_last", [False, True])
def test_from_documents_puts_the_best_document_where_it_is_told_to(kitchen: Runtime, *, best_last: bool) -> None:
    llm = Canned("Yes.")

    run = generated(kitchen, llm, FromDocuments("Be kind.", best_last=best_last, max_tokens=4))

    texts = [B.text, A.text] if best_last else [A.text, B.text]
    rest = (Part("retrieval", "\n\n".join(texts)), Part("user", "Where is my refund?"))
    messages = Message("system", (Part("system", "Be kind."),)), Message("user", rest)
    assert llm.asked == [ChatRequest(messages, max_tokens=4)]
    assert run.output.sources == ("a", "b")


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 10_000)), st.integers(0, 10_000))
def test_apportioned_tokens_add_up_and_none_is_off_by_one_or_more(weights: dict[PartName, int], total: int) -> None:
    shares = apportion(weights, total)

    whole = sum(weights.values())
    assert sum(shares.values()) == (total if whole else 0)
    assert set(shares) == set(weights)
    assert all(abs(shares[name] * whole - total * weight) < whole for name, weight in weights.items() if whole)


FACT, TRUE, FALSE, RULE = "You get 90 rupees.", "The window is 30 days.", "It is thirty weeks!", "See the courtesy clause."


def test_cite_asks_for_what_can_be_checked_and_is_no_fact(kitchen: Runtime) -> None:
    checker = Canned(known={TRUE: "pol_b", RULE: "pol_a"})
    text = f"{FACT} Hello there. {TRUE} {FALSE} {RULE} (pol_v7)"

    run = alone(kitchen, Cite(checker), Answer(text, ("pol_v7",), (FACT,)), ())

    assert checker.asked == [(TRUE, FALSE, RULE)]
    supports = Support(supported=True, source="tool"), Support(True, "pol_b"), Support(supported=False), Support(True, "pol_a")
    assert run.output == Cited(tuple(map(Claim, (FACT, TRUE, FALSE, RULE), supports)))
    assert run.output.unsupported == (FALSE,)
    assert told(run, "cite") == {
        "citation.claims_extracted": 4, "citation.claims_supported": 3, "citation.unsupported": [FALSE],
        "citation.sources": ["pol_a", "pol_b", "tool"],
    }  # fmt: skip


def test_an_id_is_a_claim_where_it_is_none_of_the_answers_sources(kitchen: Runtime) -> None:
    run = alone(kitchen, Cite(Canned()), Answer("All is well. (pol_v7)", ("pol_v6",)), (A,))

    assert run.output.unsupported == ("(pol_v7)",)


def test_cite_asks_nobody_where_nothing_is_claimed(kitchen: Runtime) -> None:
    checker = Canned()

    run = alone(kitchen, Cite(checker), Answer(f"Hello there. {FACT}", (), (FACT,)), ())

    assert checker.asked == []
    assert told(run, "cite")["citation.claims_supported"] == 1
    assert told(alone(kitchen, Cite(checker), Answer(""), ()), "cite")["citation.claims_extracted"] == 0


def test_an_abbreviation_does_not_split_a_claim(kitchen: Runtime) -> None:
    claim = "You get Rs. 500 on order no. 4455."

    run = alone(kitchen, Cite(Canned(known={claim: "pol"})), Answer(claim), ())

    assert [one.text for one in run.output.claims] == [claim]


def odds(**probabilities: float) -> tuple[tuple[Candidate, ...], ...]:
    return (tuple(Candidate(token.replace("_", " "), math.log(one)) for token, one in probabilities.items()),)


@pytest.mark.parametrize(
    ("llm", "probability"),
    [
        (Canned("no", logprobs=odds(yes=0.3, no=0.1, maybe=0.6)), 0.75),
        (Canned("no", logprobs=odds(_Yes=0.1, yes=0.1, YES_=0.1, No=0.1, never=0.6)), 0.75),
        (Canned("no", logprobs=odds(yes=0.5)), 1.0),
        (Canned("yes", logprobs=odds(no=0.5)), 0.0),
        (Canned("Yes, it is."), 1.0),
        (Canned(" no"), 0.0),
        (Canned("yes", logprobs=odds(maybe=0.9)), 1.0),
        (Canned("yes", logprobs=()), 1.0),
    ],
)
def test_judge_takes_the_probability_of_yes_from_the_first_token_or_else_from_the_text(
    kitchen: Runtime, llm: Canned, probability: float
) -> None:
    run = alone(kitchen, Judge(llm, "is kind", "v2", "kind"), ASKED, Answer("Hello."), Cited(()))

    assert run.output.probability == pytest.approx(probability)
    passed = probability > 0.5
    rationale = f"P(yes) {probability:.2f}: is kind"
    assert run.output == Verdict("kind" if passed else "not_kind", int(passed), run.output.probability, rationale, "v2")
    assert told(run, "judge") == {
        **PAID, **BILL, "judge.rubric_version": "v2", "judge.score": int(passed), "judge.label": run.output.label,
        "judge.rationale": rationale,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["maybe", "", "Not sure.", "Nothing is wrong with it.", "yesterday"])
def test_a_judge_that_says_neither_is_an_error(kitchen: Runtime, text: str) -> None:
    with pytest.raises(ValueError, match="neither yes nor no"):
        alone(kitchen, Judge(Canned(text), "is kind"), ASKED, Answer("Hello."), Cited(()))


def test_judge_shows_its_examples_and_asks_for_a_word_and_its_odds(kitchen: Runtime) -> None:
    llm = Canned("yes")
    judge = Judge(llm, "is kind", examples=(("Hi!", True), ("Go away.", False)), grammar=None)

    alone(kitchen, judge, ASKED, Answer("Hello."), Cited(()))

    [request] = llm.asked
    asked = [f"A good answer is kind.\nAnswer: {text}\nIs it a good answer?" for text in ("Hi!", "Go away.", "Hello.")]
    said = [(message.role, message.text) for message in request.messages[1:]]
    assert said == [("user", asked[0]), ("assistant", "yes"), ("user", asked[1]), ("assistant", "no"), ("user", asked[2])]
    assert (request.grammar, request.max_tokens, request.top_logprobs) == (None, 2, 20)
    assert attrs.evolve(judge, grammar=Judge(llm, "").grammar).grammar == 'root ::= "yes" | "no"'


@pytest.mark.parametrize(("text", "threshold", "score"), [("yes", 0.99, 1), ("yes", 1.0, 0), ("no", 0.0, 0)])
def test_a_pass_is_more_probable_than_the_threshold(kitchen: Runtime, text: str, threshold: float, score: int) -> None:
    run = alone(kitchen, Judge(Canned(text), "is kind", threshold=threshold), ASKED, Answer("Hello."), Cited(()))

    assert run.output.score == score


@pytest.mark.parametrize("heeds", [False, True])
def test_an_unsupported_claim_fails_an_answer_only_where_the_judge_heeds_citations(kitchen: Runtime, *, heeds: bool) -> None:
    claims = Cited((Claim(TRUE, Support(supported=True)), Claim(FALSE, Support(supported=False))))

    run = alone(kitchen, Judge(Canned("yes"), "is kind", heeds_citations=heeds), ASKED, Answer("Hello."), claims)

    assert run.output.score == int(not heeds)
    assert run.output.probability == 1.0
    assert (FALSE in run.output.rationale) is heeds
    assert TRUE not in run.output.rationale


async def bare(*_: Any) -> Any:
    raise NotImplementedError


MAKES: dict[str, Callable[[Any], Any]] = {
    "Rewrite.complete": Rewrite, "Embed.embed": Embed, "Retrieve.search": Retrieve, "Rerank.score": Rerank,
    "Generate.complete": lambda provider: Generate(provider, FromDocuments("")), "Cite.check": Cite,
    "Judge.complete": lambda provider: Judge(provider, "is kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKES)
def test_a_provider_that_would_not_be_recorded_is_refused_with_the_way_out(name: str) -> None:
    make, method = MAKES[name], name.partition(".")[2]
    unmarked = type("Unmarked", (), {method: bare, "fingerprint": lambda _: "x"})
    nameless = type("Nameless", (), {method: runtime.effect(bare)})
    labelled = type("Labelled", (), {method: runtime.effect(bare), "fingerprint": "x"})

    with pytest.raises(BuildError, match=rf"Unmarked\.{method} is no effect.*Put @runtime\.effect on it"):
        make(unmarked())
    for kind in (nameless, labelled):
        with pytest.raises(BuildError, match=rf"{kind.__name__} has no fingerprint\(\): return its name, model"):
            make(kind())
    with pytest.raises(BuildError, match=rf"object has no method {method}; see steps\.providers"):
        make(object())


@attrs.frozen
class MyChat:
    client: Any
    model: str

    def fingerprint(self) -> str:
        return f"my chat, {self.model}"

    @runtime.effect
    async def complete(self, request: ChatRequest) -> Completion:
        answer = await self.client.ask(self.model, [m.text for m in request.messages])
        return Completion(answer.text, "mine", self.model, Usage(answer.read, answer.wrote), "stop")


@attrs.define(eq=False)
class Client:
    """Stands for an SDK: nothing of it can be recorded."""

    calls: int = 0
    text: str = "refund"
    read: int = 5
    wrote: int = 1

    async def ask(self, model: str, messages: list[str]) -> Client:
        self.calls += 1
        return self


def test_the_providers_docstring_holds_a_provider_that_works(kitchen: Runtime) -> None:
    documented = inspect.getdoc(steps.providers) or ""
    assert textwrap.indent(inspect.getsource(MyChat), "    ").strip() in documented
    client = Client()

    run = alone(kitchen, Rewrite(MyChat(client, "m-1")), ASKED)

    assert run.output == "Where is my refund? refund"
    assert client.calls == 1
    assert told(run, "rewrite", worked=False)["gen_ai.usage.input_tokens"] == 5
    other = kitchen.replay(run.trace_id, swap={"alone/rewrite": Rewrite(MyChat(client, "m-2"))})
    assert [(field.old, field.new) for field in other.blocked[0].fields] == [("MyChat my chat, m-1", "MyChat my chat, m-2")]
    assert client.calls == 1


async def shouting(turn: Turn) -> str:
    return turn.message.upper()


def searching(shelf: Canned) -> runtime.Agent[Turn, tuple[Hit, ...]]:
    graph = Graph("steps.searching", input=Turn)
    text = graph.add(Rewrite(Canned("late")), graph.input)
    return graph.build(graph.add(Retrieve(shelf), text, graph.add(Embed(Canned()), text)))


LIVE = ["needed", ["embed/embed", "retrieve/search"], ["embed", "retrieve"], ["needed", "retrieve/search"]]


@pytest.mark.parametrize("live", LIVE, ids=str)
def test_a_new_query_goes_live_against_the_recorded_version_of_an_index_only(kitchen: Runtime, live: Any) -> None:
    shelf, other = Canned(hits=(A, B)), Canned(hits=(A, B, C), version="v2")
    run = kitchen.run(searching(shelf), Turn("where is it"))
    swap = {"rewrite": shouting}

    same = kitchen.replay(run.trace_id, swap=swap, live=live)
    newer = kitchen.replay(run.trace_id, swap=swap, live=live, agent=searching(other))

    assert same.output == (A, B)
    assert same.certificate["retrieve/search"].status == "live"
    assert [asked for asked, _, _ in shelf.asked] == ["where is it late", "WHERE IS IT"]
    assert other.asked == []
    assert not newer.certificate.ok
    assert [one.address for one in newer.blocked] == ["retrieve/search"]
    assert "canned, version v2" in newer.blocked[0].reason
    assert "canned, version v1: what they hold differs" in newer.blocked[0].reason
    with pytest.raises(runtime.ReplayBlocked, match="version v2"):
        _ = newer.output


@pytest.mark.parametrize("live", [None, "needed", ["retrieve/search"]], ids=str)
def test_the_recorded_query_is_not_answered_by_another_version_either(kitchen: Runtime, live: Any) -> None:
    other = Canned(hits=(A, B, C), version="v2")
    run = kitchen.run(searching(Canned(hits=(A, B))), Turn("where is it"))

    replay = kitchen.replay(run.trace_id, agent=searching(other), live=live)

    assert [one.address for one in replay.blocked] == ["retrieve/search"]
    assert other.asked == []


@attrs.frozen
class TwoIndexes:
    policies: Canned
    faq: Canned
    words: tuple[str, str]

    async def __call__(self, turn: Turn) -> tuple[Hit, ...]:
        first, second = (Vector.of([float(len(word))]) for word in self.words)
        policies = await self.policies.search(self.words[0], first, 1, "")
        return policies.hits + (await self.faq.search(self.words[1], second, 1, "")).hits


def test_a_query_that_another_index_was_asked_does_not_hide_the_version_of_this_one(kitchen: Runtime) -> None:
    policies, faq = Canned(hits=(A,)), Canned(hits=(B,), version="faq-1")
    graph = Graph("steps.two_indexes", input=Turn)
    step = TwoIndexes(policies, faq, ("refund", "late"))
    run = kitchen.run(graph.build(graph.add(step, graph.input, name="search")), ASKED)

    replay = kitchen.replay(run.trace_id, swap={"search": attrs.evolve(step, words=("late", "refund"))}, live="needed")

    assert replay.blocked == ()
    assert [query for query, *_ in policies.asked] == ["refund", "late"]
    assert [query for query, *_ in faq.asked] == ["late", "refund"]
