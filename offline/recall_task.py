"""Cold-start tasks out of a dataset: which notes are cold, what readers' profiles are, and what they went on to act on.

``random``: a fifth of the tagged notes is cold; a reader's profile is all warm notes, the targets are all cold ones. ``time``: notes first
touched after the 70 % quantile of all times are cold; each like or favorite of a cold note is a query with everything earlier as profile.

A task can be made out of the training part of another (``within``): notes that are warm there are held out as pseudo-cold. All choosing is
done on such tasks, so that no reader's target decides anything.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from offline.recall_data import FOREVER, Actions, RecallData
from schemas.errors import BadSetting

Protocol = Literal["random", "time"]
SPLIT_SEED = 7
COLD_SHARE = 0.2
WARM_QUANTILE = 0.7
DOCUMENTS_MIN = 3
DOCUMENTS_MAX_SHARE = 0.2
EARLIER_MIN = 5

Rows = NDArray[np.int64]


class Content(NamedTuple):
    """The tags a task may use: ``texts`` of the columns, ``counts`` (notes, tags) with 1 where a note has the tag, float32 CSR. Left out
    were ``common`` tags and, if so said, rare ones. ``ranks``: like ``counts`` with the place, from 1, among all of the note's tags;
    ``confidences``: like ``counts`` with how sure the tagger was, None where all are 1."""

    texts: list[str]
    counts: Any
    common: tuple[str, ...] = ()
    rare_left_out: bool = False
    ranks: Any = None
    confidences: Any = None


class Task(NamedTuple):
    """One evaluation. N notes of the dataset, Q queries, C candidates.

    ``warm``, ``cold``: note rows; the candidates are ``cold``, in an order that says nothing. ``training``: rows of the actions that may be
    learned from. ``history``: (readers, N) weights of those. ``profiles``: (Q, N) weights. ``targets``: (Q, C) with 1 for a hit.
    ``reader``: shape (Q,).
    """

    data: RecallData
    protocol: Protocol
    content: Content
    warm: Rows
    cold: Rows
    training: Rows
    history: Any
    profiles: Any
    targets: Any
    reader: Rows


def make_task(data: RecallData, protocol: Protocol, seed: int = SPLIT_SEED, actions: Rows | None = None) -> Task:
    """Splits a dataset.

    Args:
        seed: which notes are cold under ``random``; the protocol's own is 7.
        actions: rows of the actions that exist; all by default.

    Raises:
        BadSetting: when no tags, no dates or no queries are there.
    """
    if not any(data.tags):
        raise BadSetting(f"{data.name}: no note has tags; add the field tags to notes.jsonl or use --tags handbook")
    rows = np.arange(len(data.actions.note)) if actions is None else actions
    if protocol == "random":
        return _random(data, rows, seed)
    if not data.dated:
        raise BadSetting(f"{data.name}: its actions have no time; use --protocol random")
    return _time(data, rows)


def whole_task(data: RecallData, protocol: Protocol) -> Task:
    """All of a dataset as training: every note is warm, no candidates, no queries. For ``within`` and for training what is to serve.

    Raises:
        BadSetting: when no note has tags.
    """
    if not any(data.tags):
        raise BadSetting(f"{data.name}: no note has tags; add the field tags to notes.jsonl or use --tags handbook")
    content = tag_content(data, DOCUMENTS_MIN, DOCUMENTS_MAX_SHARE) if protocol == "random" else tag_content(data, 1, 1.0)
    training = np.flatnonzero(data.actions.undone_at == FOREVER)
    none, history = np.zeros(0, np.int64), _matrix(data, training)
    return Task(data, protocol, content, np.arange(len(data.notes)), none, training, history, history[none], history[none][:, none], none)


def within(task: Task, seed: int = 0) -> Task:
    """A task of the same kind out of ``task``'s training actions alone: some of its warm notes are pseudo-cold."""
    return make_task(task.data, task.protocol, seed, task.training)


def among_all(task: Task) -> Task:
    """The task with the warm notes as candidates too, behind the cold ones; what is learned from stays the same. A ranking must leave
    out what is in the profile, see ``unseen``."""
    warm = sparse.csr_matrix((task.targets.shape[0], len(task.warm)), dtype=task.targets.dtype)
    return task._replace(cold=np.concatenate([task.cold, task.warm]), targets=sparse.hstack([task.targets, warm]).tocsr())


def check_leaks(task: Task) -> None:
    """Raises ``AssertionError`` when a cold note is in what is learned from, a target in its profile, or a profile later than its query."""
    cold = np.zeros(len(task.data.notes), np.bool_)
    cold[task.cold] = True
    assert not cold[task.warm].any(), "a note is both warm and cold"
    assert not cold[task.data.actions.note[task.training]].any(), "a cold note is among the training actions"
    assert not cold[task.history.indices].any(), "a cold note is in a training history"
    own = task.profiles[:, task.cold].multiply(task.targets)
    assert own.nnz == 0, "a target is in the profile that is to find it"
    if task.protocol == "random":
        assert not cold[task.profiles.indices].any(), "a cold note is in a profile"
    elif len(task.training):
        first = task.data.actions.at[np.isin(task.data.actions.note, task.cold)].min()
        assert task.data.actions.at[task.training].max() <= first, "a training action is later than a cold note's first"


def _random(data: RecallData, rows: Rows, seed: int) -> Task:
    """Over the notes that ``rows`` touch, or over all of them when ``rows`` are all."""
    actions = data.actions
    whole = len(rows) == len(actions.note)
    exists = np.ones(len(data.notes), np.bool_)
    if not whole:
        exists[:] = False
        exists[actions.note[rows]] = True
    content = tag_content(data, DOCUMENTS_MIN, DOCUMENTS_MAX_SHARE)
    tagged = np.flatnonzero((np.diff(content.counts.indptr) > 0) & exists)
    cold = np.random.default_rng(seed).permutation(tagged)[: int(COLD_SHARE * exists.sum())]
    is_cold = np.zeros(len(data.notes), np.bool_)
    is_cold[cold] = True
    standing = rows[actions.undone_at[rows] == FOREVER]
    training = standing[~is_cold[actions.note[standing]]]
    history = _matrix(data, training)
    wanted = _matrix(data, standing[is_cold[actions.note[standing]]])[:, cold]
    reader = np.flatnonzero((np.diff(history.indptr) > 0) & (np.diff(wanted.indptr) > 0))
    if not len(reader):
        raise BadSetting(f"{data.name}: no reader has both a warm and a cold note; give more interactions")
    targets = wanted[reader]
    targets.data[:] = 1.0
    warm = np.flatnonzero(exists & ~is_cold)
    return Task(data, "random", content, warm, cold, training, history, history[reader], targets, reader)


def _time(data: RecallData, rows: Rows) -> Task:
    actions = data.actions
    content = tag_content(data, 1, 1.0)
    tagged = np.diff(content.counts.indptr) > 0
    rows = rows[tagged[actions.note[rows]]]
    if not len(rows):
        raise BadSetting(f"{data.name}: no reader acted on a tagged note")
    first = np.full(len(data.notes), FOREVER, np.int64)
    np.minimum.at(first, actions.note[rows], actions.at[rows])
    cutoff = np.quantile(actions.at[rows], WARM_QUANTILE)
    cold = np.flatnonzero((first > cutoff) & (first < FOREVER))
    cold = np.random.default_rng(SPLIT_SEED).permutation(cold)
    warm = np.flatnonzero(first <= cutoff)
    training = rows[actions.at[rows] <= cutoff]
    place = np.full(len(data.notes), -1, np.int64)
    place[cold] = np.arange(len(cold))
    profiles, wanted, reader = _queries(actions, rows, place, len(data.notes))
    if not reader:
        raise BadSetting(f"{data.name}: no reader liked a cold note after {EARLIER_MIN} others; use --protocol random")
    ones = np.ones(len(wanted), np.float32)
    targets = sparse.csr_matrix((ones, (np.arange(len(wanted)), wanted)), shape=(len(wanted), len(cold)))
    return Task(data, "time", content, warm, cold, training, _matrix(data, training), profiles, targets, np.array(reader))


def _queries(actions: Actions, rows: Rows, place: Rows, notes: int) -> tuple[Any, list[int], list[int]]:
    """Profiles (Q, notes), wanted candidate and reader of each first like or favorite of a cold note with enough before it."""
    indptr, indices, weights = [0], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    wanted, readers = list[int](), list[int]()
    order = rows[np.lexsort((actions.at[rows], actions.reader[rows]))]
    for mine in np.split(order, np.flatnonzero(np.diff(actions.reader[order])) + 1):
        asked = set[int]()
        for row in mine[actions.liked[mine] & (place[actions.note[mine]] >= 0)]:
            note, at = int(actions.note[row]), actions.at[row]
            earlier = mine[(actions.at[mine] < at) & (actions.undone_at[mine] >= at) & (actions.note[mine] != note)]
            if note in asked or len(np.unique(actions.note[earlier])) < EARLIER_MIN:
                continue
            asked.add(note)
            indices.append(actions.note[earlier])
            weights.append(actions.weight[earlier])
            indptr.append(indptr[-1] + len(earlier))
            wanted.append(int(place[note]))
            readers.append(int(actions.reader[row]))
    profiles = sparse.csr_matrix((np.concatenate(weights), np.concatenate(indices), indptr), shape=(len(wanted), notes))
    profiles.sum_duplicates()
    return profiles, wanted, readers


def tag_content(data: RecallData, documents_min: int, documents_max_share: float) -> Content:
    """Tags on at least ``documents_min`` notes and on at most that share of them."""
    texts = {text: column for column, text in enumerate(dict.fromkeys(text for tags in data.tags for text in tags))}
    indptr = np.cumsum([0, *map(len, data.tags)])
    indices = np.array([texts[text] for tags in data.tags for text in tags], np.int64)
    shape = (len(data.notes), len(texts))
    counts = sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape)
    places = np.arange(1, len(indices) + 1) - np.repeat(indptr[:-1], np.diff(indptr))
    ranks = sparse.csr_matrix((places.astype(np.float32), indices, indptr), shape=shape)
    documents = np.bincount(indices, minlength=len(texts))
    few = documents <= documents_max_share * len(data.notes)
    kept = np.flatnonzero((documents >= documents_min) & few)
    names = list(texts)
    common = tuple(names[column] for column in np.flatnonzero(~few))
    few_tags = [names[column] for column in kept]
    confidences = None
    if data.confidences is not None:
        sure = np.array([confidence for mine in data.confidences for confidence in mine], np.float32)
        confidences = sparse.csr_matrix((sure, indices, indptr), shape=shape)[:, kept].tocsr()
    return Content(few_tags, counts[:, kept].tocsr(), common, documents_min > 1, ranks[:, kept].tocsr(), confidences)


def _matrix(data: RecallData, rows: Rows) -> Any:
    """(readers, notes) sums of weights, float32 CSR."""
    actions = data.actions
    shape = (len(data.readers), len(data.notes))
    return sparse.coo_matrix((actions.weight[rows], (actions.reader[rows], actions.note[rows])), shape=shape).tocsr()
