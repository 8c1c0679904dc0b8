"""The query: reader -> candidate sources -> filters -> merge -> arrangement -> explanation. Read ``recall`` top to bottom.

Redis down is ``Transient``: without profiles and records nothing can be said. A channel whose store is down contributes nothing and is
named in ``degraded``.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from models.profile import actions_behind
from models.roles import Space, TagEncoder
from recall.arrange import Place, arrange, arrange_serving
from recall.channels import CHANNELS, TAGS_ENCODED, WORD_FOR_WORD, Channel, Context
from recall.explain import Reason, Similarity, explain
from recall.filters import Judge, Removed, acceptable, known, live, no_canary, not_own, original, split, unseen, within
from recall.learned_channels import ReaderVectors, choose, default_channels
from recall.merge import Candidate, ChannelScore, Ranked, merge, pool
from recall.note_index import now_ms
from recall.plan import plan_of
from recall.propose import propose_all
from recall.reader import KnownNotes, read_reader
from recall.sentences import Moment, why
from recall.stores import ExplorationBudget, Glance, NoteIndex, Notes, Profiles, Window
from schemas.settings import Settings

DAY_MS = 86_400_000
OVERFETCH = 4
FETCH_MIN = 100
FETCH_MAX = 16_000
INSTEAD = "tag_index_idf"
"""The channel that steps in where one of a query that names none cannot answer: it needs Redis alone."""
NO_BUNDLE = "no bundle is active yet: run `tagstream consume`"


class Query(Struct, frozen=True, kw_only=True):
    """What is asked. ``fresh_within_ms``: greatest age of a note, None for any.

    ``as_of``: the moment asked about, epoch ms; notes published later do not exist. None is the clock, without that bound: a producer whose
    clock runs ahead hides nothing. ``channels``: by name; None for those of the live bundle. ``serving``: the answer is
    shown to the reader, so that new notes in it spend their exploration budget; without it nothing is explored and nothing spent.
    """

    user_id: str
    k: int = 20
    fresh_within_ms: int | None = DAY_MS
    as_of: int | None = None
    channels: tuple[str, ...] | None = None
    explain: bool = False
    serving: bool = False


class RecallStores(Struct, frozen=True):
    """The online stores of one bundle version, with the settings of the profile arithmetic. ``bundle`` None: none is live yet;
    ``spaces``: its learned ones by name; ``weights``: of its merge, by channel; ``budget``: of exploration, None for
    stores that nothing explores; ``local``: the stores are in this process, so channels have nothing to wait for at the same time."""

    profiles: Profiles
    notes: Notes
    index: NoteIndex
    settings: Settings
    bundle: str | None = None
    spaces: Mapping[str, Space] = {}
    weights: Mapping[str, float] = {}
    budget: ExplorationBudget | None = None
    local: bool = False


class Result(Struct, frozen=True):
    """A recalled note. ``reasons`` is filled when asked for; ``channels`` holds ``fresh`` alone where nothing of the profile matched.

    ``quota``: the channel whose minimum share brought the note in, None where its place in the ranking did. ``exploration_left``: for a
    note shown by exploration, how many impressions it is still due. ``why``: when asked for, a line for a person on each channel.
    """

    note_id: str
    score: float
    channels: list[ChannelScore]
    reasons: list[Reason]
    category: str | None = None
    published_at: int = 0
    tags: list[str] = field(default_factory=list)
    quota: str | None = None
    exploration_left: int | None = None
    why: dict[str, str] = field(default_factory=dict)


class Recalled(Struct, frozen=True):
    """The answer. ``removed`` accounts for every candidate that a filter took out; ``degraded`` names what the answer had to do without;
    ``bundle``: the one that all of it comes from."""

    user_id: str
    as_of: int
    results: list[Result]
    removed: list[Removed]
    degraded: list[str]
    profile_tags: int = 0
    bundle: str | None = None


def recall(query: Query, stores: RecallStores, encoder: TagEncoder) -> Recalled:
    """Answers one query.

    Args:
        encoder: used only when the embedding channel runs for a reader whose profile is not empty.

    Raises:
        Transient: when Redis does not answer.
        BadSetting: when a channel is asked for that the bundle does not have, or a setting of the ranking cannot be read.
        BundleMismatch: when a learned part here is not that of the live bundle.
    """
    now = now_ms() if query.as_of is None else query.as_of
    if stores.bundle is None:
        return Recalled(query.user_id, now, [], [], [NO_BUNDLE])
    context = prepare(query, now, stores, encoder)
    plan = plan_of(stores.settings, tuple(stores.spaces))
    names = (
        plan.channels(default_channels(stores.spaces, stores.weights), tuple(stores.spaces)) if query.channels is None else query.channels
    )
    channels = choose(names, stores.spaces, plan.weigh(stores.weights))
    degraded: dict[str, str] = {}
    while True:
        ranked, removed, more = rank(channels, context, degraded)
        if len(ranked) >= query.k or not more or context.limit >= FETCH_MAX:
            break
        context = replace(context, limit=min(context.limit * OVERFETCH, FETCH_MAX))
    if degraded and query.channels is None and INSTEAD not in names:
        channels = [*channels, CHANNELS[INSTEAD]]
        ranked, removed, _ = rank(channels, context, degraded)
    if query.serving:
        passes = partial(passing, context=context)
        places = arrange_serving(ranked, context, plan, query.k, budget=stores.budget, now=now, passes=passes, degraded=degraded)
    else:
        places = arrange(ranked, context, plan, query.k)
    reasons = explain_all([place.note for place in places], context) if query.explain else [[] for _ in places]
    records = context.notes.get(place.note.note_id for place in places)
    results = [result(place, found, records[place.note.note_id]) for place, found in zip(places, reasons, strict=True)]
    if query.explain:
        results = [
            replace(one, why=why(place, records[one.note_id], one.reasons, context, Moment(now, plan)))
            for place, one in zip(places, results, strict=True)
        ]
    return Recalled(query.user_id, now, results, removed, list(degraded.values()), len(context.reader.liked), stores.bundle)


def prepare(query: Query, now: int, stores: RecallStores, encoder: TagEncoder) -> Context:
    """Reads the reader and says what the channels may use."""
    notes = KnownNotes(stores.notes)
    reader = read_reader(query.user_id, now, stores.profiles, notes, stores.settings)
    window = Window(None if query.fresh_within_ms is None else now - query.fresh_within_ms, query.as_of)
    vectors = ReaderVectors(stores.spaces, reader, now, stores.settings, notes)
    limit = min(max(OVERFETCH * query.k, FETCH_MIN), FETCH_MAX)
    return Context(reader, window, limit, notes, stores.index, encoder, vectors, not stores.local)


def rank(channels: Sequence[Channel], context: Context, degraded: dict[str, str]) -> tuple[list[Ranked], list[Removed], bool]:
    """Candidates that pass the filters, best first; those removed, with reasons; and whether a higher limit may find more.

    ``recall`` asks again with a higher limit when too few pass: a reader may have acted on most of what matches.
    """
    found = propose_all([channel for channel in channels if channel.name not in degraded], context, degraded)
    kept, removed = filter_all(pool({name: one.hits for name, one in found.items()}), context)
    ranked = merge(kept, {channel.name: channel.blend for channel in channels})
    ranked, reposts = split(ranked, original(context.notes.records, fingerprints(context)))
    return ranked, removed + reposts, any(one.more for one in found.values())


def filter_all(candidates: Sequence[Candidate], context: Context) -> tuple[list[Candidate], list[Removed]]:
    """The filters in order; the first that objects gives the reason. Nearly all pass, so what passes is told first, all filters at once."""
    context.notes.read(candidate.note_id for candidate in candidates)
    records, reader = context.notes.records, context.reader
    passes = acceptable(records, context.window, reader.user_id, reader.acted_on)
    kept: list[Candidate] = []
    left: list[Candidate] = []
    for candidate in candidates:
        (kept if passes(candidate.note_id) else left).append(candidate)
    filters: list[Judge] = [
        no_canary(reader.user_id),
        known(records),
        live(records),
        not_own(records, reader.user_id),
        unseen(reader.acted_on),
        within(records, context.window),
    ]
    removed = list[Removed]()
    for judge in filters:
        left, out = split(left, judge)
        removed += out
    assert not left, "a filter objects"
    return kept, removed


def passing(candidates: Sequence[Candidate], context: Context) -> list[Candidate]:
    """What every filter lets through, in the order given, reposts left out."""
    kept, _ = filter_all(candidates, context)
    return split(kept, original(context.notes.records, fingerprints(context)))[0]


def fingerprints(context: Context) -> dict[str, str]:
    """Fingerprint -> note, of the notes the reader acted on last: their reposts are no news."""
    records = context.notes.get(context.reader.recent_notes)
    return {record.fingerprint: note_id for note_id, record in records.items() if record.fingerprint}


def explain_all(chosen: Sequence[Ranked], context: Context) -> list[list[Reason]]:
    """The reasons of each result, in order; none for one that only ``fresh`` proposed."""
    records = context.notes.get(one.note_id for one in chosen)
    near = [one.note_id for one in chosen if any(part.name not in WORD_FOR_WORD for part in one.channels)]
    tags = {one.note_id: texts(records.get(one.note_id)) for one in chosen}
    near_tags = [text for note_id in near for text in tags[note_id]]
    similarity = Similarity(context.encoder, context.reader.top(TAGS_ENCODED), near_tags) if near_tags and context.reader.liked else None
    actions = actions_behind(context.reader.profile, context.notes.tags_of)
    return [
        explain(tags[one.note_id], context.reader.liked, actions, similarity if one.note_id in near else None) if matched(one) else []
        for one in chosen
    ]


def matched(one: Ranked) -> bool:
    """Whether anything but its age proposed the note."""
    return any(part.name != "fresh" for part in one.channels)


def texts(record: Glance | None) -> list[str]:
    """A note's tags as texts, by rank."""
    return [] if record is None else [tag.text for tag in sorted(record.tags, key=lambda tag: tag.rank)]


def result(place: Place, reasons: list[Reason], record: Glance) -> Result:
    """A place of the answer as it is shown."""
    one = place.note
    shown = (record.category, record.published_at, texts(record))
    return Result(one.note_id, one.score, one.channels, reasons, *shown, quota=place.quota, exploration_left=place.left)
