"""Asks a model about categories and writes what it proposes as drafts; the handbook itself is left as it is."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from models.handbook import Handbook
from offline.chat.client import ChatClient, ChatReply, ChatRequest, request_key
from offline.handbook.prompt import PROMPT_VERSION, ask_again, expand_messages, proposals_schema
from offline.handbook.proposals import Draft, Parsed, parse_proposals, write_draft
from offline.handbook.provenance import Source, now_ms
from offline.run_manifest import run_manifest
from offline.whole_file import write_whole
from schemas.errors import TagStreamError
from schemas.events import Category

DRAFTS, FAILURES, RECORDINGS = "drafts", "failures.jsonl", "recordings"
NOT_JSON = "it holds no JSON object with an id"


class Failure(Struct, frozen=True):
    """A category without a draft. ``answer``: what the model wrote, empty where it wrote nothing."""

    category: Category
    reason: str
    answer: str = ""


class Expanded(Struct):
    """``drafts``: files by category; ``proposed``: dimensions of them; ``dropped``: entries of answers that were none; ``asked_again``:
    answers that could not be used at first."""

    drafts: dict[str, str] = field(default_factory=dict)
    proposed: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    asked_again: int = 0
    failures: list[Failure] = field(default_factory=list)


def expand_categories(
    handbook: Handbook,
    categories: Sequence[Category],
    client: ChatClient,
    out: Path,
    *,
    max_tokens: int,
    advance: Callable[[int], None],
) -> Expanded:
    """Writes ``drafts/<category>.yaml``, ``failures.jsonl`` and ``manifest.json`` into ``out``.

    A run that was killed is begun again: with recordings nothing is asked twice. An answer that cannot be used is asked for once more.

    Args:
        handbook: as it is now.
        categories: to expand.
        client: of the model.
        out: directory of the run.
        max_tokens: bound on an answer.
        advance: called with the number of categories done.

    Raises:
        Transient: the endpoint stays away.
        OverBudget: it would cost more than it may.
    """
    run = _Run(handbook, client, out, max_tokens)
    options = {"categories": list(categories), "chat": client.spec, "max_tokens": max_tokens}
    versions = {"prompt": PROMPT_VERSION, "handbook": handbook.version, "model": client.spec.model}
    with run_manifest(out, "offline handbook expand", options, versions, lambda: client.spent) as manifest:
        first = {name: run.request(expand_messages(handbook.category(name))) for name in categories}
        again: dict[Category, ChatRequest] = {}
        for name, reply in client.ask_all(first.items()):
            reason = run.take(name, first[name], reply)
            if reason is not None and isinstance(reply, ChatReply):
                again[name] = run.request(ask_again(first[name].messages, reply.text, reason))
            elif reason is not None:
                run.fail(name, reason, reply)
            advance(len(run.outcome.drafts))
        run.outcome.asked_again = len(again)
        for name, reply in client.ask_all(again.items()):
            if (reason := run.take(name, again[name], reply)) is not None:
                run.fail(name, reason, reply)
            advance(len(run.outcome.drafts))
        lines = [msgspec.json.encode(one).decode() + "\n" for one in run.outcome.failures]
        write_whole(out / FAILURES, "".join(lines))
        manifest.counts |= {"drafts": len(run.outcome.drafts), "failures": len(lines), "dropped": run.outcome.dropped}
        manifest.counts |= {"dimensions": sum(run.outcome.proposed.values()), "asked_again": run.outcome.asked_again}
    return run.outcome


class _Run:
    def __init__(self, handbook: Handbook, client: ChatClient, out: Path, max_tokens: int) -> None:
        self.outcome = Expanded()
        self._handbook, self._client, self._out, self._max_tokens = handbook, client, out, max_tokens
        self._schema = proposals_schema()

    def request(self, messages: list[dict[str, object]]) -> ChatRequest:
        return ChatRequest(messages=messages, schema=self._schema, max_tokens=self._max_tokens)

    def take(self, name: Category, request: ChatRequest, reply: ChatReply | TagStreamError) -> str | None:
        """Writes the draft; why there is none otherwise."""
        if not isinstance(reply, ChatReply):
            return str(reply)
        parsed = parse_proposals(reply.text, self._handbook.category(name))
        if (reason := _unusable(reply, parsed)) is not None:
            return reason
        source = Source(
            model=self._client.spec.model,
            prompt=PROMPT_VERSION,
            request=request_key(self._client.spec, request),
            handbook=self._handbook.version,
            at=now_ms(),
        )
        path = self._out / DRAFTS / f"{name}.yaml"
        write_draft(path, Draft(category=name, source=source, dropped=parsed.dropped, dimensions=parsed.dimensions))
        self.outcome.drafts[name] = str(path)
        self.outcome.proposed[name] = len(parsed.dimensions)
        self.outcome.dropped += len(parsed.dropped)
        return None

    def fail(self, name: Category, reason: str, reply: ChatReply | TagStreamError) -> None:
        (self._out / DRAFTS / f"{name}.yaml").unlink(missing_ok=True)
        self.outcome.failures.append(Failure(name, reason, reply.text if isinstance(reply, ChatReply) else ""))


def _unusable(reply: ChatReply, parsed: Parsed) -> str | None:
    if parsed.dimensions:
        return None
    if reply.cut:
        return "it was cut off at its limit of tokens before a dimension was whole"
    if parsed.dropped:
        return f"none of its dimensions can be used: {parsed.dropped[0]}"
    if parsed.readable or _empty_list(reply.text):
        return None
    return NOT_JSON


def _empty_list(text: str) -> bool:
    return '"dimensions":[]' in "".join(text.split())
