"""`tagstream metrics` and the job behind it as commands: nothing counted yet, the tables, wrong usage, alerts, a clean end."""

import logging
import os
import signal

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from consumers.metrics_cli import metrics, show, sparks
from consumers.metrics_job import DriftWatch, MetricsJob
from recall.redis_client import redis_client
from schemas.errors import BadSetting, Transient
from streams.metric_report import Arm, Report, window_of
from streams.metrics import Metrics
from streams.metrics_app import _credentials
from streams.tag_drift import Drift, DriftWindow, Measure
from tests.e2e.running import start, tagstream, tagstream_json

AT, HOUR = 1_700_000_000_000, 3_600_000


def test_nothing_counted_yet(settings):
    found = tagstream_json(settings, "metrics", "--by", "arm")
    assert (found["as_of"], found["windows"], found["arms"], found["late"]) == (None, [], [], 0)
    assert "tagstream consume metrics" in tagstream(settings, "metrics")


def test_wrong_usage():
    for arguments in (["--watch", "--json"], ["--by", "planet"], ["--hours", "0"]):
        assert CliRunner().invoke(metrics, arguments).exit_code == 2


def measured(alert):
    measure = Measure(reference=7.0, now=4.0, psi=0.8, psi_alert=0.25, alert=alert)
    alerts = ["tags_per_note: 4 against 7, stability index 0.80"] if alert else []
    return Drift("b1", "first notes", 200, [DriftWindow(AT, AT + HOUR, 60, {"tags_per_note": measure})], alerts)


def test_the_table_says_what_was_earned_and_what_was_left_out():
    windows = [
        window_of(AT, AT + HOUR, {"channel": "two_tower"}, [200, 50, 6, 2, 1, 1]),
        window_of(AT, AT + HOUR, {"channel": None}, [0, 1, 0, 0, 0, 0]),
        window_of(AT + HOUR, AT + 2 * HOUR, {"channel": "two_tower"}, [100, 40, 0, 0, 0, 0]),
    ]
    arm = Arm("ranker=[red]new", "2023-11-14", 1234, 9, 61_500.0, (60_000.0, 63_000.0), 12, 1.25, (1.0, 1.5))
    console = Console(width=140, record=True)
    show(console, Report(AT + 2 * HOUR, windows, [arm], measured(True), late=3, duplicates=2, unknown_note=1))
    said = console.export_text()
    for part in ("two_tower", "300", ".300 [.251, .354]", "1,234", "61.5 [60.0, 63.0]", "ranker=[red]new", "its own first notes"):
        assert part in said, part
    assert "late 3, duplicates 2, note unknown 1" in said
    assert sparks(windows[::2]) == "▆█"
    assert sparks([]) == ""


def test_a_watched_table_is_read_anew_until_told_to_stop(monkeypatch):
    read = []

    def report(settings, client, by):
        read.append(by)
        counts = [100 * len(read), 50, 6, 2, 1, 1]
        return Report(AT + HOUR, [window_of(AT, AT + HOUR, {by: "two_tower"}, counts)], [], measured(False), 0, 0, 0)

    def pause(seconds):
        if len(read) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("consumers.metrics_job.read_report", report)
    monkeypatch.setattr("consumers.metrics_cli.time.sleep", pause)
    shown = CliRunner().invoke(metrics, ["--watch", "--by", "channel"])
    assert (shown.exit_code, read) == (0, ["channel"] * 3), shown.output
    assert "300" in shown.output and "100 " not in shown.output, "one table, in place"


def test_a_new_alert_is_logged_once_and_exposed(settings, caplog):
    gauges = Metrics()
    watch = DriftWatch(settings, redis_client(settings), gauges)
    with caplog.at_level(logging.WARNING):
        for drift in (measured(False), measured(True), measured(True)):
            watch.tell(drift)
        assert [record.getMessage() for record in caplog.records] == [
            "tag quality of bundle b1 drifts: tags_per_note: 4 against 7, stability index 0.80"
        ]
        watch.tell(measured(False))
        watch.tell(measured(True))
    assert len(caplog.records) == 2, "after it was gone it is new again"
    assert 'tagstream_tag_drift_alerts{bundle="b1"} 1.0' in gauges.text()
    assert 'tagstream_tag_drift{measure="tags_per_note"} 0.8' in gauges.text()


def test_the_job_ends_cleanly_and_says_what_is_missing(settings):
    process = start(settings, "consume", "metrics")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "tagstream topics create" in said
    tagstream(settings, "topics", "create")
    process = start(settings, "consume", "metrics")
    assert process.stderr is not None
    assert process.stderr.readline() == "metrics: running\n"
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert (process.returncode, "Traceback" in said) == (0, False), said


def test_a_redis_that_is_away_is_named(settings):
    with pytest.raises(Transient, match="redis"):
        MetricsJob(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1/0"))


def test_security_settings_reach_the_app(settings):
    assert _credentials(settings) is None
    sasl = msgspec.structs.replace(
        settings, kafka_security="security.protocol=SASL_SSL;sasl.mechanism=SCRAM-SHA-256;sasl.username=u;sasl.password=p"
    )
    made = _credentials(sasl)
    assert (made.username, made.password, made.mechanism.value, made.protocol.value) == ("u", "p", "SCRAM-SHA-256", "SASL_SSL")
    with pytest.raises(BadSetting, match=r"ssl\.key\.location"):
        _credentials(msgspec.structs.replace(settings, kafka_security="ssl.key.location=secret"))
