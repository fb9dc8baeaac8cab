"""Models that integrations load by name: once a process for equal settings, also under concurrency."""

import copy
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from integration_support import LangChain, LlamaIndex, Loader

from secondpass import LoadOptions
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.langchain import CrossEncoderModel
from secondpass.scoring.named import LoadedModels, LoadKey


def run_together(*calls: Any) -> list[Any]:
    """Start all calls at the same time, and return their results."""
    barrier = threading.Barrier(len(calls))

    def started(call: Any) -> Any:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(30) for future in [pool.submit(started, call) for call in calls]]


def test_equal_settings_share_one_model(loader: Loader) -> None:
    """Both integrations and LangChain's adapter load a name once, whatever their other settings."""
    for integration in (LangChain(), LlamaIndex()):
        integration.run(integration.create(model="some/model"))
        integration.run(integration.create(model="some/model", top_n=2, budget=100, on_error="raise"))
    CrossEncoderModel("some/model").score([("query", "text")])
    assert loader.names == ["some/model"]


@pytest.mark.parametrize(
    "changed",
    [{"model": "other/model"}, {"device": "cpu"}, {"max_length": 64}, {"options": LoadOptions(threads=1)}],
    ids=str,
)
def test_different_loading_settings_load_another_model(
    integration: LangChain, loader: Loader, changed: dict[str, Any]
) -> None:
    """A model is shared only where everything about its loading is equal."""
    for settings in ({}, changed):
        integration.run(integration.create(**({"model": "some/model"} | settings)))
    assert len(loader.names) == 2


def test_concurrent_first_calls_load_once(integration: LangChain, loader: Loader) -> None:
    """Threads with integrations of their own and with a common one wait for a single loading."""
    waiting = threading.Event()
    loader.before = lambda name: waiting.wait(0.1)
    common = integration.create(model="some/model", top_n=1)
    components = [common, common, integration.create(model="some/model", top_n=1), copy.deepcopy(common)]
    results = run_together(*(lambda it=component: integration.ids(integration.run(it)) for component in components))
    assert results == [["answer"]] * 4
    assert loader.names == ["some/model"]


def test_copies_from_before_the_first_use_share_the_model(integration: LangChain, loader: Loader) -> None:
    """A copy of an unused integration doesn't load the model again."""
    component = integration.create(model="some/model")
    copies = [copy.copy(component), copy.deepcopy(component), component.model_copy()]
    for it in (component, *copies):
        integration.run(it)
    assert loader.names == ["some/model"]


def test_loading_one_model_blocks_no_other(integration: LangChain, loader: Loader) -> None:
    """While a model is loading, a loaded one is used and a third one is loaded."""
    begun, may_end = threading.Event(), threading.Event()

    def wait_for_slow(name: str) -> None:
        if name == "slow/model":
            begun.set()
            assert may_end.wait(30)

    loader.before = wait_for_slow
    integration.run(integration.create(model="loaded/model"))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(integration.run, integration.create(model="slow/model", top_n=1))
        try:
            assert begun.wait(30)
            for name in ("loaded/model", "third/model"):
                assert integration.ids(integration.run(integration.create(model=name, top_n=1))) == ["answer"]
            assert not slow.done()
        finally:
            may_end.set()
        assert integration.ids(slow.result(30)) == ["answer"]
    assert loader.names == ["loaded/model", "slow/model", "third/model"]


def test_failed_loading_is_tried_again(integration: LangChain, loader: Loader) -> None:
    """An error while loading is raised, and the next call loads the model."""

    def fail(name: str) -> None:
        raise ConfigurationError("no connection")

    loader.before = fail
    component = integration.create(model="some/model", top_n=1)
    with pytest.raises(ConfigurationError, match="no connection"):
        integration.run(component)
    loader.before = lambda name: None
    assert integration.ids(integration.run(component)) == ["answer"]


def test_oldest_models_are_released(loader: Loader) -> None:
    """The last used ``size`` models stay loaded; another one is loaded again."""
    models = LoadedModels(size=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        models.get(LoadKey(name))
    assert loader.names == ["a", "b", "c", "b"]


def load_in_child(integration: LangChain, component: Any, loader: Loader, connection: Connection) -> None:
    """Use the component, and send the results and the number of models loaded so far."""
    connection.send((integration.ids(integration.run(component)), len(loader.names)))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_process_loads_a_model_of_its_own(integration: LangChain, loader: Loader) -> None:
    """A model's threads don't survive a fork, so that the child loads the model again, and the parent doesn't."""
    component = integration.create(model="some/model", top_n=1)
    integration.run(component)
    receiving, sending = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=load_in_child, args=(integration, component, loader, sending))
    child.start()
    assert receiving.poll(30)
    assert receiving.recv() == (["answer"], 2)
    child.join(30)
    integration.run(component)
    assert loader.names == ["some/model"]


def test_real_model_is_shared_between_both_integrations(reranker_folder: Path) -> None:
    """Two integrations with equal settings use the same loaded model."""
    options = LoadOptions(engine="onnx")
    first, second = (it.create(model=str(reranker_folder), options=options) for it in (LangChain(), LlamaIndex()))
    first.warmup()
    assert second.ready


def test_warmup_raises_for_a_missing_model(integration: LangChain, tmp_path: Path) -> None:
    """``warmup`` raises what the first call would."""
    with pytest.raises(ModelNotFound, match="missing"):
        integration.create(model=str(tmp_path / "missing")).warmup()
