"""The torch engine: every model that sentence-transformers' ``CrossEncoder`` loads."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import torch
import transformers
from sentence_transformers import CrossEncoder as Model

from secondpass.calibration import RECORD_FILES
from secondpass.errors import ModelError, OutOfMemory
from secondpass.scores import Pair, Spec
from secondpass.scoring.engines.base import Encoded, EngineFacts, EngineSettings, scoring_errors
from secondpass.scoring.engines.torch_linear import pack_linears
from secondpass.scoring.hardware import Gpu, Hardware, cpu_count, nvidia_gpus, place
from secondpass.scoring.heads import read_head, read_max_length
from secondpass.scoring.model_files import describe_contents, weights_hash

_LOADING = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, OSError, ImportError)
_CHUNK = 256
"""Pairs tokenised at once: the tokenizer pads them to the longest of the chunk."""


def hardware(device: str = "auto") -> Hardware:
    """Return the devices that torch can use, without creating a CUDA context on any.

    :param device: The requested device; for ``"cpu"`` GPUs are not looked for.
    """
    if device == "cpu":
        return Hardware(cpu_count())
    gpus = nvidia_gpus() if torch.cuda.is_available() else ()
    if len(gpus) != torch.cuda.device_count():  # no nvidia-smi, as on ROCm, or devices that it numbers differently
        gpus = tuple(map(Gpu, range(torch.cuda.device_count())))
    return Hardware(cpu_count(), gpus, mps=torch.backends.mps.is_available())


class TorchEngine:
    """Runs a cross-encoder with torch, through sentence-transformers' own modules.

    :param settings: The model's folder, and the requested placement.
    :raises ModelError: If the folder has no usable model.
    :raises DeviceError: If the device or the dtype is not available.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._folder = settings.folder
        if not self._folder.has_checkpoint:
            raise ModelError(
                f"the torch engine needs config.json and safetensors weights in {self._folder.path}, and finds "
                f"{describe_contents(self._folder)}"
            )
        self._settings = settings
        self._placement = place(settings.request, hardware(settings.request.device))
        if settings.request.threads:
            torch.set_num_threads(settings.request.threads)  # torch has one setting for the whole process
        self._config = self._folder.json("config.json")
        self._max_length = read_max_length(
            settings.max_length, self._config, self._folder.json("tokenizer_config.json")
        )
        self._opening = threading.Lock()  # callers tokenise with the model's own code, also after release()
        self._tokenizing = threading.Lock()  # every call of the library changes the tokenizer's settings
        self._model: Model | None = None
        model = self._open()
        self._prompt = (model.prompts or {}).get(model.default_prompt_name or "")
        self._tokenizer = model.tokenizer
        self._padding = {"input_ids": self._tokenizer.pad_token_id or 0, "token_type_ids": 0, "attention_mask": 0}
        self.facts = self._read_facts(model.num_labels)

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Tokenise pairs, truncated to the model's length."""
        remaining = iter(pairs)
        encoded: list[Encoded] = []
        while chunk := list(islice(remaining, _CHUNK)):
            with self._tokenizing:
                features = self._open().preprocess([tuple(pair) for pair in chunk], prompt=self._prompt)
                encoded += [self._encoded(features, row, pair) for row, pair in enumerate(chunk)]
        return encoded

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Return the raw outputs, (pairs, labels).

        :raises ScoringError: If torch failed; ``OutOfMemory`` if a smaller batch may fit into memory.
        :raises ModelError: If the output has another shape.
        """
        longest = self.facts.placement.limits.padded(max(item.length for item in batch))
        with scoring_errors("torch", (RuntimeError,)), torch.inference_mode():
            outputs = None
            with suppress(torch.OutOfMemoryError):  # its traceback keeps the batch's tensors alive inside of the block
                outputs = self._open()(self._features(batch, longest))["scores"].float().cpu()
            if outputs is None:
                torch.cuda.empty_cache()
                raise OutOfMemory(f"{len(batch)} pairs of {longest} tokens do not fit into memory")
        labels = self.facts.head.labels
        if outputs.numel() != len(batch) * labels:
            raise ModelError(
                f"{self.facts.spec.name}: a batch of {len(batch)} pairs must give ({len(batch)}, {labels}) outputs, "
                f"got {tuple(outputs.shape)}"
            )
        rows: list[list[float]] = outputs.reshape(len(batch), labels).tolist()
        return rows

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens."""
        with self._tokenizing:
            return [self._length(text) for text in texts]

    def release(self) -> None:
        """Free the weights; the next ``forward`` loads them again."""
        self._model = None
        if self.facts.placement.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _open(self) -> Model:
        with self._opening:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Model:
        dtype = getattr(torch, self._placement.dtype)
        with quiet():
            try:
                model = Model(
                    str(self._folder.path),
                    device=self._placement.device,
                    max_length=self._max_length,
                    trust_remote_code=self._settings.trust_remote_code,
                    model_kwargs={"dtype": dtype, "use_safetensors": True},
                )
            except _LOADING as error:
                raise ModelError(f"sentence-transformers can't load {self._folder.path}: {error!s:.500}") from error
        model.eval()
        if not (model.prompts or getattr(model.tokenizer, "chat_template", None)):  # which write special tokens as text
            model.tokenizer.split_special_tokens = True  # "[SEP]" that a user typed is text, and ends no segment
        if self._placement.device == "cpu" and dtype is torch.float32:
            pack_linears(model)
        return model

    def _read_facts(self, labels: int) -> EngineFacts:
        settings = self._settings
        head = read_head(self._config, labels, label=settings.label)
        configs = (file for file in settings.folder.path.glob("*.json") if file.name not in RECORD_FILES)
        content = weights_hash(*settings.folder.path.rglob("*.safetensors"), *configs)
        versions = (torch.__version__, transformers.__version__)
        parts = (
            settings.folder.revision or "",
            content,
            *versions,
            self._placement.dtype,
            self._max_length,
        )
        spec = Spec(
            settings.name,
            head.scale,
            fingerprint="|".join(map(str, ("torch", *parts, head.positive))),
            max_tokens=self._max_length,
            weights=f"{content}|{head.positive}",
        )
        return EngineFacts(spec, head, self._placement, "torch")

    def _encoded(self, features: Mapping[str, Any], row: int, pair: Pair) -> Encoded:
        mask = features["attention_mask"][row].bool()
        own = {
            name: value[row][mask] if torch.is_tensor(value) and value.ndim == 2 else value
            for name, value in features.items()
        }
        length = int(mask.sum())
        truncated = 0
        if length >= self._max_length:
            whole = len(self._tokenizer(pair.query, pair.text, truncation=False, verbose=False)["input_ids"])
            truncated = max(0, whole - length)
        return Encoded(length, truncated, own)

    def _features(self, batch: Sequence[Encoded], longest: int) -> dict[str, Any]:
        """Pad the batch to its longest pair, on the tokenizer's padding side."""
        first = batch[0].features
        features = dict(first)
        left = getattr(self._tokenizer, "padding_side", "right") == "left"
        for name, value in first.items():
            if torch.is_tensor(value) and value.ndim == 1:
                padded = value.new_full((len(batch), longest), self._padding.get(name, 0))
                for row, item in enumerate(batch):
                    start = longest - item.length if left else 0
                    padded[row, start : start + item.length] = item.features[name]
                features[name] = padded.to(self._placement.device)
        return features

    def _length(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


@contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' progress bar while a model is loaded."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()
