"""``tagstream canary``: how often, how long, and with which exit status."""

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from consumers import canary_cli
from consumers.canary_log import CanaryRun, slot_id
from streams.jobs import Stop


class Bird:
    """A canary whose runs end as told; the last word repeats, and ``stop`` is SIGTERM in the middle of one."""

    def __init__(self):
        self.ends = ["found"]
        self.left = 0
        self.flown = 0

    def run(self, stop):
        end = self.ends[min(self.flown, len(self.ends) - 1)]
        self.flown += 1
        if end == "stop":
            stop.request()
            return None
        return CanaryRun(self.flown, slot_id(self.flown), end, 5.0 if end == "found" else None, "" if end == "found" else f"why {end}")

    def finish(self):
        return self.left


@pytest.fixture
def bird(monkeypatch):
    made = Bird()

    @contextmanager
    def opened(settings):
        yield made

    monkeypatch.setattr(canary_cli, "open_canary", opened)
    monkeypatch.setenv("TAGSTREAM_CANARY_INTERVAL_S", "0.001")
    return made


def invoke(*arguments):
    return CliRunner().invoke(canary_cli.canary, list(arguments))


def test_so_many_canaries_as_asked(bird):
    document = json.loads(invoke("--until", "3", "--json").stdout)
    assert {name: document[name] for name in ("found", "late", "skipped", "left")} == {"found": 3, "late": 0, "skipped": 0, "left": 0}
    assert [run["found_ms"] for run in document["runs"]] == [5.0] * 3
    bird.flown = 0
    assert (invoke("--once").exit_code, bird.flown) == (0, 1)


@pytest.mark.parametrize("end", ["late", "skipped"])
def test_one_that_is_not_found_is_an_exit_status(bird, end):
    bird.ends = ["found", end, "found"]
    answer = invoke("--until", "3")
    assert answer.exit_code == 1
    assert f"canary {end}: why {end}" in answer.stderr
    assert answer.stdout == f"2 found, {int(end == 'late')} late, {int(end == 'skipped')} skipped\n"


def test_until_told_to_stop_and_then_all_is_well_whatever_was_late(bird):
    bird.ends, bird.left = ["late"] * 150 + ["stop"], 2
    answer = invoke("--json")
    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["left"], len(document["runs"])) == (0, 2, 100), "of a long life only the last are kept"
    assert "2 canaries are not gone yet" in answer.stderr


def test_an_interval_of_zero_is_off_but_one_can_still_be_asked_for(bird, monkeypatch):
    monkeypatch.setenv("TAGSTREAM_CANARY_INTERVAL_S", "0")
    answer = invoke()
    assert (answer.exit_code, bird.flown) == (0, 0)
    assert "off, TAGSTREAM_CANARY_INTERVAL_S is 0" in answer.stderr
    assert json.loads(invoke("--json").stdout)["runs"] == []
    assert (invoke("--until", "2").exit_code, bird.flown) == (0, 2)


def test_a_stop_ends_the_rest_between_two(bird):
    stop = Stop()
    stop.request()
    canary_cli.rest(stop, float("inf"))
    assert invoke("--until", "0").exit_code == 2
