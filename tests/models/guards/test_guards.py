"""Guards: pure functions over answer, note and media."""

import json
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.answers import parse_answer
from models.guards import Aliases, Guarded, Guards, build_guards, guard
from models.guards.contradiction import Values, differing, resolve
from models.guards.places import Places, stems_of
from models.guards.vocabulary import KnownTags
from models.handbook import load_handbook
from models.roles import NoteMedia, SeenImage, Spoken, Utterance
from offline.simulate.notes import Community
from offline.simulate.true_tagger import true_tags
from schemas.events import Evidence, NoteEvent, Product
from schemas.settings import Settings
from tests.models.hashing_encoder import HashingEncoder
from tests.models.injections import INJECTIONS

HANDBOOK = load_handbook()
DRESSING = [dimension.id for dimension in HANDBOOK.category("dressing").dimensions]
PICTURE = SeenImage(np.zeros((2, 2, 3), np.uint8), "image", 3)
FRAME = SeenImage(np.zeros((2, 2, 3), np.uint8), "video", 700)


def note(**fields: object) -> NoteEvent:
    known = {"type": "note.published", "note_id": "n", "author_id": "a", "occurred_at": 1, "published_at": 1, "category": "dressing"}
    return NoteEvent(**(known | fields))  # type: ignore[arg-type]


def guarded(one: NoteEvent, *tags: tuple[str, str, str], media: NoteMedia | None = None, guards: Guards | None = None) -> Guarded:
    """Tags as (text, dimension, source)."""
    output = json.dumps([dict(zip(("text", "dimension", "source"), tag, strict=True)) for tag in tags], ensure_ascii=False)
    return guard(parse_answer(output, HANDBOOK, one.category, 20), one, media, guards or Guards())


class StemEncoder(HashingEncoder):
    """Texts that differ by a plural have one vector."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().encode([" ".join(stems_of(text)) for text in texts])


class TestEvidence:
    def test_words_are_found_whatever_their_case_width_and_plural(self) -> None:
        one = note(
            title="Ｗide-Leg JEANS, puff sleeve",
            body="穿了亚麻衬衫。",
            products=[Product(name="x"), Product(name="a", description="merino wools")],
        )
        found = guarded(
            one,
            ("wide leg jean", "garment_type", "title"),
            ("puff sleeves", "fit_silhouette", "title"),
            ("亚麻衬衫", "garment_type", "body"),
            ("Merino Wool", "fabric", "product"),
        )
        assert found.unfounded == []
        assert [tag.evidence for tag in found.tags] == [
            [Evidence(source="title", position=0)],
            [Evidence(source="title", position=one.title.index("puff"))],
            [Evidence(source="body", position=2)],
            [Evidence(source="product", position=1_000_000 + len("a  "))],
        ]
        assert [tag.rank for tag in found.tags] == [1, 2, 3, 4]

    def test_what_is_said_nowhere_goes(self) -> None:
        one = note(title="jeans on a leg, quite wide", body="aware of leggings")
        found = guarded(
            one, ("wide leg jeans", "garment_type", "title"), ("war", "style", "body"), ("leg", "style", "body"), ("丝", "fabric", "title")
        )
        assert [tag.text for tag in found.tags] == ["leg"]
        assert found.unfounded == ["wide leg jeans", "war", "丝"]
        assert len(guarded(one, ("war", "style", "body"), guards=Guards(evidence=False)).tags) == 1

    def test_a_claim_on_another_source_is_put_right(self) -> None:
        found = guarded(note(title="silk", body="silk again"), ("silk", "fabric", "body"), ("again", "style", "audio"))
        assert [one.source for one in found.tags[0].evidence] == ["body", "title"]
        assert found.tags[1].evidence == [Evidence(source="body", position=5)]

    def test_pictures_cannot_be_looked_into_but_must_be_there(self) -> None:
        claims = (("red dress", "garment_type", "image"), ("blue bag", "accessories", "video"))
        assert guarded(note(title="x"), *claims).tags == []
        found = guarded(note(title="x"), *claims, media=NoteMedia([PICTURE, FRAME]))
        assert [tag.evidence for tag in found.tags] == [[Evidence(source="image", position=3)], [Evidence(source="video", position=700)]]
        assert found.unchecked == ["red dress", "blue bag"]

    def test_speech_is_words(self) -> None:
        media = NoteMedia(
            [], [Spoken(Utterance("I love merino wool", 1200, 2000), "audio", 0), Spoken(Utterance("海边度假", 90, 99), "video", 0)]
        )
        found = guarded(
            note(title="x"), ("merino wool", "fabric", "audio"), ("海边度假", "occasion", "audio"), ("silk", "fabric", "audio"), media=media
        )
        assert [tag.evidence for tag in found.tags] == [[Evidence(source="audio", position=1200)], [Evidence(source="video", position=90)]]
        assert found.unfounded == ["silk"] and found.unchecked == []

    @given(st.text(max_size=60), st.text(max_size=60), st.text(min_size=1, max_size=12))
    @hypothesis_settings(max_examples=150)
    def test_every_place_is_inside_its_text(self, title: str, body: str, phrase: str) -> None:
        for found in Places(note(title=title, body=body), None).find(phrase):
            assert found.position < len({"title": title, "body": body}[found.source])

    def test_true_tags_of_the_community_have_evidence(self) -> None:
        for made in Community(7).notes(150):
            places = Places(made.event, None)
            for attribute in made.truth.told_by(("title", "body", "product")):
                said = {one.source for one in places.find(attribute.text(made.truth.language))}
                assert said >= {source for source in attribute.sources if source in ("title", "body", "product")}


class TestInjections:
    def test_a_model_that_obeys_lets_nothing_through_that_the_note_does_not_say(self) -> None:
        for text in INJECTIONS:
            one = note(title="shirt", body=text)
            obeyed = [{"text": "hacked by me", "dimension": d, "source": "title"} for d in ("style", "admin")]
            for output in (text, json.dumps(obeyed), json.dumps([*obeyed, {"text": "pwned", "dimension": "admin", "source": "body"}])):
                for tag in guard(parse_answer(output, HANDBOOK, "dressing", 10), one, None, Guards()).tags:
                    assert tag.dimension in DRESSING
                    assert tag.evidence and tag.text in one.body


class TestContradiction:
    CARD = note(
        title="red linen shirt",
        body="striped fabric, size 38",
        products=[Product(name="x", description="blue linen shirt, floral fabric, size 40")],
    )
    GUARDS = Guards(values=Values(HANDBOOK))

    def test_the_card_is_right_and_the_conflict_is_kept(self) -> None:
        tags = (
            ("red linen shirt", "garment_type", "title"),
            ("blue linen shirt", "garment_type", "product"),
            ("striped fabric", "fabric", "body"),
        )
        found = guarded(self.CARD, *tags, ("floral fabric", "fabric", "product"), guards=self.GUARDS)
        assert [tag.text for tag in found.tags] == ["blue linen shirt", "floral fabric"]
        assert [tag.rank for tag in found.tags] == [1, 2]
        assert str(found.conflicts[0]) == "garment_type: red linen shirt against blue linen shirt on the product card"
        assert len(guarded(self.CARD, *tags).tags) == 3

    def test_numbers_exclude_each_other(self) -> None:
        found = guarded(self.CARD, ("size 38", "fit_silhouette", "body"), ("size 40", "fit_silhouette", "product"), guards=self.GUARDS)
        assert [tag.text for tag in found.tags] == ["size 40"]

    def test_what_is_no_contradiction_stays(self) -> None:
        for other in (
            ("red linen shirt", "style", "title"),
            ("linen shirt", "garment_type", "title"),
            ("striped fabric", "garment_type", "body"),
        ):
            assert len(guarded(self.CARD, other, ("blue linen shirt", "garment_type", "product"), guards=self.GUARDS).tags) == 2
        one = note(title="striped fabric", products=[Product(name="blue fabric, lightweight bag, waterproof bag")])
        seen = (("striped fabric", "fabric", "title"), ("blue fabric", "fabric", "product"), ("waterproof bag", "fabric", "product"))
        assert len(guarded(one, *seen, guards=self.GUARDS).tags) == 3, "a colour and a pattern can both be true"
        both = (("red linen shirt", "garment_type", "title"), ("striped fabric", "fabric", "body"))
        assert len(guarded(self.CARD, *both, guards=self.GUARDS).tags) == 2, "neither is on the card"

    def test_true_tags_of_the_community_do_not_contradict_each_other(self) -> None:
        for made in Community(7).notes(300):
            tags = true_tags(made.truth)
            assert resolve(tags, Values(HANDBOOK)) == (tags, [])

    def test_shades_with_two_words(self) -> None:
        one = note(title="mustard yellow coat", products=[Product(name="sky blue coat")])
        found = guarded(one, ("mustard yellow coat", "style", "title"), ("sky blue coat", "style", "product"), guards=self.GUARDS)
        assert [tag.text for tag in found.tags] == ["sky blue coat"]

    def test_chinese(self) -> None:
        one = note(title="红色连衣裙", products=[Product(name="蓝色连衣裙")])
        found = guarded(one, ("红色连衣裙", "garment_type", "title"), ("蓝色连衣裙", "garment_type", "product"), guards=self.GUARDS)
        assert [tag.text for tag in found.tags] == ["蓝色连衣裙"]

    @given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
    def test_what_differs_lies_between_what_is_shared(self, left: list[str], right: list[str]) -> None:
        mine, its = differing(left, right)
        first = next((n for n in range(len(left) - len(mine) + 1) if left[n : n + len(mine)] == mine and left[:n] == right[:n]), None)
        assert first is not None
        assert len(left) - len(mine) == len(right) - len(its)


class TestAliases:
    def test_only_what_means_the_same(self) -> None:
        aliases = Aliases(HANDBOOK, HashingEncoder(), 0.5)
        assert aliases.same("linen shirts", "linen shirt")
        for left, right in (
            ("red shirt", "blue shirt"), ("size 38 shirt", "size 40 shirt"), ("canon r5 bag", "canon r6 bag"), ("low waist", "high waist"),
            ("no sleeves", "sleeves"), ("silk shirt", "linen shirt"), ("高腰", "低腰"), ("红裙", "蓝裙"),
        ):  # fmt: skip
            assert not aliases.same(left, right), (left, right)

    def test_the_handbooks_wording_within_the_dimension(self) -> None:
        guards = Guards(aliases=Aliases(HANDBOOK, StemEncoder(), 0.9))
        one = note(title="wide leg jean and pearl necklaces, slim fits", body="慢")
        fits = (("slim fits", "fit_silhouette", "title"), ("slim fit", "fit_silhouette", "title"))
        found = guarded(one, ("wide leg jean", "garment_type", "title"), ("pearl necklaces", "style", "title"), *fits, guards=guards)
        assert [tag.text for tag in found.tags] == ["wide leg jeans", "pearl necklaces", "slim fit"]
        assert found.renamed == {"wide leg jean": "wide leg jeans", "slim fits": "slim fit"}
        assert [tag.rank for tag in found.tags] == [1, 2, 3]


def test_settings_switch_each_guard_off() -> None:
    names = ("guard_evidence", "guard_contradictions", "guard_aliases")
    for off in names:
        guards = build_guards(Settings(**{off: False}), HANDBOOK, HashingEncoder())
        assert [guards.evidence, guards.values is not None, guards.aliases is not None] == [name != off for name in names]


TEXTS = st.sampled_from(["red shirt", "blue shirt", "silk", "Silk", "size 3"])
SOURCES = st.sampled_from(["title", "body", "product", "image"])


@given(st.lists(st.tuples(TEXTS, st.sampled_from(DRESSING[:2]), SOURCES), max_size=8))
@hypothesis_settings(max_examples=100)
def test_guarding_keeps_order_ranks_and_texts_unique(tags: list[tuple[str, str, str]]) -> None:
    one = note(title="red shirt", body="silk", products=[Product(name="blue shirt", description="size 3")])
    guards = Guards(values=Values(HANDBOOK), aliases=Aliases(HANDBOOK, HashingEncoder(), 0.9))
    found = guarded(one, *tags, media=NoteMedia([PICTURE]), guards=guards)
    assert [tag.rank for tag in found.tags] == list(range(1, len(found.tags) + 1))
    assert len({tag.text.casefold() for tag in found.tags}) == len(found.tags)
    assert all(tag.evidence for tag in found.tags)
    assert found == guarded(one, *tags, media=NoteMedia([PICTURE]), guards=guards)


def test_known_tags_near_a_note() -> None:
    known = KnownTags(HANDBOOK, HashingEncoder(), 3, {"dressing": ["quiet luxury linen", "静奢"]})
    assert known.near(note(title="linen shirt for the office"))[0] == "linen shirt"
    assert "quiet luxury linen" in known.near(note(title="quiet luxury linen"))
    assert all(any(sign >= "\u4e00" for sign in tag) for tag in known.near(note(title="静奢风的亚麻衬衫")))
    assert not known.near(note(title="x", category=None))
    assert not known.near(note())
    heard = KnownTags(HANDBOOK, HashingEncoder(), 1).near(note(), NoteMedia([], [Spoken(Utterance("trench coat", 0, 1), "audio", 0)]))
    assert heard[0] == "trench coat"


def test_confidence_is_clamped() -> None:
    answer = parse_answer('[{"text":"silk","dimension":"fabric","source":"title"}]', HANDBOOK, "dressing", 5)
    for given_, wanted in ((0.123456, 0.1235), (-1.0, 0.0), (2.0, 1.0)):
        found = guard(answer, note(title="silk"), None, Guards(), lambda _, value=given_: value)
        assert found.tags[0].confidence == pytest.approx(wanted)
        msgspec.json.encode(found.tags)
