"""The endpoint's tags, and the handbook's in their place when it has none to give; always against a real server."""

import base64
import json

import msgspec
import numpy as np
import pytest

from models.chat_endpoint import ChatEndpoint, EndpointSpec
from models.endpoint_tagger import CUT, REFUSED, UNAVAILABLE, UNUSABLE, EndpointTagger
from models.handbook import load_handbook
from models.handbook_tagger import HandbookTagger
from models.picture import open_picture
from models.prompts import Prompts
from models.roles import NoteMedia, SeenImage, Spoken, Utterance
from schemas.events import NoteEvent, Product
from tests.models.chat_server import chat_server
from tests.models.hashing_encoder import HashingEncoder


@pytest.fixture(scope="module")
def handbook():
    return load_handbook()


@pytest.fixture(scope="module")
def fallback(handbook):
    return HandbookTagger(handbook, HashingEncoder())


@pytest.fixture
def server():
    with chat_server() as running:
        yield running


@pytest.fixture
def made(server, handbook, fallback):
    """Makes taggers on the server; closes them."""
    open_ones = []

    def make(**spec):
        async def no_pause(seconds):
            return None

        chat = ChatEndpoint(EndpointSpec(**({"url": server.url, "model": "m"} | spec)), sleep=no_pause)
        open_ones.append(EndpointTagger(chat, Prompts(handbook), fallback, max_side=64))
        return open_ones[-1]

    yield make
    for one in open_ones:
        one.close()


def note(number=0, **fields):
    defaults = {
        "type": "note.published",
        "note_id": f"n{number}",
        "author_id": "a",
        "occurred_at": 1,
        "published_at": 1,
        "category": "shoes",
    }
    return msgspec.convert(defaults | {"title": "Crimson mesh runners", "body": "A cushioned midsole."} | fields, NoteEvent)


def red(height=100, width=200):
    return SeenImage(np.full((height, width, 3), (255, 0, 0), np.uint8), "image", 0)


def test_tags_with_dimension_rank_and_evidence(made):
    (answer,) = made().tag([note(products=[Product(name="x")])], [NoteMedia(images=[red()])])
    assert [(tag.text, tag.dimension, tag.rank) for tag in answer.tags] == [
        ("gum sole", "outsole_traction", 1),
        ("crimson mesh", "upper_material", 2),
    ]
    assert [(one.source, one.position) for tag in answer.tags for one in tag.evidence] == [("image", 0), ("title", 0)]
    assert (answer.category, answer.language, answer.degraded, answer.may_recover) == ("shoes", "en", [], False)
    assert [tag.confidence for tag in answer.tags] == sorted((tag.confidence for tag in answer.tags), reverse=True)


def test_confidence_is_what_the_server_tells_of_the_tokens(made, server):
    seen = [NoteMedia(images=[red()])]
    plain = made().tag([note()], seen)[0].tags
    server.logprobs = True
    first, second = made().tag([note()], seen)[0].tags
    assert 1.0 > first.confidence > second.confidence > 0.0
    assert [first.confidence, second.confidence] != [tag.confidence for tag in plain]


def test_pictures_and_speech_reach_the_model_within_the_pixel_budget(made, server, tmp_path):
    media = NoteMedia(images=[red()], speech=[Spoken(Utterance("it has a wide toe box", 0, 900), "audio", 0)])
    made().tag([note()], [media])
    (body,) = server.asked
    text = json.dumps(body["messages"])
    assert "wide toe box" in text and "Crimson mesh runners" in text
    (url,) = [part["image_url"]["url"] for part in body["messages"][1]["content"] if part["type"] == "image_url"]
    file = tmp_path / "sent.jpg"
    file.write_bytes(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))
    sent = open_picture(file, 10**6, 10**6)
    assert sent.shape == (32, 64, 3) and sent[5, 5, 0] > 240 and sent[5, 5, 2] < 15


def test_deleted_notes_are_not_asked_about_and_order_is_kept(made, server):
    server.answer = lambda body: json.dumps(
        [{"text": "first" if "first note" in json.dumps(body) else "second", "dimension": "shoe_type", "source": "title"}]
    )
    answers = made().tag([note(0, type="note.deleted"), note(1, title="first note"), note(2, title="second note")])
    assert [[tag.text for tag in answer.tags] for answer in answers] == [[], ["first"], ["second"]]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "lack", "recovers"),
    [
        (500, UNAVAILABLE, True),
        (401, UNAVAILABLE, True),
        (400, REFUSED, False),
        ("I am sorry, I cannot do that.", UNUSABLE, False),
        ('[{"text": "x", "dimension": "no_such", "source": "title"}]', UNUSABLE, False),
        ('{"wrong": ["schema"]}', UNUSABLE, False),
    ],
)
def test_where_it_gives_nothing_the_handbook_tagger_does(made, server, fallback, fault, lack, recovers):
    server.faults.extend([fault] * 2)
    tagger = made(attempts=2, concurrency=1)
    media = NoteMedia(degraded=["image: refused, wrong_kind"])
    asked, fine = note(0), note(1)
    (answer,) = tagger.tag([asked], [media])
    (plain,) = fallback.tag([asked])
    assert answer.tags == plain.tags and answer.tags
    assert (answer.degraded, answer.may_recover) == (["image: refused, wrong_kind", lack], recovers)
    server.faults.clear()
    (again,) = tagger.tag([fine], [NoteMedia(images=[red()])])
    assert again.degraded == [] and again.tags[0].text == "gum sole"


def test_what_the_note_does_not_say_or_show_is_no_tag(made):
    """The model claims an image that is not there."""
    (answer,) = made().tag([note()])
    assert [tag.text for tag in answer.tags] == ["crimson mesh"]


def test_an_answer_that_was_cut_gives_what_is_whole(made, server):
    server.faults.append("cut")
    (answer,) = made().tag([note()], [NoteMedia(images=[red()])])
    assert [tag.text for tag in answer.tags] == ["gum sole"] and answer.degraded == [CUT] and not answer.may_recover


def test_an_outage_costs_no_note_and_soon_no_time(made, server):
    """Once the circuit is open nothing is sent and no prompt is made."""
    server.faults.extend([503] * 100)
    tagger = made(attempts=2, failures=3, concurrency=2, cool_down_s=1_000.0)
    answers = tagger.tag([note(number) for number in range(10)])
    assert [answer.degraded for answer in answers] == [[UNAVAILABLE]] * 10 and all(answer.tags for answer in answers)
    asked = len(server.asked)
    assert asked < 20
    more = tagger.tag([note(number) for number in range(10)])
    assert more == answers and len(server.asked) == asked


def test_its_version_changes_with_what_changes_tags_and_not_with_the_address(made, server, handbook, fallback):
    one = made().version
    assert one == made(url="http://127.0.0.1:9/v1", timeout_s=5.0, priority=3).version
    assert one != made(model="another").version
    chat = ChatEndpoint(EndpointSpec(url=server.url, model="m"))
    try:
        assert EndpointTagger(chat, Prompts(handbook, "compact"), fallback, max_side=64).version != one
        assert EndpointTagger(chat, Prompts(handbook), fallback, max_side=65).version != one
    finally:
        chat.close()
