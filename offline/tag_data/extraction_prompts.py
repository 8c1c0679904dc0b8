"""What the teacher is asked in the four steps of CoT Extraction (paper section 3.2, appendix B.1).

The paper names the steps, "four aspects of Tag Requirements" and few-shot examples; their wording stands in figures that our copy of the
paper lacks. So the four groups (form, focus, fineness, truth), all words here and the examples in ``examples.yaml`` are ours.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from string import Template
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from models.prompts import STYLES, Style
from models.prompts.styles import STRANGE
from offline.simulate.catalogue import Language
from schemas.events import Category

EXAMPLES = Path(__file__).with_name("examples.yaml")
StepName = Literal["generate", "merge", "rank", "review"]


class Step(NamedTuple):
    """One step. ``text``: what is asked, with ``$max_tags``; ``share``: tags of its answer at most, in parts of those of a sample."""

    name: StepName
    text: str
    share: int


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    """A note of words alone and what it deserves: text, dimension and source of each tag."""

    title: str
    body: str
    tags: list[tuple[str, str, str]]
    product: str = ""


STYLE = Style(
    name="extract",
    system=(
        "You find out what readers of a content community could be interested in in a note, and write it down as tags. A smaller model will"
        " learn from your answers. You go in four steps: collect, merge, rank, review. Each is asked for by itself; answer only the one"
        " asked for, with JSON alone: a list of tags, each with text, dimension and source.\n"
        "What is required of tags:\n"
        "1. Form. A short phrase of one to six words, or two to ten Chinese characters, in the language of the note; no sentence, no"
        " hashtag, no emoji. Each text once. The dimension is an id of the list below. The source is where the note tells it most plainly:"
        " title, body, product, image, video (its frames) or audio (what is spoken).\n"
        "2. Focus. Only what belongs to one of the dimensions, and what the note is about rather than what it mentions in passing. A"
        " dimension may have several tags where the note dwells on it, and has none where the note is silent.\n"
        "3. Fineness. Name the particular thing with what sets it apart: its kind, material, use, cause or effect. The category's name,"
        " praise, moods and calls that fit any note are no tags.\n"
        "4. Truth. Only what words, pictures or speech of this note tell. What it denies is no tag, what is usual of such things neither."
        " Names and numbers as the note writes them. Where sources disagree, the product card is right.\n"
        f"{STRANGE}"
    ),
    category="The category is $category. Its dimensions:",
    no_category=(
        'The category is not known: choose it, and answer as {"category": ..., "tags": [...]} with dimensions of that category. The'
        " categories and their dimensions:"
    ),
    limits=STYLES["full"].limits,
    examples=6,
    descriptions=True,
    marked=True,
)
STEPS = (
    Step(
        "generate",
        "Step 1, collect. Go through the dimensions one by one and collect for each what the note's words, pictures and speech tell, as"
        " tags that meet the four requirements. Be complete; order does not matter yet. At most $max_tags tags.",
        2,
    ),
    Step(
        "merge",
        "Step 2, merge. Look at your tags for those that tell a reader little by themselves: a bare colour, material, place or brand, a"
        " word that another tag holds already, two tags for one thing. Merge each into the finer tag that it belongs to, so that the"
        " result still says all that was true, or drop it where it fits none. Change nothing else and add nothing that the note does not"
        " tell. Answer with the tags that remain.",
        2,
    ),
    Step(
        "rank",
        "Step 3, rank. Put the tags in order of importance: first what the note is about at its core and what would make a reader seek it,"
        " last what it touches on. Do not change any. Answer with all of them, most important first.",
        2,
    ),
    Step(
        "review",
        "Step 4, review. Check every tag once more against the note itself and the four requirements, as if someone else had written it."
        " Leave out those that the note does not support, that contradict it, or that say nothing; keep the words and the order of the"
        " rest. At most $max_tags tags.",
        1,
    ),
)


@cache
def load_examples() -> dict[Category, dict[Language, Example]]:
    """The worked examples by category and language."""
    return msgspec.yaml.decode(EXAMPLES.read_bytes(), type=dict[Category, dict[Language, Example]])


def examples_text(category: Category | None, language: Language) -> str:
    """The category's examples as they stand in the prompt, those of the note's language first; empty where the category is not known."""
    if category is None:
        return ""
    found = load_examples()[category]
    order: tuple[Language, ...] = ("zh", "en") if language == "zh" else ("en", "zh")
    return "\n".join(["Examples of finished tags:", *(_written(found[one]) for one in order)])


def asked(step: Step, max_tags: int) -> str:
    """A step's words for samples of at most so many tags."""
    return Template(step.text).substitute(max_tags=step.share * max_tags)


def prompt_version() -> str:
    """Changes with anything that the teacher reads but for the handbook, which has its own version, and the notes."""
    parts = [STYLE.version, *(step.text for step in STEPS), EXAMPLES.read_text(encoding="utf-8")]
    return f"extract-{hashlib.blake2b(json.dumps(parts).encode(), digest_size=4).hexdigest()}"


def _written(example: Example) -> str:
    fields = {"title": example.title, "body": example.body, "product": example.product}
    note = " ".join(f"<{name}>{text}</{name}>" for name, text in fields.items() if text)
    tags = [{"text": text, "dimension": dimension, "source": source} for text, dimension, source in example.tags]
    return f"{note}\n{json.dumps(tags, ensure_ascii=False, separators=(',', ':'))}"
