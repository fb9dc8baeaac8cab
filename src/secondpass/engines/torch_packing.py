"""The torch engine's choice of packed batches: on CUDA and on CPUs, where the model has a packed form."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers
from sentence_transformers.cross_encoder.modules import Transformer

from secondpass.engines.packed import PackedClassifier
from secondpass.engines.packed_batches import CudaMemory, Memory, PackedBatches
from secondpass.errors import ModelError
from secondpass.models.hardware import GPU_BATCH_TOKENS, PlacementRequest
from secondpass.scoring.engine import BatchLimits, Encoded, Placement

BATCHES_AHEAD = 4
"""Packed batches that are started at once on a GPU, the next while it computes the one before."""


class TorchPacking:
    """Packs the batches of one model.

    :param request: The requested placement; its limit of tokens is that of a packed batch, and isn't measured.
    :param placement: Where the model runs.
    :param longest: The most tokens of a pair.
    :param wanted: Whether to pack; None for where the model allows it and it pays, which is on CUDA and on CPUs.
    """

    def __init__(
        self, request: PlacementRequest, placement: Placement, longest: int, *, wanted: bool | None = None
    ) -> None:
        self._request = request
        self._placement = placement
        self._longest = longest
        self._wanted = wanted
        self._cuda = placement.device.startswith("cuda")
        self._budget = placement.limits.max_tokens  # the measured one after `measure`
        self._batches: PackedBatches | None = None
        self._why = ""

    @property
    def active(self) -> bool:
        """Whether batches are packed."""
        return self._batches is not None

    @property
    def placement(self) -> Placement:
        """The placement with the limits of packed batches, and whether they are packed as a part of its reason."""
        batches, placement = self._batches, self._placement
        if batches is None:
            return replace(placement, reason=f"{placement.reason}; {self._why}") if self._why else placement
        tokens = batches.budget * (BATCHES_AHEAD if self._cuda else 1)
        limits = BatchLimits(tokens, self._request.batch_size, packed=True)
        return replace(placement, limits=limits, reason=f"{placement.reason}; packed")

    def open(self, model: Any) -> None:
        """Pack the batches of a model of sentence-transformers from now on, if it can be.

        :raises ModelError: If packing was asked for, and the model can't be packed.
        """
        self.close()
        pays = self._placement.device != "mps"  # which compiles for each shape
        if not (pays if self._wanted is None else self._wanted):
            return
        try:
            classifier = PackedClassifier(_classifier(model), lambda **inputs: model(inputs)["scores"])
        except ValueError as error:
            if self._wanted:
                raise ModelError(f"packed=True needs an encoder that can be packed: {error}") from error
            self._why = f"padded: {error}"
            return
        self._batches = PackedBatches(classifier, self._placement.device, self._budget, classifier.first_position)

    def close(self) -> None:
        """Forget the model; the measured size of batches is kept for the next one."""
        self._batches = None
        self._why = ""

    def scores(self, pairs: Sequence[Encoded]) -> torch.Tensor:
        """Return the raw outputs in float32 on the CPU, (pairs, labels).

        :raises torch.OutOfMemoryError: If a batch does not fit into memory; the next ones are half as large.
        """
        if self._batches is None:
            raise RuntimeError("nothing is packed")
        try:
            return self._batches(pairs)
        except torch.OutOfMemoryError:
            self._batches.shrink(pairs)
            raise

    def measure(self, memory: Memory | None = None) -> None:
        """Choose the size of batches from the free memory, unless it was given.

        :param memory: The device's memory; None takes that of the CUDA device, and does nothing elsewhere.
        """
        if self._cuda:
            memory = memory or CudaMemory(self._placement.device)
        if memory is None or self._batches is None or self._request.batch_tokens:
            return
        try:
            self._batches.measure(memory, self._longest)
            self._budget = self._batches.budget
        except torch.OutOfMemoryError:  # others use the device: it is measured again at the next warm-up
            self._batches.budget = GPU_BATCH_TOKENS[0]


def _classifier(model: Any) -> Any:
    """Return the one transformers model in a model of sentence-transformers, whose own code alone is replaced.

    :raises ValueError: If there is something else in it, such as a module or a class that came with the model.
    """
    modules = list(model) if isinstance(model, torch.nn.Sequential) else []
    if len(modules) != 1 or type(modules[0]) is not Transformer:
        raise ValueError("it is not one encoder with its head")
    classifier = modules[0].auto_model
    if type(classifier) is not getattr(transformers, type(classifier).__name__, None):
        raise ValueError(f"{type(classifier).__name__} is a class of its own")
    return classifier
