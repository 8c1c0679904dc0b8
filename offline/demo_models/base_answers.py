"""What a base model is taught before distillation: to read, to see, and to write the form of an answer, but not what readers want.

Its answers are words picked at random out of a note, among them some true tags so that its pictures mean something to it, in random order
and under dimensions drawn at random from the category's. So it stands to a distilled model as an instructed model of general use does:
able, and untaught.
"""

import random
import re
from collections.abc import Sequence

from offline.tag_data.samples import Told
from schemas.events import EvidenceSource, NoteEvent

KNOWN = 0.35  # chance of each true tag
SPANS = (2, 6)  # words picked, at least and at most
_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
_WORDS = re.compile(r"[A-Za-z0-9'-]+(?: [A-Za-z0-9'-]+)*")


def base_answer(true: Sequence[Told], event: NoteEvent, spoken: str, dimensions: Sequence[str], chance: random.Random) -> list[Told]:
    """An answer that has the form and little sense.

    Args:
        true: the note's true tags, as told.
        event: whose words are picked.
        spoken: what is heard of its voice.
        dimensions: of its category.
        chance: draws everything.
    """
    texts: list[tuple[str, EvidenceSource]] = [(event.title, "title"), (event.body, "body"), (spoken, "audio")]
    texts += [(" ".join(filter(None, (card.name, card.brand, card.description))), "product") for card in event.products]
    runs = [(run, source) for text, source in texts for run in [*_CHINESE.findall(text), *_WORDS.findall(text)]]
    said = [(tag.text, tag.source) for tag in true if chance.random() < KNOWN]
    if runs:
        said += [(_picked(run, chance), source) for run, source in chance.choices(runs, k=chance.randint(*SPANS))]
    chance.shuffle(said)
    unique = {text.casefold(): Told(text, chance.choice(dimensions), source) for text, source in said}
    return list(unique.values())


def _picked(run: str, chance: random.Random) -> str:
    """A few characters of a Chinese run, a few words of another."""
    parts = list(run) if _CHINESE.match(run) else run.split(" ")
    length = min(len(parts), chance.randint(2, 5) if _CHINESE.match(run) else chance.randint(1, 3))
    first = chance.randint(0, len(parts) - length)
    return ("" if _CHINESE.match(run) else " ").join(parts[first : first + length])
