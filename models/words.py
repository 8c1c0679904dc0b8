"""What is known about words: function and low-information words per language (``models/lexicon/``), and where the handbook uses a word."""

import re
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from models.handbook import CategoryHandbook, Handbook, Pairs
from schemas.events import Category

LEXICON_DIR = Path(__file__).with_name("lexicon")
TERM = -1  # dimension number of a category's terms
WORD = re.compile(r"[^\W_]+(?:['&+-][^\W_]+|[./](?=\d)(?<=\d[./])\d+)*[+%]?")
_DOUBLED = re.compile(r"[^aeiou][aeiou][bdgklmnprt]$")

Use = tuple[Category, int]


class EnglishWords(Struct, frozen=True, forbid_unknown_fields=True):
    """Lists of ``lexicon/en.yaml``; its comments say what each is for."""

    function: str
    verbs: str
    forms: str
    adjectives: str
    generic: str


class ChineseWords(Struct, frozen=True, forbid_unknown_fields=True):
    """Lists of ``lexicon/zh.yaml``."""

    function: str
    generic: str


class Words:
    """The word lists joined with the words of one handbook.

    ``breaks``: words that end a phrase; ``weak``: words that cannot carry one alone; ``uses``: handbook phrase (by stems, or Chinese
    text) -> where it stands; ``heads`` and ``vocabulary``: per category the stems that end, or occur in, handbook phrases.
    """

    def __init__(self, handbook: Handbook) -> None:
        import rjieba  # its dictionary is read here, and not every process that imports this tags

        english = msgspec.yaml.decode((LEXICON_DIR / "en.yaml").read_bytes(), type=EnglishWords)
        chinese = msgspec.yaml.decode((LEXICON_DIR / "zh.yaml").read_bytes(), type=ChineseWords)
        generic = frozenset(english.generic.split())
        self.breaks = frozenset(english.function.split()) | frozenset(english.forms.split()) | _inflected(english.verbs.split())
        self.adjectives = frozenset(english.adjectives.split())
        self.weak = self.adjectives | generic | {stem(word) for word in generic} | frozenset(chinese.generic.split())
        self.breaks_zh = frozenset(chinese.function.split())
        self.uses: dict[tuple[str, ...], list[Use]] = {}
        self.longest = 1
        self.heads: dict[Category, set[str]] = {}
        self.vocabulary: dict[Category, set[str]] = {}
        self.jieba = rjieba.Jieba()
        self.modifiers: set[str] = set()
        for en, zh in handbook.shared.modifiers.items():
            self.modifiers.update((*map(stem, words_of(en)), zh))
        segments = {
            zh: self.jieba.cut(zh) for book in handbook.categories.values() for pairs, _ in _pairs_of(book) for zh in pairs.values()
        }
        for category, book in handbook.categories.items():
            self._learn(category, book, segments)
        for zh in (*segments, *handbook.shared.modifiers.values()):
            self.jieba.add_word(zh, None, "n")
        used = {word for words in self.vocabulary.values() for word in words}
        self.all_heads = {word for words in self.heads.values() for word in words}
        self.spread = {word: sum(word in words for words in self.vocabulary.values()) for word in sorted(used)}

    def _learn(self, category: Category, book: CategoryHandbook, segments: dict[str, list[str]]) -> None:
        heads, vocabulary = self.heads.setdefault(category, set()), self.vocabulary.setdefault(category, set())
        for pairs, number in _pairs_of(book):
            for en, zh in pairs.items():
                stems = tuple(map(stem, words_of(en)))
                self.longest = max(self.longest, len(stems))
                for key in (stems, (zh,)):
                    self.uses.setdefault(key, []).append((category, number))
                heads.update((stems[-1], zh, segments[zh][-1]))
                vocabulary.update((*stems, zh, *segments[zh]))
        for dimension in book.dimensions:
            vocabulary.update(stem(word) for cue in dimension.cues for word in words_of(cue))


def words_of(text: str) -> list[str]:
    """Words of a short English text in lower case."""
    return WORD.findall(text.lower())


@cache
def stem(word: str) -> str:
    """A word without its English plural: enough to join ``shoe`` and ``shoes``; other words stay as they are."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses", "zzes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "'s")):
        return word[:-1]
    return word.removesuffix("'s")


def _pairs_of(book: CategoryHandbook) -> list[tuple[Pairs, int]]:
    return [(book.terms, TERM), *((dimension.examples, number) for number, dimension in enumerate(book.dimensions))]


def _inflected(verbs: list[str]) -> frozenset[str]:
    forms: set[str] = set(verbs)
    for verb in verbs:
        root = verb[:-1] if verb.endswith("e") else verb
        if verb.endswith("y") and verb[-2] not in "aeiou":
            forms.update((verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"))
            continue
        forms.update((verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s"), root + "ing", root + "ed"))
        if _DOUBLED.search(verb):
            forms.update((verb + verb[-1] + "ing", verb + verb[-1] + "ed"))
    return frozenset(forms)
