"""The command that runs the benchmarks; what they measure is not run here."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as module
from benchmarks.report import Row, read_results


def test_figures_with_learned_spaces_stand_beside_those_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def measured(name: str, *_: object) -> list[list[Row]]:
        seen.append((name, os.environ.get("TAGSTREAM_BUNDLE", "")))
        return [[Row(what="speed", unit="notes/s", ours=len(seen))]]

    monkeypatch.setattr(module, "_measure", measured)
    monkeypatch.setenv("TAGSTREAM_BUNDLE", "")
    (tmp_path / "bundle").mkdir()
    results = ["--results", str(tmp_path)]
    for arguments in (["frames"], ["index_upserts", "--bundle", str(tmp_path / "bundle")], ["index_upserts"]):
        monkeypatch.setenv("TAGSTREAM_BUNDLE", "")
        answer = CliRunner().invoke(module.main, [*arguments, *results])
        assert answer.exit_code == 0, answer.output
    assert seen == [("frames", ""), ("index_upserts", str(tmp_path / "bundle")), ("index_upserts", "")]
    kept = read_results(tmp_path / "results.json")
    assert {name: one.results[0].ours.median for name, one in kept.items()} == {
        "index_upserts": 3,
        "index_upserts with learned spaces": 2,
        "frames": 1,
    }
    assert list(kept) == ["index_upserts", "index_upserts with learned spaces", "frames"]


def test_a_benchmark_without_spaces_takes_no_bundle(tmp_path: Path) -> None:
    answer = CliRunner().invoke(module.main, ["frames", "--bundle", str(tmp_path), "--results", str(tmp_path)])
    assert answer.exit_code == 2
    assert "frames is no benchmark of spaces; there are: publish_to_recallable, index_upserts" in answer.output
