"""Numbers with their units, as an English sentence tells them: `30 days`, `two weeks`, `Rs. 1,250`, `5 per cent`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(r"[a-z]+\d\w*|\d+(?:,\d{2,3})*(?:\.\d+)?|[a-z]+(?:'[a-z]+)?|[^\w\s]")
_CURRENCY: Final = re.compile(r"(₹|\brs\.?|\binr\b|\brupees\b|\$|€|£)\s*(\d+(?:,\d{2,3})*(?:\.\d+)?)")
_CURRENCIES: Final = {"$": "dollars", "€": "euros", "£": "pounds"}

_UNITS: Final[dict[str, tuple[str, Fraction]]] = {
    "minute": ("hour", Fraction(1, 60)),
    "hour": ("hour", Fraction(1)),
    "day": ("hour", Fraction(24)),
    "week": ("hour", Fraction(24 * 7)),
    "fortnight": ("hour", Fraction(24 * 14)),
    "month": ("month", Fraction(1)),
    "year": ("month", Fraction(12)),
    "rupee": ("rupee", Fraction(1)),
    "inr": ("rupee", Fraction(1)),
    "rs": ("rupee", Fraction(1)),
    "paise": ("rupee", Fraction(1, 100)),
    "paisa": ("rupee", Fraction(1, 100)),
    "kg": ("kilogram", Fraction(1)),
    "kilo": ("kilogram", Fraction(1)),
    "kilogram": ("kilogram", Fraction(1)),
    "percent": ("per cent", Fraction(1)),
}
"""Unit -> (the unit it is told in, how many of it). A month is no number of days."""
_SMALL: Final = (
    {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
    | {"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14}
    | {"fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19}
)
_TENS: Final = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_HUNDRED: Final = 100
_SCALES: Final = {"hundred": _HUNDRED, "thousand": 1000, "lakh": 100_000, "million": 1_000_000, "crore": 10_000_000}
_BETWEEN: Final = frozenset({",", "or", "and", "to", "-", "\N{EN DASH}"})
_ADJECTIVES: Final = re.compile(r"more|full|further|additional|extra|whole|calendar|consecutive|straight|complete|-|\N{EN DASH}")
_NO_UNITS: Final = re.compile(
    r"is|are|was|were|be|been|of|in|on|at|to|the|and|or|nor|but|for|from|by|with|as|if|per|a|"
    r"an|you|we|it|they|he|she|under|after|before|within|until|that|this|these|those|which|who|"
    r"what|will|would|may|can|could|must|shall|should|has|have|had|do|does|did|not|no|than|then|"
    r"when|where|while|because|so|please|i|your|our|their|its|them|us|one|ones|more|less"
)
_OVER: Final = re.compile(
    r"more|over|above|after|beyond|exceeding|exceeds|exceed|past|longer|later|older|greater|higher|"
    r"larger|heavier|bigger|least|minimum"
)
_FILLERS: Final = frozenset({"than", "of", "at", "the", "a", "an"})
_LABELS: Final = frozenset({"order", "invoice", "number", "ticket", "version", "section", "step", "id", "code", "#", "no"})
_PERIOD_BEFORE: Final = frozenset({"within", "in", "after", "for"})
_SHORTEST_LABEL: Final = 1000
"""An order number has as many digits; `order 3 items` has none."""


class Quantity(NamedTuple):
    """A number with its unit."""

    number: Fraction
    unit: str
    """In the singular; empty where the sentence names none."""
    over: bool
    """It is told as a lower bound: `more than`, `at least`, `after`, `or more`."""

    def agrees(self, other: Quantity) -> bool:
        """Whether it is the same number, and of the same unit where both have one. `over` is not looked at."""
        return self.number == other.number and (self.unit == other.unit or not self.unit or not other.unit)

    def __str__(self) -> str:
        number, unit = self.number, self.unit
        if unit == "hour" and number and number % 24 == 0:
            number, unit = number / 24, "day"
        if unit and unit != "per cent" and number != 1:
            unit += "s"
        told = str(number.numerator) if number.denominator == 1 else f"{float(number):g}"
        return " ".join(filter(None, ["over" if self.over else "", told, unit]))


def words(text: str) -> list[str]:
    """The words of a lower-case text, numbers among them."""
    return [token for token in _TOKEN.findall(text) if token[0].isalnum()]


def quantities(text: str) -> frozenset[Quantity]:
    """The quantities of a sentence. Labels such as `order 4481` and number words without a unit, `the two`, are none."""
    lower = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("%", " percent ")
    lower = lower.replace("per cent", "percent").replace("working day", "business day")
    lower = _CURRENCY.sub(lambda found: f"{found[2]} {_CURRENCIES.get(found[1], 'rupees')}", lower)
    tokens = [*_TOKEN.findall(lower), *"..."]
    return frozenset(_found(tokens))


def _found(tokens: list[str]) -> Iterator[Quantity]:
    at = 0
    while at < len(tokens):
        read = _number(tokens, at) or _one_period(tokens, at)
        if read is None:
            at += 1
            continue
        number, end = read
        unit, after = _unit(tokens, end)
        if _counts(tokens, at, number, unit):
            name, factor = _UNITS.get(unit, (unit, Fraction(1)))
            yield Quantity(number * factor, name, _is_over(tokens, at, after))
        at = end


def _number(tokens: list[str], at: int) -> tuple[Fraction, int] | None:
    """The number that begins here, and where it ends."""
    token = tokens[at]
    if token[0].isdigit():
        number, at = Fraction(token.replace(",", "")), at + 1
        while tokens[at] in _SCALES:
            number, at = number * _SCALES[tokens[at]], at + 1
        return number, at
    total, current, begun = 0, 0, at
    while True:
        token = tokens[at]
        if token in _SMALL and (at == begun or current % 10 == 0):
            current += _SMALL[token]
        elif token in _TENS and (at == begun or current % 100 == 0):
            current += _TENS[token]
        elif token in _SCALES and _SCALES[token] == _HUNDRED:
            current = max(current, 1) * _HUNDRED
        elif token in _SCALES:
            total, current = total + max(current, 1) * _SCALES[token], 0
        elif not (at > begun and token in {"-", "and"} and _goes_on(tokens, at)):
            break
        at += 1
    return (Fraction(total + current), at) if at > begun else None


def _goes_on(tokens: list[str], at: int) -> bool:
    """Whether a number goes on behind a hyphen, `twenty-five`, or an `and`, `one hundred and five`."""
    before, behind = tokens[at - 1], tokens[at + 1]
    if tokens[at] == "-":
        return before in _TENS and 0 < _SMALL.get(behind, 0) < 10
    return before in _SCALES and (behind in _SMALL or behind in _TENS)


def _one_period(tokens: list[str], at: int) -> tuple[Fraction, int] | None:
    """`within a week`; but `5 per cent a month` tells no month."""
    if tokens[at] in {"a", "an"} and at and tokens[at - 1] in _PERIOD_BEFORE:
        unit = _singular(tokens[at + 1])
        if unit in _UNITS and _UNITS[unit][0] in {"hour", "month"}:
            return Fraction(1), at + 1
    return None


def _unit(tokens: list[str], at: int) -> tuple[str, int]:
    """The unit of a number that ended here, and where the unit ends. `3, 6 or 9 months` gives each of them its months."""
    if tokens[at] in _BETWEEN and (further := _number(tokens, at + 1)) is not None:
        return _unit(tokens, further[1])
    while _ADJECTIVES.fullmatch(tokens[at]):
        at += 1
    if tokens[at] == "business" and _singular(tokens[at + 1]) == "day":
        return "business day", at + 2
    if not tokens[at][0].isalpha() or _NO_UNITS.fullmatch(tokens[at]):
        return "", at
    return _singular(tokens[at]), at + 1


def _singular(word: str) -> str:
    if word in _UNITS:
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith("s") and not word.endswith("ss") and len(word) > len("gas"):
        return word[:-1]
    return word


def _counts(tokens: list[str], at: int, number: Fraction, unit: str) -> bool:
    """Whether a number counts or measures something, and is no label and no pronoun."""
    if not unit and not tokens[at][0].isdigit():
        return False
    before = tokens[at - 1] if at else ""
    labelled = before in _LABELS and unit not in _UNITS and (not unit or number >= _SHORTEST_LABEL)
    return before != "#" and not labelled


def _is_over(tokens: list[str], at: int, after: int) -> bool:
    if tokens[after] in {"or", "and"} and _OVER.fullmatch(tokens[after + 1]):
        return True
    before = at - 1
    while before >= 0 and tokens[before] in _FILLERS:
        before -= 1
    if before < 0 or not _OVER.fullmatch(tokens[before]):
        return False
    return not (before and tokens[before - 1] in {"no", "not"})
