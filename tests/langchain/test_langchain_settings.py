"""The compressor's settings: what is refused, what is written down, and when the model is loaded."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load
from langchain_worlds import QUESTION, TEXTS, documents, ids, overlap_compressor

from secondpass import ContextBudget, OverlapScorer, Reranker
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.langchain import SecondPassRerank

SETTINGS: dict[str, Any] = {"top_n": 2, "budget": 100, "min_probability": 0.1, "order": "ends", "score_key": "bm25"}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every model's name load the scorer that counts shared words, and list the names that were loaded."""
    names: list[str] = []

    def load_overlap(model: str, **options: Any) -> OverlapScorer:
        names.append(model)
        return OverlapScorer()

    monkeypatch.setattr("secondpass.integration.load_scorer", load_overlap)
    return names


revives = pytest.mark.filterwarnings("ignore:The function `load` is in beta")


def from_data(data: Any) -> Any:
    """Revive what ``dumpd`` wrote."""
    return load(data, allowed_objects=[SecondPassRerank], valid_namespaces=["secondpass"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "m", "reranker": Reranker(OverlapScorer())}, "and not both"),
        ({"model": "m", "top_k": 3}, "top_k"),
        ({"model": "m", "top_n": 0}, "top_n"),
        ({"model": "m", "budget": -1}, "max_tokens must be .*got -1"),
        ({"model": "m", "budget": "many"}, "max_tokens must be a whole number"),
        ({"model": "m", "min_probability": 1.5}, "min_probability must be within 0 and 1"),
        ({"model": "m", "min_keep": -1}, "min_keep must be .*got -1"),
        ({"model": "m", "policy": "squeeze"}, "policy"),
        ({"model": "m", "order": "random"}, "order"),
        ({"model": "m", "engine": "steam"}, "engine"),
        ({"model": "m", "on_error": "ignore"}, "on_error"),
        ({"reranker": Reranker(OverlapScorer()), "device": "cpu"}, "device can't change a reranker"),
        ({"reranker": Reranker(OverlapScorer()), "on_error": "raise"}, "on_error can't change a reranker"),
        ({"reranker": OverlapScorer()}, "reranker"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    """A mistake in the settings raises a ValueError that names it, before any question comes."""
    with pytest.raises(ValueError, match=message):
        SecondPassRerank(**settings)


def test_nothing_is_loaded_at_construction(loaded: list[str]) -> None:
    """The model is loaded by the first call, once, and not before."""
    compressor = SecondPassRerank(model="some/model")
    assert loaded == []
    for _ in range(2):
        compressor.compress_documents(documents(), QUESTION)
    assert loaded == ["some/model"]


def test_warmup_loads_the_model(loaded: list[str]) -> None:
    """``warmup`` does what the first call would otherwise wait for."""
    SecondPassRerank(model="some/model").warmup()
    assert loaded == ["some/model"]


def test_model_that_does_not_exist_raises_at_the_first_call_though_failures_degrade(tmp_path: Path) -> None:
    """A missing model is a mistake in the configuration, and is never turned into a degraded ranking."""
    compressor = SecondPassRerank(model=str(tmp_path / "nowhere"), on_error="degrade")
    with pytest.raises(ModelNotFound, match="nowhere"):
        compressor.compress_documents(documents(), QUESTION)


async def test_model_that_does_not_exist_raises_on_the_async_path_too(tmp_path: Path) -> None:
    """``acompress_documents`` raises the same error."""
    compressor = SecondPassRerank(model=str(tmp_path / "nowhere"), on_error="degrade")
    with pytest.raises(ModelNotFound, match="nowhere"):
        await compressor.acompress_documents(documents(), QUESTION)


@revives
def test_dumpd_and_load_make_an_equal_compressor(loaded: list[str]) -> None:
    """LangChain's own serialisation writes the settings down, and what it revives works."""
    revived = from_data(dumpd(SecondPassRerank(model="some/model", **SETTINGS)))
    assert revived.settings() == {"model": "some/model", **SETTINGS}
    assert ids(revived.compress_documents(documents(), QUESTION)) == ["answer", "rain"]


@revives
def test_budget_record_survives_serialisation() -> None:
    """A budget with layout and the default counter is plain data, and comes back as the same record."""
    budget = ContextBudget(100, separator="\n---\n", template="[{index}] {text}", origin="by hand")
    revived = from_data(dumpd(SecondPassRerank(model="some/model", budget=budget)))
    assert revived.budget == budget


@pytest.mark.parametrize(
    "settings",
    [
        {"reranker": Reranker(OverlapScorer())},
        {"model": "m", "budget": lambda query: 5},
        {"model": "m", "budget": ContextBudget(5, counter=str.split)},
    ],
    ids=["reranker", "callable", "counter"],
)
def test_dumpd_marks_live_objects_as_not_implemented(settings: dict[str, Any]) -> None:
    """Where live objects can't be written down, LangChain's own mark says so, and ``dumps`` doesn't fail."""
    compressor = SecondPassRerank(**settings)
    assert dumpd(compressor)["type"] == "not_implemented"
    assert '"not_implemented"' in dumps(compressor)


@pytest.mark.parametrize(
    "copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy, copy.copy], ids=["pickle", "deepcopy", "copy"]
)
def test_copies_work_and_have_the_same_settings(loaded: list[str], copied: Any) -> None:
    """Pickling and copying keep every setting, and what comes out answers questions."""
    compressor = SecondPassRerank(model="some/model", **SETTINGS)
    twin = copied(compressor)
    assert twin.settings() == {"model": "some/model", **SETTINGS}
    assert ids(twin.compress_documents(documents(), QUESTION)) == ["answer", "rain"]


def test_used_compressor_pickles_without_its_model(loaded: list[str]) -> None:
    """Only settings travel; the model is loaded again where they arrive."""
    compressor = SecondPassRerank(model="some/model")
    compressor.compress_documents(documents(), QUESTION)
    twin = pickle.loads(pickle.dumps(compressor))
    assert loaded == ["some/model"]
    twin.compress_documents(documents(), QUESTION)
    assert loaded == ["some/model"] * 2


def test_deepcopy_shares_the_live_reranker() -> None:
    """Frameworks copy their parts freely; a live reranker is shared, not copied."""
    compressor = overlap_compressor(top_n=1)
    twin = copy.deepcopy(compressor)
    assert twin is not compressor
    assert twin.shared_reranker() is compressor.shared_reranker()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"reranker": Reranker(OverlapScorer())}, "reranker"),
        ({"model": "m", "budget": lambda query: 5}, "budget, a callable"),
        ({"model": "m", "budget": ContextBudget(5, counter=str.split)}, "token counter 'split'"),
    ],
    ids=["reranker", "callable", "counter"],
)
def test_pickling_live_objects_raises_and_names_them(settings: dict[str, Any], named: str) -> None:
    """What can't be written down is refused by name, not lost in silence."""
    with pytest.raises(ConfigurationError, match=named):
        pickle.dumps(SecondPassRerank(**settings))


def test_real_weights_come_back_after_pickling(reranker_folder: Path) -> None:
    """A compressor over real weights answers the same after its settings travelled."""
    compressor = SecondPassRerank(model=str(reranker_folder), engine="onnx", top_n=2)
    twin = pickle.loads(pickle.dumps(compressor))
    found = twin.compress_documents(documents(), QUESTION)
    assert ids(found)[0] == "answer"
    assert found == compressor.compress_documents(documents(), QUESTION)
    assert len(TEXTS) > len(found) == 2
