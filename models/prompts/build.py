"""One note's chat: the handbook's dimensions and the rules as system, pictures and escaped fields as user."""

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from string import Template
from typing import Any

from msgspec import Struct

from models.handbook import CategoryHandbook, Handbook
from models.prompts.data import escaped
from models.prompts.schema import Schema, answer_schema
from models.prompts.styles import STYLES, Style
from models.roles import NoteMedia, SeenImage
from models.text import language_of
from schemas.errors import BadSetting
from schemas.events import CATEGORIES, Category, NoteEvent

JPEG_QUALITY = 90
Chat = list[dict[str, Any]]


class ChatPart(Struct, frozen=True):
    """A piece of the user's turn: text, or a picture."""

    text: str = ""
    image: SeenImage | None = None


class Prompt(Struct, frozen=True):
    """What a model is asked about one note. ``images``: those of ``user``, in order; ``category``: the note's, None where the model is to
    choose; ``data``: the escaped fields as they stand in ``user``, for tests."""

    system: str
    user: list[ChatPart]
    category: Category | None
    data: list[str]

    @property
    def images(self) -> list[SeenImage]:
        """The pictures, in the order of their places."""
        return [part.image for part in self.user if part.image is not None]

    def chat(self) -> Chat:
        """Messages for a transformers chat template; the pictures themselves go to the processor, from ``images``."""
        user = [{"type": "image"} if part.image is not None else {"type": "text", "text": part.text} for part in self.user]
        return [{"role": "system", "content": [{"type": "text", "text": self.system}]}, {"role": "user", "content": user}]

    def endpoint_chat(self, max_side: int = 1024) -> Chat:
        """Messages for an OpenAI-compatible endpoint, pictures as JPEG data URLs of at most ``max_side`` pixels a side."""
        user = [
            {"type": "image_url", "image_url": {"url": _data_url(part.image, max_side)}}
            if part.image is not None
            else {"type": "text", "text": part.text}
            for part in self.user
        ]
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]


class Prompts:
    """Makes them.

    Args:
        handbook: the interest dimensions.
        style: one of ``STYLES`` by name, or another one.
        max_tags: the most tags of an answer.
        specials: the special tokens of the model's tokenizer, where they are known; no note can write them.

    Raises:
        BadSetting: when there is no such style.
    """

    def __init__(self, handbook: Handbook, style: str | Style = "full", max_tags: int = 10, specials: Sequence[str] = ()) -> None:
        if not isinstance(style, Style) and style not in STYLES:
            raise BadSetting(f"there is no prompt style {style!r}; choose of: {', '.join(STYLES)}")
        self.handbook = handbook
        self.style = style if isinstance(style, Style) else STYLES[style]
        self.max_tags = max_tags
        self.version = f"{self.style.version}-{max_tags}"
        self._specials = tuple(sorted(specials, key=len, reverse=True))
        self._books: dict[tuple[Category | None, bool], str] = {}

    def of(self, note: NoteEvent, media: NoteMedia | None = None, known: Sequence[str] = ()) -> Prompt:
        """The prompt of one note.

        Args:
            note: what was published.
            media: its media; None or empty where there are none.
            known: tags that other notes of the category have and that may fit, nearest first; styles may leave them out.
        """
        media = media or NoteMedia()
        mark = mark_of(note, media)
        fields = list(self._fields(note, media))
        chinese = language_of(f"{note.title}\n{note.body[:1000]}") in ("zh", "mixed")
        system = Template(self.style.system).substitute(mark=mark, max_tags=self.max_tags)
        lines = [self._book(note.category, chinese)]
        offered = [escaped(text, 60, self._specials) for text in known[: self.style.limits.known]]
        if offered:
            lines.append(f"Known tags: {'; '.join(offered)}")
        body = [f"<{name}>{text}</{name}>" for name, text in fields]
        if self.style.marked:
            body = [f"<note-{mark}>", *body, f"</note-{mark}>"]
        if self.style.descriptions:
            system = "\n".join([system, *lines])
            lines = []
        user = [*_pictures(media), ChatPart(text="\n".join([*lines, *body]))]
        return Prompt(system, user, note.category, [text for _, text in fields])

    def schema(self, category: Category | None) -> Schema:
        """The JSON schema of the answer for a note of this category; None where the model chooses it."""
        return answer_schema(self.handbook, category, self.max_tags)

    def _fields(self, note: NoteEvent, media: NoteMedia) -> Iterator[tuple[str, str]]:
        limits = self.style.limits
        texts = [("title", note.title, limits.title), ("body", note.body, limits.body)]
        cards = [" | ".join(filter(None, (card.name, card.brand, card.description))) for card in note.products[: limits.products]]
        texts += [("product", card, limits.product) for card in cards]
        spoken = [one.utterance.text for one in media.speech[: limits.utterances]]
        texts.append(("speech", " ".join(spoken), limits.speech))
        for name, text, limit in texts:
            line = escaped(text, limit, self._specials)
            if line:
                yield name, line

    def _book(self, category: Category | None, chinese: bool) -> str:
        key = (category, chinese)
        if key not in self._books:
            self._books[key] = self._written(category, chinese)
        return self._books[key]

    def _written(self, category: Category | None, chinese: bool) -> str:
        if category is None:
            books = [self.handbook.category(name) for name in CATEGORIES]
            listed = [f"- {book.category}: {', '.join(one.id for one in book.dimensions)}" for book in books]
            return "\n".join([self.style.no_category, *(listed if self.style.descriptions else ())])
        book = self.handbook.category(category)
        named = f"{category} ({book.name.en})" if self.style.descriptions else category
        head = Template(self.style.category).substitute(category=named)
        if not self.style.descriptions:
            return " ".join([head, *(dimension.id for dimension in book.dimensions)])
        return "\n".join([head, *_described(book, self.style.examples, chinese)])


def mark_of(note: NoteEvent, media: NoteMedia) -> str:
    """A mark that depends on all that the note says, so that none can contain its own; the same note always has the same."""
    digest = hashlib.blake2b(digest_size=8)
    texts = [note.note_id, note.title, note.body, *(one.utterance.text for one in media.speech)]
    texts += [text for card in note.products for text in (card.name, card.brand, card.description)]
    for text in texts:
        encoded = text.encode("utf-8", "replace")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _pictures(media: NoteMedia) -> Iterator[ChatPart]:
    """The pictures in the note's order, each run of one source under its name."""
    before = ""
    for image in media.images:
        if image.source != before:
            yield ChatPart(text=f"{image.source}:")
            before = image.source
        yield ChatPart(image=image)


def _described(book: CategoryHandbook, examples: int, chinese: bool) -> Iterator[str]:
    for dimension in book.dimensions:
        words = list(dimension.examples.values() if chinese else dimension.examples)[:examples]
        name = dimension.name.zh if chinese else dimension.name.en
        yield f"- {dimension.id} ({name}): {dimension.description} Such as: {', '.join(words)}"


def _data_url(image: SeenImage, max_side: int) -> str:
    from PIL import Image

    picture = Image.fromarray(image.pixels)
    picture.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
