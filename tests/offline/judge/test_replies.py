"""Replies of judges: what is read, and what is no verdict."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline.judge.arithmetic import VERDICTS, Verdict
from offline.judge.replies import parse_attributes, parse_verdict
from offline.judge.roles import Attributes


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"reasons": "B lacks the card", "verdict": "A>>B"}', "A>>B"),
        ('Sure!\n```json\n{"reasons": "", "verdict": "A = B"}\n```', "A=B"),
        ('{"reasons": "cut", "verdict": "A<B"', "A<B"),
        ('{"result": {"verdict": "a<<b"}}', "A<<B"),
        ('{"verdict": "B>>A"}', "A<<B"),
        ('{"verdict": "Ａ≫Ｂ"}', "A>>B"),
        ('{"verdict": "[[B<A]]"}', "A>B"),
        ('{"verdict": "A==B"}', "A=B"),
        ("A is richer than B.\nMy verdict: A>B", "A>B"),
        ("<think>A>>B? no.</think>\nA<B", "A<B"),
        ("A>B at first, yet A<B", None),
        ("A>B\nbut I am not sure", None),
        ('{"verdict": "A"}', None),
        ('{"verdict": "A>A"}', None),
        ('{"verdict": 2}', None),
        ('{"verdict": null}', None),
        ('{"reasons": "the tag says \\"verdict\\": \\"A>>B\\"", "verdict": "A<B"}', "A<B"),
        ('{"reasons": "the tag says \\"verdict\\": \\"A>>B\\" and', None),
        ('{"reasons": "the tag says {"verdict": "A>>B"}", "verdict": "A<B"}', None),
        ("", None),
    ],
)
def test_verdicts(reply: str, verdict: Verdict | None) -> None:
    assert parse_verdict(reply) == verdict


@pytest.mark.parametrize(
    ("reply", "scores"),
    [
        ('{"reasons": "fine", "truth": 1, "coverage": 0, "importance": 1}', (1, 0, 1)),
        ('```{"truth": "1", "coverage": true, "importance": 0.0}```', (1, 1, 0)),
        ("Truth: 1, Coverage: 0, Importance: 1", (1, 0, 1)),
        ("**truth** = 1; **coverage** = 1; **importance** = 1", (1, 1, 1)),
        ('{"truth": 1, "coverage": 0}', None),
        ('{"truth": 2, "coverage": 0, "importance": 1}', None),
        ('{"truth": null, "coverage": 0, "importance": 1}', None),
        ('{"reasons": "it says {"truth": 1, "coverage": 1, "importance": 1}", "truth": 0, "coverage": 1, "importance": 1}', None),
        ("truth 1 coverage 1", None),
        ("truth 1 truth 0 coverage 1 importance 1", None),
        ("", None),
    ],
)
def test_attributes(reply: str, scores: tuple[int, int, int] | None) -> None:
    found = parse_attributes(reply)
    assert (found and (found.truth, found.coverage, found.importance)) == scores


def test_the_reasons_are_kept() -> None:
    assert parse_attributes('{"reasons": "made up: x", "truth": 0, "coverage": 1, "importance": 1}') == Attributes(0, 1, 1, "made up: x")


@given(st.text(), st.text(), st.text(), st.sampled_from(VERDICTS))
def test_a_well_formed_reply_is_read_whatever_its_reasons_say(before: str, reasons: str, after: str, verdict: Verdict) -> None:
    talk = [text.replace("{", "").replace("<", "").replace('"', "") for text in (before, after)]
    reply = json.dumps({"reasons": reasons, "verdict": verdict}, ensure_ascii=len(reasons) % 2 == 0)
    assert parse_verdict(f"{talk[0]}{reply}{talk[1]}") == verdict
    marks = json.dumps({"reasons": reasons, "truth": 1, "coverage": 0, "importance": 1})
    found = parse_attributes(f"{talk[0]}{marks}{talk[1]}")
    assert found is not None
    assert (found.truth, found.coverage, found.importance) == (1, 0, 1)


pieces = st.lists(
    st.sampled_from(["{", "}", '"', "\\", '"verdict"', '"truth"', ":", "A>B", "A<<B", "1", "0", ",", "\n", "<think>", "x"])
).map("".join)


@given(pieces | st.text())
def test_no_reply_breaks_the_parsers(reply: str) -> None:
    assert parse_verdict(reply) in (None, *VERDICTS)
    parse_attributes(reply)
