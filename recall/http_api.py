"""The HTTP API: recall, notes and profiles as the commands answer them, with health, readiness and metrics.

A request has a deadline. A recall that misses it, or that Redis leaves alone, is answered from the newest notes and says so in
``degraded``; other requests get 503 or 504. What is wrong with a request is said by field.
"""

import asyncio
import functools
import hmac
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
import msgspec
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.exceptions import HTTPException as StarletteError

from recall.http_body import BodyLimit
from recall.http_schemas import Id, Moment, RecallRequest, answer_schemas
from recall.known_note import Inspected
from recall.query import Recalled
from recall.serving import Answers
from schemas.errors import BadSetting, BundleMismatch, Transient
from schemas.settings import Settings

T = TypeVar("T")
WAITING_MAX = 8
"""Requests that may wait for a thread, per thread; further ones are turned away at once."""
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Late(Exception):
    """A request missed its deadline."""


class Work:
    """Runs calls in threads, each with the deadline, as many at a time as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.serve_timeout_s
        self._threads = settings.serve_threads
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """The call's result.

        Raises:
            Late: it took too long; its thread goes on until its stores' own timeouts.
            HTTPException: 503, too many wait already.
        """
        limiter = self._limiter = self._limiter or anyio.CapacityLimiter(self._threads)
        if limiter.statistics().tasks_waiting >= WAITING_MAX * self._threads:
            raise HTTPException(503, "too many requests wait; try again", {"Retry-After": "1"})
        try:
            with anyio.fail_after(self._timeout_s):
                return await anyio.to_thread.run_sync(functools.partial(call, *arguments), abandon_on_cancel=True, limiter=limiter)
        except TimeoutError:
            raise Late(f"no answer within {self._timeout_s:g} s") from None


class Measures:
    """Metrics of the API, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "tagstream_http_requests_total"
        self.requests = Counter(name, "answered requests", ("route", "status"), registry=self.registry)
        self.seconds = Histogram("tagstream_http_seconds", "a request", ("route",), registry=self.registry, buckets=SECONDS)
        self.degraded = Counter("tagstream_recall_degraded_total", "recalls without something", ("what",), registry=self.registry)


def create_app(answers: Answers, settings: Settings) -> FastAPI:
    """The application.

    Args:
        answers: what answers; its newest notes are kept fresh while the application runs.
    """
    app = FastAPI(title="TagStream", summary="Recalls fresh notes for a reader, and says why.", lifespan=functools.partial(_life, answers))
    work, measures = Work(settings), Measures()
    guard = [Depends(_token(settings.serve_token))] if settings.serve_token else []
    app.add_middleware(BodyLimit)
    _count_requests(app, measures)
    _say_errors(app)
    _add_routes(app, answers, work, measures, guard)

    @app.get("/health", tags=["operation"])
    async def health() -> dict[str, str]:
        """The process is up."""
        return {"status": "ok"}

    @app.get("/ready", tags=["operation"])
    async def ready() -> Response:
        """Whether recalls can be answered: Redis is up and a bundle is live. Milvus down is named, and answers are degraded."""
        try:
            found = await work.run(answers.readiness)
        except Late as error:
            return _json({"ready": False, "bundle": None, "down": {"stores": str(error)}}, 503)
        return _json({"ready": found.ready, "bundle": found.bundle, "down": found.down}, 200 if found.ready else 503)

    @app.get("/metrics", tags=["operation"], dependencies=guard)
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(generate_latest(measures.registry), media_type="text/plain; version=0.0.4")

    app.openapi = functools.partial(_openapi, app.openapi)  # type: ignore[method-assign]
    return app


def _add_routes(app: FastAPI, answers: Answers, work: Work, measures: Measures, guard: list[Any]) -> None:
    @app.post("/recall", tags=["recall"], dependencies=guard, responses=_answers("Recalled"))
    async def recall(asked: RecallRequest) -> Response:
        """Fresh notes for a reader, as `tagstream recall --json`."""
        try:
            query = asked.query()
        except ValueError as error:
            return _errors([("$.channels", str(error))])
        try:
            found: Recalled = await work.run(answers.recall, query)
        except Late as error:
            found = answers.newest(query, str(error))
        for line in found.degraded:
            measures.degraded.labels(line.partition(":")[0]).inc()
        return _json(found)

    @app.get("/notes/{note_id}", tags=["recall"], dependencies=guard, responses=_answers("Inspected"))
    async def note(note_id: Id) -> Response:
        """A note as the stores know it. For one that is still on its way `tagstream note` also looks into the topics."""
        found = await work.run(answers.note, note_id)
        if found is None:
            return _json(Inspected(note_id=note_id, state="unknown"), 404)
        return _json(found)

    @app.get("/users/{user_id}/profile", tags=["recall"], dependencies=guard, responses=_answers("ProfileView"))
    async def profile(user_id: Id, as_of: Moment | None = None, k: Annotated[int, Query(ge=1, le=10_000)] = 50) -> Response:
        """A reader's tags, highest first, as `tagstream profile --json`."""
        return _json(await work.run(answers.profile, user_id, as_of, k))


@asynccontextmanager
async def _life(answers: Answers, _app: FastAPI) -> AsyncIterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=answers.keep_fresh, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, 2.0)


def _token(token: str) -> Callable[..., Awaitable[None]]:
    """Asks for the bearer token, compared in constant time."""
    bearer = HTTPBearer(auto_error=False)

    async def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise HTTPException(401, "give the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})

    return check


def _count_requests(app: FastAPI, measures: Measures) -> None:
    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        begun = time.perf_counter()
        status = 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            found = request.scope.get("route")
            route = getattr(found, "path", "other")
            measures.requests.labels(route, str(status)).inc()
            measures.seconds.labels(route).observe(time.perf_counter() - begun)


def _say_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return _errors([(_path(one["loc"]), str(one["msg"])) for one in error.errors()])

    @app.exception_handler(StarletteError)
    async def refused(_request: Request, error: StarletteError) -> Response:
        answer = _errors([("", str(error.detail))], error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(BadSetting)
    async def setting(_request: Request, error: BadSetting) -> Response:
        return _errors([("$.channels" if str(error).startswith("--channels") else "", str(error))])

    @app.exception_handler(Transient)
    async def down(_request: Request, error: Transient) -> Response:
        answer = _errors([("", str(error))], 503)
        answer.headers["Retry-After"] = "1"
        return answer

    @app.exception_handler(BundleMismatch)
    async def mismatch(_request: Request, error: BundleMismatch) -> Response:
        return _errors([("", str(error))], 503)

    @app.exception_handler(Late)
    async def late(_request: Request, error: Late) -> Response:
        return _errors([("", str(error))], 504)


def _path(location: tuple[int | str, ...]) -> str:
    """A JSON path for what is in the body; the name of a parameter elsewhere."""
    where, *rest = location
    if where == "body":
        return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    return ".".join(map(str, rest))


def _errors(found: list[tuple[str, str]], status: int = 422) -> Response:
    return _json({"errors": [{"field": field, "reason": reason} for field, reason in found]}, status)


def _json(document: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")


def _answers(name: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}, "description": "The answer"}}


def _openapi(made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """FastAPI's document with the shapes of the answers."""
    document = made()
    document.setdefault("components", {}).setdefault("schemas", {}).update(answer_schemas())
    return document
