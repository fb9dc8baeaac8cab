"""The torch engine: every model that sentence-transformers' ``CrossEncoder`` loads, with our own batching over it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
import transformers
from sentence_transformers import CrossEncoder as Model

from secondpass.errors import ModelError, OutOfMemory
from secondpass.scores import Pair, Spec
from secondpass.scoring.devices import Gpu, Hardware, place, probe
from secondpass.scoring.engine import Encoded, EngineFacts, EngineSettings, scoring_errors
from secondpass.scoring.engines.torch_linear import pack_linears
from secondpass.scoring.heads import read_head, read_max_length
from secondpass.scoring.model_files import ModelFolder, describe_contents, weights_hash

_FOREIGN = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)
_CHUNK = 256  # pairs tokenised at once: the tokeniser pads them to the longest of the chunk


def hardware() -> Hardware:
    """Return what torch can use."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Hardware(probe().cpus, tuple(map(_gpu, range(count))), mps=torch.backends.mps.is_available())


class TorchEngine:
    """Runs a cross-encoder with torch, through sentence-transformers' own modules.

    :param settings: What to open, and how.
    :raises ModelError: If the folder has no usable model.
    :raises DeviceError: If the device or the dtype isn't there.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._folder = ModelFolder(settings.folder, settings.revision)
        if not self._folder.has_checkpoint:
            raise ModelError(
                f"the torch engine needs config.json and safetensors weights in {settings.folder}, and finds "
                f"{describe_contents(self._folder)}"
            )
        self._settings = settings
        self._placement = place(settings.request, hardware())
        self._config = self._folder.json("config.json")
        self._max_length = read_max_length(
            settings.max_length, self._config, self._folder.json("tokenizer_config.json")
        )
        self._opening = threading.Lock()  # callers tokenise with the model's own code, and may find it released
        self._tokenizing = threading.Lock()  # the tokeniser is set anew by its library's every call
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
        """Return the raw outputs, a row for each pair.

        :raises ScoringError: If torch failed; ``OutOfMemory`` if a smaller batch may succeed.
        :raises ModelError: If the output isn't a row of labels for each pair.
        """
        longest = self.facts.placement.limits.padded(max(item.length for item in batch))
        with scoring_errors("torch", _FOREIGN), torch.inference_mode():
            try:
                outputs = self._open()(self._features(batch, longest))["scores"].float().cpu()
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                raise OutOfMemory(f"torch had no room for {len(batch)} pairs of {longest} tokens") from error
        labels = self.facts.head.labels
        if outputs.numel() != len(batch) * labels:
            raise ModelError(
                f"{self.facts.spec.name}: a batch of {len(batch)} pairs must give ({len(batch)}, {labels}) outputs, "
                f"got {tuple(outputs.shape)}"
            )
        rows: list[list[float]] = outputs.reshape(len(batch), labels).tolist()
        return rows

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, special tokens left out."""
        with self._tokenizing:
            return [self._length(text) for text in texts]

    def release(self) -> None:
        """Drop the weights; the next ``forward`` loads them again."""
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
                    str(self._settings.folder),
                    device=self._placement.device,
                    max_length=self._max_length,
                    trust_remote_code=self._settings.trust_remote_code,
                    model_kwargs={"dtype": dtype, "use_safetensors": True},
                )
            except (*_FOREIGN, OSError, ImportError) as error:
                raise ModelError(f"sentence-transformers can't load {self._settings.folder}: {error!s:.500}") from error
        model.eval()
        if self._placement.device == "cpu" and dtype is torch.float32:
            pack_linears(model)
        return model

    def _read_facts(self, labels: int) -> EngineFacts:
        settings = self._settings
        head = read_head(self._config, labels, label=settings.label)
        files = [*settings.folder.rglob("*.safetensors"), *settings.folder.glob("*.json")]
        versions = (torch.__version__, transformers.__version__)
        parts = (settings.revision or "", weights_hash(*files), *versions, self._placement.dtype, self._max_length)
        spec = Spec(
            settings.name,
            head.scale,
            fingerprint="|".join(map(str, ("torch", *parts, head.positive))),
            max_tokens=self._max_length,
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
        """Pad the batch to its longest pair, on the side that the tokeniser pads."""
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


def _gpu(index: int) -> Gpu:
    free, _ = torch.cuda.mem_get_info(index)
    major, _ = torch.cuda.get_device_capability(index)
    return Gpu(index, torch.cuda.get_device_name(index), free, bf16=major >= 8)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' loading bar out of other people's logs."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()
