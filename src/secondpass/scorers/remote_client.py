"""HTTP requests with retries, on one thread of their own, so that a call can end while its requests are in flight."""

import asyncio
import encodings.idna  # noqa: F401  # else the first connection imports it, and a fork then leaves it half-imported
import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import anyio.lowlevel
import httpx
import tenacity
from tenacity.stop import stop_base

from secondpass.errors import ConfigurationError, ScoringError, checked
from secondpass.records import Call, UnscoredReason

_BUSY = {429, 502, 503, 504}
_REFUSED = {400, 413, 422, 500}
"""Statuses of a request that holds a text that the server can't read: 500 is that of llama.cpp's server."""
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_PASSING = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""Errors that another attempt may not meet: no connection, or one that the server has closed."""
_EXCERPT = 200  # characters of an error's body, in the message

Reply = bytes | ScoringError | None
"""The body of an answer, or why there is none; None while it isn't there."""


@checked
@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the requests to a server.

    :param timeout_seconds: How long one attempt may take, until its last byte.
    :param connect_seconds: How long a connection may take.
    :param retries: Further attempts after 429, 502, 503, 504 and connection errors.
    :param max_wait_seconds: The longest wait before an attempt; a longer ``Retry-After`` is a failure.
    :param connections: Requests at once.
    :param max_answer_bytes: The longest answer that is read.
    :raises ConfigurationError: If one is out of its range.
    """

    timeout_seconds: float = 30.0
    connect_seconds: float = 5.0
    retries: int = 3
    max_wait_seconds: float = 20.0
    connections: int = 8
    max_answer_bytes: int = 8_000_000

    def __post_init__(self) -> None:
        """Check the ranges."""
        above_zero = (self.timeout_seconds, self.connect_seconds, self.connections, self.max_answer_bytes)
        if not (min(above_zero) > 0 and min(self.retries, self.max_wait_seconds) >= 0):
            raise ConfigurationError(f"limits must be above 0 (retries and max_wait_seconds 0 or more), got {self}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go.

    :param url: The URL.
    :param key_variable: The environment variable of the API key; empty for none.
    :param limits: The limits.
    """

    url: str
    key_variable: str
    limits: Limits

    def check_key(self) -> None:
        """Check that the API key, where there is one, can be sent.

        :raises ScoringError: If it can't; the message is without it.
        """
        if not _can_be_sent(self._key()):  # the HTTP library would put it into its error
            raise ScoringError(f"the API key in {self.key_variable} must be printable ASCII characters on one line")

    def authorize(self, request: httpx.Request) -> None:
        """Put the API key into a request; no variable holds it, since tracebacks can show variables."""
        if self._key():
            request.headers["Authorization"] = f"Bearer {self._key()}"

    def _key(self) -> str:
        return os.environ.get(self.key_variable, "").strip() if self.key_variable else ""


def _can_be_sent(key: str) -> bool:
    return key.isascii() and key.isprintable()


class Refused(ScoringError):
    """The server refused a request for what it holds, such as one text that is too long."""


class _Busy(ScoringError):
    """A failure that another attempt may not meet.

    :param message: What failed.
    :param seconds: How long the server asks to wait; None if it doesn't say.
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class Connection:
    """Open connections to one endpoint, and the thread that uses them.

    :param endpoint: The endpoint.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.process = os.getpid()
        self.retries = 0
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, httpx.AsyncClient]] = Future()
        threading.Thread(target=_run, args=(endpoint.limits, ready), name="secondpass-remote", daemon=True).start()
        self._loop, stop, self._client = ready.result()
        self._gate = asyncio.Semaphore(endpoint.limits.connections)
        self.close = weakref.finalize(self, _stop, self._loop, stop, self.process)

    def post(self, bodies: Sequence[bytes], replies: list[Reply], call: Call) -> UnscoredReason | None:
        """Send requests, and fill in the replies; return why the call ended before the last one, or None.

        :param bodies: The bodies of the requests.
        :param replies: One for each, filled by another thread until this returns.
        :param call: Deadline and cancellation.
        :raises ScoringError: If the connection was closed meanwhile.
        """
        work = self._post_all(bodies, replies, call)
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise ScoringError("the connection was closed during a call") from error
        try:
            return _wait(future, call)
        except CancelledError as error:
            raise ScoringError("the connection was closed during a call") from error
        finally:
            future.cancel()

    async def _post_all(self, bodies: Sequence[bytes], replies: list[Reply], call: Call) -> None:
        await asyncio.gather(*(self._post_one(body, replies, place, call) for place, body in enumerate(bodies)))

    async def _post_one(self, body: bytes, replies: list[Reply], place: int, call: Call) -> None:
        limits = self.endpoint.limits
        async with self._gate:
            try:
                async for attempt in tenacity.AsyncRetrying(
                    retry=tenacity.retry_if_exception_type(_Busy),
                    wait=_seconds_to_wait,
                    stop=tenacity.stop_any(tenacity.stop_after_attempt(limits.retries + 1), _TooLong(limits, call)),
                    reraise=True,
                ):
                    with attempt:
                        self.retries += attempt.retry_state.attempt_number > 1
                        replies[place] = await self._attempt(body)
            except ScoringError as error:
                replies[place] = error

    async def _attempt(self, body: bytes) -> bytes:
        """Send one request and return its answer.

        :raises ScoringError: If there is none; the message holds neither the key nor the texts, nor what the server
            wrote, which may repeat both. Nor do the frames of the HTTP library, which hold the key, hang on it.
        """
        endpoint = self.endpoint
        endpoint.check_key()
        seconds = endpoint.limits.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                answer = await self._answer(body)
        except TimeoutError:
            failure = ScoringError(f"{endpoint.url} gave no complete answer within {seconds:g} s")
        except Exception as error:  # noqa: BLE001  # whatever the library makes of a server's bytes
            kind = _Busy if isinstance(error, _PASSING) else ScoringError
            why = f": {error!s:.{_EXCERPT}}" if isinstance(error, httpx.NetworkError) else ""  # the system's words
            failure = kind(f"{endpoint.url}: {type(error).__name__}{why}")
        else:
            if isinstance(answer, bytes):
                return answer
            failure = answer
        raise failure

    async def _answer(self, body: bytes) -> bytes | ScoringError:
        """Send one request; return the answer, or the failure that it is: raised here, it would show the response."""
        limit, content = self.endpoint.limits.max_answer_bytes, bytearray()
        request = self._client.build_request("POST", self.endpoint.url, content=body, headers=_HEADERS)
        self.endpoint.authorize(request)
        response = await self._client.send(request, stream=True)
        request.headers.pop("Authorization", None)
        try:
            if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
                return ScoringError(f"{request.url} answered in an encoding that wasn't asked for")
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > limit:
                    return ScoringError(f"{request.url} answered with more than {limit} bytes")
        finally:
            await response.aclose()
        if response.status_code == httpx.codes.OK:
            return bytes(content)
        # the words for a status are the standard's: the server's own may repeat the key
        message = f"{request.url} answered {response.status_code} {httpx.codes.get_reason_phrase(response.status_code)}"
        if response.status_code in _BUSY:
            return _Busy(message, _retry_after(response.headers.get("Retry-After")))
        return (Refused if response.status_code in _REFUSED else ScoringError)(message)


@dataclass(frozen=True)
class _TooLong(stop_base):
    """Whether the next attempt would come too late: tenacity's stop rule."""

    limits: Limits
    call: Call

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        remaining = self.call.remaining
        return state.upcoming_sleep > self.limits.max_wait_seconds or (
            remaining is not None and state.upcoming_sleep >= remaining
        )


_backoff = tenacity.wait_random_exponential(multiplier=0.2, max=5.0)


def _seconds_to_wait(state: tenacity.RetryCallState) -> float:
    """Return what the server asks for, or exponentially growing waits."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.seconds if isinstance(error, _Busy) else None
    return _backoff(state) if asked is None else asked


def _retry_after(header: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header, which has a number or a date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    try:
        return max(0.0, float(header)) if header.strip().isdigit() else _seconds_until(parsedate_to_datetime(header))
    except (ValueError, OverflowError):  # OverflowError: a date beyond the year 9999 in UTC
        return None


def _seconds_until(date: datetime) -> float:
    return max(0.0, (date.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _run(limits: Limits, ready: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, httpx.AsyncClient]]") -> None:
    """Run the thread's event loop until the connection is closed."""

    async def serve() -> None:
        stop = asyncio.Event()
        async with httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=limits.connect_seconds),
            limits=httpx.Limits(max_connections=limits.connections, max_keepalive_connections=limits.connections),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # neither kept nor sent
        ) as client:
            await anyio.lowlevel.checkpoint()  # imports its backend, while a fork waits
            ready.set_result((asyncio.get_running_loop(), stop, client))
            await stop.wait()

    try:
        asyncio.run(serve())
    except BaseException as error:  # e.g. a certificate file of the environment that isn't there
        if ready.done():
            raise
        ready.set_exception(error)


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, process: int) -> None:
    """End the thread, unless this is a fork, which has a copy of the loop and no thread."""
    if os.getpid() == process and not loop.is_closed():
        loop.call_soon_threadsafe(stop.set)


def _wait(future: "Future[None]", call: Call) -> UnscoredReason | None:
    while True:
        try:
            future.result(timeout=call.wait_seconds)
        except TimeoutError:
            reason = call.stop_reason()
            if reason:
                return reason
        else:
            return None
