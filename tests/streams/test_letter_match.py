"""The expression of ``--match``: what is read is what was written, it means what plain Python says, nonsense is refused with its place."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.letter_match import NUMBERS, TEXTS, Comparison, Joined, MatchError, parse_match

FACTS: dict[str, Any] = {
    "id": "t/0/5",
    "state": "open",
    "reason": "invalid_event",
    "stage": "tag-notes/decode",
    "field": "$.title",
    "note_id": "n-1*x",
    "user_id": None,
    "key": 'say "hi" (twice)\\',
    "attempts": 3,
    "size": 120,
    "at": 1_700_000_000_000,
}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("reason=invalid_event", True),
        ("reason = poison", False),
        ("reason=inv*", True),
        ("reason=*event", True),
        ("reason=event", False),
        ("note_id=n-1*", True),
        (r"note_id=n-1\*x", True),
        (r"note_id=n-1\*", False),
        (r'field~"\$.title"', True),
        (r'field!~"\$.title"', False),
        ('stage~"^tag-notes"', True),
        (r'key="say \"hi\" (twice)*"', True),
        ("attempts>=3 and attempts<4", True),
        ("attempts>3 or size=120", True),
        ("at>=1700000000001", False),
        ("not attempts=3", False),
        ("not (attempts=3 and size=1) and state!=dropped", True),
        ("attempts=1 and size=1 or state=open", True),
        ("attempts=1 and (size=1 or state=open)", False),
        ("user_id=u*", False),
        ("user_id!=u1", True),
        ('user_id~"."', False),
        ("event_id!=e1", True),
    ],
)
def test_meaning(expression, holds):
    assert parse_match(expression).holds(FACTS) is holds


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "position 0: the end where a field"),
        ("colour=red", "position 0: 'colour' where a field"),
        ("reason", "one of = != ~ !~ after reason"),
        ("reason<poison", "position 6: '<' where one of"),
        ("attempts~3", "where one of = != < <= > >="),
        ("reason=", "a value for reason"),
        ("attempts=many", "position 9: 'many' is no whole number"),
        ("attempts=\u0663", "no whole number"),
        ('field~"("', "no regular expression"),
        ("reason=a reason=b", "position 9: 'reason' where and, or, or the end"),
        ("(reason=a", "a closing parenthesis"),
        ("reason=a and", "position 12: the end where a field"),
        ('reason="a', "position 7: '\"a' is not understood"),
        ("not " * 60 + "reason=a", "levels"),
        ("reason=a and " * 400 + "reason=a", "characters"),
    ],
)
def test_nonsense_is_refused_with_its_place(expression, says):
    with pytest.raises(MatchError, match=re.escape(says)):
        parse_match(expression)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


comparisons = st.one_of(
    st.tuples(st.sampled_from(TEXTS), st.sampled_from(["=", "!="]), st.text(max_size=6)),
    st.tuples(st.sampled_from(NUMBERS), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(-5, 5)),
)
trees = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=6,
)


def written(tree: Any) -> str:
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or"):
        return f" {tree[0]} ".join(f"({written(part)})" for part in tree[1])
    field, op, value = tree
    return (
        f"{field}{op}{value}"
        if isinstance(value, int)
        else f"{field} {op} {quoted(value.replace(chr(92), chr(92) * 2).replace('*', chr(92) + '*'))}"
    )


def meant(tree: Any, facts: dict[str, Any]) -> bool:
    if tree[0] == "not":
        return not meant(tree[1], facts)
    if tree[0] in ("and", "or"):
        return (all if tree[0] == "and" else any)([meant(part, facts) for part in tree[1]])
    field, op, value = tree
    found = facts.get(field)
    if found is None:
        return op == "!="
    return {
        "=": found == value,
        "!=": found != value,
        "<": found < value if isinstance(value, int) else None,
        "<=": found <= value if isinstance(value, int) else None,
        ">": found > value if isinstance(value, int) else None,
        ">=": found >= value if isinstance(value, int) else None,
    }[op]


facts = st.fixed_dictionaries({}, optional={name: st.text(max_size=3) for name in TEXTS} | {name: st.integers(-5, 5) for name in NUMBERS})


@given(trees, facts)
def test_what_is_written_is_what_is_meant(tree, facts):
    assert parse_match(written(tree)).holds(facts) is meant(tree, facts)


@given(st.sampled_from(TEXTS), st.text(max_size=8))
def test_any_text_in_quotes_is_found_by_itself_and_by_its_stars(field, value):
    literal = value.replace("\\", "\\\\").replace("*", "\\*")
    assert parse_match(f"{field}={quoted(literal)}").holds({field: value})
    assert parse_match(f"{field}={quoted(literal + '*')}").holds({field: value + "more\n"})
    assert parse_match(f"{field}~{quoted(re.escape(value))}").holds({field: f"before {value} after"})


@given(st.text(st.sampled_from(list('reason attempts=~!<>()"\\*123 notandor')), max_size=40) | st.text(max_size=30), facts)
def test_any_text_is_read_or_refused(expression, facts):
    try:
        read = parse_match(expression)
    except MatchError as error:
        assert str(error)
    else:
        assert isinstance(read, Comparison | Joined)
        assert read.holds(facts) in (True, False)
