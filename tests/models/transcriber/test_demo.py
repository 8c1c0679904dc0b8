"""The committed demo model: it hears a voice that did not train, and its figures are what the README says."""

import msgspec

from models.sound import open_sound
from models.transcriber import load_transcriber
from models.transcriber.distance import error_rate
from models.transcriber.load import DEMO_DIR
from offline.speech.evaluate import HeardFigures
from offline.speech.speakers import HELD_OUT
from schemas.settings import Settings
from tests.models.transcriber.voice import SAID, VOICE


def test_it_hears_a_voice_that_did_not_train():
    hearing = load_transcriber(Settings(transcriber_model="demo"))
    found = hearing.transcribe([open_sound(VOICE).samples])[0]
    assert error_rate([(SAID, "".join(one.text for one in found))]) <= 0.1
    assert {one.language for one in found} == {"zh"} and all(one.events == ["Speech"] for one in found)


def test_its_figures_are_of_these_files_and_good_enough():
    figures = msgspec.json.decode((DEMO_DIR / "figures.json").read_bytes(), type=HeardFigures)
    assert figures.version == load_transcriber(Settings(transcriber_model="demo")).version and figures.voices == list(HELD_OUT)
    assert all(found.sentences >= 100 for found in figures.languages.values())
    assert all(found.cer < 0.03 for found in figures.languages.values()) and set(figures.languages) == {"zh", "en"}
    assert sum(path.stat().st_size for path in DEMO_DIR.iterdir()) < 6_000_000
