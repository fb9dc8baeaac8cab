"""Scorers by a model's name: loaded on first use, once a process for equal options, or in the background."""

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from secondpass.errors import ConfigurationError, SecondpassError
from secondpass.processes import ForkLock, LoadingThread, renew_in_child
from secondpass.records import LOGIT, Call, Pair, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.options import DEFAULT_MODEL, DEFAULT_OPTIONS, LoadOptions
from secondpass.scoring.scorer import BaseScorer, Scorer, count_tokens, release_memory, warm_up

logger = logging.getLogger("secondpass")


class LoadKey(NamedTuple):
    """What decides whether two named models are the same."""

    model: str | Path
    options: LoadOptions = DEFAULT_OPTIONS


@dataclass(slots=True)
class _Entry:
    future: "Future[Scorer]" = field(default_factory=Future)
    retry_at: float = 0.0  # by time.monotonic: when a model that could not be loaded may be loaded again

    @property
    def settled(self) -> bool:
        """Whether the model is loaded, or its error is still to be raised."""
        return self.future.done() and (self.future.exception() is None or time.monotonic() < self.retry_at)


class LoadedModels:
    """The models that were loaded by name in this process, each with one ``Future``.

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
        self._entries: OrderedDict[LoadKey, _Entry] = OrderedDict()
        self._parents: OrderedDict[LoadKey, _Entry] = OrderedDict()
        renew_in_child(self, LoadedModels._renew)

    def get(self, key: LoadKey) -> Scorer:
        """Return the model, loading it or waiting for its loading if necessary.

        :raises ConfigurationError: If it can't be loaded, or could not be loaded in the background a moment ago.
        """
        while True:
            entry, new = self._entry(key)
            if new:
                self._load(key, entry, background=False)
            try:
                return entry.future.result()
            except CancelledError:  # no thread could be started for it: load it here
                continue
            except SecondpassError as error:
                raise error.with_traceback(None)  # noqa: B904  the error itself, for each of its callers
            except Exception as error:
                if not entry.retry_at:
                    raise
                raise ConfigurationError(
                    f"{key.model} could not be loaded in the background: {type(error).__name__}: {error}"
                ) from error

    def load_in_background(self, key: LoadKey) -> None:
        """Load a model and run it once on a thread, unless that is done or under way."""
        entry, new = self._entry(key)
        if new:
            try:
                LoadingThread(partial(self._load, key, entry, background=True)).start()
            except RuntimeError:  # no thread can be started: the next call tries again
                self._forget(key, entry)
                entry.future.cancel()

    def ready(self, key: LoadKey) -> bool:
        """Return whether ``get`` returns at once, or raises since the model can't be loaded."""
        with self._lock:
            entry = self._entries.get(key)
        return entry is not None and entry.settled

    def clear(self) -> None:
        """Forget all models."""
        with self._lock:
            self._entries.clear()

    def _renew(self) -> None:
        """Begin anew in a forked process; the parent's models are kept, since closing them would wait for threads."""
        self._parents, self._entries = self._entries, OrderedDict()

    def _entry(self, key: LoadKey) -> tuple[_Entry, bool]:
        """Return the entry of a model, and whether it is a new one, which the caller has to load."""
        with self._lock:
            entry = self._entries.get(key)
            new = entry is None or (entry.future.done() and not entry.settled)
            if entry is None or new:
                entry = self._entries[key] = _Entry()
            self._entries.move_to_end(key)
        return entry, new

    def _load(self, key: LoadKey, entry: _Entry, *, background: bool) -> None:
        """Load a model into its entry; the models of a cascade are shared, too."""
        try:
            scorer = self._open(key)
            if background:
                warm_up(scorer)
        except BaseException as error:
            if background:
                entry.retry_at = time.monotonic() + self._retry_seconds
                logger.warning("%s could not be loaded in the background: %s", key.model, error)
            else:
                self._forget(key, entry)  # the next call loads it again
            entry.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            entry.future.set_result(scorer)
        self._forget_oldest()

    def _open(self, key: LoadKey) -> Scorer:
        from secondpass.models import CASCADES  # this package is below those that open a model
        from secondpass.scorers.load import cascade_of, open_scorer

        if key.model in CASCADES:
            return cascade_of(str(key.model), lambda name: self.get(key._replace(model=name)))
        return open_scorer(key.model, key.options)

    def _forget(self, key: LoadKey, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]

    def _forget_oldest(self) -> None:
        """Forget the models used longest ago, and the oldest failures; never those that are loading."""
        with self._lock:
            done = {key: entry.future.exception() for key, entry in self._entries.items() if entry.future.done()}
            loaded = [key for key, error in done.items() if error is None]
            failed = [key for key, error in done.items() if error is not None]
            for key in (*loaded[: -self._size], *failed[: -self._size]):
                del self._entries[key]


LOADED_MODELS = LoadedModels()
"""The models of this process."""


class StillLoading(BaseScorer):
    """Scores nothing, in place of a model that is still loading.

    :param model: The model's name.
    """

    def __init__(self, model: str) -> None:
        self.spec = Spec(model, LOGIT, "still loading", batch_invariant=False, pointwise=False)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:  # noqa: ARG002  # takes no time
        """Return every pair as unscored."""
        return Scored((Unscored(UnscoredReason.LOADING, "the model is still loading"),) * len(pairs), self.spec)


class NamedScorer(BaseScorer):
    """A model by its name: loaded on first use, and shared with all scorers of equal name and options.

    With ``LoadOptions(while_loading="degrade")`` it is loaded in the background from its first use, and until then
    every pair is unscored.

    :param model: As in ``load_scorer``.
    :param options: How it is loaded.
    :raises ConfigurationError: If the name or an option is invalid.
    """

    def __init__(self, model: str | Path = DEFAULT_MODEL, options: LoadOptions = DEFAULT_OPTIONS) -> None:
        from secondpass.models.dialects import is_remote  # as in LoadedModels
        from secondpass.scorers.load import check_loading

        check_loading(model, options)
        self.model = str(model)
        self.remote = is_remote(model)
        self._waits = options.while_loading == "wait"
        self._key = LoadKey(model, replace(options, while_loading="wait"))
        self._held: tuple[int, Scorer] | None = None  # by process; others may displace it from the shared

    def __repr__(self) -> str:
        """Return the name and the options that were given."""
        return f"NamedScorer({self.model!r}{''.join(f', {k}={v!r}' for k, v in self._key.options.given().items())})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share the model."""
        return self

    @property
    def loaded(self) -> bool:
        """Whether a call finds the model loaded, or raises since it can't be."""
        return self._in_process() is not None or LOADED_MODELS.ready(self._key)

    @property
    def spec(self) -> Spec:
        """The model's specification; while it is loading in the background, one that promises nothing."""
        return self._current().spec

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ConfigurationError: If the model can't be loaded.
        """
        return self._current().score_pairs(pairs, call=call)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, estimated while the model is loading."""
        return count_tokens(self._current(), texts)

    def load(self) -> Scorer:
        """Load the model now, and return it; with ``while_loading="degrade"`` begin to load it.

        :raises ConfigurationError: If it can't be loaded.
        """
        return self._current()

    def warmup(self) -> None:
        """Wait until the model is loaded, and run it once."""
        warm_up(self._load())

    def warmup_in_background(self) -> None:
        """Load the model and run it once on a thread, unless that is done or under way."""
        if not self.loaded:
            LOADED_MODELS.load_in_background(self._key)

    def release(self) -> None:
        """Free the model's memory."""
        release_memory(self._current())

    def _current(self) -> Scorer:
        scorer = self._in_process()
        if scorer is None and not self._waits:
            self.warmup_in_background()
            if not LOADED_MODELS.ready(self._key):
                return StillLoading(self.model)
        return scorer or self._load()

    def _load(self) -> Scorer:
        scorer = self._in_process() or LOADED_MODELS.get(self._key)
        self._held = os.getpid(), scorer
        return scorer

    def _in_process(self) -> Scorer | None:
        process, scorer = self._held or (None, None)
        return scorer if process == os.getpid() else None
