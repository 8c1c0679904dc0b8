"""The JSON schema of an answer: a list of tags of one category's dimensions, or the category with them where it is not known."""

from typing import Any

from models.handbook import Handbook
from schemas.events import CATEGORIES, Category, EvidenceSource

SOURCES: tuple[EvidenceSource, ...] = EvidenceSource.__args__  # type: ignore[attr-defined]
TEXT_MAX = 60  # characters of a tag
Schema = dict[str, Any]


def answer_schema(handbook: Handbook, category: Category | None, max_tags: int) -> Schema:
    """``[{"text", "dimension", "source"}]``, most important first; without a category ``{"category", "tags": [...]}``, where the tags are
    limited to that category's dimensions."""
    if category is not None:
        return _tags(handbook, category, max_tags)
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {"category": {"const": name}, "tags": _tags(handbook, name, max_tags)},
                "required": ["category", "tags"],
                "additionalProperties": False,
            }
            for name in CATEGORIES
        ]
    }


def _tags(handbook: Handbook, category: Category, max_tags: int) -> Schema:
    return {
        "type": "array",
        "maxItems": max_tags,
        "items": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "minLength": 1, "maxLength": TEXT_MAX},
                "dimension": {"enum": [dimension.id for dimension in handbook.category(category).dimensions]},
                "source": {"enum": list(SOURCES)},
            },
            "required": ["text", "dimension", "source"],
            "additionalProperties": False,
        },
    }
