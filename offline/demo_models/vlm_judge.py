"""How well a model tags held-out notes of the simulated community: exact matches with what their words and media tell."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.guards import Guards
from models.handbook import load_handbook
from models.roles import NoteMedia, NoteTags, SeenImage
from models.vlm_model import VlmModel
from models.vlm_tagger import Bounds, VlmTagger
from offline.demo_models.vlm_data import MAX_TAGS, media_of
from offline.demo_models.vlm_held_out import HeldOut
from offline.simulate.told import plain_speech
from offline.tag_data.samples import Told

JUDGING = Bounds(batch=128, tokens=1_000_000, new_tokens=256)


def judge(model: VlmModel, held_out: Sequence[HeldOut], pictures: Sequence[NDArray[np.uint8]], constrained: bool = True) -> dict[str, Any]:
    """Micro F1, precision and recall of (text) over the notes with all their media, recall by foremost source, F1 by community, and F1 of
    the same notes as words alone. Texts must agree whatever their case; the dimension is counted apart."""
    tagger = VlmTagger(model, load_handbook(), MAX_TAGS, JUDGING, guards=Guards(), constrained=constrained)
    notes = [one.note for one in held_out]
    media = [
        media_of(plain_speech(one.spoken), [SeenImage(pictures[number], source, at) for number, source, at in one.pictures])
        for one in held_out
    ]
    seen = tagger.tag(notes, media)
    blind = tagger.tag(notes, [NoteMedia() for _ in notes])
    figures: dict[str, Any] = _scores(seen, [one.tags for one in held_out])
    figures["dimension_agrees"] = _dimensions(seen, held_out)
    figures["recall_by_source"] = _by_source(seen, held_out)
    for seed in sorted({one.seed for one in held_out}):
        chosen = [number for number, one in enumerate(held_out) if one.seed == seed]
        figures[f"f1_community_{seed}"] = _scores([seen[n] for n in chosen], [held_out[n].tags for n in chosen])["f1"]
    figures["f1_words_alone"] = _scores(blind, [one.blind_tags for one in held_out])["f1"]
    figures["notes"] = len(held_out)
    return figures


def _scores(answers: Sequence[NoteTags], truths: Sequence[Sequence[Told]]) -> dict[str, float]:
    right = given = true = 0
    for answer, truth in zip(answers, truths, strict=True):
        texts, wanted = {tag.text.casefold() for tag in answer.tags}, {tag.text.casefold() for tag in truth}
        right, given, true = right + len(texts & wanted), given + len(texts), true + len(wanted)
    precision, recall = right / max(1, given), right / max(1, true)
    f1 = 2 * right / max(1, given + true)
    return {"f1": round(f1, 4), "precision": round(precision, 4), "recall": round(recall, 4)}


def _dimensions(answers: Sequence[NoteTags], held_out: Sequence[HeldOut]) -> float:
    agree = total = 0
    for answer, one in zip(answers, held_out, strict=True):
        wanted = {tag.text.casefold(): tag.dimension for tag in one.tags}
        for tag in answer.tags:
            if tag.text.casefold() in wanted:
                total += 1
                agree += wanted[tag.text.casefold()] == tag.dimension
    return round(agree / max(1, total), 4)


def _by_source(answers: Sequence[NoteTags], held_out: Sequence[HeldOut]) -> dict[str, float]:
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for answer, one in zip(answers, held_out, strict=True):
        texts = {tag.text.casefold() for tag in answer.tags}
        for tag in one.tags:
            total[tag.source] += 1
            found[tag.source] += tag.text.casefold() in texts
    return {source: round(found[source] / total[source], 3) for source in sorted(total)}
