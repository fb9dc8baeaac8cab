"""The server: forms, limits, failures, deadlines, shutdown, and a remote scorer against it."""

import json
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Failing, Scripted

from secondpass import Call, OverlapScorer, Pair, Reranker, Scored, Selection
from secondpass.errors import ConfigurationError, QueueFull, ScoringError
from secondpass.records import Score, Unscored, UnscoredReason
from secondpass.scorers.remote import RemoteScorer
from secondpass.serve import Server, Settings
from secondpass.serve.run import check_host

DOCUMENTS = ["rain", "a flea lives for months", "a flea jumps"]
BODY = {"query": "how long does a flea live", "documents": DOCUMENTS}
Serve = Callable[..., Any]


class Held(OverlapScorer):
    """Waits until it is let go, or the call ends."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.go = threading.Event()
        self.ended: list[UnscoredReason | None] = []

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.asked.release()
        while not self.go.wait(0.01) and not (call and call.stop_reason()):
            pass
        self.ended.append(call.stop_reason() if call else None)
        return super().score_pairs(pairs, call=call)


def post(server: Any, body: object = BODY, path: str = "/rerank", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | given
    return httpx.post(server.url + path, content=content, headers=headers, timeout=30)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_cohere_s_and_jina_s_form(serve: Serve, path: str) -> None:
    """All documents come back best first with their index; texts are repeated on request, and may be objects."""
    body = {"model": "any", "query": "flea lives", "documents": ["rain", {"text": "a flea lives"}, "flea"], "top_n": 2}
    answer = post(serve(OverlapScorer()), body | {"return_documents": True}, path).json()
    assert answer["results"] == [
        {"index": 1, "relevance_score": 1.0, "document": {"text": "a flea lives"}},
        {"index": 2, "relevance_score": 0.5, "document": {"text": "flea"}},
    ]
    assert answer["model"] == "overlap"
    assert [item["index"] for item in answer["secondpass"]["dropped"]] == [0]


def test_budget_and_threshold(serve: Serve) -> None:
    """A request may state a budget and a threshold, and reads the context and the reasons."""
    server = serve(OverlapScorer())
    details = post(server, BODY | {"max_tokens": 8, "min_probability": 0.2}).json()["secondpass"]
    assert details["context"] == "a flea lives for months"
    assert details["tokens"] <= 8
    assert {item["index"]: item["reason"] for item in details["dropped"]} == {0: "below threshold", 2: "over budget"}


def test_the_configured_selection_holds(serve: Serve) -> None:
    """It applies where the request states nothing else, and not to ``scores_only``."""
    server = serve(OverlapScorer(), selection=Selection(top_n=1))
    assert len(post(server).json()["results"]) == 1
    assert len(post(server, BODY | {"top_n": 2}).json()["results"]) == 2
    assert len(post(server, BODY | {"scores_only": True}).json()["results"]) == 3


def test_a_remote_scorer_ranks_as_the_scorer_behind_the_server(serve: Serve) -> None:
    """Client and server together give the scores of the model itself."""
    server = serve(OverlapScorer(), selection=Selection(top_n=1, min_probability=0.5))
    remote = RemoteScorer("secondpass", url=server.url)
    texts = [*DOCUMENTS, DOCUMENTS[1], "it's \udcff"]
    assert remote.score(BODY["query"], texts) == OverlapScorer().score(BODY["query"], texts)  # type: ignore[arg-type]
    assert [kept.index for kept in Reranker(remote).rerank("flea lives", DOCUMENTS)] == [1, 2, 0]


@pytest.mark.parametrize("dialect", ["cohere", "jina", "infinity", "vllm", "llamacpp"])
def test_clients_of_other_servers_are_understood(serve: Serve, dialect: str) -> None:
    """A client that speaks one of the common dialects needs no change."""
    remote = RemoteScorer(dialect, "model-1", url=serve(OverlapScorer()).url)
    assert remote.score("flea", DOCUMENTS) == OverlapScorer().score("flea", DOCUMENTS)


def test_the_bundled_model_over_http(serve: Serve) -> None:
    """The scores are the probabilities of the model in this process."""
    local = Reranker("nano")
    remote = Reranker(RemoteScorer("secondpass", url=serve(local.scorer).url))
    here, there = (reranker.rerank(BODY["query"], DOCUMENTS) for reranker in (local, remote))  # type: ignore[arg-type]
    assert [kept.index for kept in there] == [kept.index for kept in here]
    assert [kept.probability for kept in there] == pytest.approx([kept.probability for kept in here])


BAD: dict[str, tuple[object, int]] = {
    "no JSON": (b"{", 422),
    "no object": ([], 422),
    "no query": ({"documents": ["a"]}, 422),
    "a blank query": ({"query": " ", "documents": ["a"]}, 422),
    "no documents": ({"query": "q", "documents": []}, 422),
    "a number": ({"query": "q", "documents": [1]}, 422),
    "top_n of 0": ({"query": "q", "documents": ["a"], "top_n": 0}, 422),
    "a policy without budget's name": ({"query": "q", "documents": ["a"], "policy": "x"}, 422),
    "too many documents": ({"query": "q", "documents": ["a"] * 5}, 422),
    "too long": ({"query": "q" * 2000, "documents": ["a"]}, 413),
    "a lone surrogate": (b'{"query": "\\ud800", "documents": ["a"]}', 422),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_refused(serve: Serve, name: str) -> None:
    """With a status and a message that doesn't repeat their texts."""
    body, status = BAD[name]
    answer = post(serve(OverlapScorer(), settings=Settings(max_documents=4, max_body_bytes=1000)), body)
    assert answer.status_code == status
    assert set(answer.json()) == {"message"}
    assert "qqqq" not in answer.text


def test_only_json_is_read(serve: Serve) -> None:
    """A form that a web page could send from elsewhere is refused."""
    assert post(serve(OverlapScorer()), Content_Type="text/plain").status_code == 415


def test_a_wrong_method_or_path_is_refused_in_json(serve: Serve) -> None:
    """As every other error, with the methods that there are."""
    server = serve(OverlapScorer())
    wrong, missing = httpx.get(server.url + "/rerank"), httpx.get(server.url + "/nothing")
    assert (wrong.status_code, wrong.json(), wrong.headers["Allow"]) == (
        405,
        {"message": "Method Not Allowed."},
        "POST",
    )
    assert (missing.status_code, missing.json()) == (404, {"message": "Not Found."})


def test_the_form_of_text_embeddings_inference(serve: Serve) -> None:
    """A body with ``texts`` is answered with a list, best first; texts and raw scores come on request."""
    server = serve(Scripted({"rain": -1.0, "flea": 2.0}), selection=Selection(top_n=1))
    body = {"query": "q", "texts": ["rain", "flea"]}
    found = post(server, body).json()
    assert found == [
        {"index": 1, "score": pytest.approx(0.8808, abs=1e-4)},
        {"index": 0, "score": pytest.approx(0.2689, abs=1e-4)},
    ]
    assert post(server, body | {"raw_scores": True, "return_text": True, "truncate": True}).json() == [
        {"index": 1, "score": 2.0, "text": "flea"},
        {"index": 0, "score": -1.0, "text": "rain"},
    ]
    remote = RemoteScorer("tei", url=server.url)
    assert remote.score("q", ["rain", "flea"]) == [Score(-1.0), Score(2.0)]


def test_a_text_that_must_not_be_truncated(serve: Serve) -> None:
    """Where a client of text-embeddings-inference forbids it, a text that the model doesn't read whole is refused."""
    server = serve(Scripted({"long": Score(1.0, truncated=7)}))
    body = {"query": "q", "texts": ["long"]}
    assert post(server, body | {"truncate": True}).status_code == 200
    refused = post(server, body | {"truncate": False})
    assert (refused.status_code, "text 0 is longer than the model reads" in refused.text) == (413, True)
    assert post(server, body | {"truncation_direction": "Left"}).status_code == 422


class Loading(OverlapScorer):
    """A model that is loading until it is let go."""

    loaded = False


def test_readiness(serve: Serve) -> None:
    """``/ready`` waits for the model, ``/health`` doesn't."""
    scorer = Loading()
    server = serve(scorer)
    assert httpx.get(server.url + "/health").status_code == 200
    assert httpx.get(server.url + "/ready").status_code == 503
    scorer.loaded = True
    assert httpx.get(server.url + "/ready").json() == {"status": "ok", "model": "overlap"}


def send(server: Any, head: str, body: bytes = b"") -> socket.socket:
    """Send the beginning of a request, and return the connection."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    first = f"POST /rerank HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{first}{head}\r\n\r\n".encode() + body)
    return connection


def test_a_body_that_is_announced_too_long_is_not_waited_for(serve: Serve) -> None:
    """The status comes before the body does."""
    for length in (1001, 10**18):
        with send(serve(OverlapScorer(), settings=Settings(max_body_bytes=1000)), f"Content-Length: {length}") as sent:
            assert b" 413 " in sent.recv(100)


def test_slow_bodies_hold_no_slot(serve: Serve) -> None:
    """While a client sends its body slowly, others are served."""
    server = serve(OverlapScorer(), settings=Settings(max_requests=1))
    with send(server, "Content-Length: 100", b"{") as slow:
        assert post(server).status_code == 200
        slow.shutdown(socket.SHUT_RDWR)


FAILURES: dict[str, tuple[Exception, int]] = {
    "scorer": (ScoringError("secret detail"), 503),
    "network": (ConnectionError("secret detail"), 503),
    "queue": (QueueFull("full"), 429),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_scorer_is_an_error(serve: Serve, name: str) -> None:
    """Clients see a status that they can act on, and no detail."""
    error, status = FAILURES[name]
    answer = post(serve(Failing(error)))
    assert answer.status_code == status
    assert answer.headers["Retry-After"] == "1"
    assert "secret" not in answer.text


def test_keys(serve: Serve) -> None:
    """With an API key only its bearer is served; ``/health`` is open."""
    server = serve(OverlapScorer(), settings=Settings(api_key="k-1"))
    assert post(server).status_code == 401
    assert post(server, Authorization="Bearer k-2").status_code == 401
    assert post(server, Authorization="Bearer k-1").status_code == 200
    assert httpx.get(server.url + "/metrics").status_code == 401
    assert httpx.get(server.url + "/health").json() == {"status": "ok", "model": "overlap"}
    assert "k-1" not in repr(Settings(api_key="k-1"))


def test_other_machines_need_a_key() -> None:
    """An address that they can reach is refused without one."""
    for host in ("127.0.0.1", "::1", "localhost"):
        check_host(host, Settings())
    for host in ("0.0.0.0", "::", "10.0.0.1", "gpu-1"):
        check_host(host, Settings(api_key="k"))
        with pytest.raises(ConfigurationError, match="SECONDPASS_API_KEY"):
            check_host(host, Settings())
    with pytest.raises(ConfigurationError, match="must not be empty"):
        Settings(api_key=" ")


@pytest.mark.parametrize("wrong", [{"port": -1}, {"workers": 0}, {"shutdown_seconds": -1}, {"log_level": "loud"}])
def test_settings_of_the_process(wrong: dict[str, Any]) -> None:
    """What is out of its range is refused."""
    with pytest.raises(
        ConfigurationError, match=f"{next(iter(wrong))} .*must be|must be .*{next(iter(wrong.values()))}"
    ):
        Server(**wrong)


def test_a_deadline_in_the_header(serve: Serve) -> None:
    """What is scored by then is the result, the rest is listed; nothing scored is an error."""
    late = Unscored(UnscoredReason.DEADLINE)
    partly = serve(Scripted({"a flea jumps": 1.0, "rain": late, "a flea lives for months": late}))
    answer = post(partly, X_Deadline_Ms="1000").json()
    assert [result["index"] for result in answer["results"]] == [2]
    assert answer["secondpass"]["unscored"] == [0, 1]
    assert "deadline" in answer["secondpass"]["degraded"]
    assert post(serve(OverlapScorer()), X_Deadline_Ms="0").status_code == 504
    for wrong in ("soon", "-1", "nan", "inf", "1e9"):
        assert post(partly, X_Deadline_Ms=wrong).status_code == 422
    metrics = httpx.get(partly.url + "/metrics").text
    assert 'secondpass_requests_total{status="200"} 1.0' in metrics
    assert 'secondpass_degraded_total{cause="deadline"} 1.0' in metrics


def test_an_answer_has_the_rankings_notes(serve: Serve) -> None:
    """A client reads why the context may be wrong."""
    answer = post(serve(Scripted(dict.fromkeys(("a flea jumps", "rain", "a flea lives for months"), -9.0)))).json()
    (note,) = answer["secondpass"]["notes"]
    assert (note["kind"], note["text"][:12]) == ("unlikely", "no candidate")


def test_too_many_requests_are_refused_at_once(serve: Serve) -> None:
    """Beyond the limit a request gets 429 and Retry-After, and the others are finished."""
    scorer = Held()
    server = serve(scorer, settings=Settings(max_requests=1))
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(post(server).status_code))
    waiting.start()
    assert scorer.asked.acquire(timeout=20)
    refused = post(server)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    scorer.go.set()
    waiting.join()
    assert answers == [200]
    assert post(server).status_code == 200


def test_a_shutdown_finishes_what_was_accepted(serve: Serve) -> None:
    """A request in progress gets its answer after the server was told to end; new ones are not accepted."""
    scorer = Held()
    server = serve(scorer)
    answers: list[int] = []
    url = server.url
    waiting = threading.Thread(target=lambda: answers.append(post(server).status_code))
    waiting.start()
    assert scorer.asked.acquire(timeout=20)
    server.server.should_exit = True
    while True:
        try:
            httpx.get(url + "/health", timeout=5)
        except httpx.TransportError:
            break
    scorer.go.set()
    waiting.join()
    server.thread.join()
    assert answers == [200]


def test_a_request_that_a_shutdown_cuts(serve: Serve) -> None:
    """Whose time the server doesn't wait for gets a status that says to try elsewhere, and its call is cancelled."""
    scorer = Held()
    server = serve(scorer)
    server.server.config.timeout_graceful_shutdown = 0.1
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(post(server)))
    waiting.start()
    assert scorer.asked.acquire(timeout=20)
    server.server.should_exit = True
    waiting.join()
    (answer,) = answers
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json() == {"message": "The server is shutting down."}
    while not scorer.ended:
        threading.Event().wait(0.01)
    assert scorer.ended == [UnscoredReason.CANCELLED]


def test_a_client_that_leaves_cancels_its_call(serve: Serve) -> None:
    """Scoring for a client that has disconnected stops."""
    scorer = Held()
    server = serve(scorer)
    body = json.dumps(BODY).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /rerank HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert scorer.asked.acquire(timeout=20)
    while not scorer.ended:
        threading.Event().wait(0.01)
    assert scorer.ended == [UnscoredReason.CANCELLED]


@settings(max_examples=30)
@given(texts=st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=8))
def test_every_document_is_a_result_or_unscored(shared: Any, texts: list[str]) -> None:
    """Each index is in exactly one list."""
    answer = post(shared, {"query": "flea", "documents": texts}).json()
    results = [result["index"] for result in answer["results"]]
    assert sorted(results + answer["secondpass"]["unscored"]) == list(range(len(texts))) or not any(
        text.strip() for text in texts
    )


def test_logits_come_as_probabilities(serve: Serve) -> None:
    """So that clients can compare them with those of other servers."""
    answer = post(serve(Scripted({"rain": 2.0})), {"query": "q", "documents": ["rain"]}).json()
    assert answer["results"][0]["relevance_score"] == pytest.approx(0.8808, abs=1e-4)
