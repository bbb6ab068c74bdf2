"""`where`: one small grammar to choose traces by their attributes.

    outcome.csat <= 2 and variant = 'B'
    not status = 'ok' or agent = 'refund_chat.turn'

Comparisons (= != < <= > >=) of a name with a number, a quoted text, true, false or null, joined by and, or, not and
parentheses. A name that a trace does not have compares as null: only `= null` and `!= value` hold.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from runtime.errors import KitchenlogError

Test = Callable[[Mapping[str, Any]], bool]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")"
    r"|(?P<sign><=|>=|!=|==|=|<|>)|(?P<paren>[()])|(?P<word>[A-Za-z_][\w.]*))"
)
_SIGNS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


class BadWhere(KitchenlogError, ValueError):
    """A `where` that is not of the grammar; the text points at the place."""

    def __init__(self, text: str, place: int, wanted: str) -> None:
        super().__init__(f"where: expected {wanted}\n    {text}\n    {' ' * place}^")


def parse(text: str) -> Test:
    """A test of attributes.

    Raises:
        BadWhere: the text is not of the grammar.
    """
    parser = _Parser(text)
    test = parser.either()
    parser.end()
    return test


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None or found.lastgroup is None:
                raise BadWhere(text, place, "a name, a value or a comparison")
            self._tokens.append((found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            place = found.end()
        self._at = 0

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "", len(self._text))

    def _accept(self, word: str) -> bool:
        kind, text, _ = self._peek()
        if kind in {"word", "paren"} and text.lower() == word:
            self._at += 1
            return True
        return False

    def end(self) -> None:
        if self._peek()[0] != "end":
            raise BadWhere(self._text, self._peek()[2], "'and', 'or' or the end")

    def either(self) -> Test:
        tests = [self._both()]
        while self._accept("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda given: any(test(given) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._accept("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda given: all(test(given) for test in tests)

    def _one(self) -> Test:
        if self._accept("not"):
            test = self._one()
            return lambda given: not test(given)
        if self._accept("("):
            inner = self.either()
            if not self._accept(")"):
                raise BadWhere(self._text, self._peek()[2], "')'")
            return inner
        kind, name, place = self._peek()
        if kind != "word":
            raise BadWhere(self._text, place, "a name")
        self._at += 1
        kind, sign, place = self._peek()
        if kind != "sign":
            raise BadWhere(self._text, place, "one of = != < <= > >=")
        self._at += 1
        return _comparison(name, sign, self._value())

    def _value(self) -> Any:
        kind, text, place = self._peek()
        self._at += 1
        if kind == "number":
            return float(text) if set(text) & set(".eE") else int(text)
        if kind == "text":
            return text[1:-1].replace(text[0] * 2, text[0])
        if kind == "word" and text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        raise BadWhere(self._text, place, "a number, a quoted text, true, false or null")


def _comparison(name: str, sign: str, value: Any) -> Test:
    compare = _SIGNS[sign]
    equality = sign in {"=", "==", "!="}

    def test(given: Mapping[str, Any]) -> bool:
        found = given.get(name)
        if equality:
            return compare(found, value) and not (isinstance(found, bool) != isinstance(value, bool) and sign != "!=")
        if isinstance(found, bool) or isinstance(value, bool):
            return False
        both_numbers = isinstance(found, (int, float)) and isinstance(value, (int, float))
        return (both_numbers or (isinstance(found, str) and isinstance(value, str))) and compare(found, value)

    return test
