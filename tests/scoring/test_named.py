"""Models shared within a process: which stay loaded, and what happens when one can't be loaded in the background."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import wait

import pytest

from secondpass import OverlapScorer
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.processes import LoadingThread
from secondpass.scoring.named import LoadedModels, LoadKey


class Models(LoadedModels):
    """Shared models whose loading waits, fails and is counted."""

    def __init__(self, size: int = 4, retry_seconds: float = 3600.0) -> None:
        super().__init__(size, retry_seconds)
        self.may_end = threading.Event()
        self.error: Exception | None = None
        self.loaded: list[str] = []

    def _open(self, key: LoadKey) -> OverlapScorer:
        self.may_end.wait(30)
        self.loaded.append(str(key.model))
        if self.error:
            raise self.error
        return OverlapScorer()

    def warm_up_and_wait(self, key: LoadKey) -> None:
        """Load in the background, and wait until that has ended."""
        self.load_in_background(key)
        self.join()

    def join(self) -> None:
        """Wait for all models that are loading."""
        wait([entry.future for entry in self._entries.values()], 30)


@pytest.fixture
def models() -> Iterator[Models]:
    """Yield models that load at once."""
    models = Models(size=2)
    models.may_end.set()
    yield models
    models.may_end.set()


KEYS = [LoadKey(f"model {number}") for number in range(5)]


def test_models_that_are_loading_are_not_forgotten(models: Models) -> None:
    """Where more models than may stay are asked for while they load, each is loaded once."""
    models.may_end.clear()
    for key in KEYS * 3:
        assert not models.ready(key)
        models.load_in_background(key)
    models.may_end.set()
    while sum(map(models.ready, KEYS)) != 2 or len(models.loaded) < len(KEYS):
        pass
    assert sorted(models.loaded) == [key.model for key in KEYS]


def test_asking_whether_a_model_is_ready_takes_no_place(models: Models) -> None:
    """Questions about other models leave the loaded ones where they are."""
    models.get(KEYS[0])
    assert [models.ready(key) for key in KEYS] == [True, False, False, False, False]
    assert list(models._entries) == KEYS[:1]


def test_any_error_in_the_background_is_raised_by_the_next_calls(models: Models) -> None:
    """The error of a bug or of a full memory ends the loading, and the model isn't loaded again and again."""
    models.error = MemoryError("no memory")
    models.warm_up_and_wait(KEYS[0])
    for _ in range(3):
        assert models.ready(KEYS[0])
        models.load_in_background(KEYS[0])
        with pytest.raises(ConfigurationError, match="model 0 could not be loaded in the background: MemoryError: no"):
            models.get(KEYS[0])
    assert models.loaded == ["model 0"]


def test_after_a_while_the_model_is_loaded_again() -> None:
    """A connection may be back: the error is raised for some time, and then forgotten."""
    models = Models(retry_seconds=0.0)
    models.may_end.set()
    models.error = ModelNotFound("no connection")
    models.warm_up_and_wait(KEYS[0])
    models.error = None
    assert not models.ready(KEYS[0])
    assert isinstance(models.get(KEYS[0]), OverlapScorer)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_parents_models_take_no_place_in_a_forked_process(models: Models) -> None:
    """A child begins without models, so that none of its own is forgotten because of them."""
    for key in KEYS[:2]:
        models.get(key)
    child = os.fork()
    if not child:
        ready = models.ready(KEYS[0])
        first = models.get(KEYS[2])
        models.get(KEYS[3])
        os._exit(0 if not ready and models.get(KEYS[2]) is first else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_model_whose_thread_can_not_start_is_loaded_by_the_next_call(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives no thread, nothing is raised in the background, and the model isn't given up."""

    def refuse(self: LoadingThread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(LoadingThread, "start", refuse)
    models.load_in_background(KEYS[0])
    assert isinstance(models.get(KEYS[0]), OverlapScorer)
