"""Is it fast enough, now? Publish to recallable, by the stamps that each stage leaves on a note's record, and how the canaries did.

A note that was published before its bundle went live, that came to the tagger ``slo_backfill_s`` after it was published, or that was tagged
again is a backfill: a replay, a backlog, a job that was down for long. It is counted apart, because its age says nothing about how fast a
fresh note travels to readers.

A note that no search finds yet is not left out: once it has waited longer than the objective for 99 of 100, its age so far counts among the
times to ``recallable``, or an outage would look fast.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from msgspec import Struct, field

from consumers.canary_log import CanaryLog, CanaryRun, RedisCanaryLog
from consumers.recallable import INDEXED, STAGE
from recall.query import RecallStores
from recall.stores import Notes, Window
from schemas.errors import Transient
from schemas.settings import Settings
from schemas.stored import NoteRecord

NOTES_MAX = 10_000
READ_NOTES = 1_000
ALARMS_MAX = 20
PUBLISHED = "published"
STAGES = ("received", "tagged", INDEXED, STAGE)
QUANTILES = (50, 95, 99)
Percentiles = dict[str, float]
"""``p50``, ``p95``, ``p99`` in ms; empty without observations."""


class Missing(Struct, frozen=True):
    """Notes without a time to recallable. ``not_recallable_yet``: no search finds them; ``not_stamped``: one does, and nobody was looking
    when it first did; ``no_tags``: their vector does not exist."""

    not_recallable_yet: int = 0
    not_stamped: int = 0
    no_tags: int = 0


class CanaryFigures(Struct, frozen=True):
    """``last_at``: when the newest canary began, epoch ms; ``late``: those that recall did not find in time; ``alarms``: the newest runs
    that did not end well."""

    last_at: int | None
    found: int
    late: int
    skipped: int
    p50: float | None
    p99: float | None
    alarms: list[CanaryRun]


class Slo(Struct, frozen=True):
    """``stages``: ms since a note was published, by stage; ``steps``: ms from one stage to the next; ``met``: no percentile of
    ``recallable`` is above its objective. ``cut``: there were more than the newest 10,000 notes, which are all that is looked at."""

    since: int
    notes: int
    backfilled: int
    stages: dict[str, Percentiles]
    steps: dict[str, Percentiles]
    objective_ms: Percentiles
    met: bool
    missing: Missing
    canary: CanaryFigures
    cut: bool = False
    degraded: list[str] = field(default_factory=list)


def measure_live(settings: Settings, since: int, now: int) -> Slo:
    """``measure`` of the live bundle."""
    from recall.build import open_stores
    from recall.pointer import history
    from recall.redis_client import redis_client

    client, stores = redis_client(settings), open_stores(settings)
    live_since = min((switch.at for switch in history(client, settings) if switch.bundle == stores.bundle), default=0)
    return measure(stores, RedisCanaryLog(client, settings.namespace), settings, since, now, live_since=live_since)


def measure(stores: RecallStores, canaries: CanaryLog, settings: Settings, since: int, now: int, *, live_since: int = 0) -> Slo:
    """The figures of the notes that their authors published since a moment, as far as the live bundle's stores know them.

    Args:
        since: epoch ms.
        now: epoch ms; what waits is as old as it is now.
        live_since: epoch ms at which the bundle first went live.

    Raises:
        Transient: Redis does not answer. Without Milvus, what has no stamp counts as waiting, and ``degraded`` says so.
    """
    records, cut = newest(stores.notes, since) if stores.bundle else ([], False)
    live = [record for record in records if not is_backfill(record, settings.slo_backfill_s * 1000, live_since)]
    degraded = [] if stores.bundle else ["no bundle is active yet: run `tagstream consume`"]
    unstamped = [record for record in live if STAGE not in record.stages]
    tagged = [record for record in unstamped if record.tags]
    try:
        seen = stores.index.visible([record.note_id for record in tagged]) if tagged else {}
    except Transient as error:
        seen = {}
        degraded.append(f"missing: {error}; notes without a stamp count as waiting")
    waiting = [record for record in tagged if seen.get(record.note_id, -1) < record.occurred_at]
    overdue = [age for record in waiting if (age := now - record.stages[PUBLISHED]) > settings.slo_p99_ms]
    times = {stage: [one.stages[stage] - one.stages[PUBLISHED] for one in live if stage in one.stages] for stage in STAGES}
    times[STAGE] += overdue
    found = {stage: percentiles(values) for stage, values in times.items()}
    objective = {"p50": settings.slo_p50_ms, "p99": settings.slo_p99_ms}
    return Slo(
        since=since,
        notes=len(live),
        backfilled=len(records) - len(live),
        stages=found,
        steps={f"{one}->{other}": percentiles(list(step(live, one, other))) for one, other in pairwise((PUBLISHED, *STAGES))},
        objective_ms=objective,
        met=all(found[STAGE].get(name, 0.0) <= bound for name, bound in objective.items()),
        missing=Missing(len(waiting), len(tagged) - len(waiting), len(unstamped) - len(tagged)),
        canary=canary_figures(canaries.runs(since)),
        cut=cut,
        degraded=degraded,
    )


def newest(notes: Notes, since: int, limit: int = NOTES_MAX) -> tuple[list[NoteRecord], bool]:
    """Records of the newest notes published since, as many as ``limit``; and whether there are more. Deleted notes and canaries are in no
    list, and so not among them."""
    hits = notes.recent(["*"], Window(since), limit + 1)
    records: list[NoteRecord] = []
    for start in range(0, min(len(hits), limit), READ_NOTES):
        ids = [hit.note_id for hit in hits[start : min(start + READ_NOTES, limit)]]
        records += [record for record in notes.get(ids).values() if not record.deleted and PUBLISHED in record.stages]
    return records, len(hits) > limit


def is_backfill(record: NoteRecord, bound_ms: float, live_since: int) -> bool:
    """Whether the note's event was old when the tagger received it, is older than the live bundle, or is tagged again."""
    published = record.stages[PUBLISHED]
    return record.revision > 0 or published < live_since or record.stages.get("received", published) - published > bound_ms


def step(records: Sequence[NoteRecord], one: str, other: str) -> Iterator[int]:
    """Milliseconds from one stage to another, of the notes that have both stamps."""
    for record in records:
        if one in record.stages and other in record.stages:
            yield record.stages[other] - record.stages[one]


def percentiles(values: Sequence[float], quantiles: Sequence[int] = QUANTILES) -> Percentiles:
    """Nearest rank: the smallest value that so many percent of the values do not exceed."""
    if not values:
        return {}
    ordered = sorted(values)
    return {f"p{quantile}": float(ordered[max(0, math.ceil(quantile * len(ordered) / 100) - 1)]) for quantile in quantiles}


def canary_figures(runs: Sequence[CanaryRun]) -> CanaryFigures:
    """What runs, newest first, come to."""
    times: Mapping[str, float] = percentiles([run.found_ms for run in runs if run.found_ms is not None])
    return CanaryFigures(
        last_at=runs[0].at if runs else None,
        found=sum(run.outcome == "found" for run in runs),
        late=sum(run.outcome == "late" for run in runs),
        skipped=sum(run.outcome == "skipped" for run in runs),
        p50=times.get("p50"),
        p99=times.get("p99"),
        alarms=[run for run in runs if run.outcome != "found"][:ALARMS_MAX],
    )


def line(slo: Slo) -> str:
    """The figures in one line."""
    if not slo.stages[STAGE]:
        return "SLO: nothing was published that could be measured"
    said = [f"{name} {slo.stages[STAGE][name]:,.0f} ms (objective {bound:,.0f})" for name, bound in slo.objective_ms.items()]
    apart = f", {slo.backfilled} backfilled counted apart" if slo.backfilled else ""
    return f"SLO {'met' if slo.met else 'missed'}: publish to recallable {', '.join(said)} over {slo.notes} notes{apart}"
