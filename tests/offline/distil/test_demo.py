"""The demo of distillation: its commands are such as there are, in an order in which each finds what it needs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from offline.cli import offline
from offline.distil import demo
from offline.distil.demo import STAGES, UNGUARDED, Plan, StepFailed, run, steps
from offline.distil.demo_command import distil_demo


def test_every_step_is_a_command_that_is_there_with_its_options(tmp_path: Path) -> None:
    runner = CliRunner()
    helps: dict[str, str] = {}
    for step in steps(Plan(), tmp_path):
        name = " ".join(word for word in step.words[: 2 if step.words[0] in ("tag-data", "judge") else 1])
        if name not in helps:
            helps[name] = runner.invoke(offline, [*name.split(), "--help"]).output
        for word in step.words:
            assert not word.startswith("--") or word in helps[name], f"{name} has no {word}"


def test_each_step_finds_what_it_reads(tmp_path: Path) -> None:
    made: set[Path] = set()
    for step in steps(Plan(), tmp_path):
        read = [Path(word.split("=")[-1]) for word in step.words if str(tmp_path) in word]
        outs = {Path(step.words[at + 1]) for at, word in enumerate(step.words) if word in ("--out", "--drawn")}
        for path in read:
            known = path in outs or any(path == one or path in one.parents or one.parent == path.parent for one in made)
            assert known, f"{step.words[:3]} reads {path} before it is there"
        made.add(step.made)


def test_what_is_done_is_not_done_again_and_a_failure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    class Done:
        returncode = 0

    def command(words: list[str], check: bool, stdout: int) -> Done:
        assert stdout == 2, "stdout is for the table at the end"
        ran.append(words[4:])
        if words[4] == "sft":
            Done.returncode = 1
        step = next(one for one in steps(plan, tmp_path) if one.words == words[4:])
        step.made.parent.mkdir(parents=True, exist_ok=True)
        step.made.touch()
        return Done()

    plan = Plan(families=("qwen",))
    monkeypatch.setattr(demo.subprocess, "run", command)
    with pytest.raises(StepFailed, match="failed: tagstream offline sft"):
        run(plan, tmp_path, lambda _: None)
    assert [words[0] for words in ran] == ["tag-data", "tag-data", "tag-data", "sft"]
    lines: list[str] = []
    monkeypatch.setattr(Done, "returncode", 0)
    monkeypatch.setattr(demo, "table_of", lambda *_: {})
    assert run(plan, tmp_path, lines.append) == {}
    assert sum(line.startswith("done before:") for line in lines) == 4


def test_the_table_says_whether_each_stage_is_better(tmp_path: Path) -> None:
    def write(total: dict[str, float], ps: dict[str, float]) -> None:
        means = {name: {"all": {"total": value, "truth": 1.0, "coverage": 1.0, "importance": 0.5}} for name, value in total.items()}
        pairs = {name: {"all": {"ps": value}, "categories": {"shoes": {"ps": value}}} for name, value in ps.items()}
        for place, content in (("judged/attributes", means), ("judged/pairwise", pairs)):
            path = tmp_path / "qwen" / f"{place}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"models": content}))
        judged = tmp_path / "qwen" / "judged"
        with (judged / "scores.jsonl").open("w") as scores, (judged / "verdicts.jsonl").open("w") as verdicts:
            for name, score in total.items():
                for note in ("n1", "n2"):
                    line = {"key": f"{name} {note}", "judge": "j", "model": name, "note_id": note, "category": "shoes"}
                    whole = {"truth": int(score > 0.5), "coverage": int(score > 1.8), "importance": 0}
                    scores.write(json.dumps({**line, "scores": whole}) + "\n")
                    lengths = {"tags": 1, "characters": 1, "reference_tags": 1, "reference_characters": 1}
                    verdicts.write(json.dumps({**line, "first": "A<B" if score > 0.5 else "A<<B", "second": "A<B", **lengths}) + "\n")
        (tmp_path / "qwen" / "ablation").mkdir(exist_ok=True)
        (tmp_path / "qwen" / "ablation" / "ablation.json").write_text(json.dumps({"most_critical": "without text"}))

    names = (*STAGES, UNGUARDED)
    plan = Plan(families=("qwen",))
    write(dict(zip(names, (0.1, 1.5, 2.0, 1.9), strict=True)), dict(zip(names, (-1.9, -0.5, -0.5, -0.6), strict=True)))
    found = demo.table_of(plan, tmp_path)["families"]["qwen"]
    assert found["rises"] == {"total": True, "pairwise": False}
    assert found["models"]["sft"]["categories"] == {"shoes": -0.5}
    assert found["gains"]["sft over base"] == {
        "total": {"mean": 1.0, "ci95": (1.0, 1.0), "notes": 2},
        "pairwise": {"mean": 0.5, "ci95": (0.5, 0.5), "notes": 2},
    }
    assert found["gains"]["dpo over sft"]["pairwise"]["mean"] == found["gains"]["dpo over unguarded"]["total"]["mean"] == 0.0


def test_another_plan_needs_another_directory(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"seed": 5}))
    refused = CliRunner().invoke(distil_demo, ["--out", str(tmp_path)])
    assert refused.exit_code == 2 and "choose another --out" in refused.output
