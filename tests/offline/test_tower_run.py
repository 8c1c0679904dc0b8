"""A run of ``towers train``: killed and taken up again it is the run that was never killed, and its export serves as torch scores."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from models.spaces import load_space
from offline.cli import offline
from offline.export_spaces import evaluate_spaces
from offline.recall_data import load_dataset
from offline.recall_task import make_task
from offline.tower_run import export_run, read_run, resume
from offline.train_towers import Towers, tower_ranker
from schemas.errors import BadSetting, MissingPrerequisite
from tests.models.hashing_encoder import HashingEncoder
from tests.offline.recall_world import community, space_ranker, write_jsonl

SPEC = {
    "tower": {"dimension": 24, "hidden": 16, "epochs": 5, "batch": 16, "warm_up": 4, "average": 0.5, "bce": 0.5, "contrastive": 0.5},
    "linear": {"rank": 16},
    "content": {"buckets": 4},
}
SIZE = ("--dimension", "400")
KILLED = """
import os, signal
import models.encoder, offline.tower_run
from offline.tower_training import Training
from tests.models.hashing_encoder import HashingEncoder
models.encoder.load_tag_encoder = lambda settings: HashingEncoder()
step, steps = Training.run_step, []
def dying(self, one):
    steps.append(1)
    if len(steps) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, one)
Training.run_step = dying
from tagstream import main
main()
"""


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.encoder.load_tag_encoder", lambda settings: HashingEncoder())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "planted"
    directory.mkdir()
    write_jsonl(community(), directory)
    (directory / "spec.json").write_text(json.dumps(SPEC))
    return directory


def arguments(dataset: Path, out: Path, *more: str) -> list[str]:
    spec = str(dataset / "spec.json")
    return [
        "towers",
        "train",
        str(dataset),
        "--hold-out",
        "--protocol",
        "random",
        "--spec",
        spec,
        "--dimension",
        "400",
        "--out",
        str(out),
        *more,
    ]


def train(dataset: Path, out: Path, *more: str) -> dict[str, object]:
    done = CliRunner().invoke(offline, arguments(dataset, out, "--json", *more), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.encoder.load_tag_encoder", lambda settings: HashingEncoder())
        assert train(dataset, out) == {"run": str(out), "epochs": 5, "of": 5, "device": "cuda:0" if torch.cuda.is_available() else "cpu"}
    return out


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "epochs.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_as_if_it_had_not_been(dataset: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, "offline", *arguments(dataset, out)]
    died = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())}, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    before = len(losses(out))
    assert 0 < before < 5
    train(dataset, out)
    assert losses(out) == losses(run)
    whole, again = resume(run)[0], resume(out)[0]
    for one, other in ((whole.reader, again.reader), (whole.note, again.note)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_finished_run_is_left_as_it_is_and_stops_where_it_is_told(dataset: Path, run: Path, tmp_path: Path) -> None:
    stamp = (run / "checkpoint.pt").stat().st_mtime_ns
    train(dataset, run)
    assert (run / "checkpoint.pt").stat().st_mtime_ns == stamp
    assert train(dataset, tmp_path / "part", "--epochs", "2")["epochs"] == 2
    with pytest.raises(MissingPrerequisite, match="2 of 5 epochs"):
        export_run(tmp_path / "part", tmp_path / "out")


def test_other_settings_or_a_strange_directory_are_refused(dataset: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="seed 0, not 1"):
        train(dataset, run, "--seed", "1")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadSetting, match="no run"):
        train(dataset, tmp_path)
    wrong = dataset / "wrong.json"
    wrong.write_text('{"towers": {}}')
    with pytest.raises(BadSetting, match="towers"):
        train(dataset, tmp_path / "new", "--spec", str(wrong))


def test_the_manifest_says_what_it_was_made_of(run: Path) -> None:
    manifest = read_run(run)
    assert (manifest.asked.protocol, manifest.asked.held_out, manifest.asked.encoder_version) == ("random", True, "hashing-1")
    assert manifest.chosen.tower.contrastive == 0.5
    assert {"torch", "tagstream", "python"} <= set(manifest.versions)
    assert len(manifest.asked.data_hash) == 32 and manifest.created_at > 0
    assert list((run / "tensorboard").iterdir())


def test_export_serves_as_torch_scores_and_finds_the_planted_taste(dataset: Path, run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(offline, ["towers", "export", str(run), "--out", str(tmp_path / "spaces")], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    task = make_task(load_dataset(dataset), "random")
    training, manifest = resume(run)
    space = load_space(tmp_path / "spaces" / "two_tower", HashingEncoder())
    from offline.recall_baselines import encode_tags
    from offline.recall_content import build_content

    content, _ = build_content(task, encode_tags(task, HashingEncoder()), manifest.chosen.content)
    towers = Towers(training.reader, training.note, content, task.warm, manifest.own)
    assert np.allclose(space_ranker(task, space)(task.profiles), tower_ranker(towers, task.cold)(task.profiles), atol=1e-5)
    figures = evaluate_spaces(task, tmp_path / "spaces", HashingEncoder(), 5, range(task.profiles.shape[0]), say=lambda line: None)
    assert all(row["recall@5"] > 2.5 * 5 / len(task.cold) for row in figures.values())
    report = CliRunner().invoke(
        offline, ["towers", "evaluate", str(dataset), str(tmp_path / "spaces"), "--k", "5", "--served", "all", "--json"]
    )
    assert json.loads(report.stdout)["methods"] == figures
    assert set(json.loads((tmp_path / "spaces" / "merge.json").read_text())["weights"]) == {"linear", "two_tower", "tag_index_idf"}


def test_settings_are_chosen_once_and_the_towers_curve_is_kept(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from offline import tower_run
    from offline.choose_recall import Chosen

    calls: list[int] = []

    def chooses(*arguments: object, curve: object, **options: object) -> Chosen:
        calls.append(1)
        curve(1, 0.5, 0.6)  # type: ignore[operator]
        return msgspec.convert(SPEC | {"weights": {"linear": 1.0, "bm25": 1.0}}, Chosen)

    monkeypatch.setattr(tower_run, "choose", chooses)
    out = tmp_path / "chosen"
    options = ["towers", "train", str(dataset), "--out", str(out), "--epochs", "0"]
    for _ in range(2):
        assert CliRunner().invoke(offline, options, catch_exceptions=False).exit_code == 0
        (out / "run.json").unlink()
    assert calls == [1]
    assert CliRunner().invoke(offline, options, catch_exceptions=False).exit_code == 0
    assert read_run(out).chosen.weights == {"linear": 1.0, "bm25": 1.0}
