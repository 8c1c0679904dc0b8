"""The media of a batch: only what the tagger makes use of is fetched, each note gets its own, and one bad medium costs no other."""

from ipaddress import IPv4Network

import msgspec
import pytest

from benchmarks.edits import Edit, Shot, write
from consumers.media.limits import HostRule, MediaLimits
from consumers.media.opener import NOT_CORRECTED, NOT_WRITTEN_DOWN, NOTHING, MediaOpener, opener_for
from consumers.media.senses import Senses
from models.bundle import Learned
from models.roles import Utterance
from schemas.errors import Transient
from schemas.events import NoteEvent, Product
from schemas.settings import Settings
from tests.consumers.media_server import png, serving, wav


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    for number in range(12):
        (root / f"{number}.png").write_bytes(png(20 + number, 10))
    write(Edit("clip", [Shot(scene, 12) for scene in range(3)]), 4, root / "clip.mp4")
    return root


@pytest.fixture
def server():
    with serving("127.0.0.1") as running:
        yield running


def note(number, **media):
    return NoteEvent(type="note.published", note_id=f"n{number}", author_id="a", occurred_at=1, published_at=1, **media)


def limits_for(root, server=None):
    hosts = () if server is None else (HostRule("127.0.0.1", server.server_port),)
    return MediaLimits(roots=(root,), hosts=hosts, networks=(IPv4Network("127.0.0.0/8"),), images=4)


def test_each_note_gets_its_own_in_order_whichever_is_first(root):
    notes = [note(number, images=[f"file://{root}/{number}.png"]) for number in range(12)]
    with MediaOpener(limits_for(root), Senses(sees=True, hears=False)) as opener:
        found = opener.open(notes)
        again = opener.open(notes[::-1])
    assert [[image.pixels.shape[1] for image in of.images] for of in found] == [[20 + number] for number in range(12)]
    assert [of.images[0].pixels.shape[1] for of in again] == [31 - number for number in range(12)]
    assert {image.source for of in found for image in of.images} == {"image"}


def test_images_before_frames_with_their_places(root):
    uris = [f"file://{root}/{name}" for name in ("0.png", "1.png")]
    with MediaOpener(limits_for(root), Senses()) as opener:
        (found,) = opener.open([note(1, images=uris, videos=[f"file://{root}/clip.mp4"])])
    assert [(image.source, image.position) for image in found.images[:2]] == [("image", 0), ("image", 1)]
    frames = found.images[2:]
    assert frames and {image.source for image in frames} == {"video"}
    assert [image.position for image in frames] == sorted(image.position for image in frames)


def test_a_bad_medium_is_named_and_costs_no_other(root, server):
    notes = [
        note(0, images=[f"{server.url}/error", f"file://{root}/0.png"]),
        note(1, images=[f"file://{root}/1.png"]),
        note(2, images=["file:///etc/passwd"]),
    ]
    with MediaOpener(limits_for(root, server), Senses()) as opener:
        found = opener.open(notes)
    assert [len(of.images) for of in found] == [1, 1, 0]
    assert [[line.split(" (")[0] for line in of.degraded] for of in found] == [
        ["image: refused, http_status"],
        [],
        ["image: refused, outside_roots"],
    ]
    assert [of.may_recover for of in found] == [True, False, False]


def test_media_that_no_setting_lets_in_are_named_and_keep_no_note_for_an_upgrade():
    with MediaOpener(MediaLimits(), Senses()) as opener:
        found = opener.open(
            [note(0, images=["file:///a.png"]), note(1, images=["https://cdn.example.org/a.png"]), note(2, videos=["s3://bucket/a"])]
        )
    assert [[line.split(" (")[0] for line in of.degraded] for of in found] == [
        [f"{kind}: refused, scheme_not_enabled"] for kind in ("image", "image", "video")
    ]
    assert not any(of.may_recover for of in found)


@pytest.mark.parametrize(
    ("senses", "asked"),
    [
        (Senses(sees=True, hears=False), ["/png/image", "/png/video"]),
        (Senses(sees=False, hears=False), []),
        (Senses(sees=False, hears=True), []),
    ],
)
def test_only_what_the_tagger_makes_use_of_is_fetched(root, server, senses, asked):
    """It hears nothing here, as there is no transcriber."""
    media = {"images": [f"{server.url}/png/image"], "videos": [f"{server.url}/png/video"], "audios": [f"{server.url}/png/audio"]}
    with MediaOpener(limits_for(root, server), senses) as opener:
        opener.open([note(0, **media)])
    assert sorted(server.hits) == asked


class Listener:
    """Twin of a transcriber: an utterance per sound that says how long it is; ``fails`` on sounds of so many samples."""

    name = version = "twin"

    def __init__(self, fails=0):
        self.calls = []
        self.fails = fails

    def transcribe(self, sounds):
        self.calls.append([len(sound) for sound in sounds])
        if self.fails in self.calls[-1]:
            raise RuntimeError("this sound")
        return [[Utterance(f"{len(sound)} samples", 0, len(sound) // 16)] for sound in sounds]


def test_speech_is_written_down_in_one_go_for_who_only_hears(root, server):
    """No picture is fetched, no frame decoded; each note gets its own words."""
    (root / "long.wav").write_bytes(wav(0.75))
    notes = [
        note(0, audios=[f"{server.url}/wav"], images=[f"{server.url}/png"]),
        note(1),
        note(2, audios=[f"file://{root}/long.wav", f"{server.url}/wav"]),
    ]
    listener = Listener()
    with MediaOpener(limits_for(root, server), Senses(sees=False, hears=True), transcriber=listener) as opener:
        found = opener.open(notes)
    assert listener.calls == [[8_000, 12_000, 8_000]] and set(server.hits) == {"/wav"}
    assert [[(one.source, one.index, one.utterance.text) for one in of.speech] for of in found] == [
        [("audio", 0, "8000 samples")],
        [],
        [("audio", 0, "12000 samples"), ("audio", 1, "8000 samples")],
    ]
    assert not any(of.images or of.degraded for of in found)


def test_sound_that_the_transcriber_fails_on_costs_its_own_note_only(root, server):
    (root / "long.wav").write_bytes(wav(0.75))
    notes = [note(number, audios=[f"file://{root}/long.wav" if number == 1 else f"{server.url}/wav"]) for number in range(3)]
    with MediaOpener(limits_for(root, server), Senses(), transcriber=Listener(fails=12_000)) as opener:
        found = opener.open(notes)
    assert [len(of.speech) for of in found] == [1, 0, 1]
    assert [of.degraded for of in found] == [[], [NOT_WRITTEN_DOWN], []] and not found[1].may_recover


def test_speech_is_put_right_with_the_notes_own_names_or_stays_as_it_was_heard(root, server):
    def complete(asked):
        if "8000" in asked.rpartition("<transcript>")[2]:
            raise Transient("endpoint", "down")
        assert "Kitefoot" in asked
        return "12000 sample's"

    (root / "long.wav").write_bytes(wav(0.75))
    products = [Product(name="Zephyr", brand="Kitefoot")]
    notes = [note(0, audios=[f"file://{root}/long.wav"], products=products), note(1, audios=[f"{server.url}/wav"])]
    with MediaOpener(limits_for(root, server), Senses(), transcriber=Listener()) as opener:
        opener.complete = complete
        right, heard = opener.open(notes)
    assert ([one.utterance.text for one in right.speech], right.degraded) == (["12000 sample's"], [])
    assert ([one.utterance.text for one in heard.speech], heard.degraded) == (["8000 samples"], [NOT_CORRECTED])
    assert (right.may_recover, heard.may_recover) == (False, True)


def test_nothing_is_opened_for_notes_without_media_or_deleted(root, monkeypatch):
    monkeypatch.setattr("consumers.media.opener.Fetcher", lambda limits: pytest.fail("a batch directory was made"))
    gone = msgspec.structs.replace(note(1, images=[f"file://{root}/0.png"]), type="note.deleted")
    with MediaOpener(limits_for(root), Senses()) as opener:
        assert opener.open([note(0), gone]) == [NOTHING, NOTHING]
        assert all(decoder._child is None for decoder in opener._decoders)


class Tagger:
    """Test double: only its senses matter."""

    name = version = "t"

    def __init__(self, sees, hears):
        self.sees, self.hears = sees, hears


@pytest.mark.parametrize(
    ("sees", "hears", "transcriber", "opened"),
    [
        (False, True, None, None),
        (False, False, Listener(), None),
        (True, False, None, Senses(True, False)),
        (False, True, Listener(), Senses(False, True)),
        (True, True, None, Senses(True, False)),
    ],
)
def test_what_is_opened_for_whom(sees, hears, transcriber, opened):
    made = Learned(lambda: Tagger(sees, hears), None, "b", {}, {}, open_transcriber=lambda: transcriber)
    opener = opener_for(made, Settings())
    assert (None if opener is None else opener._senses) == opened
    if opener is not None:
        opener.close()
