"""Models loaded by name, shared within a process; loaded in the background on request."""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from secondpass.errors import ConfigurationError, SecondpassError
from secondpass.models import CASCADES
from secondpass.models.files import check_name
from secondpass.models.hardware import Request
from secondpass.processes import ForkLock, LoadingThread, renew_in_child
from secondpass.records import LOGIT, Call, Pair, Scored, Spec, Unscored, UnscoredReason
from secondpass.scorers.load import cascade_of, check_effect, load_scorer
from secondpass.scoring.options import EngineName, LoadOptions
from secondpass.scoring.scorer import BaseScorer, Scorer, count_tokens, release_memory, warm_up

logger = logging.getLogger("secondpass")

WhileLoading = Literal["wait", "degrade"]
"""What a call does while a model that was named is loading."""


@dataclass(frozen=True, slots=True)
class LoadKey:
    """The arguments of ``load_scorer``, as a key."""

    model: str | Path
    engine: EngineName = "auto"
    device: str = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    revision: str | None = None
    options: LoadOptions = field(default_factory=LoadOptions)

    def check(self) -> None:
        """Check what needs neither weights nor a connection.

        :raises ConfigurationError: If the name, the device, the dtype or a limit is unknown or out of range, or a
            setting has no effect on the model.
        """
        options = self.options
        Request(self.device, self.dtype, options.batch_tokens, options.batch_size, options.threads)
        check_name(self.model)
        settings = {name: getattr(self, name) for name in ("engine", "device", "dtype", "max_length", "revision")}
        check_effect(self.model, options, **settings)

    def load(self) -> Scorer:
        """Load the scorer."""
        return load_scorer(
            self.model,
            engine=self.engine,
            device=self.device,
            dtype=self.dtype,
            max_length=self.max_length,
            revision=self.revision,
            options=self.options,
        )


class StillLoading(BaseScorer):
    """Stands in for a model that is still loading: every pair is unscored.

    :param model: The model's name.
    """

    def __init__(self, model: str) -> None:
        self.spec = Spec(model, LOGIT, "still loading", batch_invariant=False, pointwise=False)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:  # noqa: ARG002  # takes no time
        """Return every pair as unscored."""
        return Scored((Unscored(UnscoredReason.LOADING, "the model is still loading"),) * len(pairs), self.spec)


class LoadedInBackground(BaseScorer):
    """A shared model that is loaded on a thread from now on; until it is ready, every pair is unscored.

    :param key: What is loaded.
    :raises ConfigurationError: If its name or a setting is invalid.
    """

    def __init__(self, key: LoadKey) -> None:
        key.check()
        self._key = key
        self._loaded: tuple[int, Scorer] | None = None  # by process; kept, since others may displace it from the shared
        self.begin()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the model."""
        return self

    @property
    def ready(self) -> bool:
        """Whether a call finds the model loaded, or raises since it can't be."""
        return self._in_process() is not None or SHARED_MODELS.ready(self._key)

    def begin(self) -> None:
        """Begin to load the model, unless that is done or under way."""
        if not self.ready:
            SHARED_MODELS.warm_up_in_background(self._key)

    @property
    def spec(self) -> Spec:
        """The model's specification; while it is loading, one that promises nothing."""
        return self._current().spec

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ConfigurationError: If the model can't be loaded.
        """
        return self._current().score_pairs(pairs, call=call)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, estimated while the model is loading."""
        return count_tokens(self._current(), texts)

    def warmup(self) -> None:
        """Wait until the model is loaded, and run it once."""
        warm_up(self._load())

    def release(self) -> None:
        """Free the model's memory."""
        release_memory(self._current())

    def _current(self) -> Scorer:
        self.begin()
        return self._load() if self.ready else StillLoading(str(self._key.model))

    def _load(self) -> Scorer:
        scorer = self._in_process() or SHARED_MODELS.get(self._key)
        self._loaded = os.getpid(), scorer
        return scorer

    def _in_process(self) -> Scorer | None:
        process, scorer = self._loaded or (None, None)
        return scorer if process == os.getpid() else None


@dataclass(slots=True)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    scorer: Scorer | None = None
    warming: threading.Thread | None = None
    error: Exception | None = None
    retry_at: float = 0.0  # by time.monotonic: when it may be loaded again after the error

    @property
    def has_failed(self) -> bool:
        """Whether an error is raised instead of loading again."""
        return self.error is not None and time.monotonic() < self.retry_at


class SharedModels:
    """The models that integrations loaded by name: once a process for equal settings, also under concurrency.

    Frameworks create integrations anew for each request (``configurable_fields``), so that the last models stay loaded
    although no integration holds them. Callers of one model don't wait while another is loaded. A forked process begins
    without models.

    :param size: How many models stay loaded; those that are still loading don't count.
    :param retry_seconds: How long after a failure in the background calls raise its error, before the model is loaded
        again.
    """

    def __init__(self, size: int = 4, retry_seconds: float = 30.0) -> None:
        self._size = size
        self._retry_seconds = retry_seconds
        self._lock = ForkLock()
        self._slots: OrderedDict[LoadKey, _Slot] = OrderedDict()
        self._parents: OrderedDict[LoadKey, _Slot] = OrderedDict()
        renew_in_child(self, SharedModels._renew)

    def get(self, key: LoadKey) -> Scorer:
        """Return the scorer for these settings, loading it if necessary.

        :raises ConfigurationError: If it can't be loaded, or could not be loaded in the background a moment ago.
        """
        slot = self._slot(key)
        if slot.scorer is None:
            with slot.lock:
                _raise_failure(slot, key)
                slot.error = None  # it is loading, and isn't to be forgotten as a failure
                try:
                    slot.scorer = slot.scorer or self._load(key)
                except Exception as error:
                    slot.error = error  # the next call loads it again
                    raise
                finally:
                    self._forget_oldest()
        return slot.scorer

    def ready(self, key: LoadKey) -> bool:
        """Return whether ``get`` returns at once, or raises since the model can't be loaded."""
        with self._lock:
            slot = self._slots.get(key)
        return slot is not None and (slot.scorer is not None or slot.has_failed)

    def warm_up_in_background(self, key: LoadKey) -> None:
        """Load a model and run it once on a thread, unless that is done or under way."""
        slot = self._slot(key)
        with self._lock:
            if slot.scorer is None and not slot.has_failed and not (slot.warming and slot.warming.is_alive()):
                slot.warming = LoadingThread(partial(self._warm, slot, key))
                with suppress(RuntimeError):  # no thread can be started: the next call tries again
                    slot.warming.start()

    def clear(self) -> None:
        """Forget all models."""
        with self._lock:
            self._slots.clear()

    def _renew(self) -> None:
        """Begin anew in a forked process; the parent's models are kept, since closing them would wait for threads."""
        self._parents, self._slots = self._slots, OrderedDict()

    def _slot(self, key: LoadKey) -> _Slot:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
        return slot

    def _forget_oldest(self) -> None:
        """Forget the models used longest ago, and the oldest failures; never those that are loading."""
        with self._lock:
            loaded = [key for key, slot in self._slots.items() if slot.scorer is not None]
            failed = [key for key, slot in self._slots.items() if slot.scorer is None and slot.error is not None]
            for key in (*loaded[: -self._size], *failed[: -self._size]):
                del self._slots[key]

    def _load(self, key: LoadKey) -> Scorer:
        """Load a model; the models of a cascade are shared too."""
        if key.model in CASCADES:
            return cascade_of(str(key.model), lambda name: self.get(replace(key, model=name)))
        return key.load()

    def _warm(self, slot: _Slot, key: LoadKey) -> None:
        with slot.lock:
            slot.error = None
            try:
                scorer = slot.scorer or self._load(key)
                warm_up(scorer)
            except Exception as error:  # noqa: BLE001  any: the next calls raise it
                slot.error, slot.retry_at = error, time.monotonic() + self._retry_seconds
                logger.warning("%s could not be loaded in the background: %s", key.model, error)
            else:
                slot.scorer, slot.error = scorer, None
        self._forget_oldest()


def _raise_failure(slot: _Slot, key: LoadKey) -> None:
    """Raise the error of a loading in the background.

    :raises ConfigurationError: If there is one, and the model isn't to be loaded again yet.
    """
    if slot.scorer is not None or not slot.has_failed:
        return
    if isinstance(slot.error, SecondpassError):
        raise slot.error.with_traceback(None)
    raise ConfigurationError(
        f"{key.model} could not be loaded in the background: {type(slot.error).__name__}: {slot.error}"
    ) from slot.error


SHARED_MODELS = SharedModels()
