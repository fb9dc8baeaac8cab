"""Remote scorers: servers that fail, are late or answer nonsense; retries, deadlines, cancellation."""

import gzip
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from multiprocessing import get_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reranking_server import Answer, RerankingServer, answering

from secondpass import Call, Fallback, OverlapScorer, Pair, Reranker
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.ranking import Cause
from secondpass.records import Score, Unscored, UnscoredReason
from secondpass.scorers.remote import Limits, RemoteScorer

TEXTS = ["document 10", "document 30"]
SCORES = [Score(0.1), Score(0.3)]
GOOD = Answer()


def scorer_of(server: RerankingServer, **settings: object) -> RemoteScorer:
    return RemoteScorer("infinity", url=server.url, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_tried_again(server: RerankingServer, status: int) -> None:
    """A busy server is asked again, as soon as it says."""
    server.answers = [Answer(status, b"busy", {"Retry-After": "0"}), GOOD]
    assert scorer_of(server).score("q", TEXTS) == SCORES
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422, 500])
def test_what_does_not_pass_is_not_tried_again(server: RerankingServer, status: int) -> None:
    """The error names the status; the body, which may quote texts, stays out."""
    server.answers = [Answer(status, b"your text was: secret plan", {"Location": "/elsewhere"})]
    with pytest.raises(ScoringError, match=str(status)) as failure:
        scorer_of(server).score("q", TEXTS[:1])
    assert len(server.requests) == 1
    assert "secret" not in str(failure.value)


def test_retries_end(server: RerankingServer) -> None:
    """After the last attempt the failure is raised as it is."""
    server.answers = [Answer(503, b"", {"Retry-After": "0"})]
    with pytest.raises(ScoringError, match="503"):
        scorer_of(server, limits=Limits(retries=2)).score("q", TEXTS)
    assert len(server.requests) == 3


def test_retry_after_is_a_number_or_a_date(server: RerankingServer) -> None:
    """A date in the past means now; nonsense means the scorer's own waits."""
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    server.answers = [Answer(429, b"", {"Retry-After": past}), Answer(429, b"", {"Retry-After": "soon"}), GOOD]
    assert scorer_of(server).score("q", TEXTS) == SCORES


@pytest.mark.parametrize("header", ["Fri, 31 Dec 9999 23:59:59 -1200", "9" * 5000, "Mon, 01 Jan 0001 00:00:00 +1400"])
def test_no_retry_after_is_beyond_the_clock(server: RerankingServer, header: str) -> None:
    """A date or number that no clock can hold is a failed attempt as any other."""
    server.answers = [Answer(429, b"", {"Retry-After": header})]
    with pytest.raises(ScoringError, match="429"):
        scorer_of(server, limits=Limits(retries=1)).score("q", TEXTS)


def test_a_long_retry_after_fails_at_once(server: RerankingServer) -> None:
    """Nothing waits for longer than the limit, or beyond the deadline."""
    server.answers = [Answer(429, b"", {"Retry-After": "3600"})]
    for call in (None, Call(deadline_ms=60_000)):
        with pytest.raises(ScoringError, match="429"):
            scorer_of(server).score("q", TEXTS, call=call)
    scorer = scorer_of(server, limits=Limits(max_wait_seconds=1e6))
    with pytest.raises(ScoringError, match="429"):
        scorer.score("q", TEXTS, call=Call(deadline_ms=60_000))


def test_a_cut_off_answer_is_tried_again(server: RerankingServer) -> None:
    """A connection that ends within the answer counts as a connection error."""
    server.answers = [Answer(cut=20), GOOD]
    assert scorer_of(server).score("q", TEXTS) == SCORES
    server.answers = [Answer(cut=20)]
    with pytest.raises(ScoringError, match="RemoteProtocolError"):
        scorer_of(server, limits=Limits(retries=1)).score("q", TEXTS)


NONSENSE = {
    "not JSON": b"<html>503</html>",
    "empty": b"",
    "bad UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "another form": b'{"error": "no"}',
    "a list of strings": b'{"results": ["a", "b"]}',
    "no results": b'{"results": []}',
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_a_scoring_error(server: RerankingServer, name: str) -> None:
    """Whatever the server sends with status 200, the caller sees a scoring error, and no further attempt is made."""
    server.answers = [Answer(body=NONSENSE[name])]
    with pytest.raises(ScoringError):
        scorer_of(server).score("q", TEXTS)
    assert len(server.requests) == 1


def test_a_huge_answer_is_not_read_to_its_end(server: RerankingServer) -> None:
    """An answer of 10 MB ends the request."""
    server.answers = [Answer(body=b'{"results": [' + b" " * 10_000_000 + b"]}")]
    with pytest.raises(ScoringError, match="more than 8000000 bytes"):
        scorer_of(server).score("q", TEXTS)


def test_an_encoding_that_was_not_asked_for_is_refused_unread(server: RerankingServer) -> None:
    """Two layers of gzip are few bytes of an answer of gigabytes."""
    body = gzip.compress(gzip.compress(b'{"results": []}' + b" " * 1_000_000))
    server.answers = [Answer(body=body, headers={"Content-Encoding": "gzip, gzip"})]
    with pytest.raises(ScoringError, match="encoding that wasn't asked for"):
        scorer_of(server).score("q", TEXTS)


def test_cookies_are_neither_kept_nor_sent(server: RerankingServer) -> None:
    """Calls of different users share the connections."""
    server.answers = [Answer(headers={"Set-Cookie": "session=1; Path=/"})]
    scorer = scorer_of(server)
    for _ in range(2):
        assert scorer.score("q", TEXTS) == SCORES
    assert [name for _, _, headers in server.requests for name in headers if name.lower() == "cookie"] == []


STATUS_LINES = st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 503 -", b"HTTP/1.1 999", b"HTTP/1.0 301 \xff", b"200"])
HEADERS = st.sampled_from([b"Location", b"Retry-After", b"Content-Length", b"Content-Encoding", b"Set-Cookie", b"\xff"])
VALUES = st.binary(max_size=20) | st.sampled_from(
    [
        b"http://\xff.example",
        b"//[",
        b"http://xn--\xc3\xa9",
        b"-1",
        b"9" * 400,
        b"gzip",
        b"chunked",
        b"a=b; Max-Age=9e999",
    ]
)


@settings(max_examples=60)
@given(
    answer=st.binary(max_size=200)
    | st.builds(
        lambda line, headers, body: b"\r\n".join([line, *(b": ".join(item) for item in headers), b"", body]),
        STATUS_LINES,
        st.lists(st.tuples(HEADERS, VALUES), max_size=4),
        st.binary(max_size=60) | st.just(b'{"results": [{"index": 0, "relevance_score": 0.1}]}'),
    )
)
def test_any_bytes_give_outcomes_or_a_scoring_error(answer: bytes) -> None:
    """Whatever the HTTP library makes of a server's bytes, the caller sees nothing else."""
    with answering(answer) as url:
        scorer = RemoteScorer("infinity", url=url, limits=Limits(retries=0, timeout_seconds=5))
        with suppress(ScoringError):
            assert len(scorer.score("q", TEXTS)) == len(TEXTS)
        scorer.release()


@pytest.mark.parametrize(
    "body",
    [
        b'{"results": [{"index": ' + b"1" * 5000 + b', "relevance_score": 0.1}]}',
        b'{"results": [{"index": 0, "relevance_score": ' + b"1" * 5000 + b"}]}",
        b'{"' + b"1" * 5000 + b'": 1}',
    ],
    ids=["index", "score", "key"],
)
def test_a_number_of_thousands_of_digits_is_a_scoring_error(server: RerankingServer, body: bytes) -> None:
    """Python refuses to read such an integer with an error of its own."""
    server.answers = [Answer(body=body)]
    with pytest.raises(ScoringError):
        scorer_of(server, limits=Limits(retries=0)).score("q", TEXTS)


def test_no_server_is_a_scoring_error() -> None:
    """A refused connection is tried again, then raised."""
    with pytest.raises(ScoringError, match="ConnectError"):
        RemoteScorer("tei", url="http://127.0.0.1:1", limits=Limits(retries=1)).score("q", TEXTS)


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(drip=True)], ids=["hangs", "drips"])
def test_a_late_server_is_given_up(server: RerankingServer, answer: Answer) -> None:
    """An attempt ends after its timeout, even if bytes keep coming."""
    server.answers = [answer]
    with pytest.raises(ScoringError, match="no complete answer"):
        scorer_of(server, limits=Limits(timeout_seconds=0.2)).score("q", TEXTS)


def test_the_deadline_ends_a_call(server: RerankingServer) -> None:
    """What was answered by then is kept, the rest is marked; the caller doesn't wait for the server."""
    server.answers = [GOOD, Answer(hang=True)]
    scorer = scorer_of(server, max_texts=1, limits=Limits(connections=1))
    outcomes = scorer.score("q", TEXTS, call=Call(deadline_ms=1000))
    assert outcomes[0] == SCORES[0]
    assert outcomes[1].reason is UnscoredReason.DEADLINE  # type: ignore[union-attr]


def test_a_call_that_is_over_sends_nothing(server: RerankingServer) -> None:
    """Neither an expired nor a cancelled call reaches the server."""
    outcomes = scorer_of(server).score("q", TEXTS, call=Call(deadline_ms=0))
    assert {str(item.reason) for item in outcomes} == {"deadline"}  # type: ignore[union-attr]
    assert server.requests == []


def test_cancelling_ends_a_request_in_flight(server: RerankingServer) -> None:
    """The caller returns although the server never answers, and the connection's thread has no task left."""
    server.answers = [Answer(hang=True)]
    scorer, call = scorer_of(server), Call()
    threading.Thread(target=lambda: server.received.wait() and call.cancel()).start()
    outcomes = scorer.score("q", TEXTS, call=call)
    assert {str(item.reason) for item in outcomes} == {"cancelled"}  # type: ignore[union-attr]
    scorer.release()


def test_releasing_during_a_call_is_a_scoring_error(server: RerankingServer) -> None:
    """The call ends instead of hanging, and the next one opens new connections."""
    server.answers = [Answer(hang=True)]
    scorer = scorer_of(server)
    threading.Thread(target=lambda: server.received.wait() and scorer.release()).start()
    with pytest.raises(ScoringError, match="closed"):
        scorer.score("q", TEXTS)
    server.answers = []
    assert scorer.score("q", TEXTS) == SCORES


def test_one_failed_request_leaves_the_others(server: RerankingServer) -> None:
    """Of a query that was split, the texts of a failed request have no score, and the ranking is marked."""
    server.answers = [Answer(500, b""), GOOD]
    scorer = scorer_of(server, max_texts=1, limits=Limits(connections=1))
    ranking = Reranker(scorer).rerank("q", TEXTS)
    assert [kept.index for kept in ranking] == [1, 0]
    assert ranking.degraded is not None
    assert ranking.degraded.cause is Cause.SCORER_FAILED
    assert "500" in str(ranking.stages[0].facts["errors"])


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_text_that_the_server_refuses_costs_the_others_nothing(server: RerankingServer, status: int) -> None:
    """The request is halved until only that text is left, in at most about twice log2 of the texts further requests."""
    texts = [f"text {number}" for number in range(100)]
    server.refused, server.refused_status = {"text 7"}, status
    scored = scorer_of(server).score_pairs([Pair("q", text) for text in texts])
    assert [str(item.reason) for item in scored.outcomes if isinstance(item, Unscored)] == ["failed"]
    assert sum(isinstance(item, Score) for item in scored.outcomes) == 99
    assert len(server.requests) == scored.stages[0].facts["requests"] <= 1 + 2 * 7


def test_several_long_texts_cost_the_others_nothing(server: RerankingServer) -> None:
    """Texts are halved by their length, so that those above a limit come together."""
    texts = [f"{'long ' * 50 * (number % 25 == 3)} {number}" for number in range(100)]
    server.refused = {text for text in texts if "long" in text}
    outcomes = scorer_of(server).score("q", texts)
    assert [number for number, item in enumerate(outcomes) if isinstance(item, Unscored)] == [3, 28, 53, 78]
    assert len(server.requests) <= 1 + 4 * 7


def test_a_server_that_refuses_everything_is_not_asked_on_and_on(server: RerankingServer) -> None:
    """After halves and quarters that are all refused it isn't for one of the texts."""
    server.answers = [Answer(400, b"")]
    with pytest.raises(ScoringError, match="400"):
        scorer_of(server).score("q", [f"text {number}" for number in range(100)])
    assert len(server.requests) == 1 + 2 + 4


def test_a_fallback_answers_for_a_server_that_fails(server: RerankingServer) -> None:
    """Its errors are scoring errors, so a local model takes over."""
    server.answers = [Answer(500, b"")]
    scored = Fallback(scorer_of(server), OverlapScorer()).score("document 30", TEXTS)
    assert [item.value for item in scored] == [0.5, 1.0]  # type: ignore[union-attr]


def test_threads_share_connections(server: RerankingServer) -> None:
    """Calls of many threads get their own results, over no more connections than allowed."""
    scorer = scorer_of(server, limits=Limits(connections=2))
    results: dict[int, object] = {}

    def ask(number: int) -> None:
        results[number] = scorer.score("q", [f"t {number}"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [Score(number / 100)] for number in range(12)}


def _score_in_child(scorer: RemoteScorer, queue: object) -> None:
    queue.put(scorer.score("q", TEXTS))  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_opens_its_own_connections(server: RerankingServer) -> None:
    """The parent's thread isn't there in a fork; its connections stay the parent's."""
    scorer = scorer_of(server)
    assert scorer.score("q", TEXTS) == SCORES
    context = get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_score_in_child, args=(scorer, queue))
    child.start()
    assert queue.get() == SCORES
    child.join()
    assert child.exitcode == 0
    assert scorer.score("q", TEXTS) == SCORES


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("turn", range(20))
def test_a_fork_while_another_thread_connects(server: RerankingServer, turn: int) -> None:
    """The child has its own lock, event loop and connection, whenever it is forked."""
    scorer = scorer_of(server)
    thread = threading.Thread(target=scorer.score, args=("q", TEXTS))
    thread.start()
    time.sleep(turn / 1000)
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        try:
            os._exit(0 if scorer.score("q", TEXTS) == SCORES else 1)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_proxies_are_the_environment_s(server: RerankingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request for another host goes to the proxy of the environment."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ScoringError, match="404"):
        RemoteScorer("tei", url="http://reranker.example").score("q", TEXTS)
    assert server.requests[0][0] == "http://reranker.example/rerank"


def test_warmup_shows_a_wrong_setting(server: RerankingServer) -> None:
    """A server that refuses shows before the first query."""
    server.answers = [Answer(401, b"")]
    with pytest.raises(ScoringError, match="401"):
        scorer_of(server).warmup()


@pytest.mark.parametrize("limit", [{"retries": -1}, {"timeout_seconds": 0}, {"connections": 0}])
def test_wrong_limits_raise(limit: dict[str, int]) -> None:
    """A limit that allows no request is a configuration error."""
    with pytest.raises(ConfigurationError, match="limits must be"):
        Limits(**limit)
