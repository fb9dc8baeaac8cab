"""The models that an integration accepts, and the settings that reach their loading and the reranker."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from integration_support import QUESTION, TEXTS, LangChain, Loader
from langchain_core.cross_encoders import BaseCrossEncoder

from secondpass import Call, LoadOptions, OverlapScorer, Ranking, WeightedSum, Windows
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.langchain import SecondPassRerank
from secondpass.records import LOGIT, Pair, Score, Scored, Spec


class OwnScorer:
    """The smallest ``Scorer``: prefers short texts."""

    spec = Spec("own", LOGIT, fingerprint="own")

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        return Scored(tuple(Score(-float(len(pair.text))) for pair in pairs), self.spec)


class HostedCrossEncoder(BaseCrossEncoder):
    """A LangChain cross-encoder that prefers long texts, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        if self.error:
            raise self.error
        return [float(len(text)) for _, text in text_pairs]


def test_any_scorer_is_a_model(integration: LangChain) -> None:
    """An object with ``spec`` and ``score_pairs`` is used as it is, and gives the model's name."""
    component = integration.create(model=OwnScorer())
    assert integration.ids(integration.run(component)) == sorted(TEXTS, key=lambda name: len(TEXTS[name]))
    assert component.model_name == "own"


def test_live_model_cannot_be_changed_by_loading_options(integration: LangChain) -> None:
    """A device for a scorer that is already loaded is an error."""
    with pytest.raises(ConfigurationError, match="device has no effect together with a loaded model"):
        integration.create(model=OverlapScorer(), device="cpu")


def test_live_model_can_be_combined_with_reranking_settings(integration: LangChain) -> None:
    """Fusion, failures and observers are settings of the integration where ``model`` is a scorer."""
    component = integration.create(model=OverlapScorer(), on_error="raise", deadline_ms=1000, top_n=1)
    assert integration.ids(integration.run(component)) == ["answer"]


def test_folder_can_be_a_path(integration: LangChain, reranker_folder: Path) -> None:
    """A ``pathlib.Path`` is accepted, and is a string in the serialised settings."""
    component = integration.create(model=reranker_folder, top_n=1)
    assert component.settings()["model"] == str(reranker_folder)
    assert integration.ids(integration.run(component)) == ["answer"]


def test_path_is_never_a_bundled_models_name(integration: LangChain, loader: Loader) -> None:
    """A folder called ``small`` stays a folder, also after serialisation, and shares its model with the copy."""
    component = integration.create(model=Path("small"))
    for it in (component, integration.create(**component.settings())):
        integration.run(it)
    assert loader.names == ["./small"]


def test_loading_settings_reach_the_loading(integration: LangChain, loader: Loader) -> None:
    """Every setting about the model is passed to ``load_scorer``."""
    rare = {"engine": "torch", "dtype": "float32", "revision": "v1", "threads": 2, "label": 1, "cache_folder": "/cache"}
    fields = {"device": "cpu", "max_length": 128, "batch_size": 8, "trust_remote_code": True}
    component = integration.create(model="some/model", options=LoadOptions(**rare), **fields)
    integration.run(component)
    assert loader.options == [LoadOptions(**rare, **fields)]
    assert integration.create(**component.settings()).settings() == component.settings()


def test_fusion_combines_both_stages(integration: LangChain) -> None:
    """A fusion of the first stage alone gives its order; the record has the fused value."""
    settings = {"score_key": "stage1"} if type(integration) is LangChain else {}
    results = integration.run(integration.create(model=OverlapScorer(), fusion=WeightedSum(alpha=1), **settings))
    assert integration.ids(results) == list(TEXTS)
    assert integration.entries(results)[0]["fused"] == 1.0


def test_duplicates_can_be_kept(integration: LangChain) -> None:
    """By default a repeated text is dropped; with ``duplicates="keep"`` it isn't."""
    repeated = integration.items({"a": "swallows", "b": "swallows"})
    assert len(integration.run(integration.create(model=OverlapScorer()), repeated)) == 1
    assert len(integration.run(integration.create(model=OverlapScorer(), duplicates="keep"), repeated)) == 2


async def test_observers_get_each_ranking(integration: LangChain) -> None:
    """An observer is called with the ranking of each call, on both paths."""
    rankings: list[Ranking] = []
    component = integration.create(model=OverlapScorer(), observers=[rankings.append])
    integration.run(component)
    await integration.arun(component, query="salt")
    assert [(ranking.query, len(ranking)) for ranking in rankings] == [(QUESTION, 5), ("salt", 5)]


def test_langchain_cross_encoder_is_a_model() -> None:
    """A ``BaseCrossEncoder`` orders documents; ``relevance_score`` is its raw score, and there is no probability."""
    component = SecondPassRerank(model=HostedCrossEncoder(), top_n=2)
    results = component.compress_documents(LangChain().items(), QUESTION)
    assert [document.id for document in results] == ["answer", "rain"]
    assert [document.metadata["relevance_score"] for document in results] == [37.0, 32.0]
    assert "probability" not in results[0].metadata["secondpass"]
    assert component.model_name == "HostedCrossEncoder"


def test_langchain_cross_encoder_has_no_probability_for_a_threshold() -> None:
    """``min_probability`` needs a known scale, which a LangChain cross-encoder doesn't declare."""
    with pytest.raises(ConfigurationError, match="HostedCrossEncoder is unknown"):
        SecondPassRerank(model=HostedCrossEncoder(), min_probability=0.5)


@pytest.mark.parametrize("error", [RuntimeError("busy"), OSError("no network"), ValueError("quota")], ids=str)
async def test_failing_langchain_cross_encoder_degrades(error: Exception) -> None:
    """A failure of the cross-encoder gives the first stage's order, with the cause, on both paths."""
    component = SecondPassRerank(model=HostedCrossEncoder(error))
    for results in (
        component.compress_documents(LangChain().items(), QUESTION),
        await component.acompress_documents(LangChain().items(), QUESTION),
    ):
        assert [document.id for document in results] == list(TEXTS)
        assert str(error) in results[0].metadata["secondpass"]["degraded"]


def test_nothing_is_loaded_at_construction(integration: LangChain, loader: Loader) -> None:
    """The model is loaded once, by the first call or by ``warmup``."""
    component = integration.create(model="some/model", windows=Windows(max_tokens=20))
    assert loader.names == []
    for _ in range(2):
        integration.run(component)
    integration.create(model="other/model").warmup()
    assert loader.names == ["some/model", "other/model"]


async def test_a_missing_model_raises_though_failures_degrade(integration: LangChain, tmp_path: Path) -> None:
    """A missing model is a configuration error on both paths, and never gives a degraded ranking."""
    component = integration.create(model=str(tmp_path / "nowhere"), on_error="degrade")
    with pytest.raises(ModelNotFound, match="nowhere"):
        integration.run(component)
    with pytest.raises(ModelNotFound, match="nowhere"):
        await integration.arun(component)
