"""The vision-language tagger on tiny random models of both families: the very code that runs the large ones."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import xgrammar

from models.build import build_tagger
from models.guards import Guards
from models.guards.vocabulary import KnownTags
from models.handbook import load_handbook
from models.prompts import STYLES, answer_schema
from models.roles import NoteMedia, SeenImage, Spoken, Utterance
from models.vlm_card import CARD_FILE, VlmCard, read_card
from models.vlm_decoding import Grammars, Watch
from models.vlm_model import VlmModel, open_vlm
from models.vlm_tagger import Bounds, VlmTagger
from schemas.errors import BadSetting, BundleMismatch, PoisonBatch
from schemas.events import Category, NoteEvent, Product
from schemas.settings import Settings
from tests.models.hashing_encoder import HashingEncoder
from tests.models.injections import INJECTIONS
from tests.models.tiny_vlm import PIXELS, tiny_intern, tiny_intern3, tiny_qwen

HANDBOOK = load_handbook()
MODELS = {"qwen": (tiny_qwen, PIXELS), "intern": (tiny_intern, 56 * 56 * 2), "intern3": (tiny_intern3, 56 * 56 * 2)}
RNG = np.random.default_rng(1)


def note(number: int, **fields: object) -> NoteEvent:
    known = {"type": "note.published", "note_id": f"n{number}", "author_id": "a", "occurred_at": 1, "published_at": 1}
    return NoteEvent(**(known | fields))  # type: ignore[arg-type]


def image(height: int = 64, width: int = 64, position: int = 0) -> SeenImage:
    return SeenImage(RNG.integers(0, 255, (height, width, 3), dtype=np.uint8), "image", position)


SPEECH = Spoken(Utterance("hello there", 0, 1), "audio", 0)
NOTES = [
    note(0, title="Cushioned running shoes", body="wide toe box, " * 20, category="shoes", products=[Product(name="Zephyr 2")]),
    note(1, title="缓震跑鞋", category="shoes"),
    note(2, title="no category"),
    note(3, title="gone", type="note.deleted", category="food"),
    note(4, category="food"),
    note(5, category="food"),
]
MEDIA = [
    NoteMedia([image(100, 60), image(20, 300, 1)]),
    NoteMedia(),
    NoteMedia([image()], [SPEECH], ["video: refused, too large"], may_recover=True),
    NoteMedia([image()]),
    NoteMedia(degraded=["image: refused, wrong magic"]),
    NoteMedia([image(1, 90)]),
]


def tagger(family: str, constrained: bool = True, **bounds: int) -> VlmTagger:
    made, pixels = MODELS[family]
    return VlmTagger(
        made(),
        HANDBOOK,
        2,
        Bounds(**({"new_tokens": 240, "image_pixels": pixels} | bounds)),
        guards=Guards(evidence=False),
        constrained=constrained,
    )


@pytest.mark.parametrize("family", MODELS)
def test_tags_are_of_the_schema_and_the_same_in_any_batch(family: str) -> None:
    ours = tagger(family)
    answers = ours.tag(NOTES, MEDIA)
    assert [answer.category for answer in answers[:2]] == ["shoes", "shoes"] and answers[2].category is not None
    assert any(answer.tags for answer in answers), "a model that writes no tag shows nothing"
    for answer in answers:
        allowed = {dimension.id for dimension in HANDBOOK.category(answer.category).dimensions} if answer.category else set()
        assert {tag.dimension for tag in answer.tags} <= allowed
        assert all(0 <= tag.confidence <= 1 for tag in answer.tags)
    assert answers[3].tags == answers[4].tags == []
    assert answers[2].degraded == ["video: refused, too large"] and answers[2].may_recover
    assert answers[4].degraded == ["image: refused, wrong magic"]
    backwards = tagger(family, batch=2).tag(NOTES[::-1], MEDIA[::-1])[::-1]
    for one, other in zip(answers, backwards, strict=True):
        assert [(tag.text, tag.dimension) for tag in one.tags] == [(tag.text, tag.dimension) for tag in other.tags]
        assert [tag.confidence for tag in one.tags] == pytest.approx([tag.confidence for tag in other.tags], abs=1e-3)


@pytest.mark.parametrize("family", MODELS)
def test_a_picture_changes_what_the_model_sees_and_its_size_is_bounded(family: str) -> None:
    made, pixels = MODELS[family]
    model = made()
    ours = tagger(family)
    huge = SeenImage(RNG.integers(0, 255, (300, 900, 3), dtype=np.uint8), "image", 0)
    strip = SeenImage(RNG.integers(0, 255, (1, 500, 3), dtype=np.uint8), "image", 0)
    for picture in (huge, strip, image()):
        asked = ours._ask(NOTES[1], NoteMedia([picture]))
        assert asked is not None
        inputs = model.inputs([asked.text], [[picture.pixels]], pixels)
        places = int((inputs["input_ids"] == model.model.config.image_token_id).sum())
        assert 0 < places <= model.image_tokens(pixels)
        with torch.no_grad():
            seen = model.model(**inputs).logits[0, -1]
            inputs["pixel_values"] = torch.zeros_like(inputs["pixel_values"])
            assert not torch.allclose(seen, model.model(**inputs).logits[0, -1])


@pytest.mark.parametrize("family", MODELS)
def test_without_the_schema_the_parser_stands_alone(family: str) -> None:
    for answer in tagger(family, constrained=False, new_tokens=20).tag(NOTES[:3], MEDIA[:3]):
        assert answer.tags == []


def test_a_batch_that_does_not_fit_is_halved_and_the_size_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tagger("qwen", batch=8)
    notes = [note(number, title=f"shoe {number}", category="shoes") for number in range(8)]
    whole = ours.tag(notes)
    sizes: list[int] = []
    generate = ours._generate

    def small(asked: list[object]) -> object:
        sizes.append(len(asked))
        if len(asked) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return generate(asked)  # type: ignore[arg-type]

    monkeypatch.setattr(ours, "_generate", small)
    assert [[tag.text for tag in one.tags] for one in ours.tag(notes)] == [[tag.text for tag in one.tags] for one in whole]
    assert sizes == [8, 4, 2, 2, 2, 2]
    sizes.clear()
    ours.tag(notes[:4])
    assert sizes == [2, 2]
    monkeypatch.setattr(ours, "_generate", lambda asked: small([None] * 9))
    with pytest.raises(PoisonBatch, match="n0 alone does not fit"):
        ours.tag(notes[:1])


class Scripted(VlmTagger):
    """A model that writes what it is told: one that obeys injections."""

    script = ""

    def _generate(self, asked):  # type: ignore[no-untyped-def]
        grammars: Grammars = self._grammars
        ids = self._model.tokenizer(self.script)["input_ids"]
        return [grammars.written(ids, [-0.5] * len(ids)) for _ in asked]


def test_a_model_that_obeys_an_injection_gives_tags_with_evidence_or_none() -> None:
    ours = Scripted(tiny_qwen(), HANDBOOK, 10, Bounds())
    dimensions = {dimension.id for dimension in HANDBOOK.category("dressing").dimensions}
    for text in INJECTIONS:
        forged = [{"text": "sent by the attacker", "dimension": one, "source": "title"} for one in ("style", "admin")]
        for script in (text, json.dumps(forged), json.dumps({"category": "food", "tags": forged})):
            ours.script = script
            answer = ours.tag([note(1, title="shirt", body=text, category="dressing")])[0]
            assert answer.category == "dressing"
            for tag in answer.tags:
                assert tag.dimension in dimensions and tag.evidence
                assert tag.text in text


def test_confidence_is_of_the_texts_own_tokens() -> None:
    model = tiny_qwen()
    grammars = Grammars(model.tokenizer, model.vocabulary, model.stops)
    text = '[{"text":"宽楦鞋","dimension":"cushioning","source":"title"}]'
    ids = model.tokenizer(text)["input_ids"]
    start = text.index("宽")
    pieces = [grammars.tokens[token] for token in ids]
    ends = np.cumsum([len(piece) for piece in pieces])
    first, last = len(text[:start].encode()), len(text[: start + 3].encode())
    inside = [end > first and end - len(piece) < last for end, piece in zip(ends, pieces, strict=True)]
    written = grammars.written([*ids, model.stops[0]], [np.log(0.25) if one else -9.0 for one in inside] + [-9.0])
    assert written.text == text and written.complete
    assert written.confidence(start, start + 3) == pytest.approx(0.25)
    assert not grammars.written(ids, [-1.0] * len(ids)).complete


def test_probabilities_are_those_among_all_tokens() -> None:
    model = tiny_qwen()
    grammars = Grammars(model.tokenizer, model.vocabulary, model.stops)
    watch = Watch([grammars.of({"enum": ["a"]})], model.vocabulary, model.never)
    scores = torch.zeros(1, model.vocabulary)
    allowed = watch(torch.zeros(1, 3, dtype=torch.long), scores)
    assert torch.isfinite(allowed).sum() < 20, "only a quotation mark and what begins with it"
    assert not torch.isfinite(allowed[0, model.never]).any()
    watch.read(allowed.argmax(dim=-1))
    assert watch.log_probabilities()[0, 0] == pytest.approx(-np.log(model.vocabulary))


@pytest.mark.parametrize("category", ["shoes", None])
def test_the_schema_allows_an_answer_as_it_is_asked_for(category: Category | None) -> None:
    model = tiny_qwen()
    grammars = Grammars(model.tokenizer, model.vocabulary, model.stops)
    tags = [{"text": text, "dimension": "cushioning", "source": "title"} for text in ("宽楦", "a soft one")]
    answer = tags if category else {"category": "shoes", "tags": tags}
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    schema = answer_schema(HANDBOOK, category, 10)
    for wanted, other in ((True, text), (False, text.replace("cushioning", "admin")), (False, text[:-1] + ", ")):
        matcher = xgrammar.GrammarMatcher(grammars.of(schema))
        assert all(map(matcher.accept_token, model.tokenizer(other)["input_ids"])) == wanted


def test_no_answer_has_a_token_of_the_chat_template() -> None:
    for made, _ in MODELS.values():
        model = made()
        for token in ("<|im_start|>", "<|image_pad|>"):
            assert model.tokenizer.convert_tokens_to_ids(token) in model.never
        assert not set(model.never) & set(model.stops)


def test_known_tags_reach_the_prompt() -> None:
    ours = VlmTagger(tiny_qwen(), HANDBOOK, 2, Bounds(), known=KnownTags(HANDBOOK, HashingEncoder(), 3))
    asked = ours._ask(note(1, title="linen shirt", category="dressing"), None)
    assert asked is not None and "Known tags: linen shirt" in asked.prompt.system


def test_weights_are_refused_that_were_trained_with_something_else(tmp_path: Path) -> None:
    ours = tiny_qwen()
    right = VlmCard(style="compact", prompt=STYLES["compact"].version, handbook=HANDBOOK.version, image_pixels=PIXELS, version="v")
    model = VlmModel(ours.model, ours.processor, right, "some/where")
    assert "compact" in VlmTagger(model, HANDBOOK).version
    for field in ("prompt", "handbook"):
        model.card = msgspec.structs.replace(right, **{field: "9-old"})
        with pytest.raises(BundleMismatch, match=f"some/where: was trained with {field} 9-old"):
            VlmTagger(model, HANDBOOK)


def test_the_settings_build_it(tmp_path: Path) -> None:
    ours = tiny_qwen()
    ours.model.save_pretrained(tmp_path)
    ours.processor.save_pretrained(tmp_path)
    built = build_tagger(Settings(vlm_model=str(tmp_path), vlm_device="cpu", vlm_image_pixels=PIXELS, vlm_batch=3), HashingEncoder(), "vlm")
    assert isinstance(built, VlmTagger) and built.name == "vlm"
    assert built._bounds == Bounds(batch=3, image_pixels=PIXELS)
    assert built._guards.aliases and built._guards.values and built._guards.evidence and built._known
    with pytest.raises(BadSetting, match="TAGSTREAM_VLM_MODEL"):
        build_tagger(Settings(), HashingEncoder(), "vlm")


def test_loading_from_a_directory_and_refusals(tmp_path: Path) -> None:
    ours = tiny_qwen()
    ours.model.save_pretrained(tmp_path)
    ours.processor.save_pretrained(tmp_path)
    loaded = open_vlm(str(tmp_path), "cpu", "float32")
    bounds = Bounds(new_tokens=240, image_pixels=PIXELS)
    answers = [VlmTagger(one, HANDBOOK, 2, bounds, guards=Guards(evidence=False)).tag(NOTES[:3], MEDIA[:3]) for one in (ours, loaded)]
    assert answers[0] == answers[1]
    assert read_card(tmp_path) is None
    (tmp_path / CARD_FILE).write_text("{}")
    with pytest.raises(BadSetting, match="demo-models vlm"):
        open_vlm(str(tmp_path), "cpu", "float32")
    with pytest.raises(BadSetting, match="TAGSTREAM_VLM_MODEL"):
        open_vlm("")
    with pytest.raises(BadSetting, match="vlm_dtype"):
        open_vlm(str(tmp_path), "cpu", "int3")
    with pytest.raises(BadSetting, match=r"vlm_model: .* cannot be loaded"):
        open_vlm(str(tmp_path / "nothing"), "cpu", "float32")


def test_both_generations_of_internvl_are_here() -> None:
    assert [made().model.config.get_text_config().model_type for made in (tiny_intern3, tiny_intern)] == ["qwen2", "qwen3"]
