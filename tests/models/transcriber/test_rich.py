"""SenseVoice's tags, and that no output can raise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.transcriber.rich import EMOTIONS, EVENTS, LANGUAGES, TEXT_MAX, Rich, parse_rich


@pytest.mark.parametrize(
    ("raw", "rich"),
    [
        ("<|zh|><|NEUTRAL|><|Speech|><|woitn|>大家好", Rich("大家好", "zh", "NEUTRAL", ["Speech"])),
        ("<|en|><|EMO_UNKNOWN|><|BGM|><|withitn|>Hello there.", Rich("Hello there.", "en", None, ["BGM"])),
        ("<|nospeech|><|EMO_UNKNOWN|><|Event_UNK|><|woitn|>", Rich("")),
        ("<|yue|><|HAPPY|><|Laughter|><|Speech|>a <|Laughter|>b", Rich("a b", "yue", "HAPPY", ["Laughter", "Speech"])),
        ("<|en|><|zh|>x", Rich("x", "en")),
        ("<|ZH|>tag of no kind", Rich("tag of no kind")),
        ("half a <|tag", Rich("half a tag")),
        ("a < b | c > d", Rich("a < b | c > d")),
        ("<<|en|>|en|>x", Rich("< |en x", "en")),
        ("line\none\ttwo\u0000\u200b\ufffd", Rich("line one two")),
        (None, Rich("")),
        (b"bytes", Rich("")),
        (12, Rich("")),
        ("x" * (TEXT_MAX + 5), Rich("x" * TEXT_MAX)),
    ],
)
def test_tags_are_read_and_gone(raw, rich):
    assert parse_rich(raw) == rich


tags = st.sampled_from([*LANGUAGES, *EMOTIONS, *EVENTS, "", "woitn", "|", "<|", "zh|><|en"]).map("<|{}|>".format)


@given(st.lists(st.one_of(tags, st.text(), st.characters(categories=["Cs", "Cc", "Co"]))).map("".join))
def test_any_output_gives_plain_text(raw):
    rich = parse_rich(raw)
    assert "<|" not in rich.text and "|>" not in rich.text and rich.text == " ".join(rich.text.split()) and rich.text.isprintable()
    assert rich.language in {None, *LANGUAGES} and rich.emotion in {None, *EMOTIONS}
    assert set(rich.events) <= EVENTS and len(set(rich.events)) == len(rich.events)
    rich.text.encode()
