"""The expression of ``--match``: which dead letters are meant.

    reason=poison and note_id=n-1*
    user_id="u 7" or (attempts>=3 and not field~"title|body")

Comparisons joined by ``and``, ``or``, ``not`` and parentheses. ``=`` and ``!=`` take texts in which ``*`` stands for anything (``\\*`` for
itself), ``~`` and ``!~`` a regular expression that is found anywhere; numbers are compared by ``= != < <= > >=``. A text with spaces,
quotes or parentheses is written in double quotes, in which ``\\"`` and ``\\\\`` stand for ``"`` and ``\\``; other backslashes are kept.
What a letter does not have (a note's ``user_id``) equals nothing and matches nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

TEXTS = ("id", "state", "reason", "stage", "field", "detail", "topic", "key", "note_id", "user_id", "event_id")
NUMBERS = ("partition", "offset", "attempts", "size", "first_failed_at", "last_failed_at", "at")
LENGTH_MAX = 4_000
DEPTH_MAX = 50
Facts = Mapping[str, str | int | None]
"""What an expression can ask of a letter, by ``TEXTS`` and ``NUMBERS``."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<op>!=|!~|<=|>=|[=~<>])|(?P<paren>[()])|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()=~<>!"]+))""", re.DOTALL
)
_ESCAPED = re.compile(r'\\(["\\])')
_STAR = re.compile(r"\\\*|\\\\|\*")
_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class MatchError(ValueError):
    """An expression that cannot be read; the message says where and what would be right there."""


class Token(Struct, frozen=True):
    """``kind``: ``op``, ``paren``, ``quoted`` or ``word``; ``at``: position in the expression."""

    kind: str
    text: str
    at: int


class Comparison(Struct, frozen=True):
    """One field against one value; ``test`` gets what the letter has there."""

    field: str
    op: str
    value: str
    test: Callable[[Any], bool]

    def holds(self, facts: Facts) -> bool:
        found = facts.get(self.field)
        return self.op in ("!=", "!~") if found is None else self.test(found)


class Joined(Struct, frozen=True):
    """Parts joined by ``and`` or ``or``; ``not`` has one part."""

    word: str
    parts: tuple["Comparison | Joined", ...]

    def holds(self, facts: Facts) -> bool:
        if self.word == "not":
            return not self.parts[0].holds(facts)
        return (all if self.word == "and" else any)(part.holds(facts) for part in self.parts)


Expression = Comparison | Joined


def parse_match(text: str) -> Expression:
    """Reads an expression.

    Raises:
        MatchError: it is none.
    """
    if len(text) > LENGTH_MAX:
        raise MatchError(f"the expression has {len(text)} characters; {LENGTH_MAX} are allowed")
    parser = _Parser(_tokens(text), len(text))
    expression = parser.any_of(0)
    parser.end()
    return expression


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if found is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            raise MatchError(f"position {start}: {text[start : start + 10]!r} is not understood; put texts with such characters in quotes")
        assert found.lastgroup is not None
        tokens.append(Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
        at = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[Token], length: int) -> None:
        self._tokens = [*tokens, Token("end", "", length)]
        self._place = 0

    def any_of(self, depth: int) -> Expression:
        return self._joined("or", lambda: self._joined("and", lambda: self._one(depth)))

    def end(self) -> None:
        if self._next.kind != "end":
            self._expected("and, or, or the end")

    def _joined(self, word: str, part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self._take("word", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _one(self, depth: int) -> Expression:
        if depth > DEPTH_MAX:
            raise MatchError(f"position {self._next.at}: more than {DEPTH_MAX} levels of not and parentheses")
        if self._take("word", "not"):
            return Joined("not", (self._one(depth + 1),))
        if self._take("paren", "("):
            inside = self.any_of(depth + 1)
            if not self._take("paren", ")"):
                self._expected("and, or, or a closing parenthesis")
            return inside
        return self._comparison()

    def _comparison(self) -> Comparison:
        field = self._next
        if field.kind != "word" or field.text not in TEXTS + NUMBERS:
            self._expected(f"a field ({', '.join(TEXTS + NUMBERS)})")
        self._place += 1
        op = self._next
        allowed = ("=", "!=", "~", "!~") if field.text in TEXTS else tuple(_ORDER)
        if op.kind != "op" or op.text not in allowed:
            self._expected(f"one of {' '.join(allowed)} after {field.text}")
        self._place += 1
        value = self._next
        if value.kind not in ("word", "quoted"):
            self._expected(f"a value for {field.text}")
        self._place += 1
        said = _ESCAPED.sub(r"\1", value.text[1:-1]) if value.kind == "quoted" else value.text
        return Comparison(field.text, op.text, said, _test(field.text, op.text, said, value.at))

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self, kind: str, text: str) -> bool:
        found = (self._next.kind, self._next.text) == (kind, text)
        self._place += found
        return found

    def _expected(self, what: str) -> None:
        found = repr(self._next.text) if self._next.kind != "end" else "the end"
        raise MatchError(f"position {self._next.at}: {found} where {what} is expected")


def _test(field: str, op: str, value: str, at: int) -> Callable[[Any], bool]:
    if field in NUMBERS:
        if not _NUMBER.fullmatch(value):
            raise MatchError(f"position {at}: {value!r} is no whole number; {field} is compared with one (times are epoch milliseconds)")
        number, compare = int(value), _ORDER[op]
        return lambda found: compare(found, number)
    try:
        search = re.compile(value).search if op in ("~", "!~") else re.compile(_glob(value), re.DOTALL).fullmatch
    except (re.error, OverflowError, RecursionError) as error:
        raise MatchError(f"position {at}: {value!r} is no regular expression: {error}") from None
    wanted = op in ("=", "~")
    return lambda found: (search(str(found)) is not None) is wanted


def _glob(value: str) -> str:
    """A text with stars as a regular expression."""
    pattern, at = "", 0
    for found in _STAR.finditer(value):
        star = ".*" if found[0] == "*" else re.escape(found[0][1])
        pattern += re.escape(value[at : found.start()]) + star
        at = found.end()
    return pattern + re.escape(value[at:])
