"""Names of works in titles and book-title marks."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.text import plain
from models.works import find_works, is_name
from schemas.events import NoteEvent


def note(title: str, body: str = "") -> NoteEvent:
    return NoteEvent(type="note.published", note_id="n", author_id="a", occurred_at=0, published_at=0, title=title, body=body)


def texts(title: str) -> list[str]:
    return [work.text for work in find_works(note(title))]


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("The Dark Knight Rises", ["the dark knight rises"]),
        ("Toy Story", ["toy story"]),
        ("Toy Story 2", ["toy story 2", "toy story"]),
        ("Star Wars: Episode IV - A New Hope", ["star wars episode iv - a new hope", "star wars"]),
        ("Mission: Impossible III", ["mission impossible iii", "mission"]),
        ("Ladder 49", ["ladder 49"]),
        ("Lock, Stock and Two Smoking Barrels", ["lock stock and two smoking barrels"]),
        ("Mr. & Mrs. Smith", ["mr. & mrs. smith"]),
        ("2001: A Space Odyssey", ["2001 a space odyssey", "2001"]),
        ("Finally watched the new Dune", []),
        ("Quiet Orbit is the slow science fiction I missed", []),
        ("Best Film Ever! Go and See It", []),
        ("", []),
        ("!!", []),
        ("《雾港来信》", ["雾港来信"]),
        (" 《Dune 2》 ", ["dune 2", "dune"]),
        ("国产悬疑剧《雾港来信》，十二集", []),
        ("《！》", []),
    ],
)
def test_a_title_that_is_a_name(title: str, names: list[str]) -> None:
    assert texts(title) == names


def test_a_sentence_of_many_words_is_no_name() -> None:
    assert not is_name(" ".join(["Name"] * 13))


@given(
    st.lists(
        st.one_of(st.text(max_size=8), st.sampled_from(["《", "》", " The ", "Name ", "½", "Ⅱ", " 2", ": ", "\u200b"])), max_size=8
    ).map("".join)
)
@example("-0")
def test_any_title_gives_bounded_names_that_stand_where_they_say(title: str) -> None:
    for work in find_works(note(title)):
        assert 0 < len(work.text) <= 60
        there = plain(title[work.evidence.position :], 200).text.lstrip()
        assert there[:1] == work.text[:1] or work.text[:1] in plain(title[work.evidence.position], 1).text
