"""A model's answer read tolerantly: the second line after constrained decoding, and the only one for endpoints that cannot constrain.

Code fences, talk around the JSON, answers that were cut off and unknown fields are put up with. What is no tag of the handbook's dimensions
never leaves.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from models.handbook import Handbook
from models.prompts.schema import SOURCES, TEXT_MAX
from schemas.events import CATEGORIES, Category, EvidenceSource

ANSWER_MAX = 16_000  # characters looked at
_CATEGORY = re.compile(r'"category"\s*:\s*"([a-z]{1,20})"')
_TEXT = re.compile(r'"text"\s*:\s*"')
_DECODER = json.JSONDecoder()
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn"))


class FoundTag(Struct, frozen=True):
    """A tag as the model gave it. ``source``: None where it named none that exists; ``start``, ``end``: where its text stands in the
    output, for the tokens' probabilities."""

    text: str
    dimension: str
    source: EvidenceSource | None
    start: int
    end: int


class Answer(Struct, frozen=True):
    """Tags in the model's order, texts unique whatever their case. ``dropped``: how many entries were none."""

    category: Category | None
    tags: list[FoundTag] = field(default_factory=list)
    dropped: int = 0


def parse_answer(output: str, handbook: Handbook, category: Category | None, max_tags: int) -> Answer:
    """Reads an answer.

    Args:
        output: what the model wrote; its first 16,000 characters count.
        handbook: whose dimensions are allowed.
        category: the note's; None where the model was to choose it. An answer without a category then has no tags.
        max_tags: tags beyond are dropped.
    """
    output = output[:ANSWER_MAX]
    found = list(_objects(output))
    if category is None:
        category = _category(output, found)
    if category is None:
        return Answer(None, [], len(found))
    allowed = {dimension.id for dimension in handbook.category(category).dimensions}
    tags: dict[str, FoundTag] = {}
    dropped = 0
    for entry, start, end in found:
        tag = _tag(entry, output, (start, end), allowed)
        if tag is None or tag.text.casefold() in tags or len(tags) >= max_tags:
            dropped += "text" in entry
            continue
        tags[tag.text.casefold()] = tag
    return Answer(category, list(tags.values()), dropped)


def clean_text(text: str) -> str:
    """A tag's text in one line, compatibility forms folded, without invisible characters."""
    folded = unicodedata.normalize("NFKC", text)
    kept = "".join(" " if one.isspace() else one for one in folded if one.isspace() or unicodedata.category(one) not in _INVISIBLE)
    return " ".join(kept.split()).strip("\"'“”‘’,.;:，。；：")


def _objects(output: str) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Every complete object that is no part of another, or is one of its tags, with its place."""
    at = output.find("{")
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(output, at)
        except (ValueError, RecursionError):
            at = output.find("{", at + 1)
            continue
        if isinstance(value.get("tags"), list):
            yield {key: one for key, one in value.items() if key != "tags"}, at, at
            at = output.find("{", at + 1)  # its tags come next, each with its place
            continue
        yield value, at, end
        at = output.find("{", end)


def _category(output: str, found: list[tuple[dict[str, Any], int, int]]) -> Category | None:
    named = [entry.get("category") for entry, _, _ in found] + _CATEGORY.findall(output)
    return next((name for name in named if isinstance(name, str) and name in CATEGORIES), None)


def _tag(entry: dict[str, Any], output: str, place: tuple[int, int], allowed: set[str]) -> FoundTag | None:
    text, dimension, source = entry.get("text"), entry.get("dimension"), entry.get("source")
    if not isinstance(text, str) or not isinstance(dimension, str) or dimension not in allowed:
        return None
    text = clean_text(text[: 4 * TEXT_MAX])
    if not any(character.isalnum() for character in text) or len(text) > TEXT_MAX or "<" in text or ">" in text:  # markup, template tokens
        return None
    named = _TEXT.search(output, *place)
    start = named.end() if named else place[0]
    close = output.find('"', start, place[1])
    return FoundTag(text, dimension, source if source in SOURCES else None, start, close if close > start else place[1])
