import shutil

import pytest

from models.handbook import HANDBOOK_DIR, Handbook, load_handbook
from schemas.errors import BadSetting
from schemas.events import CATEGORIES


@pytest.fixture(scope="module")
def handbook() -> Handbook:
    return load_handbook()


def test_every_category_has_its_dimensions_with_aligned_examples(handbook: Handbook) -> None:
    assert tuple(handbook.categories) == CATEGORIES
    for category in CATEGORIES:
        book = handbook.category(category)
        assert 6 <= len(book.dimensions) <= 12
        assert all(8 <= len(dimension.examples) <= 20 for dimension in book.dimensions)


def test_examples_are_unique_within_a_category_and_in_lower_case(handbook: Handbook) -> None:
    for book in handbook.categories.values():
        english = [text for dimension in book.dimensions for text in dimension.examples]
        assert len(english) == len(set(english)), book.category
        assert all(text == text.lower() for text in english)


def test_files_have_no_key_twice() -> None:
    for file in HANDBOOK_DIR.glob("*.yaml"):
        for line in file.read_text().splitlines():
            keys = [part.split(":")[0].strip() for part in line.strip().strip("{}").split(",") if ":" in part]
            assert len(keys) == len(set(keys)), f"{file.name}: {line}"


def test_glossary_turns_chinese_into_english(handbook: Handbook) -> None:
    glossary = handbook.glossary()
    assert glossary["跑鞋"] == "running shoes"
    assert glossary["缓震中底"] == "cushioned midsole"
    assert len(glossary) > 2000


def test_digest_follows_content_and_not_formatting(handbook: Handbook, tmp_path) -> None:
    copy = tmp_path / "handbook"
    shutil.copytree(HANDBOOK_DIR, copy)
    shoes = copy / "shoes.yaml"
    shoes.write_text("# a remark\n" + shoes.read_text())
    assert load_handbook(copy).digest == handbook.digest
    shoes.write_text(shoes.read_text().replace("踩屎感", "柔软脚感"))
    assert load_handbook(copy).digest != handbook.digest
    assert load_handbook(copy).version != handbook.version


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("- id: shoe_type", "- id: Shoe Type", "$.dimensions[0].id"),
        ("- id: cushioning", "- id: shoe_type", "$.dimensions[1].id"),
        ("category: shoes", "category: dressing", "$.category"),
        ("version: 1", "version: none", "$.version"),
        ("踩屎感", "soft", "$.dimensions[1].examples"),
        ("{running shoes: 跑鞋", "{跑步鞋: 跑鞋", "$.terms"),
        ("terms:", "words:", "$"),
        ("version: 1", "version: [", "$"),
    ],
)
def test_a_fault_is_named_by_file_and_field(tmp_path, old: str, new: str, field: str) -> None:
    copy = tmp_path / "handbook"
    shutil.copytree(HANDBOOK_DIR, copy)
    shoes = copy / "shoes.yaml"
    shoes.write_text(shoes.read_text().replace(old, new, 1))
    with pytest.raises(BadSetting) as caught:
        load_handbook(copy)
    assert f"shoes.yaml: {field}: " in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("{en: horror film, zh: 恐怖片,", "{en: comedy, zh: 恐怖片,", "$.dimensions[0].concepts"),
        ("{en: horror film, zh: 恐怖片,", "{en: horror film, zh: scary,", "$.dimensions[0].concepts"),
        ("{en: horror film, zh: 恐怖片,", "{en: horror film,", "$.dimensions[0].concepts"),
    ],
)
def test_a_fault_of_a_concept_is_named(tmp_path, old: str, new: str, field: str) -> None:
    copy = tmp_path / "handbook"
    shutil.copytree(HANDBOOK_DIR, copy)
    media = copy / "media.yaml"
    assert old in media.read_text()
    media.write_text(media.read_text().replace(old, new, 1))
    with pytest.raises(BadSetting) as caught:
        load_handbook(copy)
    assert f"media.yaml: {field}[" in str(caught.value)


def test_cues_of_concepts_are_lower_case_and_stand_once(handbook: Handbook) -> None:
    for book in handbook.categories.values():
        for dimension in book.dimensions:
            for concept in dimension.concepts:
                assert all(cue == cue.lower() and cue.strip("* ") for cue in concept.cues), concept.en
                assert len(concept.cues) == len(set(concept.cues)), concept.en


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(BadSetting, match=r"shoes\.yaml: cannot be read"):
        load_handbook(tmp_path)
