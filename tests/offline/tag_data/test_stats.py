"""The figures of Table 1, counted by hand."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.handbook import load_handbook
from models.roles import Spoken, Utterance
from offline.tag_data.cli import tag_data
from offline.tag_data.samples import Picture, Sample, Told, write_samples
from offline.tag_data.stats import stats_of
from schemas.events import NoteEvent, Product

HANDBOOK = load_handbook()


def sample(number: int, **rest: object) -> Sample:
    fields = {name: rest.pop(name) for name in ("title", "body", "category", "products") if name in rest}
    note = NoteEvent(type="note.published", note_id=f"n{number}", author_id="a", occurred_at=1, published_at=1, **fields)  # type: ignore[arg-type]
    return Sample(note=note, **rest)  # type: ignore[arg-type]


SHOES = sample(
    1, title="红鞋", body="hello", category="shoes", products=[Product(name="ab", brand="c", description="def")],
    pictures=[Picture("a", "image", 0), Picture("b", "video", 9)],
    speech=[Spoken(Utterance("你好吗", 0, 1), "audio", 0), Spoken(Utterance("hi", 1, 2), "audio", 0)],
    tags=[Told("x", "shoe_type", "title"), Told("y", "shoe_type", "title"), Told("z", "cushioning", "body"), Told("u", "gone", "body")],
)  # fmt: skip
BARE = sample(2, title="abc", category="pets", pictures=[Picture("c", "image", 0)])


def test_means_are_those_counted_by_hand() -> None:
    whole, parts = stats_of([SHOES, BARE], HANDBOOK)
    assert (whole.notes, whole.categories, whole.images) == (2, 2, 1.5)
    assert whole.text_length == (2 + 5 + 2 + 1 + 3 + 3) / 2
    assert (whole.speech_length, whole.spoken_share, whole.speech_length_spoken) == (2.5, 0.5, 5)
    assert (whole.tags, whole.without_tags) == (2, 1)
    share = 2 / len(HANDBOOK.category("shoes").dimensions)
    assert parts["shoes"].dimensions_covered == pytest.approx(share, abs=1e-4)
    assert whole.dimensions_covered == pytest.approx(share / 2, abs=1e-4)
    assert list(parts) == ["pets", "shoes"] and parts["pets"].images == 1


def test_no_notes_give_zeros_and_no_category_is_none_of_the_eighteen() -> None:
    assert stats_of([], HANDBOOK)[0].notes == 0
    whole, parts = stats_of([sample(3)], HANDBOOK)
    assert whole.categories == 0 and list(parts) == ["none"]


def test_the_command_shows_sets_beside_the_paper(tmp_path: Path) -> None:
    write_samples(tmp_path / "sft.jsonl", [SHOES])
    write_samples(tmp_path / "eval.jsonl", [BARE])
    told = json.loads(CliRunner().invoke(tag_data, ["stats", str(tmp_path), "--by", "category", "--json"]).stdout)
    assert set(told["sets"]) == {"sft", "eval"} and told["by_category"]["eval"]["pets"]["notes"] == 1
    assert told["paper"]["dpo_pool"]["notes"] == 19976
    shown = CliRunner().invoke(tag_data, ["stats", str(tmp_path / "sft.jsonl"), "--by", "category"])
    assert shown.exit_code == 0 and "119,318" in shown.stdout and "shoes" in shown.stdout and "16.00" not in shown.stdout
    assert CliRunner().invoke(tag_data, ["stats", str(tmp_path / "gone")]).exit_code != 0
