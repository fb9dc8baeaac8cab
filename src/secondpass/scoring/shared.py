"""Models loaded by name, shared within a process; loaded in the background on request."""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from secondpass.call import Call
from secondpass.errors import SecondpassError
from secondpass.models import CASCADES
from secondpass.scores import LOGIT, Pair, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.hardware import Request
from secondpass.scoring.load import EngineName, LoadOptions, cascade_of, load_scorer
from secondpass.scoring.model_files import check_name
from secondpass.scoring.scorer import BaseScorer, Scorer, count_tokens, release_memory, warm_up

logger = logging.getLogger("secondpass")

WhenCold = Literal["wait", "degrade"]
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

        :raises ConfigurationError: If the name, the device, the dtype or a limit is unknown or out of range.
        """
        options = self.options
        Request(self.device, self.dtype, options.batch_tokens, options.batch_size, options.threads)
        check_name(self.model)

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
        self.spec = Spec(model, LOGIT, "still loading", batch_invariant=False, call_invariant=False)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:  # noqa: ARG002  # takes no time
        """Return every pair as unscored."""
        return Scored((Unscored(UnscoredReason.COLD, "the model is still loading"),) * len(pairs), self.spec)


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
    failed: bool = False


class SharedModels:
    """The models that integrations loaded by name: once a process for equal settings, also under concurrency.

    Frameworks create integrations anew for each request (``configurable_fields``), so that the last models stay loaded
    although no integration holds them. Callers of one model don't wait while another is loaded.

    :param size: How many models stay loaded.
    """

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()

    def get(self, key: LoadKey) -> Scorer:
        """Return the scorer for these settings, loading it if necessary.

        :raises ConfigurationError: If it can't be loaded.
        """
        slot = self._slot(key)
        if slot.scorer is None:
            with slot.lock:
                slot.scorer = slot.scorer or self._load(key)
        return slot.scorer

    def ready(self, key: LoadKey) -> bool:
        """Return whether ``get`` returns at once, or raises since the model can't be loaded."""
        slot = self._slot(key)
        return slot.scorer is not None or slot.failed

    def warm_up_in_background(self, key: LoadKey) -> None:
        """Load a model and run it once on a thread, unless that is done or under way."""
        slot = self._slot(key)
        with self._lock:
            if slot.scorer is None and not (slot.warming and slot.warming.is_alive()):
                slot.warming = threading.Thread(
                    target=self._warm, args=(slot, key), name="secondpass-warmup", daemon=True
                )
                slot.warming.start()

    def _slot(self, key: LoadKey) -> _Slot:
        with self._lock:
            slot = self._slots.setdefault((os.getpid(), key), _Slot())
            self._slots.move_to_end((os.getpid(), key))
            while len(self._slots) > self._size:
                self._slots.popitem(last=False)
        return slot

    def _load(self, key: LoadKey) -> Scorer:
        """Load a model; the models of a cascade are shared too."""
        if key.model in CASCADES:
            return cascade_of(str(key.model), lambda name: self.get(replace(key, model=name)))
        return key.load()

    def _warm(self, slot: _Slot, key: LoadKey) -> None:
        with slot.lock:
            try:
                scorer = slot.scorer or self._load(key)
                warm_up(scorer)
            except SecondpassError as error:  # the next call loads it again, and raises
                slot.failed = True
                logger.warning("%s could not be loaded in the background: %s", key.model, error)
            else:
                slot.scorer, slot.failed = scorer, False

    def forget_lock(self) -> None:
        """In a forked process, replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget all models."""
        with self._lock:
            self._slots.clear()


SHARED_MODELS = SharedModels()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=SHARED_MODELS.forget_lock)
