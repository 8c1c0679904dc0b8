"""Asks a chat endpoint as an offline step does: patiently, many at a time, within limits, and never for what is recorded.

The key comes from the environment alone (``OPENAI_API_KEY``); it is neither logged nor recorded.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from models.chat_endpoint import Attempts, EndpointRefuses, Sleep, Structured, chat_body, open_client
from models.loop_thread import LoopThread
from offline.chat.pace import Pace
from offline.chat.prices import Ledger, OverBudget, Spent, load_prices
from offline.chat.recordings import Recorded, Recordings
from schemas.errors import BadSetting, MissingPrerequisite, TagStreamError, Transient

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PAUSES_S = (1.0, 60.0)
LONGEST_WAIT_S = 600.0
UNANSWERED_MOST = 3
"""Requests in a row without an answer, all their attempts made, after which an endpoint is taken to be away for good."""
PICTURE_TOKENS = 1200
K = TypeVar("K")


class ChatSpec(Struct, frozen=True, kw_only=True):
    """How an endpoint is asked.

    ``url`` up to and without ``/chat/completions``; ``timeout_s``: of one attempt; ``attempts``: per answer; ``requests_per_min``,
    ``tokens_per_min``: 0 for no limit; ``max_cost``: US dollars this run may spend, 0 for no bound; ``replay_only``: asks nobody;
    ``prices``: the file of prices, the one shipped by default.
    """

    url: str
    model: str
    concurrency: int = 8
    timeout_s: float = 120.0
    attempts: int = 6
    requests_per_min: int = 0
    tokens_per_min: int = 0
    structured: Structured = "json_schema"
    temperature: float = 0.0
    max_cost: float = 0.0
    replay_only: bool = False
    prices: str | None = None


class ChatRequest(Struct, frozen=True, kw_only=True):
    """``messages``: as the OpenAI API takes them, pictures as data URLs; ``schema``: JSON schema of the answer, None for free text."""

    messages: list[dict[str, Any]]
    schema: dict[str, Any] | None = None
    max_tokens: int = 2048


class ChatReply(Struct, frozen=True):
    """``cut``: the answer reached its limit. Tokens are estimated where the server tells none. ``recorded``: it cost nothing now."""

    text: str
    cut: bool
    prompt_tokens: int
    completion_tokens: int
    recorded: bool


class ChatClient:
    """A client of one endpoint, for any thread; close it, or use it as a context manager.

    Args:
        spec: where and how.
        recordings: directory of answers given before, to which new ones are added; None: nothing is kept.
        sleep: waits between attempts and for a limit.
        clock: seconds, for the limits.

    Raises:
        BadSetting: when the spec, the prices or the recordings cannot be used.
    """

    def __init__(
        self, spec: ChatSpec, recordings: Path | None = None, *, sleep: Sleep = asyncio.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        price = _price(spec)
        _check(spec, recordings)
        self.spec = spec
        self._ledger = Ledger(price, spec.max_cost)
        self._recordings = Recordings(recordings) if recordings is not None else None
        self._attempts = Attempts(spec.attempts, LONGEST_WAIT_S, sleep, PAUSES_S, spec.timeout_s)
        self._sleep = sleep
        self._requests, self._tokens = Pace(spec.requests_per_min, clock), Pace(spec.tokens_per_min, clock)
        self._unanswered = 0
        self._thread = LoopThread("chat-client")
        self._client: AsyncOpenAI
        self._client, self._slots = self._thread.run(self._open())

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def spent(self) -> Spent:
        """What was asked so far."""
        return self._ledger.spent

    def close(self) -> None:
        """Ends open requests, the connections and the thread."""
        if not self._thread.closed:
            self._thread.run(self._end())
            self._thread.close()
        if self._recordings is not None:
            self._recordings.close()

    def ask(self, request: ChatRequest) -> ChatReply:
        """One answer.

        Raises:
            Transient: the endpoint stays away, however often it is asked.
            EndpointRefuses: it does not take this request.
            OverBudget: the answer might cost more than is left.
            MissingPrerequisite: it is not recorded, and nobody may be asked.
        """
        key = request_key(self.spec, request)
        return self._replay(key) or self._thread.run(self._answer(request, key))

    def ask_all(self, requests: Iterable[tuple[K, ChatRequest]]) -> Iterator[tuple[K, ChatReply | TagStreamError]]:
        """Answers by the caller's names as they come; requests are drawn only a little ahead, so any number streams through.

        A request that gets none has its error in place of an answer, of those that ``ask`` raises. Requests alike are asked once at a time.

        Raises:
            Transient: when the endpoint stays away; what was still to be asked is left.
            OverBudget: likewise.
        """
        done: SimpleQueue[tuple[str, Future[ChatReply]]] = SimpleQueue()
        open_: dict[str, tuple[list[K], Future[ChatReply]]] = {}
        last: TagStreamError | None = None
        source = iter(requests)
        more = True
        try:
            while more or open_:
                while more and len(open_) < 2 * self.spec.concurrency and done.empty():
                    drawn = next(source, None)
                    more = drawn is not None
                    if drawn is not None:
                        yield from self._begin(*drawn, open_, done)
                if not open_:
                    continue
                key, future = done.get()
                outcome = _outcome(future)
                for name in open_.pop(key)[0]:
                    yield name, outcome
                if isinstance(outcome, OverBudget) or (isinstance(outcome, Transient) and self._unanswered >= UNANSWERED_MOST):
                    last, more = outcome, False
            if last is not None:
                raise last
        finally:
            for _, future in open_.values():
                future.cancel()

    def _begin(
        self, name: K, request: ChatRequest, open_: dict[str, tuple[list[K], "Future[ChatReply]"]], done: "SimpleQueue[Any]"
    ) -> Iterator[tuple[K, ChatReply | TagStreamError]]:
        """Starts a request, or answers it at once where that needs nobody."""
        key = request_key(self.spec, request)
        if key in open_:
            open_[key][0].append(name)
            return
        try:
            if (recorded := self._replay(key)) is not None:
                yield name, recorded
                return
        except MissingPrerequisite as error:
            yield name, error
            return
        future = self._thread.begin(self._answer(request, key))
        open_[key] = ([name], future)
        future.add_done_callback(lambda finished: done.put((key, finished)))

    def _replay(self, key: str) -> ChatReply | None:
        found = self._recordings.find(key) if self._recordings is not None else None
        if found is not None:
            self._ledger.replayed()
            return ChatReply(found.text, found.cut, found.prompt_tokens, found.completion_tokens, True)
        if self.spec.replay_only and self._recordings is not None:
            raise MissingPrerequisite(
                f"request {key[:12]} to {self.spec.model} is not among the {len(self._recordings):,} recordings in "
                f"{self._recordings.directory}; run once without --replay-only"
            )
        return None

    async def _answer(self, request: ChatRequest, key: str) -> ChatReply:
        spec = self.spec
        prompt = estimated_tokens(request.messages)
        async with self._slots:
            held = self._ledger.reserve(prompt, request.max_tokens)
            try:
                body = chat_body(
                    spec.model, request.messages, request.schema, request.max_tokens, spec.structured, temperature=spec.temperature
                )
                found = await self._attempts.complete(
                    self._client, body, lambda: self._unanswered < UNANSWERED_MOST, lambda: self._admit(prompt + request.max_tokens)
                )
            except (Transient, EndpointRefuses) as error:
                self._unanswered = self._unanswered + 1 if isinstance(error, Transient) else 0
                raise
            finally:
                self._ledger.settle(held)
            self._unanswered = 0
            used = found.prompt_tokens or prompt, found.completion_tokens or len(found.text.encode()) // 3 + 1
            self._tokens.correct(prompt + request.max_tokens - sum(used))
            self._ledger.paid(*used)
            if self._recordings is not None:
                self._recordings.keep(Recorded(key, spec.model, found.text, found.cut, *used, time.time_ns() // 1_000_000))
            return ChatReply(found.text, found.cut, *used, False)

    async def _admit(self, tokens: int) -> None:
        if wait_s := max(self._requests.take(), self._tokens.take(tokens)):
            await self._sleep(wait_s)

    async def _open(self) -> "tuple[AsyncOpenAI, asyncio.Semaphore]":
        return open_client(self.spec.url or "http://127.0.0.1:9", self.spec.timeout_s), asyncio.Semaphore(self.spec.concurrency)

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()


def request_key(spec: ChatSpec, request: ChatRequest) -> str:
    """Hex digest of everything that may change an answer, and of nothing else: not the address, not the limits."""
    how = spec.structured if request.schema is not None else "off"
    asked = [spec.model, request.messages, request.schema, request.max_tokens, float(spec.temperature), how]
    return hashlib.blake2b(msgspec.json.encode(asked, order="deterministic"), digest_size=16).hexdigest()


def estimated_tokens(messages: list[dict[str, Any]]) -> int:
    """About how many tokens a prompt has, rather too many than too few: a token per three bytes of text, a fixed number per picture."""
    text = pictures = 0
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else [{"type": "text", "text": content or ""}]:
            pictures += part.get("type") != "text"
            text += len(str(part.get("text", "")).encode())
    return text // 3 + 1 + PICTURE_TOKENS * pictures + 8 * len(messages)


def _outcome(future: "Future[ChatReply]") -> ChatReply | TagStreamError:
    try:
        return future.result()
    except TagStreamError as error:
        return error


def _check(spec: ChatSpec, recordings: Path | None) -> None:
    if not spec.model:
        raise BadSetting("--model: give the name by which the endpoint knows the model")
    if spec.replay_only:
        if recordings is None:
            raise BadSetting("--replay-only: give --recordings DIR with the answers to replay")
    elif not spec.url.startswith(("http://", "https://")):
        raise BadSetting("--endpoint: give the endpoint's address, such as http://127.0.0.1:8000/v1")
    elif "@" in spec.url or "?" in spec.url:
        raise BadSetting("--endpoint: give the address alone; the key belongs into OPENAI_API_KEY, since addresses are written down")


def _price(spec: ChatSpec) -> Any:
    price = load_prices(Path(spec.prices) if spec.prices else None).get(spec.model)
    if price is None and spec.max_cost:
        raise BadSetting(f"--max-cost: no price of {spec.model} is known; give --prices FILE that names it")
    return price
