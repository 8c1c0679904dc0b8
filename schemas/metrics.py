"""Every metric's name, with its meaning: code can use no other. Exposed at ``TAGSTREAM_METRICS_PORT`` in Prometheus format."""

from typing import Literal

Counter = Literal[
    "tagstream_events_handled_total",  # events whose effects are acknowledged; labels: job
    "tagstream_dead_letters_total",  # events sent to the dead letters; labels: job, reason
    "tagstream_degraded_total",  # events handled without something, kept for an upgrade; labels: job
    "tagstream_skipped_total",  # events that changed nothing; labels: job, reason (applied, stale)
    "tagstream_conflicts_total",  # compare-and-set refusals, handled again; labels: job
    "tagstream_retries_total",  # attempts after a Transient error; labels: job, dependency
    "tagstream_canaries_total",  # canary notes; labels: outcome (found, late, skipped, kept)
]
Gauge = Literal[
    "tagstream_paused",  # 1 while the job waits for a dependency; labels: job
    "tagstream_lag",  # records between position and end of the assigned partitions; labels: job
    "tagstream_tag_drift",  # population stability index of the newest window of tag quality; labels: measure
    "tagstream_tag_drift_alerts",  # alerts in force on tag quality; labels: bundle
]
Histogram = Literal[
    "tagstream_batch_size",  # events in a handled batch; labels: job
    "tagstream_batch_seconds",  # a batch by phase; labels: job, phase (handle, apply, flush)
    "tagstream_stage_seconds",  # publish to a stage of the note's way; labels: stage (received, tagged, indexed, recallable)
    "tagstream_canary_seconds",  # publish until recall finds a canary note, delete until it is gone; labels: step (found, gone)
]
ApiCounter = Literal[
    "tagstream_http_requests_total",  # answered requests; labels: route, status
    "tagstream_recall_degraded_total",  # recalls answered without something; labels: what
]
ApiHistogram = Literal["tagstream_http_seconds"]  # a request; labels: route
MetricName = ApiCounter | ApiHistogram | Counter | Gauge | Histogram
