"""What a person reads."""

import io

from rich.console import Console

from recall.query import NO_BUNDLE, Query, Recalled
from recall.reader import KnownNotes, read_reader, view_profile
from recall.views import age, bar, show_profile, show_recalled, shown

NOW = 1_790_000_000_000


def read(show, *arguments) -> str:
    out = io.StringIO()
    show(Console(file=out, width=200, highlight=False, color_system=None), *arguments)
    return out.getvalue()


def recalled(world, user, **asked):
    query = Query(user_id=user, as_of=NOW, explain=True, **asked)
    return read(show_recalled, query, world.recall(user, explain=True, **asked))


def test_a_recall_reads_as_notes_with_their_reasons(world):
    world.note("liked", "crimson running shoes", age_h=20, category="shoes")
    world.note("n-12", "crimson running shoes", age_h=3, category="shoes")
    world.note("n-13", "navy running shoes", age_h=2)
    world.note("n-14", "jasmine tea", age_h=1)
    world.act("u-17", "like", "liked", age_h=0)
    lines = recalled(world, "u-17").splitlines()
    channels = ("fresh: ", "tag_embedding: ", "tag_index_idf: ")
    why = [line.strip() for line in lines if line.strip().startswith(channels)]
    assert why[:3] == [
        "fresh: published 3 h ago; 100% of the notes acted on last are in shoes",
        "tag_embedding: near: crimson running shoes",
        "tag_index_idf: shares crimson running shoes with the profile",
    ]
    assert why[-1].startswith("tag_embedding: nearest, though far: crimson running shoes ≈ jasmine tea")
    lines = [line for line in lines if not line.strip().startswith(channels)]
    assert lines[0] == "Notes of the last 24 h for u-17, by 1 profile tags."
    assert lines[1].split()[:2] == ["1", "n-12"] and "shoes, 3 h old, by fresh #1, tag_embedding #1, tag_index_idf #1" in lines[1]
    assert lines[2].strip() == "because you liked liked: crimson running shoes (2)"
    assert "because you liked liked: crimson running shoes ≈ navy running shoes (" in lines[4] and "% alike)" in lines[4]
    assert lines[6].strip().startswith("nearest, you liked liked: crimson running shoes ≈ jasmine tea (")
    assert lines[-1] == "left out: 1 seen (the reader acted on it before)"


def test_the_fallbacks_are_said_plainly(world):
    assert "Nothing of the last 24 h to recall for u; --fresh-within all looks further back." in recalled(world, "u")
    world.note("n", "tea")
    assert "u has no profile yet: the newest notes of the last 24 h." in recalled(world, "u")
    assert "u has no profile yet: the newest notes." in recalled(world, "u", fresh_within_ms=None)
    world.act("u", "like", "n")
    world.note("m", "red wine")
    assert "Nothing of the last 24 h matches the profile of u: the newest notes." in recalled(world, "u", channels=("tag_index", "fresh"))
    world.note("k", "tea")
    assert "by 1 profile tags; 1 of 2 match none and fill up as the newest." in recalled(world, "u", channels=("tag_index", "fresh"))
    assert read(show_recalled, Query(user_id="u"), Recalled("u", NOW, [], [], [NO_BUNDLE])).startswith(f"without {NO_BUNDLE}"[:30])


def test_a_profile_reads_as_bars(world):
    world.note("n", "green tea", "clay pot")
    world.note("m", "green tea")
    world.act("u", "like", "n", age_h=0)
    world.act("u", "favorite", "m", age_h=0)
    world.act("u", "click", "unknown", age_h=0)
    reader = read_reader("u", NOW, world.profiles, KnownNotes(world.notes), world.settings)
    lines = read(show_profile, view_profile(reader, NOW, 50)).splitlines()
    assert lines[0] == "u: 3 actions, 1 waiting for a note's tags"
    assert [line.split("█")[0].split() for line in lines[1:]] == [["green", "tea", "5.000"], ["clay", "pot", "2.000"]]
    assert lines[1].count("█") > 2 * lines[2].count("█")
    empty = read_reader("nobody", NOW, world.profiles, KnownNotes(world.notes), world.settings)
    assert "No tags yet" in read(show_profile, view_profile(empty, NOW, 50))


def test_ids_and_tags_cannot_write_to_the_terminal(world):
    world.note("[red]n\x1b]0;title\x07", "a\x1b[31mb", "[bold]c[/bold]")
    world.act("\x1b[2Ju", "like", "x")
    text = recalled(world, "\x1b[2Ju")
    assert "\x1b" not in text and "\x07" not in text
    assert "[red]n" in text
    assert shown("红色跑鞋 é") == "红色跑鞋 é"


def test_durations_and_bars():
    assert [age(ms) for ms in (59_000, 120_000, 7_200_000, 86_400_000, 259_200_000, -7_200_000)] == [
        "59 s",
        "2 min",
        "2 h",
        "24 h",
        "3 d",
        "-2 h",
    ]
    assert [len(bar(score, 4.0)) for score in (-1.0, 0.0, 2.0, 4.0, 9.0)] == [0, 0, 12, 24, 24]
    assert len(bar(1.0, 0.0)) == 0
