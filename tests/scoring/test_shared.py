"""Models shared within a process: which stay loaded, and what happens when one can't be loaded in the background."""

import os
import threading
from collections.abc import Iterator

import pytest

from secondpass import OverlapScorer
from secondpass.errors import ConfigurationError, ModelNotFound
from secondpass.scoring.named import LoadKey, SharedModels


class Models(SharedModels):
    """Shared models whose loading waits, fails and is counted."""

    def __init__(self, size: int = 4, retry_seconds: float = 3600.0) -> None:
        super().__init__(size, retry_seconds)
        self.may_end = threading.Event()
        self.error: Exception | None = None
        self.loaded: list[str] = []

    def _load(self, key: LoadKey) -> OverlapScorer:
        self.may_end.wait(30)
        self.loaded.append(str(key.model))
        if self.error:
            raise self.error
        return OverlapScorer()

    def warm_up_and_wait(self, key: LoadKey) -> None:
        """Load in the background, and wait until that has ended."""
        self.warm_up_in_background(key)
        thread = self._slots[key].warming
        assert thread is not None
        thread.join(30)


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
        models.warm_up_in_background(key)
    threads = [slot.warming for slot in models._slots.values()]
    models.may_end.set()
    for thread in threads:
        assert thread is not None
        thread.join(30)
    assert sorted(models.loaded) == [key.model for key in KEYS]
    assert sum(map(models.ready, KEYS)) == 2


def test_asking_whether_a_model_is_ready_takes_no_place(models: Models) -> None:
    """Questions about other models leave the loaded ones where they are."""
    models.get(KEYS[0])
    assert [models.ready(key) for key in KEYS] == [True, False, False, False, False]
    assert list(models._slots) == KEYS[:1]


def test_any_error_in_the_background_is_raised_by_the_next_calls(models: Models) -> None:
    """The error of a bug or of a full memory ends the loading, and the model isn't loaded again and again."""
    models.error = MemoryError("no memory")
    models.warm_up_and_wait(KEYS[0])
    for _ in range(3):
        assert models.ready(KEYS[0])
        models.warm_up_in_background(KEYS[0])
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


def test_a_model_that_is_loaded_again_is_not_forgotten_as_a_failure() -> None:
    """Otherwise the next call would load it a second time, beside the first."""
    begun = threading.Event()

    class Announced(Models):
        def _load(self, key: LoadKey) -> OverlapScorer:
            begun.set()
            return super()._load(key)

    models = Announced(size=1, retry_seconds=0.0)
    slots = [models._slot(key) for key in KEYS[:2]]
    for slot in slots:
        slot.error = ValueError("no connection")
    models.warm_up_in_background(KEYS[0])
    assert begun.wait(30)
    models._slot(KEYS[1]).error = ValueError("no connection")
    models._forget_oldest()
    assert models._slots.get(KEYS[0]) is slots[0]
    models.may_end.set()
