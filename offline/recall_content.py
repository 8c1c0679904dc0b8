"""The content features of ``models/tag_content.py``, fitted to a task."""

import numpy as np
from numpy.typing import NDArray

from models.closed_form import Content
from models.tag_content import ContentSpec, TagContent, fit_content
from offline.recall_task import Task


def build_content(task: Task, tag_vectors: NDArray[np.float32], spec: ContentSpec) -> tuple[Content, TagContent]:
    """Content of all notes of the dataset, and what makes it of a new note's tags.

    Args:
        tag_vectors: encoder vectors of ``task.content.texts``, (tags, dimension).
    """
    texts, counts, common, rare_left_out, ranks, confidences = task.content
    acted = (task.history > 0).astype(np.float32)
    fitted = fit_content(
        counts, texts, tag_vectors, task.warm, spec,
        common=frozenset(common), rare_left_out=rare_left_out, ranks=ranks, confidences=confidences, history=acted,
    )  # fmt: skip
    return fitted.of_counts(counts, texts, tag_vectors, ranks, confidences), fitted
