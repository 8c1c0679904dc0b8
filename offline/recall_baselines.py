"""What a learned recall has to beat: rankings by popularity, shared tags and pretrained vectors. Nothing here learns from other readers
but ``popularity``.

| name | score of a candidate |
|---|---|
| ``random`` | drawn |
| ``popularity`` | its tags' mean count of actions on warm notes: a cold note has no count of its own |
| ``tag_index_raw`` | sum of the profile's tag scores over the shared tags (the paper's baseline channel, section 4.6) |
| ``tag_index_idf`` | the same, each tag weighted by ln(N / df) |
| ``bm25`` | Okapi BM25, k1 1.2, b .75, the profile's tag scores as query weights |
| ``tfidf_cosine`` | cosine of tf-idf vectors to the weighted mean of the reader's notes |
| ``encoder_mean`` | cosine of sentence vectors of the tag sequences to the weighted mean of the reader's notes |
| ``encoder_text`` | the same of title and body |

Document frequencies are over all notes of the dataset: tags of cold notes are known when they are recalled, actions on them are not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.roles import TagEncoder
from offline.recall_metrics import Ranker, Scores
from offline.recall_task import Task
from schemas.errors import BadSetting

K1, B = 1.2, 0.75
TEXT_CHARACTERS = 1000


def random_ranker(task: Task, seed: int) -> Ranker:
    """Scores drawn anew for each query."""
    generator = np.random.default_rng(seed)
    return lambda profiles: generator.random((profiles.shape[0], len(task.cold)), np.float32)


def popularity(task: Task) -> Ranker:
    """One order for all readers."""
    counts = task.content.counts
    popular = np.asarray((task.history > 0).sum(axis=0)).ravel().astype(np.float32)
    used = counts[task.warm]
    per_tag = (used.T @ popular[task.warm]) / np.maximum(np.asarray(used.sum(axis=0)).ravel(), 1.0)
    notes = counts[task.cold]
    score = (notes @ per_tag) / np.maximum(np.asarray(notes.sum(axis=1)).ravel(), 1.0)
    return lambda profiles: np.tile(score.astype(np.float32), (profiles.shape[0], 1))


def tag_index(task: Task, power: float) -> Ranker:
    """Sum over shared tags of profile score x idf ** ``power``; 0 is the raw index."""
    counts = task.content.counts
    weighted = (counts[task.cold] @ sparse.diags(idf(counts) ** power)).T.tocsr()
    return lambda profiles: _dense((profiles @ counts) @ weighted)


def bm25(task: Task) -> Ranker:
    """Okapi BM25 (Robertson and Zaragoza 2009); a tag occurs once in a note."""
    counts = task.content.counts
    documents = np.asarray(counts.sum(axis=0)).ravel()
    rarity = np.log1p((counts.shape[0] - documents + 0.5) / (documents + 0.5))
    length = np.asarray(counts.sum(axis=1)).ravel()
    damp = (K1 + 1) / (1 + K1 * (1 - B + B * length / max(length[length > 0].mean(), 1e-9)))
    weighted = (sparse.diags(damp[task.cold]) @ counts[task.cold] @ sparse.diags(rarity)).T.tocsr()
    return lambda profiles: _dense((profiles @ counts) @ weighted)


def tfidf_cosine(task: Task, power: float = 1.0) -> Ranker:
    """Cosine to the weighted mean of the reader's notes, each at length 1."""
    notes = unit_rows(task.content.counts @ sparse.diags(idf(task.content.counts) ** power))
    candidates = notes[task.cold].T.tocsr()
    return lambda profiles: _dense(unit_rows(profiles @ notes) @ candidates)


def vector_cosine(task: Task, vectors: NDArray[np.float32]) -> Ranker:
    """Cosine to the weighted mean of the reader's notes. ``vectors``: unit rows, shape (notes, dimension)."""
    candidates = vectors[task.cold].T
    return lambda profiles: np.asarray(_unit(profiles @ vectors) @ candidates, np.float32)


def encode_tags(task: Task, encoder: TagEncoder) -> NDArray[np.float32]:
    """Vectors of the task's tags, shape (tags, dimension); underscores and hyphens are read as spaces."""
    return encode(encoder, [" ".join(text.replace("_", " ").replace("-", " ").split()) or text for text in task.content.texts])


def encode_sequences(task: Task, encoder: TagEncoder) -> NDArray[np.float32]:
    """Vectors of the notes' tag sequences, shape (notes, dimension), zero for a note without tags."""
    kept = set(task.content.texts)
    return _encode_some(encoder, [", ".join(text for text in tags if text in kept) for tags in task.data.tags])


def encode_texts(task: Task, encoder: TagEncoder) -> NDArray[np.float32]:
    """Vectors of title and body, shape (notes, dimension).

    Raises:
        BadSetting: when the dataset has no texts.
    """
    if task.data.events is None:
        raise BadSetting(f"{task.data.name}: its notes have no text; leave encoder_text out of --methods")
    return _encode_some(encoder, [f"{note.title}\n{note.body}".strip()[:TEXT_CHARACTERS] for note in task.data.events])


def encode(encoder: TagEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors in slices, so that memory stays bounded."""
    step = 4096
    parts = [encoder.encode(texts[start : start + step]) for start in range(0, len(texts), step)]
    return np.concatenate(parts) if parts else np.zeros((0, encoder.dimension), np.float32)


def idf(counts: Any) -> NDArray[np.float32]:
    """ln(N / df) per tag, shape (tags,); N are the notes that have tags."""
    documents = np.asarray((counts > 0).sum(axis=0)).ravel()
    total = max(int((np.diff(counts.indptr) > 0).sum()), 1)
    return np.asarray(np.log(np.maximum(total / np.maximum(documents, 1), 1.0)), np.float32)


def unit_rows(matrix: Any) -> Any:
    """Rows of a CSR matrix at length 1; empty rows stay."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (sparse.diags(1.0 / np.maximum(lengths, 1e-12)) @ matrix).tocsr().astype(np.float32)


def _encode_some(encoder: TagEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    vectors = np.zeros((len(texts), encoder.dimension), np.float32)
    filled = [row for row, text in enumerate(texts) if text]
    vectors[filled] = encode(encoder, [texts[row] for row in filled])
    return vectors


def _dense(matrix: Any) -> Scores:
    return np.asarray(matrix.toarray(), np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)
