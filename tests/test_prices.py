"""Prices: what the list says, what one says oneself, and nothing where nobody knows."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from steps.prices import Price, Prices, Rate, cost

ROOT = Path(__file__).parents[1]
DAY = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
MILLION = 1_000_000


@pytest.mark.parametrize(
    ("system", "model", "usd"),
    [
        # US dollars for a million tokens read and written: openai.com/api/pricing, aws.amazon.com/bedrock/pricing.
        ("openai", "gpt-4o-2024-08-06", 2.50 + 10.00),
        ("api.openai.com", "gpt-4o", 2.50 + 10.00),
        ("openai", "text-embedding-3-small", 0.02),
        ("aws.bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0", 3.00 + 15.00),
    ],
)
def test_the_list_knows_models_by_provider_and_day(system: str, model: str, usd: float) -> None:
    found = cost(system, model, input_tokens=MILLION, output_tokens=MILLION, at=DAY)

    assert found is not None
    assert found.usd == pytest.approx(usd)
    assert found.date == "2026-11-20"
    assert found.source.startswith("genai-prices ")


def test_tokens_from_the_cache_have_a_price_of_their_own() -> None:
    found = cost("openai", "gpt-4o", input_tokens=MILLION, cache_read_tokens=MILLION // 2, at=DAY)

    assert found is not None
    assert found.usd == pytest.approx((2.50 + 1.25) / 2)


@pytest.mark.parametrize(
    ("system", "model"),
    [
        ("openai", "gpt-99"),
        ("nobody", "gpt-4o"),
        ("my-openai-gateway", "gpt-4o"),  # the list's own look-up takes it for OpenAI
        ("192.168.1.7", "gpt-4o"),
        ("cohere", "rerank-v3.5"),
        ("", ""),
    ],
)
def test_what_nobody_knows_has_no_price(system: str, model: str) -> None:
    assert cost(system, model, input_tokens=10) is None


def test_a_usage_that_cannot_be_has_no_price() -> None:
    assert cost("openai", "gpt-4o", input_tokens=1, cache_read_tokens=2) is None


def test_a_local_model_costs_nothing_on_any_day() -> None:
    assert cost("local", "SmolLM2", input_tokens=10, output_tokens=10) == Price(0.0, None, "local")


def test_an_override_comes_before_the_list_and_before_local_models() -> None:
    contract = Rate("2026-10-01", input=2e-6, output=8e-6, cache_read=1e-6)
    prices = Prices({("openai", "gpt-4o"): contract, ("local", "*"): Rate("2026-11-01", input=1e-9)})

    here = prices.cost("openai", "gpt-4o", input_tokens=1000, output_tokens=100, cache_read_tokens=500)
    other = prices.cost("openai", "gpt-4o-mini", input_tokens=1000, at=DAY)

    assert here is not None
    assert here.usd == pytest.approx(500 * 2e-6 + 500 * 1e-6 + 100 * 8e-6)
    assert (here.date, here.source) == ("2026-10-01", "override")
    assert other is not None
    assert other.source.startswith("genai-prices")
    assert prices.cost("local", "any", input_tokens=1000) == Price(1000 * 1e-9, "2026-11-01", "override")


def test_a_reranker_is_billed_by_the_query() -> None:
    prices = Prices({("cohere", "rerank-v3.5"): Rate("2026-11-23", query=0.002)})

    assert prices.cost("cohere", "rerank-v3.5", queries=3) == Price(3 * 0.002, "2026-11-23", "override")
    assert prices.cost("openai", "gpt-4o", queries=1) is None, "the list has no price for a query"


def test_cached_tokens_cost_as_others_where_the_rate_says_nothing_of_them() -> None:
    prices = Prices({("a", "b"): Rate("2026-01-01", input=1.0)})

    assert prices.cost("a", "b", input_tokens=4, cache_read_tokens=3) == Price(4.0, "2026-01-01", "override")


def test_a_rate_without_a_date_or_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="ISO date"):
        Rate("last week")
    with pytest.raises(ValueError, match=">= 0"):
        Rate("2026-01-01", input=-1.0)


def test_prices_are_plain_values() -> None:
    assert Prices({("a", "b"): Rate("2026-01-01")}) == Prices({("a", "b"): Rate("2026-01-01")})
    assert hash(Prices()) == hash(Prices())


def test_without_the_list_only_own_prices_are_known() -> None:
    code = """
import sys
sys.modules["genai_prices"] = None
from steps.prices import Prices, Rate, cost
assert cost("openai", "gpt-4o", input_tokens=1) is None
assert cost("local", "x").usd == 0.0
assert Prices({("openai", "gpt-4o"): Rate("2026-01-01", input=1.0)}).cost("openai", "gpt-4o", input_tokens=2).usd == 2.0
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_list_is_loaded_when_it_is_asked() -> None:
    code = "import sys, steps.prices; assert not {'genai_prices', 'pydantic', 'httpx2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
