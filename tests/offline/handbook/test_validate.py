"""All faults of a handbook at once, and what is merely odd."""

import json

import pytest
import yaml
from click.testing import CliRunner

from models.handbook import HANDBOOK_DIR, load_handbook
from offline.handbook.cli import handbook
from offline.handbook.files import book_paths, book_text, dimension_text, read_book
from offline.handbook.tree import from_tree
from offline.handbook.validate import file_faults, validate_handbook
from schemas.errors import BadSetting
from tests.offline.handbook.proposing import copied

SHOES = (HANDBOOK_DIR / "shoes.yaml").read_text()


def test_the_handbook_shipped_has_no_errors_and_is_written_back_to_the_letter():
    assert not validate_handbook(HANDBOOK_DIR).errors
    for name in ("shoes", "media"):
        path = book_paths(HANDBOOK_DIR)[name]
        book = read_book(path)
        assert book_text(book, book.tree, book.version) == (path.read_text(), 0)
        written = {one["id"]: dimension_text(one) for one in from_tree(book.tree, 1, name)["dimensions"]}
        assert yaml.safe_load("".join(written.values())) == yaml.safe_load("".join(book.blocks.values()))
        assert any(block == book.blocks[one] for one, block in written.items()), "it is the files' own style"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("- id: shoe_type", "- id: Shoe Type", "$.dimensions[0].id"),
        ("- id: cushioning", "- id: shoe_type", "$.dimensions[1].id"),
        ("category: shoes", "category: dressing", "$.category"),
        ("version: 1", "version: 0", "$.version"),
        ("running shoes: 跑鞋", "跑鞋: running shoes", "$.terms"),
        ("{en: Shoe type, zh: 鞋款类型}", "{en: Shoe type}", "$.dimensions[0].name.zh"),
        ("  description: The exact", "  summary: The exact", "$.dimensions[0].summary"),
        ("thick sole: 厚底", "bouncy foam: 厚底", "$.dimensions[1].examples.bouncy foam"),
        ("cues: [cushion,", "cues: [7,", "$.dimensions[1].cues[0]"),
        ("terms: {", "terms: [", "$"),
    ],
)
def test_each_fault_is_named_by_its_field(old, new, field):
    faults, _ = file_faults("shoes.yaml", SHOES.replace(old, new, 1), "shoes")
    assert field in {fault.field for fault in faults}


def test_all_faults_are_told_and_the_first_reader_agrees(tmp_path):
    book = copied(tmp_path / "handbook")
    (book / "pets.yaml").unlink()
    (book / "arts.yaml").write_text("[]")
    text = SHOES.replace("version: 1", "version: x").replace("缓震中底", "midsole").replace("- id: shoe_type", "- id: fit_sizing")
    (book / "shoes.yaml").write_text(text)
    found = CliRunner().invoke(handbook, ["validate", str(book), "--json"])
    errors = json.loads(found.stdout)["errors"]
    assert found.exit_code == 1
    assert [(one["file"], one["field"]) for one in errors] == [
        ("shoes.yaml", "$.version"),
        ("shoes.yaml", "$.dimensions[1].examples"),
        ("shoes.yaml", "$.dimensions[3].id"),
        ("pets.yaml", "$"),
        ("arts.yaml", "$"),
    ]
    with pytest.raises(BadSetting, match=r"shoes\.yaml: \$\.version"):
        load_handbook(book)
    with pytest.raises(BadSetting, match="and 2 more"):
        read_book(book / "shoes.yaml")


def test_too_many_and_too_few_are_both_told():
    few = SHOES.split("- id: performance_use")[0].split("- id: color_design")[0]
    text = few.replace("cues: [upper, mesh", "cues: [3, mesh")
    fields = {fault.field for fault in file_faults("shoes.yaml", text, "shoes")[0]}
    assert fields == {"$.dimensions", "$.dimensions[2].cues[0]"}


def test_what_is_odd_is_a_warning(tmp_path):
    book = copied(tmp_path / "handbook")
    (book / "shoes.yaml").write_text(
        SHOES.replace("engineered mesh: 工程网眼", "bouncy foam: 工程网眼").replace("carbon plate: 碳板", "carbon sheet: 气垫")
    )
    (book / "provenance").mkdir()
    (book / "provenance" / "shoes.conflicts.yaml").write_text("no: handbook")
    found = validate_handbook(book)
    told = [one.reason for one in found.warnings if one.file == "shoes.yaml"]
    assert not found.errors and load_handbook(book)
    assert "'bouncy foam' is an example of cushioning and of upper_material" in told
    assert "气垫 is the Chinese of carbon sheet (cushioning) and of air cushion (cushioning)" in told
