"""Notes: why a context may be wrong although the call succeeded, and everywhere they are shown."""

import json
import logging

import pytest
from worlds import Failing, Scripted

from secondpass import Candidate, Cascade, Fallback, Ranking, Reranker, Selection
from secondpass.fusion import LearnedFusion
from secondpass.integration import metadata_entry
from secondpass.observe.audit_record import Contents, as_record
from secondpass.observe.monitoring import FallCounter
from secondpass.observers import CallEvent
from secondpass.records import (
    LOGIT,
    Note,
    NoteKind,
    Pair,
    Scale,
    ScaleKind,
    Score,
    Scored,
    Spec,
    Unscored,
    UnscoredReason,
)
from secondpass.scoring.scorer import Listwise

CUT = Note(NoteKind.QUERY_CUT, "the query was cut")
TWELVE = {f"text {number}": float(number) for number in range(12)}


class Noting(Scripted):
    """Returns a note with each call."""

    def score_pairs(self, pairs: list[Pair], **call: object) -> Scored:
        scored = super().score_pairs(pairs)
        return Scored(scored.outcomes, scored.by, notes=(CUT,))

    def score_list(self, query: str, texts: list[str], **call: object) -> Scored:
        return self.score_pairs([Pair(query, text) for text in texts])


class Unscaled(Scripted):
    """Returns values on an unknown scale."""

    @property
    def spec(self) -> Spec:
        return Spec("unscaled", Scale(ScaleKind.UNKNOWN), fingerprint="unscaled")


def kinds(ranking: Ranking) -> list[str]:
    return [note.kind.name for note in ranking.notes]


def test_a_first_stage_best_that_falls_far_is_noted() -> None:
    """Below rank 10 the first stage's best has fallen far, and above it hasn't."""
    reranker = Reranker(Scripted(TWELVE))
    (note,) = reranker.rerank("q", list(TWELVE)).notes
    assert (note.kind, note.text) == (NoteKind.BEST_FELL, "the first stage's best fell to rank 12")
    assert reranker.rerank("q", list(TWELVE)[:10]).notes == ()


def test_a_first_stage_best_that_was_pruned_has_fallen_below_all_that_were_scored() -> None:
    """A cascade prunes what its cheap scorer ranks low, the first stage's best too; note, rank and counter say so."""
    falls = FallCounter(2)
    reranker = Reranker(Cascade(Scripted(TWELVE), Scripted({}), keep=3), observers=[falls])
    ranking = reranker.rerank("q", list(TWELVE))
    assert ranking.rank_of_top_hit == 4
    assert kinds(ranking) == ["BEST_FELL"]
    assert "fell to rank 4, below the 3 that were scored: it was pruned" in ranking.notes[0].text
    assert (falls.calls, falls.fallen) == (1, 1)


def test_a_first_stage_best_without_a_score_for_another_reason_has_no_rank() -> None:
    """What a deadline or a failure left unscored isn't known to have fallen."""
    unscored = Unscored(UnscoredReason.DEADLINE)
    ranking = Reranker(Scripted({"a": unscored, "b": 1.0})).rerank("q", ["a", "b"])
    assert (ranking.rank_of_top_hit, kinds(ranking)) == (None, [])


def test_candidates_that_are_all_improbable_are_noted() -> None:
    """Where no scored candidate is above a probability of 0.05, the context most likely doesn't help."""
    ranking = Reranker(Scripted({"a": -9.0, "b": -3.0})).rerank("q", ["a", "b"])
    assert kinds(ranking) == ["UNLIKELY"]
    assert ranking.notes[0].text == "no candidate is above a probability of 0.05: the best is at 0.047"
    assert kinds(Reranker(Scripted({"a": -9.0, "b": -2.9})).rerank("q", ["a", "b"])) == []


@pytest.mark.parametrize("scorer", [Unscaled({"a": -9.0}), Failing()], ids=["unknown scale", "nothing scored"])
def test_without_probabilities_nothing_is_improbable(scorer: Scripted) -> None:
    """A scale without probabilities, or a call without scores, says nothing about relevance."""
    assert Reranker(scorer).rerank("q", ["a"]).notes == ()


def test_a_fusion_that_was_left_out_is_noted() -> None:
    """A rule fitted on one model isn't applied where a fallback's other model answered."""

    class Other(Scripted):
        spec = Spec("other", LOGIT, fingerprint="other")

    fusion = LearnedFusion("scripted", (0.0, 0.0, 0.0, 1.0))
    scorer = Fallback(Failing(), Other({}))
    assert kinds(Reranker(scorer, fusion=fusion).rerank("q", ["a", "b"])) == ["FUSION_LEFT_OUT"]


def test_texts_that_a_scorer_left_out_are_counted_by_reason() -> None:
    """A text on which the model gives NaN is named by its reason; deadlines and empty texts aren't the scorer's."""
    script = {"nan": float("nan"), "late": Unscored(UnscoredReason.DEADLINE), "bad": Unscored(UnscoredReason.FAILED)}
    candidates = ["good", "nan", "bad", "late", Candidate("", prompt_text="an image"), ""]
    ranking = Reranker(Scripted(script)).rerank("q", candidates)
    assert kinds(ranking) == ["LEFT_OUT"]
    assert ranking.notes[0].text == "2 of 4 texts have no score: 1 invalid, 1 failed"
    assert kinds(Reranker(Scripted(script)).rerank("q", ["good", "bad"])) == []  # degraded says it


def test_what_has_nothing_to_score_is_empty_and_what_has_nothing_to_read_invalid() -> None:
    """An image is kept behind the scored, a text without anything is dropped, and neither degrades the pass."""
    image = Candidate("", prompt_text="an image")
    ranking = Reranker(Scripted({})).rerank("q", [image, "", "a"])
    assert [item.candidate.reading for item in ranking] == ["a", "an image"]
    assert isinstance(ranking[1].outcome, Unscored)
    assert ranking[1].outcome.reason is UnscoredReason.EMPTY
    assert [str(item.reason) for item in ranking.dropped] == ["invalid"]
    assert Reranker(Failing()).rerank("q", [image]).degraded is None


@pytest.mark.parametrize("script", [{"a": float("nan")}, {"a": Unscored(UnscoredReason.FAILED)}])
def test_a_call_in_which_nothing_was_scored_is_degraded_without_a_note(script: dict[str, float | Unscored]) -> None:
    """The mark of the ranking says it already."""
    ranking = Reranker(Scripted(script)).rerank("q", ["a"])
    assert (bool(ranking.degraded), ranking.notes) == (True, ())


@pytest.mark.parametrize(
    "scorer",
    [Noting({}), Cascade(Noting({}), Noting({}), keep=1), Listwise(Noting({}))],
    ids=["leaf", "cascade", "list"],
)
def test_a_scorers_notes_are_passed_on(scorer: Scripted | Cascade | Listwise) -> None:
    """What a scorer notes reaches the ranking through the scorers around it, once."""
    assert [note for note in Reranker(scorer).rerank("q", ["a", "b"]).notes if note.kind is CUT.kind] == [CUT]


def test_a_note_on_queries_that_were_scored_together_says_so() -> None:
    """A scorer doesn't say which query of a call its note is about."""
    rankings = Reranker(Noting({})).rerank_many([("q", ["a"]), ("p", ["a"])])
    assert {note.text for ranking in rankings for note in ranking.notes} == {
        "the query was cut (of 2 queries scored together)"
    }


def test_notes_are_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand calls with the same kind of note are one line, without texts of candidates or the query."""
    reranker = Reranker(Scripted({"secret": -9.0}))
    with caplog.at_level(logging.INFO, "secondpass"):
        for _ in range(3):
            reranker.rerank("private", ["secret"])
    assert caplog.messages == [
        "the context may be wrong: no candidate is above a probability of 0.05: the best is at 0.000 (scripted)"
    ]


@pytest.fixture
def noted() -> Ranking:
    """Return a ranking with one note."""
    return Reranker(Scripted({"a": -9.0, "b": -9.5}), selection=Selection(top_n=1)).rerank("q", ["a", "b"])


def test_every_form_of_a_ranking_shows_its_notes(noted: Ranking) -> None:
    """Text, HTML, plain data and the kept documents' metadata have the note."""
    data = {"kind": "unlikely", "text": noted.notes[0].text}
    assert f"note: {data['text']}" in noted.report().splitlines()
    assert data["text"] in noted.to_html().partition('class="sp-report"')[2]
    assert json.loads(noted.to_json())["notes"] == [data]
    assert metadata_entry(noted.kept[0], noted)["notes"] == [data]
    event = CallEvent("query", noted, "scorer", Selection(), {}, started=0.0, seconds=0.0)
    assert as_record(event, Contents())["notes"] == [data]


def test_metadata_without_notes_have_no_such_key() -> None:
    """The record of a kept document has no empty fields."""
    ranking = Reranker(Scripted({"a": Score(1.0)})).rerank("q", ["a"])
    assert "notes" not in metadata_entry(ranking.kept[0], ranking)
