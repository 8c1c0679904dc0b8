"""A dead letter keeps the original bytes and tells where they came from, also the second time round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dead_letters import (
    PREFIX,
    Coordinates,
    Failure,
    dead_letter_headers,
    read_dead_letter,
    redrive_headers,
    redriven_reason,
    sent_again_from,
)
from streams.memory import MemoryMessage

HEADERS = st.lists(
    st.tuples(st.text(max_size=8).filter(lambda name: not name.startswith(PREFIX)), st.none() | st.binary(max_size=8)), max_size=4
)


def buried(message, failure, now=lambda: 5.0):
    return MemoryMessage(
        topic="t-dead-letters",
        partition=0,
        offset=0,
        key=message.key(),
        value=message.value(),
        headers=dead_letter_headers(message, failure, now),
    )


@given(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=20), HEADERS, st.text(max_size=50), st.text(max_size=20))
def test_the_original_comes_back_byte_for_byte(key, value, headers, detail, field):
    original = MemoryMessage(topic="t", partition=3, offset=17, key=key, value=value, headers=headers, timestamp=123)
    letter = read_dead_letter(buried(original, Failure("invalid_event", detail, "job/decode", field)))
    assert (letter.key, letter.value, letter.headers) == (key, value, headers)
    assert letter.failure == Failure("invalid_event", detail, "job/decode", field)
    assert (letter.source, letter.timestamp) == (Coordinates("t", 3, 17), 123)
    assert (letter.first_failed_at, letter.last_failed_at, letter.attempts) == (5000, 5000, 1)


def test_an_event_that_fails_again_keeps_its_first_time_and_counts_on():
    first = buried(MemoryMessage(topic="t", partition=0, offset=1, value=b"v", headers=[("own", b"1")]), Failure("poison", "one", "j"))
    redriven = MemoryMessage(topic="t", partition=0, offset=9, value=b"v", headers=first.headers())
    letter = read_dead_letter(buried(redriven, Failure("poison", "two", "j"), lambda: 8.0))
    assert (letter.first_failed_at, letter.last_failed_at, letter.attempts) == (5000, 8000, 2)
    assert letter.headers == [("own", b"1")]
    assert (letter.failure.detail, letter.source.offset) == ("two", 9)


@given(HEADERS, st.booleans())
def test_what_is_sent_again_has_its_own_headers_and_names_where_it_comes_from(headers, corrected):
    first = read_dead_letter(
        buried(MemoryMessage(topic="t", partition=0, offset=1, value=b"v", headers=headers), Failure("poison", "one", "j"))
    )
    again = redrive_headers(first, "t-dead-letters@u/0/4", corrected=corrected)
    assert [header for header in again if not header[0].startswith(PREFIX)] == headers
    assert sent_again_from(again) == "t-dead-letters@u/0/4"
    assert redriven_reason(again) == ("" if corrected else "poison")
    second = read_dead_letter(
        buried(MemoryMessage(topic="t", partition=0, offset=9, value=b"v", headers=again), Failure("poison", "two", "j"), lambda: 8.0)
    )
    assert (second.redrive_of, second.attempts, second.first_failed_at, second.last_failed_at) == ("t-dead-letters@u/0/4", 2, 5000, 8000)
    assert second.headers == headers
    assert (sent_again_from(headers), redriven_reason(None), first.redrive_of) == ("", "", "")


@pytest.mark.parametrize("spoilt", ["attempts", "source", "timestamp"])
def test_a_dead_letter_with_a_spoilt_header_is_none(spoilt):
    good = buried(MemoryMessage(topic="t", partition=0, offset=1, value=b"v"), Failure("poison", "one", "j"))
    headers = [(name, b"\xff" if name == PREFIX + spoilt else value) for name, value in good.headers()]
    with pytest.raises(ValueError, match="not a dead letter"):
        read_dead_letter(MemoryMessage(topic="t", partition=0, offset=0, value=b"v", headers=headers))


def test_foreign_headers_that_look_like_ours_do_no_harm():
    odd = MemoryMessage(topic="t", partition=0, offset=1, value=b"v", headers=[(PREFIX + "attempts", b"many")])
    assert read_dead_letter(buried(odd, Failure("poison", "x", "j"))).attempts == 1


def test_another_record_is_no_dead_letter():
    with pytest.raises(ValueError, match="not a dead letter"):
        read_dead_letter(MemoryMessage(topic="t", partition=0, offset=0, value=b"{}"))


def test_surrogates_and_length_of_the_detail_are_bounded():
    letter = read_dead_letter(
        buried(MemoryMessage(topic="t", partition=0, offset=0, value=None), Failure("poison", "\ud800" + "x" * 9000, "j"))
    )
    assert len(letter.failure.detail) == 2000
