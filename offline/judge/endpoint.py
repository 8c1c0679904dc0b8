"""A judge behind a chat endpoint (section 3.3, appendix D): any OpenAI-compatible model that sees pictures, at temperature 0."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from models.chat_endpoint import EndpointRefuses
from models.prompts.build import Chat
from offline.chat.client import ChatClient, ChatRequest
from offline.judge.arithmetic import Verdict
from offline.judge.prompts import ATTRIBUTES_SCHEMA, PAIRWISE_SCHEMA, JudgePrompts, Schema
from offline.judge.replies import parse_attributes, parse_verdict
from offline.judge.roles import Answered, Attributes, Comparison
from schemas.errors import BadSetting, TagStreamError

A = TypeVar("A")


class EndpointJudge:
    """Implements ``offline.judge.roles.Judge``. A reply that is no judgement, and a request that the endpoint refuses, are invalid.

    Args:
        client: the endpoint and what it answered before; whoever made it closes it.
        prompts: what is asked.
        max_tokens: of a reply, reasons included.

    Raises:
        BadSetting: when the client's temperature is not 0.
    """

    name = "endpoint"

    def __init__(self, client: ChatClient, prompts: JudgePrompts, max_tokens: int = 1024) -> None:
        if client.spec.temperature:
            raise BadSetting(f"temperature: {client.spec.temperature} lets a judge change its mind; it must be 0")
        self._client = client
        self._prompts = prompts
        self._max_tokens = max_tokens
        self.version = f"{client.spec.model}-{prompts.version}-{client.spec.structured}-{max_tokens}"

    def score(self, asked: Sequence[Answered]) -> list[Attributes | None]:
        """See ``offline.judge.roles.Judge``; raises as ``compare``."""
        replies = self._replies(asked, lambda one: self._prompts.attributes(one.sample, one.tags), ATTRIBUTES_SCHEMA)
        return [None if reply is None else parse_attributes(reply) for reply in replies]

    def compare(self, asked: Sequence[Comparison]) -> list[Verdict | None]:
        """See ``offline.judge.roles.Judge``.

        Raises:
            Transient: the endpoint does not answer; what it answered is kept in the client's recordings.
            OverBudget: the run may cost no more.
            MissingPrerequisite: only recordings may answer, and one is not there; or a picture is not.
        """
        replies = self._replies(asked, lambda one: self._prompts.pairwise(one.sample, one.a, one.b), PAIRWISE_SCHEMA)
        return [None if reply is None else parse_verdict(reply) for reply in replies]

    def _replies(self, asked: Sequence[A], prompt: Callable[[A], Chat], schema: Schema) -> list[str | None]:
        """In order; None where the endpoint refuses."""
        requests = (
            (place, ChatRequest(messages=prompt(one), schema=schema, max_tokens=self._max_tokens)) for place, one in enumerate(asked)
        )
        found: list[str | None] = [None] * len(asked)
        failed: TagStreamError | None = None
        for place, outcome in self._client.ask_all(requests):
            if not isinstance(outcome, TagStreamError):
                found[place] = outcome.text
            elif not isinstance(outcome, EndpointRefuses):
                failed = outcome
        if failed is not None:
            raise failed
        return found
