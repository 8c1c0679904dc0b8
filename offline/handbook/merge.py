"""Merges drafts into the handbook's files, with provenance beside them and what is left to the expert in a report."""

from pathlib import Path

import msgspec
from msgspec import Struct

from offline.handbook.files import alone, book_text, checked, read_book, report_text
from offline.handbook.proposals import Draft
from offline.handbook.provenance import (
    DIRECTORY,
    Cause,
    Entry,
    Provenance,
    Source,
    now_ms,
    provenance_path,
    provenance_text,
    read_provenance,
    tree_counts,
    tree_digest,
)
from offline.handbook.three_way import UNDECIDED, Conflict, Decision, merge_trees
from offline.handbook.tree import Difference, Tree, differences, overlay
from offline.whole_file import write_whole


class Outcome(Struct, frozen=True):
    """``version``: of the file now; ``changes``: to the file; ``conflicts``: left to the expert, also in ``report``; ``comments_lost``:
    lines of the file whose comments went with a dimension that was written anew."""

    category: str
    version: int
    changes: list[Difference]
    conflicts: list[Conflict]
    comments_lost: int
    report: str | None


def merge_draft(draft: Draft, directory: Path, *, by: str, why: str = "", decide: Decision = UNDECIDED) -> Outcome:
    """Merges a draft into its category's file. Once more with the same draft, it changes nothing. Of several at a time each waits.

    Args:
        draft: the proposals.
        directory: of the handbook.
        by: who merges, for the history.
        why: likewise.
        decide: the expert's word on conflicts.

    Raises:
        BadSetting: the file, its sidecar or the outcome is not valid; nothing is written then.
    """
    with alone(directory):
        book = read_book(directory / f"{draft.category}.yaml")
        was = read_provenance(directory, draft.category)
        merged = merge_trees(was.proposed, was.known, draft.tree(), book.tree, decide)
        changes = list(differences(book.tree, merged.tree))
        version = book.version + bool(changes)
        text, comments_lost = book_text(book, merged.tree, version)
        checked(book.path, text)
        history = [*was.history, *_found(was, book.tree, book.version)]
        if changes:
            history.append(_entry("expansion", version, merged.tree, by, why, changes=changes, source=draft.source))
            write_whole(book.path, text)
        known = overlay(overlay(was.known, book.tree), merged.tree)
        _keep(directory, Provenance(category=draft.category, proposed=overlay(was.proposed, merged.settled), known=known, history=history))
        return Outcome(draft.category, version, changes, merged.conflicts, comments_lost, _report(directory, draft, merged.conflicts))


def record_edit(directory: Path, category: str, *, by: str, why: str = "") -> Entry | None:
    """Enters an expert's edit of a file into its history, with who made it and why; None where the file is as the history has it.

    A merge does so by itself, but does not know who it was.
    """
    with alone(directory):
        book = read_book(directory / f"{category}.yaml")
        was = read_provenance(directory, category)
        if not (entries := _found(was, book.tree, book.version, by, why)):
            return None
        known = overlay(was.known, book.tree)
        _keep(directory, Provenance(category=category, proposed=was.proposed, known=known, history=[*was.history, *entries]))
        return entries[-1]


def conflicts_path(directory: Path, category: str) -> Path:
    """Where the conflicts of a category's last merge are listed."""
    return directory / DIRECTORY / f"{category}.conflicts.yaml"


def _found(was: Provenance, tree: Tree, version: int, by: str = "", why: str = "") -> list[Entry]:
    """What happened to the file since the history's end."""
    if was.history and was.history[-1].digest == tree_digest(tree):
        return []
    cause: Cause = "edit" if was.history else "found"
    return [_entry(cause, version, tree, by, why)]


def _entry(
    cause: Cause, version: int, tree: Tree, by: str, why: str, *, changes: list[Difference] | None = None, source: Source | None = None
) -> Entry:
    counts = tree_counts(tree)
    for kind in ("added", "changed", "removed") if changes is not None else ():
        counts[kind] = sum(1 for one in changes or () if one.kind == kind)
    return Entry(version=version, cause=cause, at=now_ms(), by=by, why=why, digest=tree_digest(tree), counts=counts, source=source)


def _keep(directory: Path, provenance: Provenance) -> None:
    path = provenance_path(directory, provenance.category)
    text = provenance_text(provenance)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)


def _report(directory: Path, draft: Draft, conflicts: list[Conflict]) -> str | None:
    path = conflicts_path(directory, draft.category)
    if not conflicts:
        path.unlink(missing_ok=True)
        return None
    said = (
        "# Proposals that were left to you; the handbook's file has its own side still. Edit the file, or merge the draft again with\n"
        "# --take PATH or --keep PATH (all: every path). A path speaks for what lies under it.\n"
    )
    reasons = {one.id: one.reason for one in draft.dimensions}
    entries = [msgspec.to_builtins(one) | {"model_says": reasons.get(one.path.split("/")[1], "")} for one in conflicts]
    text = said + report_text({"category": draft.category, "conflicts": entries})
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)
    return str(path)
