"""A ranking as plain data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import candidates, selections
from worlds import Failing, Scripted, count_words

from secondpass import Candidate, ContextBudget, OverlapScorer, Ranking, Reranker, Selection, Windowed, Windows, errors
from secondpass.errors import MissingExtra


def test_plain_data_survives_json(ranking: Ranking) -> None:
    """``to_dict`` consists of JSON's types: written and read again it is equal."""
    data = ranking.to_dict()
    assert json.loads(json.dumps(data)) == data


def test_plain_data_has_the_fields_of_the_records(ranking: Ranking) -> None:
    """Kept and dropped candidates have their index, ids, scores, ranks and reasons; payloads are left out."""
    data = ranking.to_dict()
    assert data["kept"] == [
        {
            "index": 1,
            "id": "fox",
            "source": "store",
            "first_stage_score": 0.2,
            "rank_before": 2,
            "score": 1.0,
            "probability": 1.0,
            "fused": None,
            "truncated": 0,
            "text": "the red fox runs",
            "spans": [[0, 16]],
            "rank": 1,
            "tokens": 4,
            "cut": 0,
        }
    ]
    assert [(item["index"], item["id"], item["reason"], item["because_of"]) for item in data["dropped"]] == [
        (2, "copy", "duplicate", {"index": 1, "id": "fox"}),
        (0, "dog", "over budget", None),
    ]
    assert (data["query"], data["tokens"], data["scorer"], data["degraded"]) == ("red fox", 4, "overlap", None)


def test_original_of_a_duplicate_is_named_without_ids() -> None:
    """Where candidates have no ids, the original of a duplicate is named by its index."""
    data = Reranker(OverlapScorer()).rerank("red fox", ["dog", "fox", "fox"]).to_dict()
    assert [(item["index"], item["because_of"]) for item in data["dropped"]] == [(2, {"index": 1, "id": None})]


def test_original_of_an_object_given_twice_is_its_first_position() -> None:
    """A candidate object that is in the input twice is the duplicate of its first position."""
    fox, selection = Candidate("a red fox"), Selection(budget=ContextBudget(3, counter=count_words))
    (dropped,) = Reranker(OverlapScorer(), selection=selection).rerank("red fox", [fox, fox]).to_dict()["dropped"]
    assert (dropped["reason"], dropped["index"], dropped["because_of"]) == ("duplicate", 1, {"index": 0, "id": None})


@given(items=st.lists(candidates(), max_size=8), selection=selections)
def test_indexes_are_the_positions_in_the_input(items: list[Candidate], selection: Selection) -> None:
    """Each position of the input is there once, and an exact duplicate's original has the same text in the context."""
    data = Reranker(Scripted({}), selection=selection).rerank("red fox", items).to_dict()
    assert sorted(item["index"] for item in (*data["kept"], *data["dropped"])) == list(range(len(items)))
    for item in data["dropped"]:
        if item["because_of"]:
            assert item["because_of"]["index"] != item["index"]
            original = items[item["because_of"]["index"]]
        if item["because_of"] and item["detail"] == "the same text":
            assert original.reading.strip() == items[item["index"]].reading.strip()


def test_what_excludes_a_candidate_has_no_position() -> None:
    """A candidate that an earlier result excludes names that result, which is not a part of the input."""
    fox = Candidate("a red fox", id="fox")
    data = Reranker(OverlapScorer()).rerank("red fox", [fox], exclude=[fox]).to_dict()
    assert data["dropped"][0]["because_of"] == {"index": None, "id": "fox"}


def test_tokens_cut_to_fit_the_budget_are_counted() -> None:
    """A text cut to fit the budget has the number of tokens that were left out."""
    selection = Selection(budget=ContextBudget(3, counter=count_words), policy="truncate")
    data = Reranker(OverlapScorer(), selection=selection).rerank("fox", ["The fox ran. It slept well."]).to_dict()
    assert [(item["text"], item["tokens"], item["cut"]) for item in data["kept"]] == [("The fox ran.", 3, 3)]


def test_plain_data_of_a_degraded_ranking_says_so() -> None:
    """A degraded ranking names no scorer and has its cause in words."""
    data = Reranker(Failing()).rerank("red fox", ["a red fox"]).to_dict()
    assert data["scorer"] is None
    assert data["degraded"] == "scorer failed: the GPU is gone"


def test_windows_are_in_the_data() -> None:
    """A candidate that was scored in windows has all of them, and the text of the best one."""
    text = "The owl sat. " * 6 + "The fox ran. "
    (kept,) = Reranker(Windowed(OverlapScorer(), Windows(12, overlap=0))).rerank("fox", [text]).to_dict()["kept"]
    assert kept["windows"] == [
        {"start": 0, "end": 52, "score": 0.0, "probability": 0.0},
        {"start": 52, "end": 91, "score": 1.0, "probability": 1.0},
    ]
    assert kept["best_window"] == kept["windows"][1] | {"text": text[52:].strip()}


def test_json_is_the_plain_data(ranking: Ranking) -> None:
    """``to_json`` is ``to_dict`` in ASCII, also where a text has a lone surrogate."""
    assert json.loads(ranking.to_json()) == ranking.to_dict()
    assert ranking.to_json(indent=1).startswith('{\n "query"')
    assert "\\ud800" in Reranker(OverlapScorer()).rerank("fox", ["fox \ud800"]).to_json()


def test_a_data_frame_has_a_row_for_each_candidate(ranking: Ranking) -> None:
    """The kept come first, with ranks and tokens; the dropped have none, and a reason."""
    pytest.importorskip("pandas", reason="the extra eval isn't installed")
    frame = ranking.to_frame()
    assert frame["id"].tolist() == ["fox", "copy", "dog"]
    assert frame["kept"].tolist() == [True, False, False]
    assert frame["rank"].isna().tolist() == [False, True, True]
    assert frame.loc[0, ["index", "rank", "rank_before", "tokens", "score"]].tolist() == [1, 1, 2, 4, 1.0]
    assert frame["reason"].tolist()[1:] == ["duplicate", "over budget"]


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_a_data_frame_of_any_length_has_the_same_columns(ranking: Ranking, count: int) -> None:
    """No candidates, one, or ten thousand: the columns and their types don't change."""
    pytest.importorskip("pandas", reason="the extra eval isn't installed")
    frame = (
        Reranker(Scripted({}), selection=Selection(top_n=5))
        .rerank("fox", [f"text {i}" for i in range(count)])
        .to_frame()
    )
    assert len(frame) == count
    assert frame.columns.tolist() == ranking.to_frame().columns.tolist()
    assert [str(frame.dtypes[name]) for name in ("kept", "rank", "tokens", "score")] == [
        "bool",
        "Int64",
        "Int64",
        "float64",
    ]


def test_a_data_frame_needs_pandas(ranking: Ranking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas the error names the extra."""
    monkeypatch.setattr(errors, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'pip install "secondpass\[eval\]"'):
        ranking.to_frame()


def test_a_data_frame_has_no_lone_surrogates() -> None:
    """They have no UTF-8 form, which pandas needs: they are question marks there, as for a tokenizer."""
    pytest.importorskip("pandas")
    ranking = Reranker(OverlapScorer()).rerank("fox", [Candidate("a fox \ud800", id="\udfff")])
    assert ranking.to_frame()[["id", "text"]].values.tolist() == [["?", "a fox ?"]]
