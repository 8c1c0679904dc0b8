import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from models.text import language_of, plain


def test_markup_addresses_emoji_and_invisible_marks_go() -> None:
    text = "Soft <b>knit</b> 👟 see https://shop.example/x?y=1 or me@shop.example, \u200e真\u200b好穿"
    words = plain(text, 1000).text.split()
    assert words == ["soft", "knit", "see", "or", "真好穿"]


def test_compatibility_forms_case_and_typographic_signs_are_folded() -> None:
    assert plain("ＡＢＣ１２ Café’s ﬁt", 100).text == "abc12 café's fit"


def test_sentence_signs_end_a_phrase_and_spaces_do_not() -> None:
    assert plain("red shoes, soft", 100).text == "red shoes\n soft"
    assert plain("红鞋，软", 100).text == "红鞋\n软"


def test_the_cut_counts_code_points() -> None:
    assert plain("👟👟ab", 3).text.strip() == "a"
    assert len(plain("x" * 1_000_000, 4000).text) == 4000


def test_languages_by_script() -> None:
    assert language_of("cushioned running shoes") == "en"
    assert language_of("缓震跑鞋真不错") == "zh"
    assert language_of("今天试了 cold brew coffee") == "mixed"
    assert language_of("👟 123") == "other"


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_becomes_plain_with_true_offsets(text: str) -> None:
    result = plain(text, 150)
    assert len(result.text) == len(result.offsets)
    assert result.offsets == sorted(result.offsets)
    assert all(0 <= offset < min(len(text), 150) for offset in result.offsets)
    assert all(unicodedata.category(c)[0] in "LMN" or c in "'-.&+/% \n" for c in result.text)


@given(st.text(alphabet="aé红鞋 .-'ﬁＡ\u0301", max_size=60))
def test_each_character_stems_from_the_one_at_its_offset(text: str) -> None:
    result = plain(text, 1000)
    for character, offset in zip(result.text, result.offsets, strict=True):
        assert character in unicodedata.normalize("NFKC", text[offset]).casefold()
