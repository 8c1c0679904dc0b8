"""Base models: answers that have the form and little sense, InternVL's own forward pass, and the models in the package."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.answers import parse_answer
from models.handbook import load_handbook
from models.roles import NoteMedia, SeenImage
from models.vlm_model import open_vlm
from models.vlm_tagger import Bounds, VlmTagger
from offline.demo_models.base_answers import base_answer
from offline.demo_models.intern_build import CONTEXT, make_intern, make_intern_processor
from offline.demo_models.vlm_build import Size, train_tokenizer
from offline.demo_models.vlm_forward import logits_of
from offline.demo_models.vlm_rows import _batch, _row, tiles
from offline.distil.demo import BASES, Family
from offline.simulate.notes import Community
from offline.simulate.told import told
from offline.tag_data.samples import answer_text

SMALL = Size(vocabulary=600, width=64, layers=2, inner=96, heads=2, key_heads=1, sight=32, sight_layers=2, sight_heads=2)
PIXELS = 96 * 96  # 3 x 3 tokens
TEXTS = ["running shoes on a wet road", "缓震跑鞋适合长距离"] * 5
HANDBOOK = load_handbook()


@given(st.integers(0, 500), st.integers(0, 10_000))
def test_a_base_answer_has_the_form_and_words_of_the_note(number: int, seed: int) -> None:
    event, truth = Community(7).note(number)
    true = told(truth, event, truth.spoken, ["image", "video"])
    dimensions = [one.id for one in HANDBOOK.category(truth.category).dimensions]
    said = base_answer(true, event, truth.spoken, dimensions, random.Random(seed))
    assert said == base_answer(true, event, truth.spoken, dimensions, random.Random(seed))
    cards = [part for card in event.products for part in (card.name, card.brand, card.description)]
    words = " ".join([event.title, event.body, truth.spoken, *cards, *(tag.text for tag in true)]).casefold()
    assert said and all(tag.text.casefold() in words and tag.dimension in dimensions for tag in said)
    read = parse_answer(answer_text(said), HANDBOOK, truth.category, 99)
    assert len(read.tags) + read.dropped == len(said)


def test_interns_pictures_and_logits_are_the_processors_and_the_models() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(TEXTS, [], SMALL.vocabulary)
    processor = make_intern_processor(tokenizer, PIXELS)
    model = make_intern(processor.tokenizer, SMALL, PIXELS).eval()
    pictures = torch.from_numpy(np.random.default_rng(2).integers(0, 255, (3, 96, 96, 3), dtype=np.uint8))
    made = processor(text=[f"{CONTEXT}running {CONTEXT}", f"shoes {CONTEXT}"], images=[list(pictures[:2].numpy()), [pictures[2].numpy()]])
    theirs = processor.image_processor(list(pictures.numpy()), return_tensors="pt")["pixel_values"]
    assert torch.allclose(tiles(pictures), theirs, atol=1e-5)
    image = model.config.image_token_id
    ids = [np.asarray(one) for one in made["input_ids"]]
    places = [np.flatnonzero(one == image) for one in ids]
    assert [len(one) for one in places] == [18, 9]
    once = [np.delete(one, [at for number, at in enumerate(place) if number % 9]) for one, place in zip(ids, places, strict=True)]
    rows = [_row(once[0], len(once[0]) - 2, np.array([0, 1]), image, 3), _row(once[1], 2, np.array([2]), image, 3)]
    batch = _batch(rows)
    mask = torch.tensor([[1] * len(row.ids) + [0] * (batch.ids.shape[1] - len(row.ids)) for row in rows])
    with torch.no_grad():
        logits, _ = logits_of(model, batch, tiles(pictures))
        whole = model(input_ids=batch.ids, attention_mask=mask, pixel_values=theirs).logits
    assert torch.allclose(logits, whole[:, :-1][batch.learned[:, 1:]], atol=1e-4)


@pytest.mark.parametrize("family", BASES)
def test_the_base_models_of_the_package_write_answers(family: Family) -> None:
    torch.set_num_threads(1)
    model = open_vlm(str(BASES[family]), "cpu", "float32")
    tagger = VlmTagger(model, HANDBOOK, 6, Bounds(new_tokens=120))
    notes = [Community(99).note(number).event for number in range(4)]
    picture = SeenImage(np.full((90, 120, 3), 200, np.uint8), "image", 0)
    answers = tagger.tag(notes, [NoteMedia([picture]) for _ in notes])
    assert sum(len(answer.tags) for answer in answers) >= 4
    assert answers[0].tags != answers[1].tags, "what it writes comes from the note"
