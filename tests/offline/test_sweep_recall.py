"""Trying settings on pseudo-cold notes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from offline.sweep_recall import sweep_recall
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community, write_jsonl


def test_each_setting_alone_beside_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.encoder.load_tag_encoder", lambda settings: HashingEncoder())
    write_jsonl(community(), tmp_path)
    options = [str(tmp_path), "linear.l2=1,1000000", "tower.epochs=0", "--k", "5", "--json"]
    done = CliRunner().invoke(sweep_recall, options, catch_exceptions=False)
    rows = json.loads(done.stdout)
    assert [(row["setting"], row["value"]) for row in rows] == [
        ("defaults", ""), ("linear.l2", "1"), ("linear.l2", "1000000"), ("tower.epochs", "0"),
    ]  # fmt: skip
    assert rows[0]["linear_ndcg@5"] == rows[3]["linear_ndcg@5"] != rows[2]["linear_ndcg@5"]
    assert rows[0]["linear_recall@5"] > 0.3


@pytest.mark.parametrize("wrong", ["linear.l3=1", "towers.epochs=1", "tower.epochs=many", "tower.start=warm"])
def test_unknown_settings_are_wrong_usage(tmp_path: Path, wrong: str) -> None:
    done = CliRunner().invoke(sweep_recall, [str(tmp_path), wrong])
    assert done.exit_code == 2
    assert wrong.partition("=")[0] in done.stderr
