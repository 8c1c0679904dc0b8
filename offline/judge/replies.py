"""A judge's replies read tolerantly: JSON with talk or a code fence around it, full-width signs, sides the other way round.

What a tag under test says may come back in the judge's reasons. So a verdict counts only as a field of the reply's own JSON, or, where the
reply has none, on its last line; two that disagree there are none.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from offline.judge.arithmetic import VERDICTS, Verdict
from offline.judge.dual import NEGATED
from offline.judge.roles import Attributes, Score

REPLY_MAX = 20_000  # characters looked at, from the end
REASON_MAX = 600
MARKS = ("truth", "coverage", "importance")
_DECODER = json.JSONDecoder()
_VERDICT = re.compile(r"\b(A|B)\s*(>>|<<|>|<|=+)\s*(A|B)\b")
_SIGNS = str.maketrans({"≫": ">>", "≪": "<<", "\u203a": ">", "\u2039": "<", "》": ">>", "《": "<<"})
_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)


def parse_attributes(reply: str) -> Attributes | None:
    """The three marks; None where one is missing or neither 0 nor 1."""
    reply = _answer(reply)
    if "{" not in reply:
        last = reply.strip().rpartition("\n")[2].casefold()
        return _attributes([_only(re.findall(rf"\b{name}\W{{1,6}}([01])\b", last)) for name in MARKS], "")
    found = next((one for one in _objects(reply) if any(name in one for name in MARKS)), {})
    scores = [_score(found.get(name)) if len(_values(reply, name)) == 1 else None for name in MARKS]
    return _attributes(scores, str(found.get("reasons", "")))


def parse_verdict(reply: str) -> Verdict | None:
    """The verdict; None where there is none, or more than one."""
    reply = _answer(reply)
    if "{" not in reply:
        return _verdict(reply.strip().rpartition("\n")[2])
    values = _values(reply, "verdict")
    return _verdict(values.pop()) if len(values) == 1 else None


def _answer(reply: str) -> str:
    return _THINKING.sub("", reply[-REPLY_MAX:])


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """Every whole object that is no part of another."""
    at = reply.find("{")
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(reply, at)
        except (ValueError, RecursionError):
            at = reply.find("{", at + 1)
            continue
        yield value
        yield from (inner for inner in value.values() if isinstance(inner, dict))
        at = reply.find("{", end)


def _values(reply: str, name: str) -> set[str]:
    """What a field is given anywhere but within a string, where quotes are escaped. A reply that was cut may have it too."""
    return {text.strip().strip('"') for text in re.findall(rf'(?<!\\)"{name}"\s*:\s*("[^"\\]{{1,40}}"|[^\s",}}]{{1,8}})', reply)}


def _verdict(text: str) -> Verdict | None:
    """The one verdict that a short text names, in either direction."""
    plain = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS).upper()
    found = set()
    for left, sign, right in _VERDICT.findall(plain):
        if left != right:
            named = next(one for one in VERDICTS if one == f"A{sign[:1] if '=' in sign else sign}B")
            found.add(named if left == "A" else NEGATED[named])
    return found.pop() if len(found) == 1 else None


def _attributes(scores: list[Score | None], reason: str) -> Attributes | None:
    truth, coverage, importance = scores
    if truth is None or coverage is None or importance is None:
        return None
    return Attributes(truth, coverage, importance, reason[:REASON_MAX])


def _score(value: Any) -> Score | None:
    if isinstance(value, str):
        value = {"0": 0, "1": 1}.get(value.strip())
    if isinstance(value, bool | int | float) and value in (0, 1):
        return 1 if value else 0
    return None


def _only(found: list[str]) -> Score | None:
    return _score(found[0]) if len(set(found)) == 1 else None
