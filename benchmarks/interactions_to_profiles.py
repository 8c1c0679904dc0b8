"""Interactions to reader profiles, real Kafka to real Redis, replay-safe: events per CPU second of the consumer process ("per core").

The log is that of ``benchmarks/profile_log.py``: every event touches 8 tags. Each way of consuming it runs in a process of its own; the
figure is events over user and system time of that process, all threads included, from joining the group to the last acknowledged effect.

- ours: ``tagstream consume update-profiles`` as it is: engine, compare-and-set, watermarks, event ids, undo.
- limit: the same client settings, ``consume(1000)`` and our codec per record, nothing else; and a barer one, msgspec on the value alone.
- faust: the same arithmetic in a faust table (memory store, changelog in Kafka) on the first 40,000 events.
- quixstreams: the same in its state store (RocksDB, changelog in Kafka) on the first 200,000 events.

The peers are spared event ids, undo, bounds and waiting actions, and their notes' tags are in memory.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.profile_log import Shape, drop_profiles, published_log
from benchmarks.profile_runs import tags_of
from benchmarks.report import Row
from recall.redis_client import redis_client
from schemas.settings import Settings
from schemas.topics import INTERACTIONS

HERE = Path(__file__).parent
QUIX = "quixstreams==3.28.0"
FAUST_EVENTS = 40_000
QUIX_EVENTS = 200_000
CHILD_TIMEOUT_S = 600


def run() -> list[Row]:
    """Events per CPU second of ours against the limit and the peers."""
    shape = Shape()
    with published_log(shape) as settings:
        drop_profiles(settings)
        limit = consume("limit", settings, shape.events)
        bare = consume("bare", settings, shape.events)
        before = redis_cpu_s(settings)
        ours = consume("ours", settings, shape.events)
        read = consume("read", settings, shape.events)
        server_s = redis_cpu_s(settings) - before
        faust = consume("faust", settings, FAUST_EVENTS)
        quix = consume_by_quix(settings, QUIX_EVENTS)
    note = (
        f"70 % clicks, 20 % likes, 10 % favorites, {shape.events:,} events, {shape.readers:,} readers, {shape.notes:,} notes of 8 tags"
        f" out of 2,000 (Zipf); our CPU per event {ours['cpu_s'] / shape.events * 1e6:.2f} us, wall {shape.events / ours['wall_s']:,.0f}"
        f" events/s with everything on one machine, Redis server {server_s / shape.events * 1e6:.2f} us CPU per event"
    )
    both = {"events": shape.events, "cpu_s": ours["cpu_s"] + read["cpu_s"]}
    deferred = (
        "our records hold facts and leave the sums over tags to the reading: this row adds reading and scoring each of the"
        f" {shape.readers:,} readers once, {read['cpu_s'] / shape.readers * 1e6:.0f} us a reader; the peers have done theirs while writing"
    )
    return [
        _row("profile updates, share of consume + decode", ours, limit, "consume(1000) + our codec", at_least=0.4, note=note),
        _row("profile updates, share of barest consume + decode", ours, bare, "consume(1000) + msgspec on the value"),
        _row("the same, with every reader's scores then computed once", both, limit, "consume(1000) + our codec", note=deferred),
        _row("profile updates against a faust table", ours, faust, "faust table", at_least=10.0),
        _row("profile updates against quixstreams", ours, quix, QUIX, at_least=2.0),
        _row("the same, with every reader's scores then computed once, against quixstreams", both, quix, QUIX),
    ]


def consume(way: str, settings: Settings, events: int) -> dict[str, Any]:
    """One run of ``profile_runs`` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.profile_runs", way, settings.namespace, str(events)]
    return _measured(command, HERE.parent)


def consume_by_quix(settings: Settings, events: int) -> dict[str, Any]:
    """One run of ``profile_quix`` in the environment that is made for it once."""
    python = HERE.parent / ".venv-quix" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    if not python.exists():
        subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(python.parent.parent)], check=True)
        subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), QUIX], check=True)
    with tempfile.TemporaryDirectory(prefix="tagstream-bench-") as scratch:
        tags = Path(scratch, "tags.json")
        tags.write_text(json.dumps(tags_of(settings)))
        topic = INTERACTIONS.within(settings.namespace).name
        return _measured([str(python), "profile_quix.py", settings.kafka_bootstrap_servers, topic, str(tags), str(events)], HERE)


def redis_cpu_s(settings: Settings) -> float:
    """CPU seconds of the Redis server so far."""
    used: dict[str, Any] = redis_client(settings).info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _measured(command: list[str], directory: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise RuntimeError(f"{' '.join(command[1:4])} ended with status {done.returncode}: {done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def _row(what: str, ours: dict[str, Any], peer: dict[str, Any], name: str, *, at_least: float | None = None, note: str = "") -> Row:
    return Row(
        what=what,
        unit="events/CPU s",
        ours=ours["events"] / ours["cpu_s"],
        peer=peer["events"] / peer["cpu_s"],
        peer_name=name,
        ratio_at_least=at_least,
        note=note,
    )
