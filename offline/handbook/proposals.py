"""What a model proposes for a category: its answer read tolerantly, and drafts as files that an expert may read and edit."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from models.answers import clean_text
from models.handbook import CategoryHandbook, Dimension, Name, Pairs, Slug, Text, pair_fault
from models.prompts.data import escaped
from offline.handbook.files import draft_text
from offline.handbook.provenance import Source
from offline.handbook.three_way import EXAMPLES_LEAST, EXAMPLES_MOST
from offline.handbook.tree import Tree
from offline.whole_file import write_whole
from schemas.errors import BadSetting
from schemas.events import Category

ENTRY_MAX, SENTENCE_MAX, CUES_MAX = 60, 300, 30
_DECODER = json.JSONDecoder()
_SLUG = re.compile(r"^[a-z][a-z0-9_]{0,39}$")


class Proposal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """For one dimension: a new one has all fields, one that exists only what is to be added or changed. ``reason``: the model's words."""

    id: Slug
    reason: str = ""
    name: Name | None = None
    description: Text | None = None
    examples: Pairs = field(default_factory=dict)
    cues: list[Text] = field(default_factory=list)


class Draft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The proposals for a category. ``dropped``: what the answer held beside them, and why it is none."""

    category: Category
    source: Source
    dropped: list[str] = field(default_factory=list)
    dimensions: list[Proposal]

    def tree(self) -> Tree:
        """The proposals as a tree to merge."""
        found: Tree = {}
        for one in self.dimensions:
            fields: dict[str, Any] = {}
            if one.name is not None:
                fields["name"] = {"en": one.name.en, "zh": one.name.zh}
            if one.description is not None:
                fields["description"] = one.description
            if one.examples:
                fields["examples"] = dict(one.examples)
            if one.cues:
                fields["cues"] = dict.fromkeys(one.cues, True)
            found[one.id] = fields
        return {"dimensions": found}


class Parsed(Struct):
    """``dimensions``: proposals that can be used; ``dropped``: what cannot, and why; ``readable``: whether any dimension was named."""

    dimensions: list[Proposal] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    readable: bool = False


def parse_proposals(text: str, book: CategoryHandbook) -> Parsed:
    """Reads an answer; fences, talk around the JSON and an end that is cut off are put up with.

    Args:
        text: the model's answer, untrusted.
        book: the handbook that was expanded; what it holds already is no proposal.
    """
    reader = _Reader(book)
    for entry in _objects(text):
        if isinstance(entry.get("id"), str):
            reader.read(entry)
    return reader.parsed


def read_draft(path: Path) -> Draft:
    """Reads a draft, which an expert may have edited.

    Raises:
        BadSetting: naming the file and the field.
    """
    try:
        draft = msgspec.yaml.decode(path.read_bytes(), type=Draft)
    except OSError as error:
        raise BadSetting(f"{path}: cannot be read ({error.strerror}); make drafts with `tagstream offline handbook expand`") from None
    except msgspec.DecodeError as error:
        raise BadSetting(f"{path}: {error}") from None
    for number, one in enumerate(draft.dimensions):
        for en, zh in one.examples.items():
            if reason := pair_fault(en, zh):
                raise BadSetting(f"{path}: $.dimensions[{number}].examples: {reason}")
    return draft


def read_drafts(path: Path) -> list[Draft]:
    """The draft of a file, or those of a directory."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise BadSetting(f"{path}: holds no draft; make drafts with `tagstream offline handbook expand --out DIR`, they lie in DIR/drafts")
    return [read_draft(file) for file in files]


def write_draft(path: Path, draft: Draft) -> None:
    """Writes a draft as YAML in the style of the handbook's files."""
    write_whole(path, draft_text(msgspec.to_builtins(draft)))


class _Reader:
    def __init__(self, book: CategoryHandbook) -> None:
        self.parsed = Parsed()
        self._existing = {one.id: one for one in book.dimensions}
        self._taken = {side.casefold() for one in book.dimensions for pair in one.examples.items() for side in pair}
        self._ids: set[str] = set()

    def read(self, entry: dict[str, Any]) -> None:
        self.parsed.readable = True
        name = re.sub(r"[^a-z0-9]+", "_", entry["id"].lower()).strip("_")
        if not _SLUG.match(name) or name in self._ids:
            self.drop(f"{entry['id'][:ENTRY_MAX]!r} is no id of a dimension" if name not in self._ids else f"{name} is proposed twice")
            return
        self._ids.add(name)
        was = self._existing.get(name)
        en, zh = (_text(entry.get(key), ENTRY_MAX) for key in ("name_en", "name_zh"))
        description = _sentence(entry.get("description"))
        named = Name(en, zh) if en and zh and pair_fault(en, zh) is None else None
        if was is not None:
            named = None if named == was.name else named
            description = "" if description == was.description else description
        examples = self.examples(name, entry.get("examples"), EXAMPLES_MOST)
        cues = _cues(entry.get("cues"), was)
        if was is None and (named is None or not description or len(examples) < EXAMPLES_LEAST):
            lacks = "a name in both languages" if named is None else "a description" if not description else f"{EXAMPLES_LEAST} examples"
            self.drop(f"{name} is new and lacks {lacks}")
        elif named or description or examples or cues:
            reason = _sentence(entry.get("reason"))
            found = Proposal(id=name, reason=reason, name=named, description=description or None, examples=examples, cues=cues)
            self.parsed.dimensions.append(found)

    def examples(self, name: str, given: Any, most: int) -> Pairs:
        found: Pairs = {}
        for one in given if isinstance(given, list) else ():
            sides = one if isinstance(one, dict) else {}
            en, zh = _text(sides.get("en"), ENTRY_MAX).lower(), _text(sides.get("zh"), ENTRY_MAX)
            if not en or not zh:
                self.drop(f"{name}: an example is no pair of English and Chinese")
            elif reason := pair_fault(en, zh):
                self.drop(f"{name}: {reason}")
            elif en in self._taken or zh.casefold() in self._taken:
                self.drop(f"{name}: {en} is there already")
            elif len(found) == most:
                self.drop(f"{name}: {en} is one example too many")
            else:
                self._taken |= {en, zh.casefold()}
                found[en] = zh
        return found

    def drop(self, why: str) -> None:
        self.parsed.dropped.append(why)


def _cues(given: Any, was: Dimension | None) -> list[str]:
    there = {cue.casefold() for cue in was.cues} if was is not None else set()
    found = (_text(one, ENTRY_MAX).lower() for one in (given if isinstance(given, list) else ()))
    return list(dict.fromkeys(cue for cue in found if cue and cue not in there))[:CUES_MAX]


def _text(value: Any, most: int) -> str:
    """A clean tag; empty where it is none, is too long, or holds what might be markup or a template's token."""
    text = clean_text(value[: 4 * most]) if isinstance(value, str) else ""
    return text if len(text) <= most and "<" not in text and ">" not in text else ""


def _sentence(value: Any) -> str:
    return escaped(value, SENTENCE_MAX) if isinstance(value, str) else ""


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Objects with an id, wherever they stand; those after a cut or a fault as well."""
    at = text.find("{")
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        inner = value.get("dimensions")
        yield from (one for one in (inner if isinstance(inner, list) else [value]) if isinstance(one, dict))
        at = text.find("{", end)
