"""The options that a command takes to ask an endpoint, and the manifest of its run."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from offline.chat.client import ChatSpec
from offline.chat.options import chat_options
from offline.chat.prices import Spent, load_prices
from offline.run_manifest import read_manifest, run_manifest
from schemas.errors import BadSetting


@click.command()
@click.argument("name")
@chat_options
def command(name: str, chat: ChatSpec, recordings: Path | None) -> None:
    """Says what it got."""
    click.echo(f"{name} {recordings} {chat}")


def test_options_become_a_spec():
    given = [
        "n",
        "--model",
        "m",
        "--concurrency",
        "3",
        "--requests-per-min",
        "9",
        "--max-cost",
        "1.5",
        "--recordings",
        "r",
        "--replay-only",
    ]
    told = CliRunner().invoke(command, given, env={"TAGSTREAM_CHAT_ENDPOINT": "http://h/v1"}, catch_exceptions=False).output
    spec = ChatSpec(url="http://h/v1", model="m", concurrency=3, requests_per_min=9, max_cost=1.5, replay_only=True)
    assert told == f"n r {spec}\n"


def test_prices_are_checked(tmp_path):
    assert load_prices() == {}
    file = tmp_path / "p.yaml"
    file.write_text("models: {m: {prompt: -1, completion: 2}}")
    with pytest.raises(BadSetting, match=r"p\.yaml.*prompt"):
        load_prices(file)


def test_a_manifest_tells_how_a_run_ended(tmp_path):
    chat = ChatSpec(url="http://h/v1", model="m")
    with run_manifest(tmp_path, "offline x", {"out": tmp_path, "chat": chat}, {"prompt": "1"}, lambda: Spent(requests=2)) as manifest:
        assert read_manifest(tmp_path).state == "running"
        manifest.counts["notes"] = 3
    found = read_manifest(tmp_path)
    assert (found.state, found.counts, found.spent.requests, found.options["chat"]["model"]) == ("finished", {"notes": 3}, 2, "m")
    assert found.finished_at >= found.started_at and found.options["out"] == str(tmp_path)
    with pytest.raises(KeyboardInterrupt), run_manifest(tmp_path, "offline x", {}, {}):
        raise KeyboardInterrupt
    assert read_manifest(tmp_path).state == "interrupted"
