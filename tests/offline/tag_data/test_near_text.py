"""Near-duplicate texts are found as comparing every pair would find them."""

import random

import pytest

from offline.tag_data.links import Link, components
from offline.tag_data.near_text import SHORTEST, SIMILAR, near_duplicates, shingles, similarity

CHINESE = "今天终于入手了这双跑鞋，脚感软弹不磨脚，通勤和慢跑都合适，尺码正常，推荐给宽脚的朋友。"
ENGLISH = "These running shoes feel soft and springy, true to size, and they do not rub on a long commute or an easy run."


def test_signs_case_and_width_do_not_count_and_a_small_edit_hardly_does() -> None:
    assert (shingles("Soft, SPRINGY ｓｈｏｅｓ！") == shingles("soft springy shoes")).all()
    for text in (CHINESE, ENGLISH):
        assert similarity(shingles(text), shingles(text.replace("软弹", "偏软").replace("soft", "mild"))) >= SIMILAR
        assert similarity(shingles(text), shingles(text[: len(text) // 2] + text[::-1][: len(text) // 2])) < SIMILAR
    assert similarity(shingles(CHINESE), shingles(ENGLISH)) == 0


def test_short_and_empty_texts_never_duplicate() -> None:
    texts = [shingles(text) for text in ("", "", "新鞋到了", "新鞋到了", "new shoes", "new shoes")]
    assert all(len(text) < SHORTEST for text in texts) and similarity(texts[0], texts[1]) == 0
    assert list(near_duplicates(texts)) == []


@pytest.mark.parametrize("alphabet", ["abcdefghij ", "鞋软弹脚感通勤慢跑尺码宽"])
def test_the_same_are_tied_as_by_comparing_every_pair(alphabet: str) -> None:
    chance = random.Random(5)
    texts: list[str] = []
    for _ in range(25):
        original = "".join(chance.choice(alphabet) for _ in range(90))
        texts.append(original)
        for edits in (0, 1, 2, 4, 8, 16):
            changed = list(original)
            for place in chance.sample(range(90), edits):
                changed[place] = chance.choice(alphabet)
            texts.append("".join(changed))
    sets = [shingles(text) for text in texts]
    every = [(a, b) for a in range(len(sets)) for b in range(a) if similarity(sets[a], sets[b]) >= SIMILAR]
    found = list(near_duplicates(sets))
    assert 25 < len(found) < len(every), "one edited text in between ties two that differ more"
    assert all(similarity(sets[a], sets[b]) >= SIMILAR for a, b in found)
    assert components(len(sets), [Link("text", *pair) for pair in found]) == components(len(sets), [Link("text", *pair) for pair in every])
