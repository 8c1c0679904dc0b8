"""Batches out of training examples hold what was known before the action, and nothing of the action."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from offline.cli import offline
from offline.example_batches import ExampleBatches, write_arrays
from offline.towers_data import collect
from schemas.settings import Settings
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import DAY_MS, community, write_jsonl
from tests.offline.test_tower_run import SPEC


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    directory = tmp_path / "planted"
    directory.mkdir()
    write_jsonl(community(), directory)
    collect(str(directory), tmp_path / "examples", Settings(), (None, None), lambda line: None)
    return tmp_path / "examples"


def expected(examples: Path, notes: list[str], until: int | None = None) -> list[tuple[dict[str, float], str]]:
    rows = []
    for path in sorted(examples.glob("day=*/*.parquet")):
        for row in pl.read_parquet(path).iter_rows(named=True):
            kept = {
                note: weight
                for note, weight in zip(row["history_notes"], row["history_weights"], strict=True)
                if note in notes and note != row["note_id"]
            }
            if kept and row["note_id"] in notes and (until is None or row["occurred_at"] <= until):
                rows.append((kept, row["note_id"]))
    return rows


@pytest.mark.parametrize("until", [None, 60 * DAY_MS])
def test_batches_hold_every_example_once(examples: Path, tmp_path: Path, until: int | None) -> None:
    notes = [f"n{row}" for row in range(0, 120, 2)]
    wanted = expected(examples, notes, until)
    assert write_arrays(examples, notes, tmp_path / "arrays", until) == len(wanted) > 50
    batches = ExampleBatches(tmp_path / "arrays", len(notes), 16)
    seen = []
    for batch in batches(np.random.default_rng(0)):
        assert batch.kept.shape == batch.targets.shape and batch.kept.shape[0] <= 16
        assert batch.kept.multiply(batch.targets).nnz == 0, "the target is in its own input"
        for row in range(batch.kept.shape[0]):
            kept = batch.kept[row]
            seen.append(
                ({notes[at]: weight for at, weight in zip(kept.indices, kept.data, strict=True)}, notes[batch.targets[row].indices[0]])
            )
    key = lambda example: (example[1], sorted(example[0].items()))  # noqa: E731
    for (kept, target), (want, note) in zip(sorted(seen, key=key), sorted(wanted, key=key), strict=True):
        assert target == note and kept == pytest.approx(want)


def test_the_order_is_the_generators(examples: Path, tmp_path: Path) -> None:
    notes = [f"n{row}" for row in range(120)]
    write_arrays(examples, notes, tmp_path / "arrays")
    batches = ExampleBatches(tmp_path / "arrays", 120, 8)
    first, again, other = (next(batches(np.random.default_rng(seed))).targets.indices.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_towers_train_on_examples_and_what_is_exported_finds_the_taste(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.encoder.load_tag_encoder", lambda settings: HashingEncoder())
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    command = ["towers", "train", str(examples), "--hold-out", "--protocol", "random", "--spec", str(tmp_path / "spec.json")]
    done = CliRunner().invoke(offline, [*command, "--out", str(tmp_path / "run"), "--json"], catch_exceptions=False)
    assert done.exit_code == 0 and json.loads(done.stdout)["epochs"] == 5
    assert (tmp_path / "run" / "examples" / "targets.bin").stat().st_size > 0
    out = str(tmp_path / "spaces")
    assert CliRunner().invoke(offline, ["towers", "export", str(tmp_path / "run"), "--out", out], catch_exceptions=False).exit_code == 0
    report = CliRunner().invoke(offline, ["towers", "evaluate", str(examples), out, "--k", "5", "--json"], catch_exceptions=False)
    figures = json.loads(report.stdout)["methods"]
    assert all(row["recall@5"] > 2.5 * 5 / 24 for row in figures.values()), figures
