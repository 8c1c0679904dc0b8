"""The judge that knows the truth: what each kind of tag is worth, and what holds of every comparison."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.roles import Spoken, Utterance
from offline.judge.dual import NEGATED
from offline.judge.oracle import OracleJudge, Strictness
from offline.judge.roles import Answered, Comparison
from offline.simulate.truth import Attribute, Scene, Truth, Untrue
from offline.tag_data.samples import Picture, Sample, Told
from schemas.errors import BadSetting
from schemas.events import NoteEvent, Product
from tests.offline.judge.oracle_world import NOTES, SAMPLES, TRUTHS, best, sample_of

NOTE = NoteEvent(
    type="note.published", note_id="n", author_id="a", occurred_at=1, published_at=1, category="shoes",
    title="Low-heel boots, wide toe box",
    body="People keep asking, and yes, marathon day. Do not expect carbon plate here. The short version: mint green colorway.",
    products=[Product(name="Harbor 6", brand="Kitefoot", description="black colorway")], language="en",
)  # fmt: skip
SCENE = Scene(object="boot", colour="black", accent="rose", pattern="stripe", label="TRUE TO SIZE")


def true(dimension: str, en: str, zh: str, *sources: str) -> Attribute:
    return Attribute(kind="phrase", dimension=dimension, en=en, zh=zh, sources=list(sources))


TRUTH = Truth(
    note_id="n", category="shoes", language="en", quality=0.5, images=[SCENE], spoken="The thing I like is gift box.",
    attributes=[
        true("shoe_type", "low-heel boots", "低跟靴", "title", "image"),
        true("fit_comfort", "wide toe box", "宽楦", "title"),
        true("color_design", "black colorway", "黑色配色", "product", "image"),
        true("occasion", "marathon day", "马拉松比赛日", "body"),
        true("color_design", "striped pattern", "条纹图案", "image"),
        true("size", "true to size", "正码", "image"),
        true("price", "gift box", "礼盒装", "audio"),
    ],
    untrue=[
        Untrue(dimension="cushioning", en="carbon plate", zh="碳板", denied=True),
        Untrue(dimension="color_design", en="mint green colorway", zh="薄荷绿配色", denied=False, instead_of="black colorway"),
    ],
)  # fmt: skip
SPEECH = [Spoken(Utterance(TRUTH.spoken, 0, 1000), "audio", 0)]
WHOLE = Sample(note=NOTE, pictures=[Picture("none", "image", 0)], speech=SPEECH)
JUDGE = OracleJudge({"n": TRUTH})


def kinds(*texts: str, sample: Sample = WHOLE) -> list[str]:
    readings = JUDGE.reader(sample).read([Told(text, "color_design", "body") for text in texts])
    return [f"{one.kind} {one.attribute.en}" if one.attribute else one.kind for one in readings]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Wide Toe Boxes", "true wide toe box"),  # case and plural
        ("黑色配色", "true black colorway"),  # the other language
        ("Kitefoot low-heel boots", "true low-heel boots"),  # with a word of the card
        ("carbon plate", "false"),  # denied
        ("碳板", "false"),
        ("mint green colorway", "false"),  # against the card
        ("mint green boots", "false"),  # all that is untrue of it
        ("carbon", "false"),  # a part of it that nothing true has
        ("colorway", "low"),  # a part that something true has too
        ("leather boots", "false"),  # a word that nothing supports
        ("红色配色", "false"),
        ("黑色靴", "false"),  # 色靴 stands nowhere, and 靴 nowhere beside it
        ("黑色低跟靴", "true low-heel boots"),
        ("boots", "low"),
        ("shoes", "low"),  # the category's noun
        ("Harbor 6", "low"),
        ("people keep asking and yes marathon day", "low"),  # a sentence
        ("!!", "false"),
    ],
)
def test_what_a_tag_says(text: str, kind: str) -> None:
    assert kinds(text) == [kind]


def test_saying_it_again_is_low_information_in_either_language() -> None:
    assert kinds("black colorway", "黑色配色", "BLACK COLORWAY") == ["true black colorway", "low", "low"]


def test_only_what_the_sample_tells_counts() -> None:
    blind = Sample(note=NOTE)
    reader = JUDGE.reader(blind)
    assert [one.attribute.en for one in reader.asked] == ["low-heel boots", "wide toe box", "black colorway", "marathon day"]
    [unheard] = reader.read([Told("gift box", "price", "audio")])
    assert (unheard.kind, unheard.counts) == ("true", False)
    assert [one.attribute.en for one in JUDGE.reader(WHOLE).asked][-1] == "gift box"
    assert kinds("true to size", sample=blind) == ["true true to size"]
    answer = [Told("low-heel boots", "shoe_type", "title")]
    assert JUDGE.utility(reader, answer) == JUDGE.utility(reader, [*answer, Told("gift box", "price", "audio")])


CORE = [Told("low-heel boots", "shoe_type", "title"), Told("wide toe box", "fit_comfort", "title")]
MORE = [Told("black colorway", "color_design", "product"), Told("marathon day", "occasion", "body")]
FALSE = Told("carbon plate", "cushioning", "body")
LOW = Told("shoes", "shoe_type", "title")


@pytest.mark.parametrize(
    ("tags", "scores"),
    [
        ([*CORE, *MORE], (1, 1, 1)),
        ([*CORE, FALSE, *MORE], (0, 1, 1)),
        (CORE, (1, 0, 0)),  # 2 of 6 dimensions, 2 of the 4 foremost
        ([*CORE, MORE[0]], (1, 0, 1)),
        ([*CORE, *MORE[:1], Told("marathon day", "color_design", "body")], (1, 0, 1)),  # the wrong dimension
        ([*CORE, *MORE, Told("harbor 6", "nonsense", "product")], (1, 0, 1)),  # a dimension that shoes do not have
        ([*reversed(MORE), *CORE], (1, 1, 1)),  # the order within the first four is free
        ([LOW, *CORE, *MORE], (1, 1, 0)),  # low-information leads
        ([MORE[1], Told("striped pattern", "color_design", "image"), Told("true to size", "size", "image"), *CORE], (1, 1, 0)),
        ([], (0, 0, 0)),
    ],
)
def test_attributes(tags: list[Told], scores: tuple[int, int, int]) -> None:
    [found] = JUDGE.score([Answered(WHOLE, tags)])
    assert found is not None
    assert (found.truth, found.coverage, found.importance) == scores
    assert bool(found.reason) == (found.total < 3)


def test_all_that_is_told_earns_all() -> None:
    for found in JUDGES[0].score([Answered(sample, best(sample)) for sample in SAMPLES]):
        assert found is not None
        assert found.total == 3, found.reason


def test_what_is_worse_than_all_that_is_true() -> None:
    whole = best(WHOLE, TRUTH)
    reader = JUDGE.reader(WHOLE)
    lower = {
        "one left out": whole[:-1],
        "false": [*whole, FALSE],
        "low": [*whole, LOW],
        "turned round": whole[::-1],
        "elsewhere": [*whole[:-1], Told("gift box", "shoe_type", "audio")],
    }
    top = JUDGE.utility(reader, whole)
    assert top == 1
    worth = {name: JUDGE.utility(reader, tags) for name, tags in lower.items()}
    assert all(0 < value < top for value in worth.values())
    assert worth["false"] < worth["low"]
    assert JUDGE.utility(reader, whole[1:]) < worth["one left out"], "the first attribute weighs more than the last"
    assert JUDGE.utility(reader, []) == JUDGE.utility(reader, [FALSE]) == 0


JUDGES = [OracleJudge(TRUTHS), OracleJudge(TRUTHS, Strictness(near=0.0, far=0.01))]
answers = st.integers(0, len(NOTES) - 1).flatmap(
    lambda at: st.tuples(
        st.just(at),
        *[st.lists(st.sampled_from([*best(SAMPLES[at]), *best(SAMPLES[at - 1])[:2], LOW, FALSE]), max_size=9) for _ in "ab"],
    )
)


@given(answers, st.sampled_from(JUDGES))
@settings(max_examples=60)
def test_a_swapped_pair_gets_the_negated_verdict(drawn: tuple[int, list[Told], list[Told]], judge: OracleJudge) -> None:
    at, one, other = drawn
    sample = SAMPLES[at]
    same, forth, back = judge.compare([Comparison(sample, one, one), Comparison(sample, one, other), Comparison(sample, other, one)])
    assert same == "A=B"
    assert forth is not None
    assert back == NEGATED[forth]
    assert 0 <= judge.utility(judge.reader(sample), one) <= 1


def test_levels_begin_beyond_their_thresholds() -> None:
    judge = OracleJudge({}, Strictness(near=0.1, far=0.5))
    assert [judge.verdict(size) for size in (0.1, 0.11, 0.5, 0.51)] == ["A=B", "A>B", "A>B", "A>>B"]
    assert [judge.verdict(-size) for size in (0.1, 0.11, 0.5, 0.51)] == ["A=B", "A<B", "A<B", "A<<B"]


def test_the_version_follows_truth_and_strictness() -> None:
    other = msgspec.structs.replace(TRUTH, attributes=TRUTH.attributes[1:])
    judges = [JUDGE, OracleJudge({"n": other}), OracleJudge({"n": TRUTH}, Strictness(far=0.4))]
    assert len({judge.version for judge in judges}) == 3
    assert OracleJudge({"n": TRUTH}).version == JUDGE.version


def test_a_note_without_truth_is_named() -> None:
    with pytest.raises(BadSetting, match=r"'sim-0000001'.*truth file"):
        JUDGE.score([Answered(sample_of(NOTES[1]), [])])
