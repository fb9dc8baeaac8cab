"""A scorer over HTTP: hosted rerankers, and reranking servers of one's own (extra ``remote``)."""

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Self

from secondpass.errors import ConfigurationError, ScoringError, checked, require
from secondpass.models.dialects import DIALECTS, Dialect
from secondpass.processes import ForkLock
from secondpass.records import Call, Pair, Scale, Score, Scored, Spec, Stage, Unscored, UnscoredReason, as_call
from secondpass.scoring.scorer import BaseScorer, by_query, has_score

require("RemoteScorer", "remote", "httpx", "tenacity")

import httpx

from secondpass.scorers.remote_client import Connection, Endpoint, Limits, Refused, Reply

__all__ = ["DIALECTS", "Dialect", "Limits", "RemoteScorer"]

_EMPTY = Unscored(UnscoredReason.INVALID, "the text is empty")
_MISSING = Unscored(UnscoredReason.FAILED, "the server's answer has no result for it")
_DOUBLED = Unscored(UnscoredReason.FAILED, "the server's answer has several results for it")
_Outcome = Score | Unscored


@checked
class RemoteScorer(BaseScorer):
    """Scores pairs by requests to a reranking server.

    Texts that exceed the server's limit are split into several requests. What comes too late is cancelled. API keys are
    read from the environment at each request and kept nowhere; proxies and certificates are the environment's too
    (``HTTPS_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE``). Safe across threads; connections are kept open.

    :param dialect: A name of ``DIALECTS``, or a ``Dialect``.
    :param model: The model's name on the server; None for a server that has only one.
    :param url: The server, such as ``"http://gpu-1:8080"``; None takes the dialect's hosted service.
    :param key_variable: The environment variable of the API key. None takes the dialect's, but never for another
        ``url`` than the hosted service's: a key is sent only to the service that it is for.
    :param scale: The scale of the scores; None takes the dialect's.
    :param max_texts: The most texts of a request; None takes the dialect's limit.
    :param pointwise: False for a model that compares the texts of a request with each other (listwise).
    :param limits: Timeouts, retries, connections and the size of answers.
    :raises ConfigurationError: If the dialect is unknown, the URL is missing or invalid, or a hosted service's key.
    """

    def __init__(
        self,
        dialect: str | Dialect,
        model: str | None = None,
        *,
        url: str | None = None,
        key_variable: str | None = None,
        scale: Scale | None = None,
        max_texts: int | None = None,
        pointwise: bool = True,
        limits: Limits | None = None,
    ) -> None:
        dialect = _dialect(dialect)
        if max_texts is not None and max_texts < 1:
            raise ConfigurationError(f"max_texts must be 1 or more, got {max_texts}")
        base = _checked_url(url or dialect.url, dialect.name)
        hosted = bool(dialect.url) and base == dialect.url
        variable = key_variable or (dialect.key_variable if hosted or not dialect.url else "")
        if not (variable.isascii() and variable.isprintable()):
            raise ConfigurationError(f"key_variable must name an environment variable, got {variable!r:.80}")
        if hosted and not os.environ.get(variable):
            raise ConfigurationError(f"{dialect.name} needs an API key in the environment variable {variable}")
        self.dialect = dialect if max_texts is None else replace(dialect, limit=max_texts)
        self.model = model
        self._endpoint = Endpoint(base + dialect.path, variable, limits or Limits())
        self.spec = Spec(
            f"{dialect.name}:{model}" if model else f"{dialect.name} at {base}",
            scale or dialect.scale,
            fingerprint=f"remote {dialect.name} {base}{dialect.path} {model}",
            pointwise=pointwise,
        )
        self._lock = ForkLock(waited=True)
        self._connection: Connection | None = None

    def __repr__(self) -> str:
        """Return dialect, model and URL."""
        return f"RemoteScorer({self.dialect.name!r}, {self.model!r}, url={self._endpoint.url!r})"

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the scorer of a name: ``cohere:rerank-v3.5``, ``infinity:bge@http://gpu-1:7997`` or ``tei:@URL``.

        :raises ConfigurationError: As the class.
        """
        if not isinstance(name, str):
            raise ConfigurationError(f"a remote model's name must be a string such as 'cohere:model', got {name!r:.80}")
        dialect, _, rest = name.partition(":")
        model, _, url = rest.partition("@")
        return cls(dialect, model or None, url=url or None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the connections: frameworks copy their components."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings: another process opens its own connections."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_connection")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the settings."""
        self.__dict__.update(state, _lock=ForkLock(waited=True), _connection=None)

    def warmup(self) -> None:
        """Open a connection and score one pair, so that a wrong key, URL or model shows before the first query.

        :raises ScoringError: If the server doesn't answer.
        """
        self.score_pairs([Pair("warm-up", "warm-up")])

    def release(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order; the pairs of a failed request are ``FAILED``.

        :raises ScoringError: If no pair has a score because requests failed.
        """
        call, started = as_call(call), time.perf_counter()
        outcomes: list[_Outcome] = [_EMPTY] * len(pairs)
        errors: list[ScoringError] = []
        parts, sent, splits = self._parts(pairs), 0, _Splits()
        stopped = call.stop_reason() if parts else None
        while parts:
            replies: list[Reply] = [None] * len(parts)
            if not stopped:
                sent += len(parts)
                stopped = self._connected().post([self._body(pairs, part) for part in parts], replies, call)
            splits.note(parts, replies)
            halves: list[list[int]] = []
            for part, reply in zip(parts, replies, strict=True):
                if not stopped and splits.allow(part, reply):
                    halves += _halves(pairs, part)
                    continue
                for position, outcome in zip(part, self._outcomes(reply, len(part), stopped, errors), strict=True):
                    outcomes[position] = outcome
            parts = halves
        if errors and not stopped and not has_score(outcomes):
            raise errors[0]
        facts: dict[str, object] = {"model": self.spec.name, "url": self._endpoint.url, "requests": sent}
        if errors:
            facts["errors"] = "; ".join(sorted({str(error) for error in errors}))
        return Scored(tuple(outcomes), self.spec, (Stage("score", time.perf_counter() - started, facts),))

    def _connected(self) -> Connection:
        """Return the open connection; a forked process opens its own."""
        with self._lock:
            if self._connection is None or self._connection.process != os.getpid():
                try:
                    self._connection = Connection(self._endpoint)
                except OSError as error:
                    raise ScoringError(f"no connection can be prepared: {error}") from error
            return self._connection

    def _parts(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Return the positions of the pairs of each request: one query's, and no more than the server takes."""
        limit = self.dialect.limit
        queries = ([p for p in group if pairs[p].text.strip()] for group in by_query(pairs))
        return [group[start : start + limit] for group in queries for start in range(0, len(group), limit)]

    def _body(self, pairs: Sequence[Pair], part: Sequence[int]) -> bytes:
        texts = [pairs[position].text for position in part]
        request = self.dialect.request(self.model, pairs[part[0]].query, texts)
        return json.dumps(request, ensure_ascii=False).encode(errors="replace")  # lone surrogates have no UTF-8 form

    def _outcomes(
        self, reply: Reply, count: int, stopped: UnscoredReason | None, errors: list[ScoringError]
    ) -> list[_Outcome]:
        """Return the outcomes of one request's texts; what failed is noted among the errors."""
        if reply is None:
            return [Unscored(stopped or UnscoredReason.FAILED)] * count
        try:
            if isinstance(reply, ScoringError):
                raise reply
            return self._read(reply, count)
        except ScoringError as error:
            errors.append(error)
            return [Unscored(UnscoredReason.FAILED, str(error))] * count

    def _read(self, answer: bytes, count: int) -> list[_Outcome]:
        """Return the outcomes that an answer states, in the order of the texts.

        :raises ScoringError: If it has another form, a result for a text that wasn't sent, or none at all.
        """
        try:
            data = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise ScoringError(f"{self._endpoint.url} answered with something that is no JSON") from error
        found: dict[int, _Outcome] = {}
        for index, value in self.dialect.scores(data):
            if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
                raise ScoringError(f"{self.spec.name} answered for text {index!r:.20}, and was sent {count}, from 0")
            found[index] = _DOUBLED if index in found else _outcome(value)
        if not found:
            raise ScoringError(f"{self.spec.name} answered without a result, and was sent {count} texts")
        return [found.get(index, _MISSING) for index in range(count)]


@dataclass(slots=True)
class _Splits:
    """Which refused requests are sent again as two halves, so that only the text that is refused has no score.

    :param left: The further splits: at first twice the binary logarithm of a refused request's texts.
    :param all_refused: The last rounds in which every request was refused: then it isn't for one of the texts.
    """

    left: int | None = None
    all_refused: int = 0

    def note(self, parts: Sequence[Sequence[int]], replies: Sequence[Reply]) -> None:
        """Note the replies of a round."""
        refused = [len(part) for part, reply in zip(parts, replies, strict=True) if isinstance(reply, Refused)]
        if self.left is None:
            self.left = sum(2 * count.bit_length() for count in refused)
        self.all_refused = self.all_refused + 1 if len(refused) == len(parts) else 0

    def allow(self, part: Sequence[int], reply: Reply) -> bool:
        """Return whether to split a request, and count it."""
        if not isinstance(reply, Refused) or len(part) < 2 or not self.left or self.all_refused > 2:
            return False
        self.left -= 1
        return True


def _halves(pairs: Sequence[Pair], part: Sequence[int]) -> list[list[int]]:
    """Return the positions of the shorter and of the longer texts: those above a limit are then together."""
    by_length = sorted(part, key=lambda position: len(pairs[position].text))
    middle = len(part) // 2
    return [by_length[:middle], by_length[middle:]]


def _dialect(dialect: str | Dialect) -> Dialect:
    if isinstance(dialect, Dialect):
        return dialect
    if dialect not in DIALECTS:
        raise ConfigurationError(f"dialect must be one of {', '.join(DIALECTS)}, got {dialect!r:.80}")
    return DIALECTS[dialect]


def _checked_url(url: str, dialect: str) -> str:
    """Return a server's base URL without a slash at its end.

    :raises ConfigurationError: If it is missing, no HTTP URL, or has a password.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigurationError(f"url must be a URL such as http://gpu-1:8080: {error}") from error
    if parsed.userinfo or parsed.query:
        raise ConfigurationError("url must be without user, password and query: keys come from the environment")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError(f"{dialect} needs url=, such as http://gpu-1:8080; got {url!r:.80}")
    return str(parsed).rstrip("/")


def _outcome(value: object) -> _Outcome:
    """Return the outcome for a score of an answer; JSON has integers beyond the range of floats."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return Unscored(UnscoredReason.FAILED, f"the server's score is {type(value).__name__}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return Unscored(UnscoredReason.INVALID, f"the server's score is {number}")
    return Score(number)
