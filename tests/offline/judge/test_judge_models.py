"""`judge attributes` and `judge pairwise` with the oracle, from files to files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from offline.distil.predictions import Prediction
from offline.judge.answers import named, read_judged
from offline.judge.attributes import SCORES, judge_attributes
from offline.judge.cli import judge
from offline.judge.oracle import OracleJudge
from offline.judge.pairwise import VERDICTS_LINES, judge_pairwise
from offline.judge.roles import Answered, Attributes
from offline.tag_data.samples import Told, write_samples
from schemas.errors import BadSetting, Transient
from schemas.events import Evidence, Tag
from tests.offline.judge.oracle_world import NOTES, SAMPLES, TRUTHS, best

COUNT = 30


def prediction(note_id: str, tags: Sequence[Told]) -> Prediction:
    told = [
        Tag(text=tag.text, dimension=tag.dimension, rank=rank, confidence=1.0, evidence=[Evidence(source=tag.source)])
        for rank, tag in enumerate(tags, 1)
    ]
    return Prediction(note_id, tags=told)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Samples with all that is true as reference; `whole` says the same, `poor` leaves half out, claims one thing and answers 25 of 30."""
    samples = [msgspec.structs.replace(sample, tags=best(sample)) for sample in SAMPLES[:COUNT]]
    write_samples(tmp_path / "samples.jsonl", samples)
    (tmp_path / "truth.jsonl").write_bytes(b"".join(msgspec.json.encode(made.truth) + b"\n" for made in NOTES[:COUNT]))
    false = Told("moon dust", "value_care", "body")
    for name, answers in {
        "whole": [sample.tags for sample in samples],
        "poor": [[*sample.tags[: len(sample.tags) // 2], false] for sample in samples[:25]],
    }.items():
        lines = [prediction(sample.note.note_id, tags) for sample, tags in zip(samples, answers, strict=False)]
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return tmp_path


def run(files: Path, command: str, *more: str) -> str:
    given = [str(files / "samples.jsonl"), str(files / "whole.jsonl"), f"weak={files / 'poor.jsonl'}"]
    chosen = ["--judge", "oracle", "--truth", str(files / "truth.jsonl"), "--out", str(files / "out")]
    done = CliRunner().invoke(judge, [command, *given, *chosen, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_attributes(files: Path) -> None:
    found = json.loads(run(files, "attributes", "--json"))
    whole, weak = found["models"]["whole"], found["models"]["weak"]
    assert (whole["all"], whole["invalid"], whole["unanswered"]) == (
        {"total": 3.0, "truth": 1.0, "coverage": 1.0, "importance": 1.0, "n": COUNT}, 0, 0,
    )  # fmt: skip
    assert (weak["all"]["truth"], weak["all"]["n"], weak["unanswered"]) == (0.0, COUNT, 5)
    assert 0 < weak["all"]["importance"] <= 25 / COUNT
    assert sum(one["n"] for one in weak["categories"].values()) == COUNT
    parts = sum(weak["all"][name] for name in ("truth", "coverage", "importance"))
    assert weak["all"]["total"] == pytest.approx(parts)
    lines = [json.loads(line) for line in (files / "out" / SCORES).read_text().splitlines()]
    assert len(lines) == 2 * COUNT
    assert json.loads((files / "out" / "attributes.json").read_text()) == found
    shown = run(files, "attributes", "--beside-paper")
    assert "3.000" in shown
    assert shown.count("paper:") == 14


def test_pairwise(files: Path) -> None:
    found: dict[str, Any] = json.loads(run(files, "pairwise", "--json"))
    whole, weak = found["models"]["whole"], found["models"]["weak"]
    assert whole["all"] == {"ps": 0.0, "MB": 0, "B": 0, "T": 2 * COUNT, "W": 0, "MW": 0, "n": 2 * COUNT}
    assert (whole["pairs"], whole["invalid"], whole["agree"], whole["place"]) == (COUNT, 0, 1.0, 0.0)
    assert whole["length"]["tags"]["spearman"] is None, "all as long, all as good"
    assert weak["all"]["ps"] < -1
    assert weak["ps_ci95"][0] <= weak["all"]["ps"] <= weak["ps_ci95"][1]
    assert sum(one["n"] for one in weak["categories"].values()) == weak["all"]["n"] == 2 * COUNT
    assert sum(band["n"] for band in weak["length"]["bands"]) == COUNT
    scored = CliRunner().invoke(judge, ["score", str(files / "out" / "verdicts.csv"), "--json"], catch_exceptions=False)
    assert json.loads(scored.stdout)["models"]["weak"] == weak["all"]
    assert run(files, "pairwise", "--beside-paper").count("paper:") == 28


def test_a_reference_of_its_own(files: Path) -> None:
    found = json.loads(run(files, "pairwise", "--json", "--reference", str(files / "poor.jsonl")))
    assert found["models"]["weak"]["all"]["T"] == found["models"]["weak"]["all"]["n"] == 50
    assert found["models"]["whole"]["all"]["ps"] > 1
    assert found["models"]["whole"]["without_reference"] == 5


class Failing:
    """The oracle, that breaks down after some calls, and counts what it is asked."""

    name = "oracle"

    def __init__(self, calls: int) -> None:
        self._oracle = OracleJudge(TRUTHS)
        self.version = self._oracle.version
        self.calls, self.asked = calls, 0
        self.compare = self._oracle.compare

    def score(self, asked: Sequence[Answered]) -> list[Attributes | None]:
        if not self.calls:
            raise Transient("judge", "away")
        self.calls -= 1
        self.asked += len(asked)
        return self._oracle.score(asked)


def test_what_was_judged_before_a_kill_is_not_judged_again(files: Path) -> None:
    given = read_judged(files / "samples.jsonl", [str(files / "whole.jsonl"), str(files / "poor.jsonl")])
    once = judge_attributes(Failing(100), given, files / "once", chunk=7, advance=lambda _: None)
    broken, again = Failing(3), Failing(100)
    with pytest.raises(Transient):
        judge_attributes(broken, given, files / "twice", chunk=7)
    path = files / "twice" / SCORES
    with path.open("ab") as file:
        file.write(b'{"key": "cut')
    advanced: list[int] = []
    assert judge_attributes(again, given, files / "twice", chunk=7, advance=advanced.append) == once
    assert (broken.asked, again.asked, sum(advanced)) == (21, 2 * COUNT - 21, 2 * COUNT)
    assert path.read_bytes() == (files / "once" / SCORES).read_bytes()
    path.write_bytes(b"{}\n")
    with pytest.raises(BadSetting, match=r"scores.jsonl: line 1: .*remove the file"):
        judge_attributes(again, given, files / "twice", chunk=7)


def test_another_answer_is_judged_anew(files: Path) -> None:
    given = read_judged(files / "samples.jsonl", [f"m={files / 'whole.jsonl'}"])
    other = read_judged(files / "samples.jsonl", [f"m={files / 'poor.jsonl'}"])
    oracle = OracleJudge(TRUTHS)
    [first] = judge_pairwise(oracle, given, files / "out", chunk=50).values()
    [second] = judge_pairwise(oracle, other, files / "out", chunk=50).values()
    assert first.all is not None
    assert second.all is not None
    assert first.all.ps == 0 > second.all.ps
    assert len((files / "out" / VERDICTS_LINES).read_text().splitlines()) == COUNT


def test_models_are_named() -> None:
    assert named(["a/x.jsonl", "y=b/x.jsonl"]) == {"x": Path("a/x.jsonl"), "y": Path("b/x.jsonl")}
    with pytest.raises(BadSetting, match="two models are called 'x'"):
        named(["a/x.jsonl", "b/x.jsonl"])


def test_what_cannot_be_judged_is_named(files: Path) -> None:
    (files / "else.jsonl").write_bytes(msgspec.json.encode(prediction("other", [])) + b"\n")
    with pytest.raises(BadSetting, match="answers none of the samples"):
        read_judged(files / "samples.jsonl", [str(files / "else.jsonl")])
    write_samples(files / "twice.jsonl", [SAMPLES[0], SAMPLES[0]])
    with pytest.raises(BadSetting, match=r"line 2: note sim-0000000 comes again"):
        read_judged(files / "twice.jsonl", [str(files / "whole.jsonl")])
    write_samples(files / "bare.jsonl", [msgspec.structs.replace(SAMPLES[0], tags=[])])
    bare = read_judged(files / "bare.jsonl", [str(files / "whole.jsonl")])
    with pytest.raises(BadSetting, match="none has tags to compare with"):
        judge_pairwise(OracleJudge(TRUTHS), bare, files / "out", chunk=5)
    done = CliRunner().invoke(judge, ["attributes", "a", "b", "--judge", "oracle", "--out", "c"])
    assert done.exit_code != 0
