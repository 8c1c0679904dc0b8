"""Names of works in titles and book-title marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.works import find_works, is_name
from schemas.events import NoteEvent


def note(title: str, body: str = "") -> NoteEvent:
    return NoteEvent(type="note.published", note_id="n", author_id="a", occurred_at=0, published_at=0, title=title, body=body)


def texts(title: str, body: str = "") -> list[str]:
    return [work.text for work in find_works(note(title, body))]


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("The Dark Knight Rises", ["the dark knight rises"]),
        ("Toy Story", ["toy story"]),
        ("Toy Story 2", ["toy story 2", "toy story"]),
        ("Star Wars: Episode IV - A New Hope", ["star wars episode iv - a new hope", "star wars"]),
        ("Mission: Impossible III", ["mission impossible iii", "mission"]),
        ("Ladder 49", ["ladder 49"]),
        ("Mr. & Mrs. Smith", ["mr. & mrs. smith"]),
        ("2001: A Space Odyssey", ["2001 a space odyssey", "2001"]),
        ("Finally watched the new Dune", []),
        ("Quiet Orbit is the slow science fiction I missed", []),
        ("Best Film Ever! Go and See It", []),
        ("", []),
        ("!!", []),
        ("国产悬疑剧《雾港来信》，十二集", ["雾港来信"]),
    ],
)
def test_a_title_that_is_a_name(title: str, names: list[str]) -> None:
    assert texts(title) == names


def test_marked_names_of_the_body_come_after_the_title() -> None:
    assert texts("这部滩涂纪录片", "《潮间带》只有四集，比《海》好，也比《山》好") == ["潮间带", "海"]
    found = find_works(note("看完了", "喜欢《潮间带》"))
    assert [(work.evidence.source, work.evidence.position) for work in found] == [("body", 3)]


def test_a_sentence_of_many_words_is_no_name() -> None:
    assert not is_name(" ".join(["Name"] * 13))


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gives_bounded_names_that_stand_where_they_say(title: str, body: str) -> None:
    for work in find_works(note(title, body)):
        text = title if work.evidence.source == "title" else body
        assert 0 < len(work.text) <= 60
        assert 0 <= work.evidence.position < len(text)
