"""A model's tags for samples: the very tagger that runs online, over what the samples say was seen and heard.

Predictions are written in the order of the samples, a few batches at a time, into a file beside the one that is asked for; that one appears
when all is there. A run that was killed goes on behind the last whole line. torch is imported when the model is used, not with this module.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from models.handbook import Handbook, load_handbook
from models.roles import NoteMedia
from offline.distil.predictions import Prediction
from offline.tag_data.samples import Sample, media_of, read_samples
from offline.whole_file import write_whole
from schemas.errors import BadSetting
from schemas.settings import load

if TYPE_CHECKING:
    from models.guards import Guards
    from models.vlm_model import VlmModel
    from models.vlm_tagger import Bounds, VlmTagger

Modality = Literal["text", "images", "products", "speech"]
BATCHES = 4  # sorted by length together, and written together
NOTHING: frozenset[Modality] = frozenset()


def without_modality(sample: Sample, without: frozenset[Modality]) -> Sample:
    """The sample as a tagger would see it had the note none of these: ``text`` is title and body, ``images`` pictures and frames."""
    note = sample.note
    if "text" in without:
        note = msgspec.structs.replace(note, title="", body="")
    if "products" in without:
        note = msgspec.structs.replace(note, products=[])
    pictures = [] if "images" in without else sample.pictures
    speech = [] if "speech" in without else sample.speech
    return msgspec.structs.replace(sample, note=note, pictures=pictures, speech=speech)


def infer(
    model: "VlmModel",
    samples: Path,
    out: Path,
    *,
    without: frozenset[Modality] = NOTHING,
    guards: bool = True,
    constrained: bool = True,
    bounds: "Bounds | None" = None,
    limit: int = 0,
    max_tags: int = 10,
    say: Callable[[int], None] = lambda _: None,
) -> int:
    """Writes a prediction for each sample, or for the first ``limit``; returns how many there are.

    Args:
        model: loaded; its card names prompt style and picture size.
        samples: a file of samples, their pictures beside it.
        out: where the predictions go, in the samples' order.
        without: what the model is not shown.
        guards: whether those of the settings stand between the answer and the tags.
        constrained: whether decoding is held to the schema.
        bounds: what a batch may cost.
        limit: 0 = all.
        max_tags: tags of a note at most.
        say: is told how many are written.

    Raises:
        BadSetting: when predictions of another model, other options or other samples stand at ``out``.
    """
    from models.vlm_tagger import Bounds, VlmTagger

    handbook = load_handbook()
    kept = bounds or Bounds()
    tagger = VlmTagger(model, handbook, max_tags, kept, guards=_guards(handbook, guards), constrained=constrained)
    run = {"tagger": tagger.version, "without": sorted(without), "guards": guards, "constrained": constrained}
    part, done = _resume(out, run | {"samples": _digest(samples)})
    wanted = islice(read_samples(samples), limit or None)
    for sample, before in zip(wanted, done, strict=False):
        if sample.note.note_id != before:
            raise BadSetting(f"{part}: has {before} where the samples have {sample.note.note_id}; remove it")
    count = len(done)
    say(count)
    with part.open("ab") as file:
        for chunk in _chunks(islice(read_samples(samples), count, limit or None), kept.batch * BATCHES):
            file.write(_written(tagger, chunk, samples.parent, without))
            file.flush()
            os.fsync(file.fileno())
            count += len(chunk)
            say(count)
    part.replace(out)
    return count


def _written(tagger: "VlmTagger", chunk: Sequence[Sample], directory: Path, without: frozenset[Modality]) -> bytes:
    shown = [without_modality(sample, without) for sample in chunk]
    media: list[NoteMedia] = [media_of(sample, directory) for sample in shown]
    answers = tagger.tag([sample.note for sample in shown], media)
    lines = []
    for sample, answer in zip(chunk, answers, strict=True):
        lines.append(msgspec.json.encode(Prediction(sample.note.note_id, answer.category, answer.tags, answer.degraded)))
    return b"".join(line + b"\n" for line in lines)


def _guards(handbook: Handbook, wanted: bool) -> "Guards":
    from models.guards import Guards, build_guards

    if not wanted:
        return Guards(evidence=False)
    from models.encoder import load_tag_encoder

    settings = load()
    return build_guards(settings, handbook, load_tag_encoder(settings, handbook.glossary()))


def _resume(out: Path, run: dict[str, object]) -> tuple[Path, list[str]]:
    """The file to go on with, and the notes that stand in it; a torn last line is cut off."""
    part, note = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.run.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_file() or part.is_file():
        if not note.is_file() or json.loads(note.read_bytes()) != run:
            raise BadSetting(f"{out}: holds predictions of another model, other options or other samples; choose another --out")
    else:
        write_whole(note, json.dumps(run) + "\n")
    if out.is_file():
        out.replace(part)
    if not part.is_file():
        return part, []
    with part.open("r+b") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        file.truncate(whole)
    decode = msgspec.json.Decoder(Prediction).decode
    return part, [decode(line).note_id for line in data[:whole].splitlines()]


def _chunks(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    while chunk := list(islice(samples, size)):
        yield chunk


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
