"""What a paid call cost, by the price list of the `genai-prices` package and by prices of one's own.

The list comes with the package and nothing is fetched: a newer list is a newer package. Prices change, so a cost is
recorded with the date it holds for and the list it came from, and a replay tells what was paid then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

import attrs

LOCAL: Final = "local"
"""The system of models that run on one's own machine. They cost nothing."""

ANY: Final = "*"
"""Stands for every model of a system, in `Prices.overrides`."""

# The OpenTelemetry names of providers (gen_ai.provider.name, semantic conventions 1.41) that the price list calls otherwise.
_LISTED: Final = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "x_ai": "x-ai",
}


def _date(_: object, field: attrs.Attribute[str], value: str) -> None:
    try:
        dt.date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{field.name} is an ISO date such as 2026-11-30, not {value!r}") from error


@attrs.frozen
class Rate:
    """A price that the list does not have, or has otherwise: a contract's, or a reranker's.

    Args:
        date: ISO date on which this was the price.
        input: US dollars for a token read.
        output: US dollars for a token written.
        cache_read: US dollars for a token read from the provider's cache; by default as `input`.
        query: US dollars for a query, as rerankers are billed.

    Raises:
        ValueError: a price is negative, or the date is none.
    """

    date: str = attrs.field(validator=_date)
    input: float = attrs.field(default=0.0, kw_only=True, validator=attrs.validators.ge(0))
    output: float = attrs.field(default=0.0, kw_only=True, validator=attrs.validators.ge(0))
    cache_read: float | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(attrs.validators.ge(0))
    )
    query: float = attrs.field(default=0.0, kw_only=True, validator=attrs.validators.ge(0))


@attrs.frozen
class Price:
    """What a call cost."""

    usd: float
    """US dollars."""
    date: str | None
    """ISO date of the price: of the `Rate`, or the day for which the list was asked. None for a local model."""
    source: str
    """The list with its version, `override` or `local`."""


@attrs.frozen
class Prices:
    """Prices by system and model.

    Args:
        overrides: rates by (system, model), before the list and before local models; the model `*` is every other one
            of the system.
    """

    overrides: Mapping[tuple[str, str], Rate] = attrs.field(factory=dict[tuple[str, str], Rate], hash=False)

    def cost(
        self,
        system: str,
        model: str,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read_tokens: int = 0,
        queries: int = 0,
        at: dt.datetime | None = None,
    ) -> Price | None:
        """What a call cost.

        Args:
            system: who serves the model: the list's name of a provider (`openai`), OpenTelemetry's (`aws.bedrock`), the
                host of its API (`api.cerebras.ai`), or `local`.
            model: as the provider names it in its answer, or as it was asked for.
            input_tokens: tokens read, those from the provider's cache included.
            output_tokens: tokens written, those of its reasoning included.
            cache_read_tokens: tokens read from the provider's cache.
            queries: of a reranker. The list has no price for one.
            at: when the call was made; by default now.

        Returns:
            None where no price is known, also because `genai-prices` is not installed.
        """
        rate = self.overrides.get((system, model)) or self.overrides.get((system, ANY))
        if rate is not None:
            cached = rate.input if rate.cache_read is None else rate.cache_read
            usd = (
                rate.input * (input_tokens - cache_read_tokens)
                + cached * cache_read_tokens
                + rate.output * output_tokens
                + rate.query * queries
            )
            return Price(usd, rate.date, "override")
        if system == LOCAL:
            return Price(0.0, None, LOCAL)
        if queries:
            return None
        return _listed(system, model, input_tokens, output_tokens, cache_read_tokens, at or dt.datetime.now(dt.UTC))


def cost(
    system: str,
    model: str,
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    at: dt.datetime | None = None,
) -> Price | None:
    """`Prices.cost` with no price of one's own."""
    return Prices().cost(
        system,
        model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read_tokens,
        at=at,
    )


def _listed(system: str, model: str, read: int, wrote: int, cached: int, at: dt.datetime) -> Price | None:
    try:
        import genai_prices as listed
    except ImportError:
        return None
    usage = listed.Usage(input_tokens=read, output_tokens=wrote, cache_read_tokens=cached)
    name = _LISTED.get(system, system)
    try:
        try:
            found = listed.calc_price(usage, model, provider_id=name, genai_request_timestamp=at)
        except LookupError:
            found = None
        # The list takes any name that contains a provider's for that provider: "my-openai-gateway" for OpenAI.
        if found is None or found.provider.id != name:
            found = listed.calc_price(usage, model, provider_api_url=f"https://{system}", genai_request_timestamp=at)
    except (LookupError, ValueError):  # ValueError: the provider counts more tokens from its cache than were read at all
        return None
    return Price(float(found.total_price), at.date().isoformat(), f"genai-prices {listed.__version__}")
