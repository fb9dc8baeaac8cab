"""The ASGI application: ``/rerank``, ``/health``, ``/ready``, ``/metrics`` and ``/openapi.json`` over one reranker."""

import asyncio
import copy
import hmac
import math
import os
import time
import uuid
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from secondpass.errors import ConfigurationError, InputError, QueueFull, ScoringError, SecondpassError
from secondpass.ranking import Ranking
from secondpass.records import Call, Score
from secondpass.reranker import Reranker
from secondpass.scoring.scorer import is_loaded
from secondpass.serve.forms import DEADLINE_HEADER, FAILURES, FORMS, PATHS, Form, TooLong, openapi

MANY_PROCESSES = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable of the folder in which the processes of one server keep their metrics."""
_MOST_MILLISECONDS = 86_400_000.0
_LENGTH_DIGITS = 18  # of a Content-Length that is read: Python refuses to read thousands


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the application.

    :param api_key: The key that clients send as a bearer token; None asks for none, as do ``/health`` and ``/ready``.
    :param max_requests: Requests at once; further ones get status 429.
    :param max_body_bytes: The longest body.
    :param max_documents: The most documents of a request.
    :param body_seconds: How long a body may take to arrive.
    :param version: The version in the description.
    :raises ConfigurationError: If a limit is out of its range, or the key is empty.
    """

    api_key: str | None = field(default=None, repr=False)
    max_requests: int = 64
    max_body_bytes: int = 16_000_000
    max_documents: int = 2000
    body_seconds: float = 30.0
    version: str = "1"

    def __post_init__(self) -> None:
        """Check the limits."""
        if min(self.max_requests, self.max_body_bytes, self.max_documents, self.body_seconds) <= 0:
            raise ConfigurationError(f"the limits of a server must be above 0, got {self}")
        if self.api_key is not None and not self.api_key.strip():
            raise ConfigurationError("the server's API key must not be empty: unset it, or set one")


class _Refused(Exception):
    """A request that gets an error.

    :param status: The status.
    :param message: The message; None takes the status's own.
    """

    def __init__(self, status: int, message: str | None = None) -> None:
        super().__init__(message or FAILURES[status])
        self.status = status


class _Metrics:
    """What ``/metrics`` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.shown = self.registry
        if MANY_PROCESSES in os.environ:  # prometheus_client then keeps the figures of all processes in files there
            self.shown = CollectorRegistry()
            MultiProcessCollector(self.shown)  # type: ignore[no-untyped-call]
        self.requests = Counter("secondpass_requests", "Requests to /rerank.", ["status"], registry=self.registry)
        self.seconds = Histogram("secondpass_request_seconds", "Their duration.", registry=self.registry)
        self.documents = Counter("secondpass_documents", "Documents reranked.", registry=self.registry)
        self.degraded = Counter("secondpass_degraded", "Incomplete rankings.", ["cause"], registry=self.registry)
        running = ("secondpass_requests_running", "Requests in progress.")
        self.running = Gauge(*running, registry=self.registry, multiprocess_mode="livesum")


class _Service:
    """The endpoints.

    :param reranker: What ranks; a failure of its scorer is an error here whatever its ``on_error``.
    :param settings: The settings.
    """

    def __init__(self, reranker: Reranker, settings: Settings) -> None:
        self.reranker = copy.deepcopy(reranker)
        self.reranker.on_error = "raise"
        self.settings = settings
        self.metrics = _Metrics()
        self.running = 0

    async def rerank(self, request: Request) -> Response:
        """Answer a request, and count it."""
        started = time.perf_counter()
        try:
            response = await self._answer(request)
        except _Refused as error:
            response = _refusal(error.status, str(error))
        except asyncio.CancelledError:  # the server ends, and has waited for as long as it may
            response = _refusal(503, "The server is shutting down.")
        self.metrics.requests.labels(response.status_code).inc()
        self.metrics.seconds.observe(time.perf_counter() - started)
        return response

    async def health(self, _request: Request) -> Response:
        """Say that the server answers, and by which model."""
        return JSONResponse({"status": "ok", **self._model()})

    async def ready(self, _request: Request) -> Response:
        """Say whether requests get scores: of a model that loads in the background, whether it is there."""
        model = self._model()
        return JSONResponse({"status": "ok", **model}) if model else _refusal(503, "The model isn't loaded.")

    def _model(self) -> dict[str, str]:
        """Return the model's name, or nothing where it isn't loaded."""
        scorer = self.reranker.scorer
        with suppress(SecondpassError):  # of a model that can't be loaded
            return {"model": scorer.spec.name} if is_loaded(scorer) else {}
        return {}

    async def show_metrics(self, request: Request) -> Response:
        """Return the metrics in Prometheus's text form."""
        if not self._allowed(request):
            return _refusal(401, FAILURES[401])
        return Response(generate_latest(self.metrics.shown), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def describe(self, _request: Request) -> Response:
        """Return the OpenAPI description."""
        settings = self.settings
        needs_key = settings.api_key is not None
        return JSONResponse(openapi(settings.version, max_documents=settings.max_documents, needs_key=needs_key))

    async def _answer(self, request: Request) -> Response:
        if not self._allowed(request):
            raise _Refused(401)
        call = Call(self._deadline(request))
        self._check_slots()
        form = _read_form(await self._body(request))
        self._check_slots()  # those who send slowly hold none
        self.running += 1
        try:
            with self.metrics.running.track_inprogress():
                return await self._rerank(form, request, call)
        finally:
            self.running -= 1

    def _check_slots(self) -> None:
        if self.running >= self.settings.max_requests:
            raise _Refused(429)

    async def _rerank(self, form: Form, request: Request, call: Call) -> Response:
        texts, most = form.candidates(), self.settings.max_documents
        if len(texts) > most:
            raise _Refused(422, f"a request may have {most} documents, got {len(texts)}")
        try:
            selection = form.selection(self.reranker.selection)
            work = self.reranker.arerank(form.query, texts, selection=selection, call=call)
            ranking = await _unless_gone(work, request)
        except (ConfigurationError, InputError) as error:
            raise _Refused(422, str(error)) from error
        except QueueFull as error:
            raise _Refused(429) from error
        except (ScoringError, OSError) as error:
            raise _Refused(503, "The scorer failed.") from error
        self.metrics.documents.inc(len(texts))
        if ranking.degraded:
            self.metrics.degraded.labels(str(ranking.degraded.cause)).inc()
        items = (*ranking.kept, *ranking.dropped)
        if ranking.degraded and not any(isinstance(item.outcome, Score) for item in items):
            raise _Refused(504)
        try:
            return Response(form.answer(ranking, str(uuid.uuid4())), media_type="application/json")
        except TooLong as error:
            raise _Refused(413, str(error)) from error

    async def _body(self, request: Request) -> bytes:
        """Return the body of a request.

        Only JSON is read: a web page of another origin can't send it without asking first.
        """
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise _Refused(415)
        most = self.settings.max_body_bytes
        announced = request.headers.get("Content-Length", "")
        if announced.isdecimal() and (len(announced) > _LENGTH_DIGITS or int(announced) > most):
            raise _Refused(413)
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > most:
                        raise _Refused(413)
        except (TimeoutError, ClientDisconnect) as error:
            raise _Refused(408) from error
        return bytes(body)

    def _deadline(self, request: Request) -> float | None:
        """Return the milliseconds that a request allows, else the reranker's."""
        text = request.headers.get(DEADLINE_HEADER)
        if text is None:
            return self.reranker.deadline_ms
        with suppress(ValueError):
            milliseconds = float(text)
            if math.isfinite(milliseconds) and 0 <= milliseconds <= _MOST_MILLISECONDS:
                return milliseconds
        raise _Refused(422, f"{DEADLINE_HEADER} must be milliseconds from 0 to a day")

    def _allowed(self, request: Request) -> bool:
        key = self.settings.api_key
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return key is None or (
            kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.strip().encode())
        )


def create_app(reranker: Reranker, settings: Settings | None = None) -> Starlette:
    """Return the ASGI application over a reranker.

    :param reranker: What ranks. Its selection holds where a request states nothing else.
    :param settings: Limits and API key.
    """
    service = _Service(reranker, settings or Settings())
    get = {
        "/health": service.health,
        "/ready": service.ready,
        "/metrics": service.show_metrics,
        "/openapi.json": service.describe,
    }
    routes = [Route(path, service.rerank, methods=["POST"]) for path in PATHS]
    routes += [Route(path, endpoint, methods=["GET"]) for path, endpoint in get.items()]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Exception: _bug})


def _refusal(status: int, message: str) -> Response:
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    return JSONResponse(
        {"message": message}, status, headers | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})
    )


def _http_error(_request: Request, error: Exception) -> Response:
    """Answer an unknown path or a wrong method in the form of all other errors."""
    if not isinstance(error, HTTPException):  # Starlette's type for handlers is wider
        raise error
    return JSONResponse({"message": f"{error.detail}."}, error.status_code, error.headers)


def _bug(_request: Request, _error: Exception) -> Response:
    return _refusal(500, "The server failed.")


def _read_form(body: bytes) -> Form:
    """Return the form in a body; the error has no texts of it."""
    try:
        return FORMS.validate_json(body)
    except ValidationError as error:
        found = error.errors()
        missing = [item["loc"] for item in found if item["type"] == "missing"]
        form = "RerankRequest" if ("TextsRequest", "texts") in missing else "TextsRequest"  # the one that was meant
        own = [item for item in found if item["loc"][:1] == (form,)] or found
        problems = [f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}".lstrip(": ") for item in own[:5]]
        raise _Refused(422, "; ".join(problems)) from error


async def _unless_gone(work: Awaitable[Ranking], request: Request) -> Ranking:
    """Await a ranking; where the client disconnects first, cancel it: nobody reads the result."""
    ranking = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({ranking, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not ranking.done():
            raise _Refused(408, "the client has disconnected")
        return ranking.result()
    finally:
        ranking.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
