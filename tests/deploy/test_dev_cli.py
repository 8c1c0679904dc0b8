"""``tagstream dev`` as a user types it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from deploy.local import cli
from deploy.local.redis_server import REDIS
from deploy.local.stack import Stack


@pytest.fixture
def only_redis(monkeypatch, tmp_path):
    for name in ("TAGSTREAM_REDIS_URL", "TAGSTREAM_KAFKA_BOOTSTRAP_SERVERS", "TAGSTREAM_MILVUS_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cli, "Stack", lambda data, given: Stack(data, given, parts=(REDIS,)))
    yield tmp_path / "it's data"
    Stack(tmp_path / "it's data", parts=(REDIS,)).down()


def run(*args: str):
    return CliRunner().invoke(cli.dev, args, catch_exceptions=False)


def test_up_status_env_down(only_redis):
    data = str(only_redis)
    up = run("up", "--data", data, "--json")
    shown = json.loads(up.stdout)
    assert set(shown) == {"redis"}
    assert set(shown["redis"]) == {"url", "state", "pid"}
    assert shown["redis"]["state"] == "running"
    assert "ready at" in up.stderr

    assert json.loads(run("status", "--data", data, "--json").stdout) == shown
    assert str(shown["redis"]["pid"]) in run("status", "--data", data).stdout

    exports = run("env", "--data", data).stdout
    script = f"{exports}{sys.executable} -c \"import os; print(os.environ['TAGSTREAM_REDIS_URL'])\""
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.strip() == shown["redis"]["url"]
    assert json.loads(run("env", "--data", data, "--json").stdout) == {"TAGSTREAM_REDIS_URL": shown["redis"]["url"]}

    down = run("down", "--data", data, "--json")
    assert json.loads(down.stdout) == {"redis": {"url": None, "state": "stopped", "pid": None}}


def test_down_and_status_of_nothing_succeed(only_redis):
    for command in ("down", "status"):
        result = run(command, "--data", str(only_redis), "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["redis"]["state"] == "stopped"


def test_env_of_nothing_fails_with_the_remedy(tmp_path):
    code = "import tagstream; tagstream.main()"
    command = [sys.executable, "-c", code, "dev", "env", "--data", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.strip() == f"tagstream: no stack runs under {tmp_path}: start it by `tagstream dev up`"


def test_help_has_examples():
    for command in ("up", "down", "status", "env"):
        assert "Example:" in run(command, "--help").stdout
