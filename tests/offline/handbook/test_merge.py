"""Drafts merged into files: what changes, what stays to the letter, and what is remembered."""

import json
import threading

import pytest
from click.testing import CliRunner

from models.handbook import load_handbook
from offline.handbook import merge
from offline.handbook.cli import handbook
from offline.handbook.files import read_book
from offline.handbook.merge import conflicts_path, merge_draft, record_edit
from offline.handbook.proposals import Draft, parse_proposals, read_draft, write_draft
from offline.handbook.provenance import Source, history_of, provenance_path
from schemas.errors import BadSetting
from tests.offline.handbook.proposing import CUSHION, STORAGE, copied, entry, proposed

SOURCE = Source(model="m", prompt="p-1", request="00", handbook="1-x", at=5)


@pytest.fixture
def book(tmp_path):
    return copied(tmp_path / "handbook")


def draft(*dimensions) -> Draft:
    found = parse_proposals(proposed(*dimensions), load_handbook().category("shoes"))
    return Draft(category="shoes", source=SOURCE, dropped=found.dropped, dimensions=found.dimensions)


def state(book):
    return {path.relative_to(book): path.read_bytes() for path in book.rglob("*") if path.is_file()}


def edit(book, old: str, new: str) -> None:
    file = book / "shoes.yaml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_proposals_go_in_and_the_rest_keeps_its_text(book):
    edit(book, "- id: fit_sizing\n", "- id: fit_sizing  # asked for by the shop\n")
    before = read_book(book / "shoes.yaml")
    outcome = merge_draft(draft(CUSHION, STORAGE), book, by="ann", why="winter")
    after = read_book(book / "shoes.yaml")
    assert (
        after.head == before.head.replace("version: 1", "version: 2")
        and outcome.version == 2
        and not outcome.conflicts
        and not outcome.comments_lost
    )
    assert [one.path for one in outcome.changes] == [
        "dimensions/cushioning/examples/nitrogen foam",
        "dimensions/cushioning/examples/plush landing",
        "dimensions/cushioning/cues/foamy",
        "dimensions/storage",
    ]
    assert {name for name in after.blocks if after.blocks[name] != before.blocks.get(name)} == {"cushioning", "storage"}
    assert "# asked for by the shop" in after.blocks["fit_sizing"]
    shoes = load_handbook(book).category("shoes")
    assert shoes.dimensions[-1].id == "storage" and shoes.dimensions[1].examples["nitrogen foam"] == "氮气泡棉"
    found, expansion = history_of(book, "shoes")
    assert (found.cause, found.version, expansion.cause, expansion.by, expansion.why) == ("found", 1, "expansion", "ann", "winter")
    assert expansion.counts["added"] == 4 and expansion.source == SOURCE


def test_once_more_changes_no_byte(book):
    for _ in range(2):
        merge_draft(draft(CUSHION, entry("upper_material", {}, description="Another sentence.")), book, by="ann")
        once = locals().get("once") or state(book)
        assert state(book) == once
    assert conflicts_path(book, "shoes").is_file()


def test_a_kill_between_the_file_and_its_sidecar_loses_nothing(book):
    merge_draft(draft(STORAGE), book, by="ann")
    sidecar = provenance_path(book, "shoes").read_bytes()
    merge_draft(draft(CUSHION), book, by="ann")
    merged = (book / "shoes.yaml").read_bytes()
    provenance_path(book, "shoes").write_bytes(sidecar)
    outcome = merge_draft(draft(CUSHION), book, by="ann")
    assert not outcome.changes and not outcome.conflicts and (book / "shoes.yaml").read_bytes() == merged
    assert [(one.cause, one.version) for one in history_of(book, "shoes")] == [("found", 1), ("expansion", 2), ("edit", 3)]


def test_a_merge_without_proposals_leaves_the_files_alone(book):
    files = {path: data for path, data in state(book).items() if path.suffix == ".yaml"}
    assert not merge_draft(draft(), book, by="ann").changes
    assert {path: data for path, data in state(book).items() if path.suffix == ".yaml"} == files


def test_an_experts_edits_outlive_another_expansion(book):
    merge_draft(draft(CUSHION, STORAGE), book, by="ann")
    edit(book, "nitrogen foam: 氮气泡棉", "nitrogen foam: 充氮泡棉")
    edit(book, ", plush landing: 落地柔软", "")
    edit(book, ", foamy]", ", squishy]")
    again = entry("cushioning", {"nitrogen foam": "氮气发泡", "plush landing": "落地柔软"}, cues=["foamy"])
    outcome = merge_draft(draft(again, STORAGE), book, by="bob")
    shoes = load_handbook(book).category("shoes")
    assert not outcome.changes and shoes.version == 2
    assert shoes.dimensions[1].examples["nitrogen foam"] == "充氮泡棉" and "plush landing" not in shoes.dimensions[1].examples
    assert "squishy" in shoes.dimensions[1].cues and "foamy" not in shoes.dimensions[1].cues
    (conflict,) = outcome.conflicts
    assert (conflict.path, conflict.before, conflict.proposed, conflict.stands) == (
        "dimensions/cushioning/examples/nitrogen foam",
        "氮气泡棉",
        "氮气发泡",
        "充氮泡棉",
    )
    assert [one.cause for one in history_of(book, "shoes")] == ["found", "expansion", "edit"]


def test_a_removed_dimension_stays_removed(book):
    merge_draft(draft(STORAGE), book, by="ann")
    file = book / "shoes.yaml"
    file.write_text(file.read_text().split("- id: storage")[0])
    assert not merge_draft(draft(STORAGE), book, by="ann").conflicts
    other = dict(STORAGE, description="Another sentence.")
    (conflict,) = merge_draft(draft(other), book, by="ann").conflicts
    assert (conflict.path, conflict.reason) == ("dimensions/storage", "an expert removed it")
    assert "- id: storage" not in file.read_text()


def test_what_an_expert_wrote_and_removed_is_not_proposed_back(book):
    edit(book, "bouncy foam: 回弹泡棉", "springy foam: 弹簧泡棉, bouncy foam: 回弹泡棉")
    merge_draft(draft(STORAGE), book, by="ann")
    edit(book, "springy foam: 弹簧泡棉, ", "")
    outcome = merge_draft(draft(entry("cushioning", {"springy foam": "弹簧泡棉"})), book, by="ann")
    assert not outcome.changes and not outcome.conflicts


def test_conflicts_are_listed_until_settled_on_the_command_line(book, tmp_path):
    file = tmp_path / "shoes.draft.yaml"
    write_draft(file, draft(entry("cushioning", description="Springs underfoot."), entry("shoe_type", description="Kinds.")))
    assert read_draft(file).dimensions[0].description == "Springs underfoot."

    def merge(*more):
        return CliRunner().invoke(handbook, ["merge", str(file), "--into", str(book), "--by", "ann", "--json", *more])

    paths = ["dimensions/cushioning/description", "dimensions/shoe_type/description"]
    for _ in range(2):
        found = merge()
        assert found.exit_code == 1 and [one["path"] for one in json.loads(found.stdout)[0]["conflicts"]] == paths
    report = conflicts_path(book, "shoes").read_text()
    assert "Springs underfoot." in report and "they ask" in report
    found = merge("--take", "dimensions/cushioning", "--keep", "all")
    assert found.exit_code == 0 and not conflicts_path(book, "shoes").exists()
    first, second = (load_handbook(book).category("shoes").dimensions[at].description for at in (1, 0))
    assert first == "Springs underfoot." and second != "Kinds."
    assert merge().exit_code == 0
    told = json.loads(CliRunner().invoke(handbook, ["history", str(book), "--category", "shoes", "--json"]).stdout)
    assert [(one["version"], one["cause"], one["by"]) for one in told["shoes"]] == [(1, "found", ""), (2, "expansion", "ann")]
    assert "expansion" in CliRunner().invoke(handbook, ["history", str(book)]).stdout


def test_of_two_merges_at_a_time_the_second_starts_from_what_the_first_wrote(book, monkeypatch):
    """Each alone would write the file from what it read; the first reads and is held up until the second has had its chance to."""
    waits, goes_on = threading.Event(), threading.Event()
    read = merge.read_book

    def held_up(path):
        found = read(path)
        if threading.current_thread().name == "first":
            waits.set()
            goes_on.wait(20)
        return found

    monkeypatch.setattr(merge, "read_book", held_up)
    first = threading.Thread(target=merge_draft, args=(draft(CUSHION), book), kwargs={"by": "ann"}, name="first")
    second = threading.Thread(target=merge_draft, args=(draft(STORAGE), book), kwargs={"by": "ben"})
    first.start()
    assert waits.wait(20)
    second.start()
    second.join(0.5)
    goes_on.set()
    for one in (first, second):
        one.join(20)
    after = read_book(book / "shoes.yaml")
    assert "storage" in after.blocks and "nitrogen foam" in after.blocks["cushioning"]
    assert [one.by for one in history_of(book, "shoes") if one.cause == "expansion"] == ["ann", "ben"]


def test_an_edit_can_be_entered_with_who_and_why(book):
    assert record_edit(book, "shoes", by="ann").cause == "found" and record_edit(book, "shoes", by="ann") is None
    edit(book, "踩屎感", "柔软脚感")
    entered = record_edit(book, "shoes", by="bob", why="polite")
    assert (entered.cause, entered.by, entered.why) == ("edit", "bob", "polite")


def test_comments_of_a_dimension_written_anew_are_counted(book):
    edit(book, "- id: cushioning\n", "- id: cushioning  # ours\n")
    assert merge_draft(draft(CUSHION), book, by="ann").comments_lost == 1


def test_a_faulty_file_is_not_touched(book):
    edit(book, "缓震中底", "midsole")
    before = state(book)
    with pytest.raises(BadSetting, match=r"shoes\.yaml: \$\.dimensions\[1\]\.examples"):
        merge_draft(draft(CUSHION), book, by="ann")
    assert state(book) == before


def test_a_sidecar_that_is_none_is_named(book):
    provenance_path(book, "shoes").parent.mkdir()
    provenance_path(book, "shoes").write_text("{")
    with pytest.raises(BadSetting, match=r"provenance/shoes\.json"):
        merge_draft(draft(CUSHION), book, by="ann")
