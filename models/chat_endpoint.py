"""An OpenAI-compatible chat endpoint (vLLM, SGLang and the like): bounded, patient for a while, and honest about being down.

The key comes from the environment alone (``OPENAI_API_KEY``), and nothing that a server says is repeated: it may echo the key or the note.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from models.circuit import Circuit
from models.loop_thread import LoopThread
from schemas.errors import TagStreamError, Transient

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEPENDENCY = "endpoint"
PAUSES_S = (0.25, 8.0)
RETRIED = frozenset((408, 409, 425, 429))
BROKEN_SETUP = frozenset((401, 403, 404))
"""Statuses that say nothing against the request: the key, the model's name or the address is wrong, and may be put right."""
Structured = Literal["json_schema", "vllm", "off"]
Messages = list[dict[str, Any]]
Sleep = Callable[[float], Awaitable[None]]
Admit = Callable[[], Awaitable[None]]
log = logging.getLogger(__name__)


class EndpointSpec(Struct, frozen=True, kw_only=True):
    """Where the endpoint is and how it is asked.

    ``url`` up to and without ``/chat/completions``; ``timeout_s``: for an answer, all attempts together; ``concurrency``: requests at a
    time; ``attempts``: per answer; ``structured``: how the answer's schema is sent; ``logprobs``: whether tokens' probabilities are asked
    for; ``priority``: vLLM's, lower goes first, 0 sends none; ``failures``, ``cool_down_s``: see ``Circuit``.
    """

    url: str
    model: str
    timeout_s: float = 60.0
    concurrency: int = 8
    attempts: int = 4
    structured: Structured = "json_schema"
    logprobs: bool = True
    priority: int = 0
    failures: int = 5
    cool_down_s: float = 15.0


class Completion(Struct, frozen=True):
    """``text``: what the model wrote. ``cut``: it reached its limit. ``tokens``: the text in pieces with their log-probabilities, empty
    where the server tells none. ``prompt_tokens``, ``completion_tokens``: what is paid for; 0 where the server does not say."""

    text: str
    cut: bool = False
    tokens: Sequence[tuple[bytes, float]] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


class EndpointRefuses(TagStreamError):
    """The endpoint works and does not take this one request; asking again cannot help."""


class Attempts:
    """Sends a request, and sends it again while that may help.

    Args:
        most: attempts per answer.
        longest_wait_s: a server that asks to wait longer is not waited for.
        sleep: waits between attempts.
        pauses_s: the shortest and the longest pause where the server names none.
        each_s: bound on one attempt; None: the client's own.
    """

    def __init__(
        self, most: int, longest_wait_s: float, sleep: Sleep, pauses_s: tuple[float, float] = PAUSES_S, each_s: float | None = None
    ) -> None:
        self._most = most
        self._longest_wait_s = longest_wait_s
        self._sleep = sleep
        self._first_s, self._longest_s = pauses_s
        self._each_s = each_s
        self._random = random.Random(0)  # noqa: S311

    async def complete(
        self, client: "AsyncOpenAI", body: dict[str, Any], go_on: Callable[[], bool], admit: Admit | None = None
    ) -> Completion:
        """One answer. ``admit`` is awaited before each attempt; ``go_on``: whether another attempt is welcome.

        Raises:
            Transient: no attempt was answered.
            EndpointRefuses: the endpoint does not take this request.
        """
        from openai import APIConnectionError, APIError, APIStatusError, OpenAIError

        for attempt in range(1, self._most + 1):
            wait_s: float | None = None
            if admit is not None:
                await admit()
            try:
                async with asyncio.timeout(self._each_s):
                    return _read(await client.chat.completions.create(**body))
            except APIStatusError as error:
                detail, wait_s = f"it answers {error.status_code}", _retry_after_s(error.response.headers)
                if error.status_code not in RETRIED and error.status_code < 500:
                    kind = Transient(DEPENDENCY, detail) if error.status_code in BROKEN_SETUP else EndpointRefuses(detail)
                    raise kind from None
            except APIConnectionError:
                detail = "no connection"
            except TimeoutError:
                detail = f"no answer within {self._each_s:g} s"
            except (APIError, OpenAIError, ValueError, AttributeError, TypeError, IndexError) as error:
                detail = f"its answer is no chat completion ({type(error).__name__})"
            if not go_on() or (wait_s or 0.0) > self._longest_wait_s:
                break
            if attempt < self._most:
                await self._sleep(self._pause_s(attempt) if wait_s is None else wait_s + self._random.uniform(0.0, self._first_s))
        raise Transient(DEPENDENCY, f"{detail}, attempt {attempt} of {self._most}")

    def _pause_s(self, attempt: int) -> float:
        """Exponential back-off with jitter, before the next attempt."""
        return min(self._longest_s, self._first_s * 2.0**attempt) * self._random.uniform(0.5, 1.0)


class ChatEndpoint:
    """Chat completions, from an event loop in a thread of its own. ``close`` ends it; ``answers``: whether the last call was answered.

    Args:
        spec: where and how.
        sleep: waits between attempts.
        clock: seconds, for the circuit.
    """

    def __init__(self, spec: EndpointSpec, *, sleep: Sleep = asyncio.sleep, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self.circuit = Circuit(spec.failures, spec.cool_down_s, clock)
        self.answers = False
        self._attempts = Attempts(spec.attempts, spec.timeout_s, sleep)
        self._thread = LoopThread("chat-endpoint")
        self._client, self._slots = self._thread.run(self._open())

    def close(self) -> None:
        """Ends the connections and the thread."""
        if not self._thread.closed:
            self._thread.run(self._client.close())
            self._thread.close()

    def ask_all(self, requests: Sequence[tuple[Messages, dict[str, Any] | None, int]]) -> "list[Completion | TagStreamError]":
        """Answers to several requests (messages, schema, most tokens), each as ``complete`` gives or raises it, in order."""

        async def gather() -> "list[Completion | TagStreamError]":
            return await asyncio.gather(*(self._settled(*request) for request in requests))

        return self._thread.run(gather())

    def complete(self, messages: Messages, schema: dict[str, Any] | None = None, max_tokens: int = 512) -> Completion:
        """One answer.

        Args:
            messages: the chat, as the OpenAI API takes it.
            schema: JSON schema that the answer has to follow; None: free text.
            max_tokens: bound on the answer.

        Raises:
            Transient: the endpoint does not answer in time, or the circuit is open.
            EndpointRefuses: it does not take this request.
        """
        return self._thread.run(self._complete(messages, schema, max_tokens))

    def say(self, text: str) -> str:
        """The answer to one message in free text, as ``models.transcriber.correction.Complete``; raises as ``complete``."""
        return self.complete([{"role": "user", "content": text}], max_tokens=64 + 2 * len(text)).text

    def probe(self) -> bool:
        """Whether the endpoint answers: by the last call, else by asking for one token, if the circuit lets that through."""
        if not self.answers:
            with suppress(Transient, EndpointRefuses):
                self.complete([{"role": "user", "content": "ping"}], max_tokens=1)
        return self.answers

    async def _open(self) -> "tuple[AsyncOpenAI, asyncio.Semaphore]":
        return open_client(self.spec.url, self.spec.timeout_s), asyncio.Semaphore(self.spec.concurrency)

    async def _settled(self, messages: Messages, schema: dict[str, Any] | None, max_tokens: int) -> "Completion | TagStreamError":
        try:
            return await self._complete(messages, schema, max_tokens)
        except (Transient, EndpointRefuses) as error:
            return error

    async def _complete(self, messages: Messages, schema: dict[str, Any] | None, max_tokens: int) -> Completion:
        async with self._slots:
            if not self.circuit.allow():
                raise Transient(DEPENDENCY, "it did not answer before; the next trial is due later")
            try:
                async with asyncio.timeout(self.spec.timeout_s):
                    body = self._body(messages, schema, max_tokens)
                    completion = await self._attempts.complete(self._client, body, lambda: self.circuit.state != "open")
            except TimeoutError:
                self._tell(answered=False)
                raise Transient(DEPENDENCY, f"no answer within {self.spec.timeout_s:g} s") from None
            except Transient:
                self._tell(answered=False)
                raise
            except EndpointRefuses:
                self._tell(answered=True)
                raise
            self._tell(answered=True)
            return completion

    def _tell(self, *, answered: bool) -> None:
        self.answers = answered
        (self.circuit.succeeded if answered else self.circuit.failed)()

    def _body(self, messages: Messages, schema: dict[str, Any] | None, max_tokens: int) -> dict[str, Any]:
        body = chat_body(self.spec.model, messages, schema, max_tokens, self.spec.structured)
        if schema is not None and self.spec.logprobs:
            body["logprobs"] = True
        if self.spec.priority:
            body["extra_body"] = body.get("extra_body", {}) | {"priority": self.spec.priority}
        return body


def open_client(url: str, timeout_s: float) -> "AsyncOpenAI":
    """The openai package's client without its own attempts; to be called in the event loop that uses it."""
    from openai import AsyncOpenAI

    return AsyncOpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY") or "none", max_retries=0, timeout=timeout_s)


def chat_body(
    model: str, messages: Messages, schema: dict[str, Any] | None, max_tokens: int, structured: Structured, *, temperature: float = 0.0
) -> dict[str, Any]:
    """What the openai package is to send."""
    body: dict[str, Any] = {"model": model, "messages": messages, "temperature": temperature, "max_tokens": max_tokens}
    if schema is not None and structured == "json_schema":
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    elif schema is not None and structured == "vllm":
        body["extra_body"] = {"structured_outputs": {"json": schema}}
    return body


def _read(answer: Any) -> Completion:
    """The first choice; raises one of several errors where the answer has none."""
    choice = answer.choices[0]
    text = choice.message.content
    if not isinstance(text, str):
        raise ValueError("no text")
    told = choice.logprobs.content if choice.logprobs is not None else None
    tokens = [(bytes(one.bytes) if one.bytes is not None else one.token.encode(), float(one.logprob)) for one in told or ()]
    used = [getattr(answer.usage, name, 0) for name in ("prompt_tokens", "completion_tokens")]
    return Completion(text, choice.finish_reason == "length", tokens, *(count if isinstance(count, int) else 0 for count in used))


def _retry_after_s(headers: Any) -> float | None:
    """Seconds that a server asks to wait; None where it asks for none or says it in a way that is not understood."""
    try:
        return max(float(headers.get("retry-after", "")), 0.0)
    except ValueError:
        return None
