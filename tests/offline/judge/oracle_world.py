"""Simulated notes as samples, with answers of known worth."""

from models.roles import Spoken, Utterance
from offline.judge.readings import asked_of
from offline.simulate.notes import Community, SimulatedNote
from offline.simulate.truth import Truth
from offline.tag_data.samples import Picture, Sample, Told

NOTES = list(Community(7).notes(120))
TRUTHS = {made.truth.note_id: made.truth for made in NOTES}


def sample_of(made: SimulatedNote, *, seen: bool = True, heard: bool = True) -> Sample:
    """With a picture for each image and shot; no judge of truths opens them."""
    truth = made.truth
    pictures = [Picture("none.webp", "image", at) for at in range(len(truth.images))]
    pictures += [Picture("none.webp", "video", at) for at in range(len(truth.shots))]
    speech = [Spoken(Utterance(truth.spoken, 0, 1000), "audio", 0)] if heard and truth.spoken else []
    return Sample(note=made.event, pictures=pictures if seen else [], speech=speech)


SAMPLES = [sample_of(made) for made in NOTES]


def best(sample: Sample, truth: Truth | None = None) -> list[Told]:
    """All that the sample tells, most important first, in the note's language."""
    truth = truth or TRUTHS[sample.note.note_id]
    return [Told(one.attribute.text(truth.language), one.attribute.dimension, one.attribute.sources[0]) for one in asked_of(truth, sample)]
