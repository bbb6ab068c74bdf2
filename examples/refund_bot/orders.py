"""The order service: who ordered what, looked up by customer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

import runtime

ORDERS: Final = Path(__file__).parent / "orders.json"


class Order(msgspec.Struct, frozen=True):
    """An order."""

    id: str
    item: str
    amount: float
    currency: str = "rupees"
    promised: date | None = None
    delivered: date | None = None
    """None where it is still on its way."""

    @property
    def days_late(self) -> int | None:
        """After the promised date; None where it has not arrived."""
        if self.promised is None or self.delivered is None:
            return None
        return (self.delivered - self.promised).days

    @property
    def price(self) -> str:
        """The amount as a customer reads it."""
        return f"{self.amount:.10g} {self.currency}"

    def told(self) -> str:
        """In a sentence, as the model reads it. The dates, not the lateness: a small model repeats any number of days."""
        text = f"Order {self.id}: {self.item}, amount {self.price}"
        if self.promised is not None and self.delivered is not None:
            text += f", promised {_day(self.promised)}, delivered {_day(self.delivered)}"
        return f"{text}."


def _day(when: date) -> str:
    return f"{when.day} {when:%B}"


def meant(message: str, orders: Iterable[Order]) -> Order | None:
    """The order that a message names by its number; the only one, where the customer has one; else none."""
    known = tuple(orders)
    named = set(re.findall(r"\w+", message))
    return next((order for order in known if order.id in named), known[0] if len(known) == 1 else None)


@attrs.define(eq=False)
class Orders:
    """The service.

    Args:
        name: of the service, its identity in a recording. What it answers changes from day to day and is recorded with
            each call.
        by_customer: the orders of each customer.
    """

    name: str
    by_customer: dict[str, tuple[Order, ...]]

    @classmethod
    def read(cls, name: str, path: Path) -> Orders:
        """A service over a JSON list of orders, each with its `customer`."""
        by_customer: dict[str, tuple[Order, ...]] = {}
        for record in msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]]):
            customer = record.pop("customer")
            by_customer[customer] = (*by_customer.get(customer, ()), msgspec.convert(record, Order))
        return cls(name, by_customer)

    def fingerprint(self) -> str:
        """The name of the service."""
        return self.name

    @runtime.effect(idempotent=True)
    async def of_customer(self, customer: str) -> tuple[Order, ...]:
        """All orders of a customer; an unknown one has none."""
        return self.by_customer.get(customer, ())
