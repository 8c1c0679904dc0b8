"""One model both ways: in this process, and behind an endpoint. What comes out is the same."""

import numpy as np
import pytest

from models.chat_endpoint import ChatEndpoint, EndpointSpec
from models.endpoint_tagger import EndpointTagger
from models.guards import Guards
from models.handbook import load_handbook
from models.handbook_tagger import HandbookTagger
from models.prompts import Prompts
from models.roles import NoteMedia, SeenImage, Spoken, Utterance
from models.vlm_tagger import Bounds, VlmTagger
from schemas.events import NoteEvent
from tests.models.chat_server import chat_server
from tests.models.hashing_encoder import HashingEncoder
from tests.models.model_server import ServedModel
from tests.models.tiny_vlm import tiny_qwen

TAGS = 3


@pytest.fixture(scope="module")
def taggers():
    """In process and by endpoint, with random weights: no guard could find evidence for what they write."""
    handbook = load_handbook()
    model = tiny_qwen()
    inside = VlmTagger(model, handbook, TAGS, Bounds(new_tokens=64 + 60 * TAGS), guards=Guards(evidence=False))
    with chat_server(ServedModel(model)) as server:
        chat = ChatEndpoint(EndpointSpec(url=server.url, model="tiny", structured="vllm"))
        plain = HandbookTagger(handbook, HashingEncoder(), TAGS)
        outside = EndpointTagger(chat, Prompts(handbook, "full", TAGS), plain, guards=Guards(evidence=False))
        yield inside, outside
        outside.close()


def note(number, **fields):
    return NoteEvent(type="note.published", note_id=f"n{number}", author_id="a", occurred_at=1, published_at=1, **fields)


def test_text_and_speech_give_the_same_tags_and_confidences(taggers):
    notes = [
        note(1, category="shoes", title="Crimson running shoes", body="A cushioned midsole."),
        note(2, category="beauty", title="敏感肌修护面霜", body="无香精。"),
        note(3, category="toys", title="Wooden train"),
    ]
    media = [NoteMedia(), NoteMedia(), NoteMedia(speech=[Spoken(Utterance("for small hands", 0, 900), "audio", 0)])]
    inside, outside = (tagger.tag(notes, media) for tagger in taggers)
    for here, there in zip(inside, outside, strict=True):
        assert [(tag.text, tag.dimension, tag.rank) for tag in here.tags] == [(tag.text, tag.dimension, tag.rank) for tag in there.tags]
        assert [tag.confidence for tag in here.tags] == pytest.approx([tag.confidence for tag in there.tags], rel=0.05, abs=2e-4)
        assert here.tags and there.degraded == []


def test_a_picture_arrives(taggers, monkeypatch):
    """JPEG changes it a little on the way."""
    _, outside = taggers
    seen = []
    model, inputs = tiny_qwen(), tiny_qwen().inputs
    monkeypatch.setattr(model, "inputs", lambda texts, pictures, pixels: seen.append(pictures) or inputs(texts, pictures, pixels))
    shown = NoteMedia(images=[SeenImage(np.full((64, 96, 3), (255, 0, 0), np.uint8), "image", 0)])
    (answer,) = outside.tag([note(1, category="shoes", title="Crimson running shoes")], [shown])
    (((picture,),),) = seen
    assert answer.degraded == [] and picture.shape == (64, 96, 3) and np.abs(picture.astype(int) - (255, 0, 0)).max() < 5
