"""Figures of a transcriber on the community's voices: counted right whatever it hears."""

import numpy as np

from models.roles import Utterance
from offline.speech import evaluate as measuring
from offline.speech.said import sentences, written


class Hears:
    """Hears what was said, but for the last sound of each call, of which it hears nothing."""

    version = "v"

    def __init__(self, texts):
        self.texts = iter(texts)

    def transcribe(self, sounds):
        found = []
        for _ in sounds:
            text = next(self.texts)
            half = len(text) // 2
            found.append([Utterance(text[:half] + "。", 0, 1, "zh"), Utterance(text[half:], 1, 2, "en")])
        return [*found[:-1], []]


def test_edits_and_languages_are_counted(monkeypatch):
    monkeypatch.setattr(measuring, "spoken_sound", lambda clause, voice, path: np.zeros(10, np.float32))
    monkeypatch.setattr(measuring, "AT_A_TIME", 4)
    texts = [written(text, "zh") for text in sentences("zh", 8, 6)]
    found = measuring._language(Hears(texts), "zh", 6, 7)
    lost = len(texts[3]) + len(texts[5])
    assert (found.sentences, found.right) == (6, 4) and found.cer == round(lost / sum(map(len, texts)), 5)
    assert [wrong.said for wrong in found.wrong] == [texts[3], texts[5]] and {wrong.heard for wrong in found.wrong} == {""}
    assert found.language_told == 0.5 and all("+" in wrong.voice for wrong in found.wrong)
