"""Training examples as polars frames, and the search for what an example could not have known.

A frame has a row for each example, with the columns of ``schemas.events.TrainingExample``; ``experiment`` is JSON. ``VERSIONS`` says when
each tag of a note was known: a row for each note event.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import polars as pl

from schemas.events import TrainingExample

DAY_MS = 86_400_000
_COLUMNS: dict[str, Any] = {
    "event_id": pl.String,
    "user_id": pl.String,
    "note_id": pl.String,
    "action": pl.String,
    "occurred_at": pl.Int64,
    "channel": pl.String,
    "experiment": pl.String,
    "dwell_ms": pl.Int64,
    "request_id": pl.String,
    "source": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "bundle": pl.String,
    "history_notes": pl.List(pl.String),
    "history_weights": pl.List(pl.Float32),
    "history_at": pl.List(pl.Int64),
    "profile_tags": pl.List(pl.String),
    "profile_scores": pl.List(pl.Float32),
    "tags": pl.List(pl.String),
    "tags_at": pl.Int64,
}
SCHEMA = pl.Schema(_COLUMNS)
_VERSION: dict[str, Any] = {
    "note_id": pl.String,
    "occurred_at": pl.Int64,
    "tags": pl.List(pl.String),
    "confidences": pl.List(pl.Float32),
    "deleted": pl.Boolean,
    "revision": pl.Int64,
}
VERSIONS = pl.Schema(_VERSION)
COORDINATES = ["source", "partition", "offset"]


def frame_of(examples: Sequence[TrainingExample]) -> pl.DataFrame:
    """The examples in order."""
    columns = {name: [getattr(example, name) for example in examples] for name in SCHEMA if name != "experiment"}
    columns["experiment"] = [msgspec.json.encode(example.experiment).decode() if example.experiment else None for example in examples]
    return pl.DataFrame(columns, schema=SCHEMA)


def with_day(frame: pl.DataFrame) -> pl.DataFrame:
    """With the column ``day`` (UTC, ISO) of event time."""
    return frame.with_columns(pl.from_epoch(pl.col("occurred_at"), time_unit="ms").dt.strftime("%Y-%m-%d").alias("day"))


def one_each(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each interaction, in order of time and coordinates: of copies the last, of a repeated event id the first record."""
    last = frame.unique(COORDINATES, keep="last", maintain_order=True).sort([*COORDINATES])
    first = last.unique(["user_id", "event_id"], keep="first", maintain_order=True)
    return first.sort(["occurred_at", *COORDINATES])


def known_tags(versions: pl.DataFrame) -> pl.DataFrame:
    """When each tag of each note was known first: ``note_id``, ``tag``, ``first_at``."""
    each = versions.select("note_id", "occurred_at", pl.col("tags").alias("tag")).explode("tag").drop_nulls("tag")
    return each.group_by("note_id", "tag").agg(pl.col("occurred_at").min().alias("first_at"))


def find_leaks(frame: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """What examples hold that was not known at their time: ``row`` of the frame, and ``leak`` in words.

    An action later than the example, or on its own note at its time; tags of a later version of the note, or that no version had by then;
    a profile tag that no note had by then. Tags are compared with ``versions`` as far as it has the note. Also said: lists that do not fit.
    """
    rows = frame.with_row_index("row")
    known = known_tags(versions)
    found = [
        _misfits(rows),
        _later_actions(rows),
        _later_version(rows),
        _later_tags(rows, versions, known),
        _later_profile_tags(rows, known),
    ]
    return pl.concat(found).sort("row", "leak")


def _misfits(rows: pl.DataFrame) -> pl.DataFrame:
    length = pl.col("history_notes").list.len()
    misfit = (
        (length != pl.col("history_weights").list.len())
        | (length != pl.col("history_at").list.len())
        | (pl.col("profile_tags").list.len() != pl.col("profile_scores").list.len())
    )
    return rows.filter(misfit).select("row", pl.lit("the lists of history or profile differ in length").alias("leak"))


def _later_actions(rows: pl.DataFrame) -> pl.DataFrame:
    fits = pl.col("history_notes").list.len() == pl.col("history_at").list.len()
    some = rows.filter(fits & (pl.col("history_notes").list.len() > 0)).select(
        "row", "note_id", "occurred_at", "history_notes", "history_at"
    )
    each = some.explode("history_notes", "history_at")
    own = pl.col("history_notes") == pl.col("note_id")
    text = pl.format("history: {} acted on at {}, the example is of {}", "history_notes", "history_at", "occurred_at")
    later = pl.col("history_at") > pl.col("occurred_at")
    target = pl.format("history: the note itself, {}, acted on at {}, the example is of {}", "note_id", "history_at", "occurred_at")
    return each.filter(later | (own & (pl.col("history_at") >= pl.col("occurred_at")))).select(
        "row", pl.when(own).then(target).otherwise(text).alias("leak")
    )


def _later_version(rows: pl.DataFrame) -> pl.DataFrame:
    text = pl.format("tags: of the note's version of {}, the example is of {}", "tags_at", "occurred_at")
    return rows.filter(pl.col("tags_at") > pl.col("occurred_at")).select("row", text.alias("leak"))


def _later_tags(rows: pl.DataFrame, versions: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    each = rows.select("row", "note_id", "occurred_at", pl.col("tags").alias("tag")).explode("tag").drop_nulls("tag")
    each = each.join(versions.select("note_id").unique(), on="note_id", how="semi").join(known, on=["note_id", "tag"], how="left")
    never = pl.format("tags: {} never was a tag of {}", "tag", "note_id")
    text = pl.format("tags: {} is known of {} since {}, the example is of {}", "tag", "note_id", "first_at", "occurred_at")
    late = each.filter(pl.col("first_at").is_null() | (pl.col("first_at") > pl.col("occurred_at")))
    return late.select("row", pl.when(pl.col("first_at").is_null()).then(never).otherwise(text).alias("leak"))


def _later_profile_tags(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    each = rows.select("row", "occurred_at", pl.col("profile_tags").alias("tag")).explode("tag").drop_nulls("tag")
    each = each.join(known.group_by("tag").agg(pl.col("first_at").min()), on="tag")
    text = pl.format("profile: {} is a tag of any note only since {}, the example is of {}", "tag", "first_at", "occurred_at")
    return each.filter(pl.col("first_at") > pl.col("occurred_at")).select("row", text.alias("leak"))


def versions_of(rows: Iterable[tuple[str, int, Sequence[tuple[str, float]], bool, int]]) -> pl.DataFrame:
    """``VERSIONS`` from (note, event time, tags with their confidences, deleted, revision)."""
    columns = [(note, at, [text for text, _ in tags], [sure for _, sure in tags], *rest) for note, at, tags, *rest in rows]
    return pl.DataFrame(columns, schema=VERSIONS, orient="row").unique(maintain_order=True)
