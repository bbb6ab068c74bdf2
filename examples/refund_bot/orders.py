"""The order service: who ordered what, looked up by user."""

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

Record = dict[str, Any]
"""An order as the service keeps it, every field."""


class Order(msgspec.Struct, frozen=True):
    """What the bot needs to know of an order."""

    order_id: str
    status: str
    total: float
    items: tuple[str, ...]
    days_late: int | None
    """None where the service knows no promised or no delivery date."""

    @classmethod
    def of(cls, record: Record) -> Order:
        """From the service's record."""
        paid = [each["amount"] for each in record["payment_history"] if each["transaction_type"] == "payment"]
        late = None
        if "delivered" in record:
            late = (date.fromisoformat(record["delivered"]) - date.fromisoformat(record["promised"])).days
        names = tuple(item["name"] for item in record["items"])
        return cls(record["order_id"].lstrip("#"), record["status"], sum(paid), names, late)

    def told(self) -> str:
        """In a sentence, as the model reads it."""
        text = f"Order {self.order_id}: {self.status}, amount {self.total:.2f} dollars, {', '.join(self.items)}"
        if self.days_late is None:
            return f"{text}."
        return f"{text}, arrived {self.days_late} days late." if self.days_late > 0 else f"{text}, arrived on time."


def meant(message: str, orders: Iterable[Order]) -> Order | None:
    """The order a message names by its number, else the first, else none."""
    known = list(orders)
    named = set(re.findall(r"\w+", message))
    return next((order for order in known if order.order_id in named), known[0] if known else None)


@attrs.define(eq=False)
class Orders:
    """The service.

    Args:
        name: of the service, its identity in a recording. What it answers changes from day to day and is
            recorded with each call.
        by_user: the records of each user.
    """

    name: str
    by_user: dict[str, list[Record]]

    @classmethod
    def read(cls, name: str, path: Path) -> Orders:
        """A service over a JSON list of records."""
        by_user: dict[str, list[Record]] = {}
        for record in msgspec.json.decode(path.read_bytes(), type=list[Record]):
            by_user.setdefault(record["user_id"], []).append(record)
        return cls(name, by_user)

    def fingerprint(self) -> str:
        """The name of the service."""
        return self.name

    @runtime.effect(side_effect=False, idempotent=True)
    async def of_user(self, user_id: str) -> list[Record]:
        """All orders of a user, whole; an unknown user has none."""
        return self.by_user.get(user_id, [])
