"""Precedence of settings, and errors that name the setting and where the value came from."""

import json

import pytest
from click.testing import CliRunner

from schemas.cli import settings as command
from schemas.errors import BadSetting
from schemas.settings import load, redacted


def test_environment_over_file_over_stack_over_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load({}).redis_url == "redis://127.0.0.1:6379/0"
    (tmp_path / ".tagstream").mkdir()
    stack = {"redis": {"url": "redis://127.0.0.1:1111/0"}, "kafka": {"url": "127.0.0.1:2222"}, "milvus": {"url": None}}
    (tmp_path / ".tagstream" / "stack.json").write_text(json.dumps(stack))
    assert load({}).redis_url == "redis://127.0.0.1:1111/0"
    assert load({}).kafka_bootstrap_servers == "127.0.0.1:2222"
    assert load({}).milvus_uri == "http://127.0.0.1:19530"
    (tmp_path / "tagstream.toml").write_text('redis_url = "redis://file:1/0"\nprofile_max_tags = 7\n')
    assert (load({}).redis_url, load({}).profile_max_tags) == ("redis://file:1/0", 7)
    assert load({"TAGSTREAM_REDIS_URL": "redis://environ:1/0"}).redis_url == "redis://environ:1/0"
    assert load({"TAGSTREAM_REDIS_URL": "redis://environ:1/0"}, redis_url="redis://line:1/0").redis_url == "redis://line:1/0"


def test_the_stack_is_found_under_the_data_directory_in_force(tmp_path):
    (tmp_path / "stack.json").write_text(json.dumps({"redis": {"url": "redis://127.0.0.1:1111/0"}}))
    assert load({"TAGSTREAM_DATA": str(tmp_path)}).redis_url == "redis://127.0.0.1:1111/0"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"TAGSTREAM_PROFILE_MAX_TAGS": "many"}, ["TAGSTREAM_PROFILE_MAX_TAGS", "environment"]),
        ({"TAGSTREAM_PROFILE_HALF_LIFE_DAYS": "-1"}, ["TAGSTREAM_PROFILE_HALF_LIFE_DAYS", ">= 0"]),
        ({"TAGSTREAM_NAMESPACE": "a{b}"}, ["TAGSTREAM_NAMESPACE"]),
        ({"TAGSTREAM_SETTINGS": "missing.toml"}, ["missing.toml", "TOML"]),
    ],
)
def test_bad_values_name_setting_and_source(environ, words):
    with pytest.raises(BadSetting) as caught:
        load(environ)
    assert all(word in str(caught.value) for word in words)


def test_an_unknown_name_in_the_file_is_refused(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("redis = 1\n")
    with pytest.raises(BadSetting, match="redis is not a setting"):
        load({"TAGSTREAM_SETTINGS": str(path)})


def test_passwords_are_not_shown(monkeypatch):
    assert redacted("redis://user:hunter2@host:1/0") == "redis://user:***@host:1/0"
    monkeypatch.setenv("TAGSTREAM_REDIS_URL", "redis://user:hunter2@host:1/0")
    monkeypatch.setenv("TAGSTREAM_MILVUS_TOKEN", "root:hunter2")
    monkeypatch.setenv("TAGSTREAM_KAFKA_SECURITY", "sasl.password=hunter2")
    for option in ("--json", "--markdown"):
        assert "hunter2" not in CliRunner().invoke(command, [option]).output
    assert "hunter2" not in CliRunner().invoke(command, []).output
    rows = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert all(row["meaning"] for row in rows)
