"""Remote scorers: dialects, the order of results, splitting, keys."""

import copy
import json
import logging
import math
import pickle
import random
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from reranking_server import Answer, RerankingServer, answering, in_form, running

from secondpass import Cached, Pair, Reranker, Windows, load_scorer
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.langchain import SecondPassRerank
from secondpass.models.dialects import DIALECTS
from secondpass.records import LOGIT, ScaleKind, Score, Unscored, UnscoredReason
from secondpass.scorers.remote import Limits, RemoteScorer

TEXTS = [f"document {number}" for number in (10, 30, 20)]
SCORES = [Score(0.1), Score(0.3), Score(0.2)]
KEY = "sk-very-secret-0123456789"


def scorer_of(server: RerankingServer, dialect: str = "cohere", **settings: object) -> RemoteScorer:
    return RemoteScorer(dialect, "model-1", url=server.url, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_maps_results_to_their_texts(server: RerankingServer, dialect: str) -> None:
    """The server answers best first; the scorer returns the scores in the order of the texts."""
    assert scorer_of(server, dialect).score("which?", TEXTS) == SCORES
    ((path, body, _),) = server.requests
    assert path == DIALECTS[dialect].path
    assert body["model"] == "model-1"
    assert "which?" in str(body)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_scales_are_declared(dialect: str) -> None:
    """Each dialect's scores have a declared scale, and only a server that returns a model's raw output has none."""
    kind = DIALECTS[dialect].scale.kind
    assert (kind is ScaleKind.UNKNOWN) == (dialect == "llamacpp")
    assert RemoteScorer(dialect, url="http://localhost:1", scale=LOGIT).spec.scale is LOGIT


@settings(max_examples=25)
@given(order=st.permutations(range(7)), limit=st.integers(1, 8), text_count=st.integers(1, 7))
def test_any_order_and_any_limit_give_the_same_scores(order: list[int], limit: int, text_count: int) -> None:
    """Results are mapped by index, whatever their order, and parts are merged in the order of the texts."""
    with running() as server:
        server.change = lambda scores: sorted(scores, key=lambda item: order[item[0]])
        texts = [f"document {number}" for number in range(text_count)]
        scorer = scorer_of(server, max_texts=limit)
        assert scorer.score("q", texts) == [Score(number / 100) for number in range(text_count)]
        assert len(server.requests) == math.ceil(text_count / limit)
        assert max(len(body["documents"]) for _, body, _ in server.requests) <= limit
        scorer.release()


def test_each_query_has_its_own_requests(server: RerankingServer) -> None:
    """Pairs of several queries in one call are grouped by query."""
    pairs = [Pair("a", "t 1"), Pair("b", "t 2"), Pair("a", "t 3")]
    assert [item.value for item in scorer_of(server).score_pairs(pairs).outcomes] == [0.01, 0.02, 0.03]  # type: ignore[union-attr]
    asked = sorted((body["query"], body["documents"]) for _, body, _ in server.requests)
    assert asked == [("a", ["t 1", "t 3"]), ("b", ["t 2"])]


CHANGES = {
    "missing": (lambda scores: scores[1:], [0.1, "failed", 0.2]),
    "duplicate": (lambda scores: [*scores, scores[0]], [0.1, "failed", 0.2]),
    "not finite": (
        lambda scores: [(index, math.inf if index == 1 else s) for index, s in scores],
        [0.1, "invalid", 0.2],
    ),
    "a string": (lambda scores: [(index, "0.3" if index == 1 else s) for index, s in scores], [0.1, "failed", 0.2]),
    "null": (lambda scores: [(index, None if index == 1 else s) for index, s in scores], [0.1, "failed", 0.2]),
    "huge": (lambda scores: [(index, 10**400 if index == 1 else s) for index, s in scores], [0.1, "invalid", 0.2]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_bad_result_leaves_the_others(server: RerankingServer, name: str) -> None:
    """A text whose result is missing, doubled or no number has no score; the others have theirs."""
    server.change, expected = CHANGES[name]  # type: ignore[assignment]
    outcomes = scorer_of(server).score("q", TEXTS)
    assert [item.value if isinstance(item, Score) else str(item.reason) for item in outcomes] == expected


@pytest.mark.parametrize("index", [3, -1, None, "0", 1.0, True])
def test_a_result_for_a_text_that_was_not_sent_fails_the_request(server: RerankingServer, index: object) -> None:
    """Where an index is no text's, none of the others can be trusted."""
    server.change = lambda scores: [(index, 0.5), *scores]  # type: ignore[list-item]
    with pytest.raises(ScoringError, match="was sent 3"):
        scorer_of(server).score("q", TEXTS)


KEYS = ("results", "data", "rankings", "answers", "index", "score", "relevance_score", "logit", "d0", "d1", "noul")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


@given(dialect=st.sampled_from(sorted(DIALECTS)), value=json_values)
def test_any_json_gives_outcomes_or_a_scoring_error(dialect: str, value: object) -> None:
    """No answer, however wrong, raises anything else or shifts outcomes."""
    scorer = RemoteScorer(dialect, url="http://localhost:1")
    try:
        outcomes = scorer._read(json.dumps(value).encode(), 2)
    except ScoringError:
        return
    assert len(outcomes) == 2
    assert all(isinstance(item, Score | Unscored) for item in outcomes)
    assert all(math.isfinite(item.value) for item in outcomes if isinstance(item, Score))


def test_empty_texts_are_not_sent(server: RerankingServer) -> None:
    """Servers refuse them; here only their own outcome is invalid."""
    outcomes = scorer_of(server).score("q", ["t 1", " ", "t 2"])
    assert [isinstance(item, Score) for item in outcomes] == [True, False, True]
    assert scorer_of(server).score("q", [""]) == [Unscored(UnscoredReason.INVALID, "the text is empty")]
    assert [body["documents"] for _, body, _ in server.requests] == [["t 1", "t 2"]]


def test_a_lone_surrogate_is_replaced(server: RerankingServer) -> None:
    """Such a text has no UTF-8 form; its score is that of the text with a question mark."""
    assert scorer_of(server).score("\ud800", ["\udfff 7"]) == [Score(0.07)]
    assert server.requests[0][1]["documents"] == ["? 7"]


def test_the_key_goes_into_the_header_alone(
    server: RerankingServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in no repr, log, error, pickle or attribute, not even when the request fails."""
    monkeypatch.setenv("RERANK_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    scorer = scorer_of(server, key_variable="RERANK_KEY")
    scorer.score("q", TEXTS)
    assert server.requests[0][2]["Authorization"] == f"Bearer {KEY}"
    server.answers = [Answer(cut=5), Answer(401, body=KEY.encode())]
    with pytest.raises(ScoringError, match="RemoteProtocolError") as cut:
        scorer_of(server, key_variable="RERANK_KEY", limits=Limits(retries=0)).score("q", TEXTS)
    with pytest.raises(ScoringError, match="401") as refused:
        scorer.score("q", TEXTS)
    held = [scorer.__dict__, scorer.spec, pickle.dumps(scorer), *map(shown, (cut.value, refused.value))]
    assert [item for item in (repr(scorer), caplog.text, *map(str, held)) if KEY in item] == []


def shown(error: BaseException) -> str:
    """Return an error as a report of errors shows it: its chain, and the variables of every frame but the test's."""
    frames = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())


def test_a_key_goes_to_its_own_service_only(server: RerankingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosted service's variable isn't read for another URL."""
    monkeypatch.setenv("CO_API_KEY", KEY)
    scorer_of(server, "cohere").score("q", TEXTS)
    assert "Authorization" not in server.requests[0][2]


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "a\x01b"])
def test_a_key_that_cannot_be_sent_is_not_in_the_error(
    server: RerankingServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """The HTTP library would quote it."""
    monkeypatch.setenv("RERANK_KEY", key)
    with pytest.raises(ScoringError, match="printable ASCII") as failure:
        scorer_of(server, key_variable="RERANK_KEY").score("q", TEXTS)
    assert key not in shown(failure.value)
    assert repr(key) not in shown(failure.value)


HOSTILE = {
    "reason phrase": b"HTTP/1.1 401 " + KEY.encode() + b"\r\nContent-Length: 0\r\n\r\n",
    "status line": KEY.encode() + b"\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\n" + KEY.encode() + b"\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://[" + KEY.encode() + b"\r\n\r\n",
    "encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding: " + KEY.encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("where", HOSTILE)
def test_an_answer_that_repeats_the_key_does_not_bring_it_into_the_error(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the message, nor its causes, nor a variable of a frame shows it."""
    monkeypatch.setenv("RERANK_KEY", KEY)
    with answering(HOSTILE[where]) as url:
        scorer = RemoteScorer("infinity", url=url, key_variable="RERANK_KEY", limits=Limits(retries=0))
        with pytest.raises(ScoringError) as failure:
            scorer.score("q", TEXTS)
        scorer.release()
    assert KEY not in shown(failure.value)


def test_a_pickled_scorer_scores(server: RerankingServer) -> None:
    """Settings travel, connections don't; a deep copy shares them."""
    scorer = scorer_of(server, "infinity")
    again = pickle.loads(pickle.dumps(scorer))
    assert again.score("q", TEXTS) == SCORES
    assert again.spec == scorer.spec
    assert copy.deepcopy(scorer) is scorer


def test_names_load_remote_scorers(server: RerankingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """``dialect:model`` and ``dialect:model@url`` are names wherever a model is named."""
    monkeypatch.setenv("CO_API_KEY", KEY)
    assert load_scorer("cohere:rerank-v3.5").spec.name == "cohere:rerank-v3.5"
    ranking = Reranker(f"tei:@{server.url}").rerank("q", TEXTS)
    assert [kept.index for kept in ranking] == [1, 2, 0]
    found = SecondPassRerank(model=f"tei:@{server.url}").compress_documents([Document(text) for text in TEXTS], "q")
    assert [document.page_content for document in found] == [TEXTS[1], TEXTS[2], TEXTS[0]]


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "dialect": ({"dialect": "cohera"}, "one of cohere"),
    "no key": ({"dialect": "cohere"}, "CO_API_KEY"),
    "no url": ({"dialect": "tei"}, "needs url="),
    "no http": ({"dialect": "tei", "url": "ftp://host"}, "needs url="),
    "a password": ({"dialect": "tei", "url": "http://user:pass@host"}, "without user"),
    "no texts": ({"dialect": "tei", "url": "http://host", "max_texts": 0}, "1 or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_raise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent."""
    monkeypatch.delenv("CO_API_KEY", raising=False)
    settings, message = WRONG[name]
    with pytest.raises(ConfigurationError, match=message):
        RemoteScorer(**settings)  # type: ignore[arg-type]


def test_scores_can_be_cached(server: RerankingServer) -> None:
    """The same pairs are sent once; a listwise model's can't be kept."""
    cached = Cached(scorer_of(server))
    for _ in range(2):
        cached.score("q", TEXTS)
    assert len(server.requests) == 1
    assert not scorer_of(server, pointwise=False).spec.pointwise


def test_a_shuffled_form_is_the_dialect_s_own() -> None:
    """The local server's forms agree with each dialect's parser, so that its answers test something."""
    for dialect in DIALECTS.values():
        scores = [(index, index / 10) for index in range(4)]
        random.Random(1).shuffle(scores)
        form = in_form(dialect.path, dialect.request("m", "q", ["t 1"]), scores)
        assert sorted(dialect.scores(form)) == [(index, index / 10) for index in range(4)]


def test_windows_of_a_given_size_are_scored_by_a_server(server: RerankingServer) -> None:
    """A server has no tokenizer here: an estimate sizes the windows, and the best one of a long text counts."""
    passages = [f"Of this long document this is the passage number {number:04}. " for number in (11, 99, 12)]
    compressor = SecondPassRerank(model=f"tei:@{server.url}", windows=Windows(max_tokens=24, overlap=0.0))
    kept = compressor.rank([Document("".join(passages))], "which?").kept[0]
    assert [window.value for window in kept.outcome.windows] == [0.11, 0.99, 0.12]  # type: ignore[union-attr]
    assert (kept.score, kept.best_text) == (0.99, passages[1].strip())
