"""Models that are still loading: waiting for them, or the first stage's order until they are ready."""

import asyncio
import copy
import threading
from collections.abc import Iterator

import pytest
from integration_support import BY_RELEVANCE, TEXTS, LangChain, Loader

from secondpass import Cached, ContextBudget, LoadOptions, NamedScorer, OverlapScorer, Reranker, Selection
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.ranking import Cause
from secondpass.scoring.named import LOADED_MODELS, LoadedModels, LoadKey

DEGRADE = LoadOptions(while_loading="degrade")


@pytest.fixture
def loading(loader: Loader) -> Iterator[threading.Event]:
    """Let every model load only once the event is set."""
    may_end = threading.Event()
    loader.before = lambda name: may_end.wait(30)
    yield may_end
    may_end.set()


def test_until_it_is_loaded_the_first_stages_order_is_returned(
    integration: LangChain, loader: Loader, loading: threading.Event
) -> None:
    """With ``while_loading="degrade"`` calls return at once, marked; once the model is loaded they are reranked."""
    component = integration.create(model="some/model", options=DEGRADE, top_n=3)
    cold = component.rank(integration.items(), "when do swallows fly south")
    assert [kept.candidate.text for kept in cold] == list(TEXTS.values())[:3]
    assert str(cold.degraded) == "model still loading: 5 of 5 candidates without a score, in first-stage order"
    assert not component.ready
    loading.set()
    while not component.ready:
        pass
    assert integration.ids(integration.run(component)) == BY_RELEVANCE[:3]
    assert loader.names == ["some/model"]


async def test_asynchronous_calls_do_the_same(integration: LangChain, loader: Loader, loading: threading.Event) -> None:
    """An asynchronous call returns the first stage's order too, and blocks nothing."""
    component = integration.create(model="some/model", options=DEGRADE)
    ranking = await asyncio.wait_for(component.arank(integration.items(), "swallows"), 30)
    assert str(ranking.degraded).startswith("model still loading")


def test_waiting_is_the_default(integration: LangChain, loader: Loader) -> None:
    """Without ``while_loading`` the first call loads the model and waits for it."""
    assert integration.ids(integration.run(integration.create(model="some/model"))) == BY_RELEVANCE


def test_a_warm_up_in_the_background_loads_once(integration: LangChain, loader: Loader) -> None:
    """After a warm-up in the background, the next call waits for that loading, and no second one is begun."""
    component = integration.create(model="some/model")
    component.warmup(background=True)
    component.warmup(background=True)
    assert integration.ids(integration.run(component)) == BY_RELEVANCE
    assert (component.ready, loader.names) == (True, ["some/model"])


def test_a_model_that_can_not_be_loaded_raises_at_the_next_call(
    integration: LangChain, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure in the background is logged, and a configuration error is never hidden by the first stage's order."""

    def fail(name: str) -> None:
        raise ModelNotFound(f"no {name}")

    loader.before = fail
    component = integration.create(model="some/model", options=DEGRADE)
    component.warmup(background=True)
    while not component.ready:
        pass
    with pytest.raises(ModelNotFound, match="no some/model"):
        integration.run(component)
    assert "some/model could not be loaded in the background: no some/model" in caplog.text


def test_what_is_given_loaded_is_ready(integration: LangChain) -> None:
    """A scorer or a reranker that is handed in is ready, also for a warm-up in the background."""
    for given in ({"model": OverlapScorer()}, {"reranker": Reranker(OverlapScorer())}):
        component = integration.create(**given)
        component.warmup(background=True)
        assert component.ready


def test_a_plain_reranker_offers_the_same_choice(loader: Loader, loading: threading.Event) -> None:
    """``while_loading="degrade"`` loads in the background; until then calls return the first stage's order."""
    reranker = Reranker(
        NamedScorer("some/model", DEGRADE), selection=Selection(budget=ContextBudget(9), policy="extract")
    )
    cold = reranker.rerank("swallows fly", ["dogs bark", "swallows fly"], selection=Selection())
    assert [kept.text for kept in cold] == ["dogs bark", "swallows fly"]
    assert cold.degraded is not None
    assert cold.degraded.cause is Cause.LOADING
    assert len(reranker.rerank("swallows fly", ["dogs bark", "swallows fly"]).kept) > 0
    assert not reranker.ready
    reranker.warmup(background=True)
    loading.set()
    while not reranker.ready:
        pass
    warm = copy.deepcopy(reranker).rerank("swallows fly", ["dogs bark", "swallows fly"], selection=Selection())
    assert ([kept.text for kept in warm], warm.degraded) == (["swallows fly", "dogs bark"], None)
    assert loader.names == ["some/model"]


def test_a_plain_reranker_keeps_its_model(loader: Loader) -> None:
    """A warm-up waits for the model; others that are loaded later don't displace it, and integrations share it."""
    reranker = Reranker(NamedScorer("some/model", DEGRADE))
    reranker.warmup()
    LOADED_MODELS.clear()
    assert reranker.ready
    assert reranker.rerank("fox", ["fox"])[0].score == 1.0
    assert loader.names == ["some/model"]


def test_a_plain_reranker_raises_what_it_cant_load(loader: Loader) -> None:
    """A model that can't be loaded raises at the next call, a wrong setting at once."""

    def fail(name: str) -> None:
        raise ModelNotFound(f"no {name}")

    loader.before = fail
    reranker = Reranker(NamedScorer("some/model", DEGRADE))
    reranker.warmup(background=True)
    while not reranker.ready:
        pass
    with pytest.raises(ModelNotFound, match="no some/model"):
        reranker.rerank("fox", ["fox"])
    with pytest.raises(ConfigurationError, match="while_loading must be"):
        LoadOptions(while_loading="never")  # type: ignore[arg-type]


def test_a_cascade_shares_its_models(loader: Loader) -> None:
    """``fast`` takes ``nano`` and ``small`` from the shared models, and each is loaded once."""
    shared = LoadedModels()
    small = shared.get(LoadKey("small"))
    cascade = shared.get(LoadKey("fast"))
    assert cascade.scorers[1] is small  # type: ignore[attr-defined]
    assert loader.names == ["small", "nano"]


def test_fast_works_in_the_integrations(integration: LangChain) -> None:
    """``model="fast"`` is the bundled cascade in both integrations."""
    ranking = integration.create(model="fast", device="cpu").rank(integration.items(), "when do swallows fly south")
    assert ranking.by is not None
    assert (ranking.by.name, len(ranking)) == ("fast", 5)


def test_a_cache_around_a_model_that_loads_keeps_what_it_scores(loader: Loader, loading: threading.Event) -> None:
    """Whether scores can be kept is known once the model is loaded; what isn't scored until then isn't kept."""
    cached = Cached(NamedScorer("some/model", DEGRADE))
    reranker = Reranker(cached)
    assert reranker.rerank("fox", ["dog", "fox"]).degraded is not None
    loading.set()
    while not reranker.ready:
        pass
    for hits in (0, 2):
        ranking = reranker.rerank("fox", ["dog", "fox"])
        assert (ranking[0].text, ranking.stages[0].facts["hits"]) == ("fox", hits)
