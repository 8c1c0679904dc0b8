"""Client properties: security goes in and never out, repeated errors are logged once, questions are repeated."""

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import BadSetting, Transient
from schemas.settings import Settings
from streams.client import client_config, quiet_errors, watermarks


def test_security_properties_reach_the_client():
    config = client_config(Settings(kafka_security="security.protocol=SASL_SSL; sasl.password=a=b ;"))
    assert (config["security.protocol"], config["sasl.password"]) == ("SASL_SSL", "a=b")


def test_a_malformed_setting_is_named_without_its_value():
    with pytest.raises(BadSetting, match="TAGSTREAM_KAFKA_SECURITY: part 2") as raised:
        client_config(Settings(kafka_security="security.protocol=SSL;hunter2"))
    assert "hunter2" not in str(raised.value)


def test_a_broker_that_stays_away_is_logged_every_30_s(caplog):
    class Error:
        def code(self):
            return -195

        def str(self):
            return "connection refused"

    now = [0.0]
    on_error = quiet_errors(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for second in range(100):
            now[0] = float(second)
            on_error(Error())
    assert len(caplog.records) == 4


class Leaderless:
    """A consumer whose partition has no leader for the first few questions."""

    def __init__(self, times):
        self.left = times

    def get_watermark_offsets(self, partition, timeout):
        if self.left:
            self.left -= 1
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return 3, 3 + partition.partition


def test_a_partition_that_has_no_leader_yet_is_asked_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert watermarks(Leaderless(2), "notes", 4) == (3, 7)
    with pytest.raises(Transient, match=r"kafka is not available: .*NOT_LEADER_FOR_PARTITION"):
        watermarks(Leaderless(1), "notes", 4, for_s=-1)
