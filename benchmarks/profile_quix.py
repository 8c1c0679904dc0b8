"""Peer: the profile update in quixstreams, with its state in RocksDB and a changelog in Kafka. Runs in an environment of its own
(``.venv-quix``), since quixstreams pins another confluent-kafka: ``python profile_quix.py BROKERS TOPIC TAGS.json EVENTS``.

Prints one JSON line like ``profile_runs``. The clock starts at the first event, so joining and topic creation are not in it.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from profile_peer import apply_event  # type: ignore[import-not-found]
from quixstreams import Application, message_context  # type: ignore[import-not-found]


def main() -> None:
    brokers, topic, tags_file, wanted = sys.argv[1:]
    tags = json.loads(Path(tags_file).read_text())
    app = Application(
        broker_address=brokers,
        consumer_group=f"{topic}.quix",
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(prefix="tagstream-bench-"),
        loglevel="ERROR",
    )
    started: list[float] = []
    done = 0

    def update(value: dict[str, Any], state: Any) -> None:
        nonlocal done
        if not started:
            started.extend((cpu_seconds(), time.perf_counter()))
        at = message_context()
        record = apply_event(state.get("profile"), SimpleNamespace(**value), tags, at.partition, at.offset)
        if record is not None:
            state.set("profile", record)
        done += 1
        if done == int(wanted):
            measured = {"events": done, "cpu_s": cpu_seconds() - started[0], "wall_s": time.perf_counter() - started[1]}
            print(json.dumps(measured), flush=True)
            os._exit(0)  # this process was made for one figure

    frame = app.dataframe(app.topic(topic, key_deserializer="str", value_deserializer="json"))
    frame.update(update, stateful=True)
    app.run()


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
