"""The teacher's examples are of the handbook, and a version tells prompts apart."""

import json

import pytest

from models.handbook import load_handbook
from models.prompts.schema import SOURCES, TEXT_MAX
from models.text import has_han
from offline.tag_data import extraction_prompts
from offline.tag_data.extraction_prompts import STEPS, asked, examples_text, load_examples, prompt_version
from schemas.events import CATEGORIES

HANDBOOK = load_handbook()


def test_every_category_has_an_example_in_both_languages_within_its_handbook() -> None:
    assert set(load_examples()) == set(CATEGORIES)
    for category, found in load_examples().items():
        dimensions = {one.id for one in HANDBOOK.category(category).dimensions}
        assert set(found) == {"en", "zh"}
        for language, example in found.items():
            assert has_han(example.title + example.body) == (language == "zh")
            assert len(example.tags) >= 3 and len({text for text, _, _ in example.tags}) == len(example.tags)
            for text, dimension, source in example.tags:
                assert dimension in dimensions and source in SOURCES and 0 < len(text) <= TEXT_MAX, (category, text)
                assert getattr(example, source), f"{category}: the source of {text} is in the example"
                assert has_han(text) == (language == "zh")


def test_the_language_of_the_note_comes_first_and_no_category_has_none() -> None:
    english, chinese = examples_text("shoes", "en"), examples_text("shoes", "zh")
    assert english != chinese and sorted(english.splitlines()) == sorted(chinese.splitlines())
    assert has_han(chinese.splitlines()[1]) and not has_han(english.splitlines()[1])
    assert json.loads(english.splitlines()[2])[0]["dimension"] == "fit_sizing"
    assert examples_text(None, "en") == ""


def test_the_steps_are_those_of_the_paper_and_name_their_bound() -> None:
    assert [step.name for step in STEPS] == ["generate", "merge", "rank", "review"]
    assert "20 tags" in asked(STEPS[0], 10) and "10 tags" in asked(STEPS[3], 10)
    assert all("$" not in asked(step, 10) for step in STEPS)


def test_a_version_changes_with_a_step_and_stays_without(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompt_version()
    assert before == prompt_version() and before.startswith("extract-")
    monkeypatch.setattr(extraction_prompts, "STEPS", (STEPS[0]._replace(text="otherwise"), *STEPS[1:]))
    assert prompt_version() != before
