"""``tagstream bundle``: JSON, exit codes, and that it works without a server."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import recall.pointer
import recall.redis_client
from consumers.rollout_cli import bundle
from tagstream import cli
from tests.models.hashing_space import write_space
from tests.models.test_encoder_export import write_encoder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_encoder(tmp_path / "tiny")
    monkeypatch.setenv("TAGSTREAM_TAG_ENCODER", str(tmp_path / "tiny"))
    monkeypatch.setenv("TAGSTREAM_REDIS_URL", "redis://127.0.0.1:1/0")
    return lambda *arguments: CliRunner().invoke(bundle, [str(one) for one in arguments])


def documents(result: Result) -> list[dict]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return json.loads(result.stdout)


def test_build_verify_list(run, tmp_path, monkeypatch):
    space = write_space(tmp_path / "two_tower", "two_tower", 8)
    (tmp_path / "merge.json").write_text('{"weights": {"two_tower": 1, "tag_index_idf": 0.2}}')
    result = run("build", "--space", space, "--merge", "merge.json", "--json")
    (built,) = documents(result)
    assert (result.exit_code, built["state"], built["hashes_ok"]) == (0, "built", True)
    assert set(built["parts"]) == {"handbook", "tagger", "tag_encoder", "spaces/two_tower", "merge"}
    assert built["parts"]["spaces/two_tower"] | {"megabytes": 0} == {"version": "1", "dimension": 8, "files": 2, "megabytes": 0}
    assert built["path"] == f".tagstream/bundles/{built['bundle']}"
    assert "which bundle is live is not known: redis" in result.stderr
    (listed,) = documents(run("list", "--json"))
    assert listed == built
    monkeypatch.setattr(recall.pointer, "active_bundle", lambda client, settings: built["bundle"])
    assert documents(run("list", "--json"))[0]["state"] == "live"
    assert documents(run("verify", built["path"], "--json"))[0]["state"] == "live"
    (Path(built["path"]) / "spaces/two_tower/scale.npy").write_bytes(b"x")
    result = run("verify", built["path"], "--json")
    (broken,) = documents(result)
    assert (result.exit_code, broken["state"], broken["hashes_ok"]) == (1, "broken", False)
    assert broken["faults"] == [line.removeprefix("tagstream: ") for line in result.stderr.splitlines() if line.startswith("tagstream: ")]
    assert broken["faults"][0].startswith("spaces/two_tower: spaces/two_tower/scale.npy: has 1 bytes, the manifest says")
    assert run("list").exit_code == 0


def test_a_bundle_elsewhere_is_listed_by_the_setting_and_one_without_manifest_is_broken(run, tmp_path, monkeypatch):
    assert documents(run("list", "--json")) == []
    documents(run("build", "--out", tmp_path / "mine", "--json"))
    monkeypatch.setenv("TAGSTREAM_BUNDLE", str(tmp_path / "mine"))
    (tmp_path / ".tagstream/bundles/stray").mkdir(parents=True)
    broken, mine = documents(run("list", "--json"))
    assert (broken["bundle"], broken["state"]) == ("stray", "broken")
    assert (mine["path"], mine["state"]) == (str(tmp_path / "mine"), "built")
    assert documents(run("verify", "--json"))[0]["bundle"] == mine["bundle"]


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ('{"weights": {"linear": 1}}', r"$.weights.linear: no such channel; this bundle has two_tower"),
        ('{"weights": {"two_tower": -1}}', "$.weights"),
        ('{"weight": {}}', "weight"),
        ('{"weights": {}}', "names no channel"),
    ],
)
def test_merge_weights_that_cannot_be_are_refused(run, tmp_path, weights, why):
    space = write_space(tmp_path / "two_tower", "two_tower", 8)
    (tmp_path / "merge.json").write_text(weights)
    result = run("build", "--space", space, "--merge", "merge.json")
    assert why in str(result.exception)
    assert not (tmp_path / ".tagstream/bundles").exists()


@pytest.mark.parametrize("name", ["fresh", "tag", "Two", "../x"])
def test_a_space_that_cannot_be_a_channel_is_refused(run, tmp_path, name):
    space = write_space(tmp_path / "space", name, 8)
    assert run("build", "--space", space).exception is not None
    assert not (tmp_path / ".tagstream/bundles").exists()


def test_wrong_usage_is_2(run):
    assert run("verify").exit_code == 2
    assert run("build", "--space", "nowhere").exit_code == 2
    assert CliRunner().invoke(cli, ["bundle", "no-such"]).exit_code == 2
