"""An ablation: what is lost without a modality, over all notes, over those that have it, by category; and the command around it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from offline.distil.infer import without_modality
from offline.judge import ablate_command
from offline.judge.ablate import ALL, MODALITIES, loss_of, name_of
from offline.tag_data.samples import read_samples, write_samples
from tests.offline.judge.oracle_world import NOTES, SAMPLES, TRUTHS, best
from tests.offline.judge.test_judge_models import prediction

COUNT = 24


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_samples(tmp_path / "samples.jsonl", [msgspec.structs.replace(sample, tags=best(sample)) for sample in SAMPLES[:COUNT]])
    (tmp_path / "truth.jsonl").write_bytes(b"".join(msgspec.json.encode(made.truth) + b"\n" for made in NOTES[:COUNT]))
    return tmp_path


def perfect(model: str, samples: Path, out: Path, *, limit: int | None, **options: Any) -> None:
    """Answers of a model that tells all that it is shown."""
    out.mkdir(parents=True, exist_ok=True)
    for one in (None, *MODALITIES):
        lines = []
        for sample in list(read_samples(samples))[:limit]:
            shown = without_modality(sample, frozenset([one] if one else []))
            lines.append(prediction(sample.note.note_id, best(shown, TRUTHS[sample.note.note_id])))
        (out / f"{one or 'all'}.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def test_ablate(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablate_command, "_infer", perfect)
    out = files / "out"
    given = ["demo", str(files / "samples.jsonl"), "--judge", "oracle", "--truth", str(files / "truth.jsonl"), "--out", str(out)]
    done = CliRunner().invoke(ablate_command.ablate, [*given, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    conditions = found["conditions"]
    assert list(conditions) == [ALL, *map(name_of, MODALITIES)]
    assert (conditions[ALL]["pairwise"]["all"]["ps"], conditions[ALL]["loss"]) == (0.0, None)
    assert found["most_critical"] == "without text"
    speechless = [sample for sample in SAMPLES[:COUNT] if not sample.speech]
    speech = conditions["without speech"]
    assert speech["loss_where_held"]["notes"] == COUNT - len(speechless)
    assert speech["loss"]["points"] * COUNT == pytest.approx(speech["loss_where_held"]["points"] * (COUNT - len(speechless)))
    for name, one in conditions.items():
        if name != ALL:
            assert one["loss"]["points"] == pytest.approx(-one["pairwise"]["all"]["ps"])
            assert one["loss"]["ci95"][0] <= one["loss"]["points"] <= one["loss"]["ci95"][1]
            assert one["attributes"]["all"]["truth"] <= 1
            assert sum(loss["notes"] for loss in one["categories"].values()) == COUNT
    assert json.loads((out / "ablation.json").read_text()) == found
    assert (out / "ablation.png").stat().st_size > 5_000
    assert "<svg" in (out / "ablation.svg").read_text()
    shown = CliRunner().invoke(ablate_command.ablate, [*given, "--limit", "10"], catch_exceptions=False)
    assert "without products" in shown.stdout


def test_a_loss_is_paired() -> None:
    found = loss_of([2.0, 0.0, 1.0], [1.0, -1.0, 0.0])
    assert found is not None
    assert (found.points, found.ci95, found.notes) == (1.0, (1.0, 1.0), 3)
    assert loss_of([], []) is None
