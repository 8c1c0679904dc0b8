"""The User Interest Handbook (TagLLM, section 3.1): per category the dimensions that readers care about, as data in ``models/handbook/``.

One YAML file per category of appendix A plus ``shared.yaml`` (colours, materials and other words of every category). Examples and terms are
aligned English to Chinese pairs, so the handbook is also the bilingual glossary of the tag encoder.
"""

import hashlib
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from schemas.errors import BadSetting
from schemas.events import CATEGORIES, Category

HANDBOOK_DIR = Path(__file__).with_name("handbook")
SHARED = "shared"
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_AT = re.compile(r" - at `(?P<path>[^`]+)`$")

Text = Annotated[str, Meta(min_length=1)]
Slug = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]
Pairs = dict[Text, Text]
T = TypeVar("T", bound=Struct)


class Name(Struct, frozen=True, forbid_unknown_fields=True):
    """A name in both languages."""

    en: Text
    zh: Text


class Concept(Struct, frozen=True, forbid_unknown_fields=True):
    """A tag that notes share: given where a note's text supports it, whether or not it says so in these words.

    ``cues``: words of either language that speak for it; ``murder*`` is any word that begins so, plurals are found by themselves."""

    en: Text
    zh: Text
    cues: Annotated[list[Text], Meta(min_length=1)]


class Dimension(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing readers of a category care about. ``examples``: English to Chinese; ``cues``: words of either language that signal it;
    ``names_works``: the names of films, books or songs that a note is about are tags of this dimension."""

    id: Slug
    name: Name
    description: Text
    examples: Annotated[Pairs, Meta(min_length=8, max_length=20)]
    cues: list[Text] = field(default_factory=list)
    concepts: list[Concept] = field(default_factory=list)
    names_works: bool = False


class CategoryHandbook(Struct, frozen=True, forbid_unknown_fields=True):
    """The handbook of one category. ``terms``: the things its notes are about, English to Chinese."""

    version: Annotated[int, Meta(ge=1)]
    category: Category
    name: Name
    description: Text
    terms: Pairs
    dimensions: Annotated[list[Dimension], Meta(min_length=6, max_length=12)]


class SharedTerms(Struct, frozen=True, forbid_unknown_fields=True):
    """Words that belong to every category: ``modifiers`` (colours, materials, patterns, seasons) and ``things``; English to Chinese."""

    version: Annotated[int, Meta(ge=1)]
    modifiers: Pairs
    things: Pairs


class Handbook(Struct, frozen=True, dict=True):
    """All categories, in the order of ``schemas.events.CATEGORIES``."""

    categories: dict[Category, CategoryHandbook]
    shared: SharedTerms

    def category(self, name: Category) -> CategoryHandbook:
        """The handbook of one category."""
        return self.categories[name]

    def glossary(self) -> dict[str, str]:
        """Chinese term -> English term, from examples, terms, names and shared words; of two entries for a term the first wins."""
        pairs: dict[str, str] = {}
        for terms in (self.shared.modifiers, self.shared.things):
            _add(pairs, terms)
        for book in self.categories.values():
            _add(pairs, book.terms)
        for book in self.categories.values():
            for dimension in book.dimensions:
                _add(pairs, dimension.examples)
        for book in self.categories.values():
            _add(pairs, {book.name.en.lower(): book.name.zh})
            _add(pairs, {dimension.name.en.lower(): dimension.name.zh for dimension in book.dimensions})
        return pairs

    @cached_property
    def digest(self) -> str:
        """Hex digest of the content; formatting and comments of the files do not count."""
        return hashlib.blake2b(msgspec.json.encode([self.shared, list(self.categories.values())]), digest_size=16).hexdigest()

    @property
    def version(self) -> str:
        """Highest version of any file, and the start of the digest."""
        newest = max(self.shared.version, *(book.version for book in self.categories.values()))
        return f"{newest}-{self.digest[:8]}"


def load_handbook(path: Path | str | None = None) -> Handbook:
    """Reads and checks a handbook directory.

    Args:
        path: a directory with ``<category>.yaml`` for every category and ``shared.yaml``; the one shipped by default.

    Raises:
        BadSetting: naming the file, the field and what is wrong with it.
    """
    root = HANDBOOK_DIR if path is None else Path(path)
    books = {}
    for category in CATEGORIES:
        file = root / f"{category}.yaml"
        book = _read(file, CategoryHandbook)
        _check(file, book, category)
        books[category] = book
    shared_file = root / f"{SHARED}.yaml"
    shared = _read(shared_file, SharedTerms)
    _check_pairs(shared_file, "$.modifiers", shared.modifiers)
    _check_pairs(shared_file, "$.things", shared.things)
    return Handbook(books, shared)


def pair_fault(en: str, zh: str) -> str | None:
    """What is wrong with the sides of a pair; None where nothing is."""
    if _HAN.search(en):
        return f"{en!r} stands on the English side; write English: Chinese"
    if not _HAN.search(zh):
        return f"{zh!r} stands on the Chinese side; write English: Chinese"
    return None


@lru_cache(maxsize=2 * (len(CATEGORIES) + 1))
def _decode(content: bytes, kind: type[Any]) -> Any:
    """Each content once: parsing takes longest, and several parts of a process read the same handbook."""
    return msgspec.yaml.decode(content, type=kind)


def _read(file: Path, kind: type[T]) -> T:
    try:
        book: T = _decode(file.read_bytes(), kind)
        return book
    except OSError as error:
        raise BadSetting(f"{file}: cannot be read ({error.strerror}); a handbook needs one file per category") from None
    except msgspec.DecodeError as error:
        reason = str(error)
        at = _AT.search(reason)
        where = at["path"] if at else "$"
        raise BadSetting(f"{file}: {where}: {reason[: at.start()] if at else reason}") from None


def _check(file: Path, book: CategoryHandbook, category: Category) -> None:
    if book.category != category:
        raise BadSetting(f"{file}: $.category: is {book.category}, the file's name says {category}")
    seen: set[str] = set()
    named: set[str] = set()
    for number, dimension in enumerate(book.dimensions):
        if dimension.id in seen:
            raise BadSetting(f"{file}: $.dimensions[{number}].id: {dimension.id} is used twice")
        seen.add(dimension.id)
        _check_pairs(file, f"$.dimensions[{number}].examples", dimension.examples)
        _check_concepts(file, f"$.dimensions[{number}].concepts", dimension.concepts, named)
    _check_pairs(file, "$.terms", book.terms)


def _check_concepts(file: Path, where: str, concepts: list[Concept], named: set[str]) -> None:
    for number, concept in enumerate(concepts):
        _check_pairs(file, f"{where}[{number}]", {concept.en: concept.zh})
        for name in (concept.en, concept.zh):
            if name in named:
                raise BadSetting(f"{file}: {where}[{number}]: {name!r} is used twice in the category")
            named.add(name)


def _check_pairs(file: Path, where: str, pairs: Pairs) -> None:
    for en, zh in pairs.items():
        if reason := pair_fault(en, zh):
            raise BadSetting(f"{file}: {where}: {reason}")


def _add(pairs: dict[str, str], terms: Pairs) -> None:
    for en, zh in terms.items():
        pairs.setdefault(zh, en)
