"""A consumer process for the chaos tests: appends the id of every event it applied to a file, one write per batch."""

import os
import sys
import time
from pathlib import Path

import msgspec

from schemas.events import Interaction
from schemas.settings import Settings
from schemas.stored import ProfileRecord
from schemas.topics import Topic
from schemas.writes import PutProfile
from streams.engine import Applied, Engine, Job, Limits, Stop, stop_on_signals
from streams.publisher import KafkaPublisher
from streams.source import KafkaSource


class FileStore:
    """Each line is one applied event."""

    accepts = (PutProfile,)

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def apply(self, writes):
        os.write(self._file, "".join(f"{e.event.event_id}\n" for put in writes for e in put.events).encode())
        return Applied()


def main():
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    path, pause_s, until_idle_s = Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])

    def handle(batch):
        time.sleep(pause_s)
        return [PutProfile("u", b"", ProfileRecord(0, 0, 0), list(batch))]

    topic = Topic("actions", 6, -1, "delete", Interaction).within(settings.namespace)
    job = Job(name="child", topic=topic, handle=handle, batch_size=50, batch_age_s=0.02)
    source = KafkaSource(settings, topic.name, job.group_id(settings.namespace))
    engine = Engine(job, source, KafkaPublisher(settings), [FileStore(path)], limits=Limits(commit_interval_s=0.1))
    with stop_on_signals(Stop()) as stop:
        counts = engine.run(stop, until_idle_s or None)
    print(msgspec.json.encode(counts).decode())


if __name__ == "__main__":
    main()
