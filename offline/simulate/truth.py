"""What is true of a simulated note, and what tells it: for judges that know the answer, and for tests.

A truth file is JSON lines, one ``Truth`` a note in the order of the notes.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from msgspec import Struct, field

from offline.json_lines import read_records
from offline.samples.drawing import Look
from offline.simulate.catalogue import Kind, Language
from schemas.events import Category, EvidenceSource


class Attribute(Struct, frozen=True, kw_only=True):
    """Something true of a note, in both languages, and everything in the note that tells it.

    ``title``, ``body``, ``product``: the words in the note's language stand there. ``audio``: they are spoken. ``image``, ``video``: an
    item, colour or pattern is seen, a phrase is printed there, in English and capitals.
    """

    kind: Kind
    dimension: str
    en: str
    zh: str
    sources: list[EvidenceSource]

    def text(self, language: Language) -> str:
        """The tag that says it."""
        return self.en if language == "en" else self.zh


class Untrue(Struct, frozen=True, kw_only=True):
    """Something that the body mentions though it is not true of the note.

    ``denied``: the body says that it is not so. Otherwise the body claims it against the product card, which is right: a contradiction.
    ``instead_of``: the English words of the true attribute of that dimension, empty where there is none.
    """

    dimension: str
    en: str
    zh: str
    denied: bool
    instead_of: str = ""


class Scene(Struct, frozen=True, kw_only=True):
    """What a picture or a shot shows: names of silhouettes, colours and patterns in ``offline/samples``, and the printed label."""

    object: str
    colour: str
    accent: str
    pattern: str
    label: str

    @property
    def look(self) -> Look:
        """As the drawing takes it."""
        return Look(self.object, self.colour, self.accent, self.pattern, self.label)


class Voice(Struct, frozen=True, kw_only=True):
    """Who speaks: an espeak-ng voice with variant, pitch 0 to 99, speed in words a minute."""

    name: str
    pitch: int
    speed: int


class Truth(Struct, frozen=True, kw_only=True):
    """The truth of one note. It is that of the whole note: pictures, clip and voice belong to it whether they were rendered or not.

    ``quality`` in [0, 1]; ``low_quality`` notes say little. ``images``: scene of each, ``shots``: of each shot of the clip, both may be
    empty. ``spoken``: what is said in the note's language, empty without a voice.
    """

    note_id: str
    category: Category
    language: Language
    quality: float
    low_quality: bool = False
    product: str = ""
    attributes: list[Attribute] = field(default_factory=list)
    untrue: list[Untrue] = field(default_factory=list)
    images: list[Scene] = field(default_factory=list)
    shots: list[Scene] = field(default_factory=list)
    spoken: str = ""
    voice: Voice | None = None

    def told_by(self, sources: Collection[EvidenceSource]) -> list[Attribute]:
        """The attributes that at least one of the sources tells, most important first."""
        return [attribute for attribute in self.attributes if any(source in sources for source in attribute.sources)]

    def tags(self, language: Language | None = None) -> list[str]:
        """The true tags, most important first, in the note's language or the one asked for."""
        return list(dict.fromkeys(attribute.text(language or self.language) for attribute in self.attributes))

    def all_tags(self) -> list[str]:
        """The true tags in the note's language, then those in the other one."""
        other: Language = "zh" if self.language == "en" else "en"
        return list(dict.fromkeys(self.tags() + self.tags(other)))

    @property
    def contradicts(self) -> bool:
        """Whether the body claims something else than the product card."""
        return any(not one.denied for one in self.untrue)


def read_truth(path: Path) -> Iterator[Truth]:
    """The truths of a file, one at a time.

    Raises:
        MissingPrerequisite: when the file is absent.
        BadSetting: naming the line that is no truth.
    """
    return read_records(path, Truth, f"write it with `tagstream offline simulate notes --truth {path}`")


def truth_by_note(path: Path) -> dict[str, Truth]:
    """``read_truth`` by note id, all in memory."""
    return {truth.note_id: truth for truth in read_truth(path)}
