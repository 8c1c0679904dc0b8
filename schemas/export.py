"""The contracts for people who do not read Python: a JSON Schema per event and one AsyncAPI 3.0 document of the topics."""

import json
from pathlib import Path
from typing import Any

import msgspec

from schemas.codec import VERSION_HEADER, VERSIONS
from schemas.events import EVENT_MAX_BYTES, Event
from schemas.topics import LOGS, SOURCES, Topic

KEYS = {
    "note-events": "note_id",
    "note-tagged": "note_id",
    "interactions": "user_id",
    "training-examples": "user_id",
    "dead-letter-marks": "letter",
}


def documents() -> dict[str, str]:
    """File name -> content of everything that is exported, ready to be written."""
    files = {f"{_slug(event)}.v{version}.schema.json": json_schema(event) for event, version in VERSIONS.items()}
    files["asyncapi.json"] = asyncapi()
    return {name: json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n" for name, content in files.items()}


def export(directory: Path, *, check: bool) -> dict[str, list[str]]:
    """Writes the documents, or with ``check`` only compares.

    Returns:
        ``{"written": [...], "stale": [...]}``, file names; ``stale`` are those that differed from the code (none are written by a check).
    """
    stale = [name for name, text in documents().items() if not _same(directory / name, text)]
    if check:
        return {"written": [], "stale": stale}
    directory.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (directory / name).write_text(documents()[name], encoding="utf-8")
    return {"written": stale, "stale": []}


def json_schema(event: type[Event]) -> dict[str, Any]:
    """JSON Schema (2020-12) of one event; unknown fields are allowed because readers ignore them."""
    schema = msgspec.json.schema(event)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{_slug(event)}.v{VERSIONS[event]}", **schema}


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0: one channel per topic, one message per event version, sending and receiving operations."""
    (_, components) = msgspec.json.schema_components(list(VERSIONS), ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "TagStream",
            "version": "1.0.0",
            "description": "Note events become tags, tags and interactions become reader profiles and recallable notes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in SOURCES + LOGS},
        "operations": {name: operation for topic in SOURCES + LOGS for name, operation in _operations(topic).items()},
        "components": {"schemas": components, "messages": {event.__name__: _message(event) for event in VERSIONS}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    assert topic.event is not None
    name = topic.event.__name__
    kafka = {
        "partitions": topic.partitions,
        "topicConfiguration": {
            "cleanup.policy": [topic.cleanup],
            "retention.ms": topic.retention_ms,
            "max.message.bytes": topic.max_message_bytes,
        },
    }
    fails = "" if topic in LOGS else f" What fails goes to {topic.dead_letters}, bytes untouched, reason in headers."
    return {
        "address": topic.name,
        "description": f"Keyed by {KEYS[topic.name]}.{fails}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": kafka},
    }


def _operations(topic: Topic) -> dict[str, Any]:
    assert topic.event is not None
    channel = {"$ref": f"#/channels/{topic.name}"}
    messages = [{"$ref": f"#/channels/{topic.name}/messages/{topic.event.__name__}"}]
    slug = topic.name.title().replace("-", "")
    return {f"{action}{slug}": {"action": action, "channel": channel, "messages": messages} for action in ("send", "receive")}


def _message(event: type[Event]) -> dict[str, Any]:
    header = {"type": "string", "const": str(VERSIONS[event]), "description": "absent means 1"}
    return {
        "name": event.__name__,
        "title": (event.__doc__ or "").strip().split("\n")[0],
        "description": f"At most {EVENT_MAX_BYTES} bytes. Unknown fields are ignored, missing required ones are refused.",
        "headers": {"type": "object", "properties": {VERSION_HEADER: header}},
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
    }


def _slug(event: type[Event]) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in event.__name__).lstrip("-")


def _same(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except OSError:
        return False
