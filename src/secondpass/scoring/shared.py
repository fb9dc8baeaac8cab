"""Models loaded by name, shared within a process."""

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

from secondpass.scoring.hardware import Request
from secondpass.scoring.load import EngineName, LoadOptions, load_scorer
from secondpass.scoring.model_files import check_name
from secondpass.scoring.scorer import Scorer


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


@dataclass(slots=True)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    scorer: Scorer | None = None


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
        with self._lock:
            slot = self._slots.setdefault((os.getpid(), key), _Slot())
            self._slots.move_to_end((os.getpid(), key))
            while len(self._slots) > self._size:
                self._slots.popitem(last=False)
        if slot.scorer is None:
            with slot.lock:
                slot.scorer = slot.scorer or key.load()
        return slot.scorer

    def clear(self) -> None:
        """Forget all models."""
        with self._lock:
            self._slots.clear()


SHARED_MODELS = SharedModels()
