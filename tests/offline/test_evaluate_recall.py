"""The command, on a planted community in our own layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from offline import evaluate_recall as module
from offline.evaluate_recall import METHODS, evaluate_recall
from offline.recall_data import load_dataset
from offline.recall_metrics import unseen
from offline.recall_report import read_seeds
from offline.recall_task import among_all, make_task
from schemas.errors import BadSetting
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community, write_jsonl


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.encoder.load_tag_encoder", lambda settings: HashingEncoder())


def run(directory: Path, *options: str) -> dict[str, object]:
    done = CliRunner().invoke(evaluate_recall, [str(directory), "--json", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


@pytest.mark.parametrize("protocol", ["random", "time"])
def test_document_has_the_shape_of_the_contract_and_learning_beats_chance(tmp_path: Path, protocol: str) -> None:
    write_jsonl(community(), tmp_path)
    report = run(tmp_path, "--protocol", protocol, "--k", "5")
    assert report["dataset"] == tmp_path.name
    assert report["protocol"] == protocol
    methods = report["methods"]
    assert isinstance(methods, dict)
    assert set(methods) == set(METHODS) - {"encoder_text"}
    for row in methods.values():
        low, high = row["recall@5_ci95"]
        assert 0 <= low <= row["recall@5"] <= high <= 1
        assert {"ndcg@5", "hit@5"} <= set(row)
    assert methods["merge"]["recall@5"] > 2 * methods["random"]["recall@5"]
    assert methods["tag_index_raw"]["recall@5"] > methods["popularity"]["recall@5"]


def test_all_candidates_are_harder_and_leave_out_what_was_acted_on(tmp_path: Path) -> None:
    write_jsonl(community(), tmp_path)
    asked = ("--methods", "random,tag_index_idf,merge", "--k", "10", "--no-choose")
    cold, everything = run(tmp_path, *asked), run(tmp_path, *asked, "--candidates", "all")
    assert everything["candidates"] == "all" and everything["cold_items"] == cold["cold_items"]
    assert everything["leakage"]["found"] == 0  # type: ignore[index]
    for name in ("random", "tag_index_idf", "merge"):
        assert everything["methods"][name]["recall@10"] < cold["methods"][name]["recall@10"]  # type: ignore[index]
    data = load_dataset(tmp_path)
    task = among_all(make_task(data, "random"))
    best = unseen(lambda profiles: np.asarray(profiles[:, task.cold].todense(), np.float32), task)(task.profiles)
    assert np.isneginf(best[task.profiles[:, task.cold].toarray() > 0]).all()
    assert task.targets.shape == best.shape and len(set(task.cold.tolist())) == len(data.notes)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_plot_is_drawn(tmp_path: Path, kind: str) -> None:
    write_jsonl(community(), tmp_path)
    run(tmp_path, "--methods", "random,tag_index_idf", "--k", "5", "--plot", str(tmp_path / f"plot.{kind}"))
    drawn = (tmp_path / f"plot.{kind}").read_bytes()
    assert drawn.startswith(b"\x89PNG") if kind == "png" else b"tag_index_idf" in drawn or b"<svg" in drawn
    wrong = CliRunner().invoke(evaluate_recall, [str(tmp_path), "--plot", "plot.jpg"])
    assert wrong.exit_code == 2 and "--plot" in wrong.stderr


def test_seeds_repeat_what_is_drawn_and_methods_are_those_asked_for(tmp_path: Path) -> None:
    write_jsonl(community(), tmp_path)
    report = run(tmp_path, "--methods", "two_tower,encoder_text", "--seeds", "2", "--k", "5", "--no-choose")
    methods = report["methods"]
    assert isinstance(methods, dict)
    assert list(methods) == ["two_tower", "encoder_text"]
    assert len(methods["two_tower"]["recall@5_by_seed"]) == 2
    assert methods["two_tower"]["recall@5_spread"] >= 0
    assert "recall@5_by_seed" not in methods["encoder_text"]
    assert report["through_recall"] == {"methods": ["two_tower"], "queries": report["queries"]}


def test_seeds_are_how_many_or_which(tmp_path: Path) -> None:
    assert [read_seeds(text) for text in ("1", "3", "0,4", "4,", " 2 , 1")] == [(0,), (0, 1, 2), (0, 4), (4,), (2, 1)]
    for text in ("", "0", "-1", "a", "1,a", "1,1", ",", "1.5"):
        wrong = CliRunner().invoke(evaluate_recall, [str(tmp_path), "--seeds", text])
        assert wrong.exit_code == 2 and "--seeds" in wrong.stderr, text


def test_the_seeds_named_are_those_learned_with(tmp_path: Path) -> None:
    write_jsonl(community(), tmp_path)
    report = run(tmp_path, "--methods", "two_tower", "--seeds", "2,5", "--k", "5", "--no-choose")
    assert [one["seed"] for one in report["learned"]] == [2, 5]
    assert len(report["methods"]["two_tower"]["recall@5_by_seed"]) == 2


def test_a_large_set_is_bounded_where_recall_is_asked(tmp_path: Path) -> None:
    write_jsonl(community(), tmp_path)
    report = run(tmp_path, "--methods", "tag_index_raw,random,merge", "--k", "5", "--no-choose", "--served", "9")
    assert report["through_recall"] == {"methods": ["tag_index_raw", "merge"], "queries": 9}
    assert report["queries"] != 9
    methods = report["methods"]
    assert isinstance(methods, dict)
    assert list(methods) == ["tag_index_raw", "random", "merge"]
    assert methods["merge"]["recall@5"] > methods["random"]["recall@5"]
    over = report["merge_over_best_heuristic"]
    assert over["heuristic"] == "tag_index_raw"
    assert over["ratio"] == pytest.approx(methods["merge"]["recall@5"] / methods["tag_index_raw"]["recall@5"], abs=1e-3)


def test_table_for_people_and_wrong_usage(tmp_path: Path) -> None:
    write_jsonl(community(), tmp_path)
    done = CliRunner().invoke(evaluate_recall, [str(tmp_path), "--methods", "bm25,random"], catch_exceptions=False)
    assert "bm25" in done.stdout and "recall@50" in done.stdout
    wrong = CliRunner().invoke(evaluate_recall, [str(tmp_path), "--methods", "bm52"])
    assert wrong.exit_code == 2
    assert "bm52 is none of" in wrong.stderr


def test_tags_without_texts_to_tag_are_refused() -> None:
    with pytest.raises(BadSetting, match="no text to tag"):
        module.with_handbook_tags(community(), HashingEncoder(), 5)


def test_without_titles_the_tagger_reads_the_rest_alone(tmp_path: Path) -> None:
    write_jsonl(community(), tmp_path)
    plain = load_dataset(tmp_path)
    assert plain.events
    bodies = [replace(note, category="shoes", title="", body="waterproof hiking boots with a wide toe box") for note in plain.events]
    titled = [replace(note, title="Trail running shoes for winter") for note in bodies]
    one, other = (plain._replace(events=events) for events in (bodies, titled))
    unseen_titles = [module.with_handbook_tags(data, HashingEncoder(), 5, titles=False).tags for data in (one, other)]
    assert unseen_titles[0] == unseen_titles[1] and all(unseen_titles[0])
    assert module.with_handbook_tags(other, HashingEncoder(), 5).tags != unseen_titles[0]
    told: list[str] = []
    without = module.with_handbook_tags(other, HashingEncoder(), 5, titles=False, say=told.append).events
    assert without
    assert {note.title for note in without} == {""}
    assert told == [f"tagged {len(without)} of {len(without)} notes"]
    refused = CliRunner().invoke(evaluate_recall, [str(tmp_path), "--no-titles"])
    assert refused.exit_code == 2 and "--tags handbook" in refused.stderr
