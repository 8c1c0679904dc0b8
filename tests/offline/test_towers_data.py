"""``towers data`` over a dataset: every example is what an independent computation says, and a run that was cut off goes on."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from offline.cli import offline
from offline.example_days import check_days, read_manifest
from offline.example_frames import frame_of
from offline.recall_data import load_dataset
from offline.towers_data import collect, moment
from schemas.errors import BadSetting, MissingPrerequisite
from schemas.events import Interaction
from schemas.settings import Settings
from tests.e2e.example_oracle import expected_examples
from tests.offline.recall_world import DAY_MS, community, write_jsonl
from tests.offline.test_example_frames import CLEAN

ALL = (None, None)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    directory = tmp_path / "planted"
    directory.mkdir()
    write_jsonl(community(), directory)
    return directory


def quiet(_line: str) -> None:
    pass


def rows_of(out: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(out.glob("day=*/*.parquet")))


def test_examples_are_those_of_an_independent_computation(dataset: Path, tmp_path: Path) -> None:
    manifest = collect(str(dataset), tmp_path / "out", Settings(training_examples_tags=1000), ALL, quiet)
    data = load_dataset(dataset)
    events = [Interaction(**json.loads(line)) for line in (dataset / "interactions.jsonl").read_text().splitlines()]
    wanted = expected_examples(events, dict(zip(data.notes, data.tags, strict=True)))
    rows = rows_of(tmp_path / "out")
    assert (manifest.rows, manifest.leaking, manifest.copies) == (len(events), 0, 0)
    assert set(rows["event_id"]) == set(wanted)
    for row in rows.iter_rows(named=True):
        known = wanted[row["event_id"]]
        assert list(zip(row["history_notes"], row["history_at"], strict=True)) == [(note, at) for note, _, at in known.history]
        assert row["history_weights"] == pytest.approx([weight for _, weight, _ in known.history], rel=1e-5)
        assert dict(zip(row["profile_tags"], row["profile_scores"], strict=True)) == pytest.approx(known.scores, rel=1e-5)
        assert all(at <= row["occurred_at"] for at in row["history_at"])
    for path in (tmp_path / "out").glob("day=*/*.parquet"):
        days = pl.read_parquet(path)["occurred_at"] // DAY_MS
        assert days.n_unique() == 1 and pl.from_epoch(days * 86400).dt.strftime("%Y-%m-%d")[0] == path.parent.name.removeprefix("day=")


def test_a_run_that_was_cut_off_goes_on_and_another_changes_nothing(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offline.example_sources.READERS_PER_CHUNK", 7)
    collect(str(dataset), tmp_path / "whole", Settings(), ALL, quiet)
    lines: list[str] = []

    def dies(line: str) -> None:
        lines.append(line)
        if len(lines) in (3, 9):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            collect(str(dataset), tmp_path / "cut", Settings(), ALL, dies)
    again = collect(str(dataset), tmp_path / "cut", Settings(), ALL, quiet)
    assert again.files == read_manifest(tmp_path / "whole").files
    said: list[str] = []
    assert collect(str(dataset), tmp_path / "cut", Settings(), ALL, said.append) == again
    assert said == []


def test_a_time_range_is_kept_to(dataset: Path, tmp_path: Path) -> None:
    manifest = collect(str(dataset), tmp_path / "out", Settings(), (20 * DAY_MS, 40 * DAY_MS), quiet)
    assert 20 * DAY_MS <= manifest.first <= manifest.last < 40 * DAY_MS
    with pytest.raises(BadSetting, match="another until"):
        collect(str(dataset), tmp_path / "out", Settings(), (20 * DAY_MS, 41 * DAY_MS), quiet)


def test_a_planted_leak_is_named_and_a_changed_file_too(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(str(dataset), out, Settings(), ALL, quiet)
    assert check_days(out) == []
    path = sorted(out.glob("day=*/*.parquet"))[-1]
    frame = pl.read_parquet(path)
    later = frame_of([CLEAN]).with_columns(event_id=pl.lit("planted"), history_at=pl.lit([2_000]))
    pl.concat([frame, later]).write_parquet(path)
    done = CliRunner().invoke(offline, ["towers", "data", str(dataset), "--out", str(out), "--check", "--json"])
    assert done.exit_code == 1
    leaks = json.loads(done.stdout)["leaks"]
    assert {leak["event_id"] for leak in leaks} == {"", "planted"}
    assert "planted" in done.stderr and "acted on at 2000" in done.stderr


def test_a_file_that_a_run_finds_changed_is_made_again(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = collect(str(dataset), out, Settings(), ALL, quiet)
    (out / manifest.files[0].path).unlink()
    assert collect(str(dataset), out, Settings(), ALL, quiet) == manifest
    assert check_days(out) == []


def test_wrong_input_is_refused_by_name(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="neither"):
        collect("kafak", tmp_path / "out", Settings(), ALL, quiet)
    with pytest.raises(BadSetting, match="not training data"):
        collect(str(dataset), dataset, Settings(), ALL, quiet)
    with pytest.raises(MissingPrerequisite, match="towers data"):
        read_manifest(tmp_path)
    (dataset / "users.dat").write_text("1 0\n")
    assert moment("2026-11-24", "--from") == 1_795_478_400_000 == moment("2026-11-24T01:00+01:00", "--from")
    done = CliRunner().invoke(offline, ["towers", "data", str(dataset), "--out", str(tmp_path / "x"), "--from", "soon"])
    assert done.exit_code == 2 and "--from" in done.stderr
