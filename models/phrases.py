"""Candidate phrases of a note, with where they stand.

English: runs of words between punctuation, function words and verbs, cut into one to four words. Chinese: segmentation and word classes by
rjieba, then joins of up to four words. A phrase of the handbook counts wherever it stands. The text looked at is bounded per part, so a
note of 1 MB costs no more than one of a few thousand characters.
"""

from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct, field

from models.text import PlainText, has_han, plain
from models.words import WORD, Use, Words, stem
from schemas.events import Evidence, EvidenceSource, NoteEvent

TITLE_LIMIT = 400
BODY_LIMIT = 4_000
PRODUCT_LIMIT = 600
PRODUCTS_LIMIT = 8
ATTRIBUTES_LIMIT = 8
PRODUCT_SPAN = 1_000_000  # a product's evidence position is index * span + offset
MAXWORDS = 4
MAX_CHARACTERS = 60
MAX_HAN = 10

# word classes of rjieba (ICTCLAS letters)
_ZH_BREAKS = frozenset(["r", "p", "c", "x", "y", "e", "o", "m", "u"])
_ZH_NOUNS = frozenset(["n", "g", "j", "l", "i", "s", "k", "b"])
_ZH_OPEN = frozenset(["v", "a", "z", "d"])
_ZH_RESULTS = ("成", "进", "到", "出", "完", "好", "起来")  # a verb that ends so takes an object: it ends a phrase
_ZH_PREFIXES = frozenset(["不", "没", "无", "免", "半", "可", "防", "易"])  # one word with the next: 不拔干, 半哑光


class Token(Struct, frozen=True, gc=False):
    """A word in a segment. ``ends``: no phrase goes over it; ``tail``: a phrase may end here; ``alone``: it may be a phrase by itself."""

    text: str
    stem: str
    start: int
    end: int
    ends: bool
    weak: bool
    tail: bool
    alone: bool
    verb: bool = False


class Part(Struct, frozen=True):
    """One text of a note: its source, the evidence position of its first character, and the cut, normalised text."""

    source: EvidenceSource
    base: int
    content: PlainText


class Phrase(Struct):
    """A candidate. ``key``: its stems; ``uses``: where the handbook has it; ``span``: (number of words before it, of words in its part);
    ``odd``: an English plural or a Chinese verb stands inside, as in a clause."""

    text: str
    key: tuple[str, ...]
    weak: int
    han: bool
    tail: bool
    uses: list[Use]
    span: tuple[int, int]
    odd: bool
    evidence: list[Evidence] = field(default_factory=list)
    sources: set[EvidenceSource] = field(default_factory=set)
    count: int = 0
    context: list[str] = field(default_factory=list)


def parts_of(note: NoteEvent) -> list[Part]:
    """The texts of a note that the tagger looks at, cut by code points: title 400, body 4,000, each field of the first 8 products 600."""
    parts = [Part("title", 0, plain(note.title, TITLE_LIMIT)), Part("body", 0, plain(note.body, BODY_LIMIT))]
    for index, product in enumerate(note.products[:PRODUCTS_LIMIT]):
        base = index * PRODUCT_SPAN
        for text in (product.name, product.brand, product.description):
            if base + PRODUCT_LIMIT <= (index + 1) * PRODUCT_SPAN:  # beyond it, a position would name the next card
                parts.append(Part("product", base, plain(text, PRODUCT_LIMIT)))
            base += len(text) + 1
    return parts


def find_phrases(parts: list[Part], words: Words) -> dict[tuple[str, ...], Phrase]:
    """Every candidate of a note by its stems, in order of appearance."""
    found: dict[tuple[str, ...], Phrase] = {}
    for part in parts:
        segments = list(_segments(part.content.text, words))
        total = sum(map(len, segments))
        before = 0
        for tokens in segments:
            _collect(found, tokens, part, (before, total), words)
            before += len(tokens)
    return found


def _collect(found: dict[tuple[str, ...], Phrase], tokens: list[Token], part: Part, span: tuple[int, int], words: Words) -> None:
    stems = [token.stem for token in tokens]
    text = part.content.text
    for first, head in enumerate(tokens):
        open_end = True  # no token so far ends a phrase
        for last in range(first, min(first + max(words.longest, MAXWORDS), len(tokens))):
            token = tokens[last]
            open_end = open_end and not token.ends
            surface = " ".join(text[head.start : token.end].split())
            if len(surface) > MAX_CHARACTERS:
                break
            key = tuple(stems[first : last + 1])
            uses = words.uses.get(key) or words.uses.get((surface,)) or []
            named = first > 0 and head.text.isdigit() and not tokens[first - 1].ends  # the 2 of a model's name
            if not uses and not (open_end and not named and last - first < MAXWORDS and _shaped(tokens[first : last + 1], surface)):
                if not open_end and last - first >= words.longest:
                    break
                continue
            phrase = found.get(key)
            if phrase is None:
                weak = sum(word.weak for word in tokens[first : last + 1])
                place = (span[0] + first, span[1])
                inner = tokens[first:last] if not has_han(surface) else tokens[first + 1 : last + 1]
                odd = any(word.verb for word in inner)
                phrase = found[key] = Phrase(
                    surface, key, weak, has_han(surface), token.tail and not token.weak, uses, place, odd, context=stems
                )
            phrase.count += 1
            phrase.sources.add(part.source)
            if len(phrase.evidence) < 3:
                phrase.evidence.append(Evidence(source=part.source, position=part.base + part.content.offsets[head.start]))


def _shaped(tokens: list[Token], surface: str) -> bool:
    """Whether words look like a noun phrase."""
    first, last = tokens[0], tokens[-1]
    if not last.tail or all(token.weak for token in tokens):
        return False
    if len(tokens) == 1:
        return first.alone
    if any(one.stem == two.stem for one, two in pairwise(tokens)):
        return False
    if has_han(surface):
        return len(surface) <= MAX_HAN + 6 * (not has_han(first.text) or not has_han(last.text))
    return not first.text.endswith("ly")


def _segments(text: str, words: Words) -> Iterator[list[Token]]:
    for line in _lines(text):
        start, end = line
        if has_han(text[start:end]):
            yield from _chinese(text, start, end, words)
        else:
            yield from _english(text, start, end, words)


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for line in text.split("\n"):
        if line:
            yield start, start + len(line)
        start += len(line) + 1


def _english(text: str, start: int, end: int, words: Words) -> Iterator[list[Token]]:
    tokens: list[Token] = []
    previous = start
    for found in WORD.finditer(text, start, end):
        if tokens and not text[previous : found.start()].isspace():
            yield tokens
            tokens = []
        tokens.append(_english_token(found.group(), found.start(), words))
        previous = found.end()
    if tokens:
        yield tokens


def _english_token(word: str, start: int, words: Words) -> Token:
    ends = word in words.breaks or len(word) > 30
    number = word[0].isdigit() and not word[-1].isalpha()
    weak = word in words.weak or number
    root = stem(word)
    tail = (
        not ends
        and not number
        and not (word.endswith("ly") and root not in words.all_heads)
        and not (word in words.adjectives and root not in words.all_heads)
    )
    tail = tail and len(word) > 1
    return Token(word, root, start, start + len(word), ends, weak, tail, tail and not weak and len(word) > 2, root != word)


def _chinese(text: str, start: int, end: int, words: Words) -> Iterator[list[Token]]:
    tokens: list[Token] = []
    position = start
    latin_before = False
    for word, kind in _joined(words.jieba.tag(text[start:end])):
        begin, position = position, position + len(word)
        if word.isspace():
            latin_before = latin_before and bool(tokens)
            if tokens and not latin_before:
                yield tokens
                tokens = []
            continue
        if kind == "x" and not any(character.isalnum() for character in word):
            if tokens:
                yield tokens
            tokens = []
            continue
        latin = not has_han(word)
        if tokens and begin > tokens[-1].end and not (latin and latin_before):
            yield tokens
            tokens = []
        tokens.append(_english_token(word, begin, words) if latin else _chinese_token(word, kind, begin, words))
        latin_before = latin
    if tokens:
        yield tokens


def _joined(tagged: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Words with a prefix that rjieba leaves alone put together with what it negates or qualifies."""
    held = ""
    for word, kind in tagged:
        if held and has_han(word) and 2 <= len(word) <= 3 and kind[:1] in "nva":
            yield held + word, "l"
            held = ""
            continue
        if held:
            yield held, "d"
        held = word if word in _ZH_PREFIXES else ""
        if not held:
            yield word, kind
    if held:
        yield held, "d"


def _chinese_token(word: str, kind: str, start: int, words: Words) -> Token:
    known = word in words.all_heads and word not in words.breaks_zh
    letter = kind[:1]
    verb = letter == "v" and kind != "vn" and not known
    ends = not known and (
        word in words.breaks_zh
        or letter in _ZH_BREAKS
        or len(word) > MAX_HAN
        or (letter in "dt" and (len(word) == 1 or word not in words.spread))
        or (len(word) == 1 and letter in "qf")
        or (verb and word.endswith(_ZH_RESULTS))
    )
    noun = known or letter in _ZH_NOUNS or kind in ("vn", "an", "zg", "eng")
    tail = not ends and (noun or (letter in _ZH_OPEN and len(word) > 1))
    alone = tail and noun and len(word) > 1 and word not in words.weak
    return Token(word, word, start, start + len(word), ends, word in words.weak, tail, alone, verb)
