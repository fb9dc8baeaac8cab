"""The torch engine: what sentence-transformers' ``CrossEncoder`` loads, and language models that answer a prompt."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import transformers
from sentence_transformers import CrossEncoder as Model

from secondpass.engines.decoders import PROMPTS, Prompt, PromptedModel, prompt_of
from secondpass.engines.heads import read_head, read_max_length, truncation_side
from secondpass.engines.opening import EngineSettings, scoring_errors
from secondpass.engines.tokens import PairTokenizer, hide_special_pieces
from secondpass.engines.torch_linear import pack_linears
from secondpass.engines.torch_packing import TorchPacking
from secondpass.errors import ModelError, OutOfMemory
from secondpass.models.content import check_no_code, content_hash
from secondpass.models.files import describe_contents
from secondpass.models.hardware import Gpu, Hardware, cpu_count, nvidia_gpus, place
from secondpass.processes import ForkLock, end_without_destructors
from secondpass.records import Pair, Spec
from secondpass.scoring.engine import Encoded, EngineFacts

_LOADING = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, OSError, ImportError)
_CHUNK = 256
"""Pairs tokenised at once: the tokenizer pads them to the longest of the chunk."""
_IMPORTED_IN = os.getpid()
_ON_MPS = ForkLock()
"""Held by a forward pass on MPS: Metal's command buffers aren't safe across threads."""


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
        if os.getpid() != _IMPORTED_IN:
            torch.set_num_threads(1)  # operators would wait for the threads of its pools, which stayed in the parent
            end_without_destructors()
        elif settings.request.threads:
            torch.set_num_threads(settings.request.threads)  # torch has one setting for the whole process
        self._config = self._folder.config
        self._prompted = _check_architecture(settings, self._config)
        self._max_length = read_max_length(settings.max_length, self._config, self._folder.tokenizer_config)
        self._side = truncation_side(self._folder.tokenizer_config)
        self._opening = threading.Lock()  # callers tokenise with the model's own code, also after release()
        self._tokenizing = threading.Lock()  # every call of the library changes the tokenizer's settings
        self._packing = TorchPacking(settings.request, self._placement, self._max_length, wanted=settings.packed)
        self._model: Model | PromptedModel | None = None
        model = self._open()
        self._prompt = (model.prompts or {}).get(model.default_prompt_name or "")
        self._tokenizer = model.tokenizer
        self._padding = {"input_ids": self._tokenizer.pad_token_id or 0, "token_type_ids": 0, "attention_mask": 0}
        self.facts = self._read_facts(model.num_labels)
        self._pairs: PairTokenizer | None = None
        self._example: Mapping[str, Any] = {}
        self._use_pair_tokens()

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Tokenise pairs, truncated to the model's length."""
        if self._pairs is None:
            return self._encode_by_library(pairs)
        encoded = self._pairs.encode(pairs)
        if "token_type_ids" in self._example:
            return encoded
        return [replace(item, features={"input_ids": item.features["input_ids"]}) for item in encoded]

    def _encode_by_library(self, pairs: Sequence[Pair]) -> list[Encoded]:
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
        with scoring_errors("torch", (RuntimeError,)), torch.inference_mode(), self._on_device():
            outputs = None
            with suppress(torch.OutOfMemoryError):  # its traceback keeps the batch's tensors alive inside of the block
                outputs = self._scores(batch, longest)
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
        if self._pairs is not None:
            return self._pairs.count(texts)
        with self._tokenizing:
            return [self._length(text) for text in texts]

    def warmup(self) -> None:
        """Choose the size of packed batches from the GPU's free memory."""
        self._open()
        with scoring_errors("torch", (RuntimeError,)), torch.inference_mode(), self._on_device():
            self._packing.measure()
        self.facts = replace(self.facts, placement=self._packing.placement)

    def release(self) -> None:
        """Free the weights; the next ``forward`` loads them again."""
        self._packing.close()
        self._model = None
        if self.facts.placement.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _open(self) -> Model | PromptedModel:
        with self._opening:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Model | PromptedModel:
        dtype = getattr(torch, self._placement.dtype)
        with quiet():
            try:
                model = self._load_with(dtype)
            except _LOADING as error:
                raise ModelError(f"sentence-transformers can't load {self._folder.path}: {error!s:.500}") from error
        model.eval()
        if not (
            self._prompted or model.prompts or getattr(model.tokenizer, "chat_template", None)
        ):  # which write special tokens as text
            model.tokenizer.split_special_tokens = True  # "[SEP]" that a user typed is text, and ends no segment
            hide_special_pieces(getattr(model.tokenizer, "backend_tokenizer", None))  # none behind one in Python
        if self._placement.device == "cpu" and dtype is torch.float32:
            pack_linears(model)
        self._packing.open(model)
        return model

    def _on_device(self) -> AbstractContextManager[object]:
        device = self.facts.placement.device
        if device.startswith("cuda"):
            return torch.cuda.device(device)  # pinned memory belongs to the thread's device
        return _ON_MPS if device == "mps" else nullcontext()

    def _scores(self, batch: Sequence[Encoded], longest: int) -> torch.Tensor:
        model = self._open()
        if self._packing.active:
            return self._packing.scores(batch)
        scores: torch.Tensor = model(self._features(batch, longest))["scores"].float().cpu()
        return scores

    def _use_pair_tokens(self) -> None:
        """Tokenise texts rather than pairs, and keep them, where that gives the tokens that the library gives."""
        path = self._folder.path / "tokenizer.json"
        if self._prompt or not path.is_file():
            return
        with suppress(ModelError):
            pairs = PairTokenizer(path, self._max_length, self._side)
            example = self._encode_by_library([Pair("a", "b")])[0].features
            known = {"input_ids", "token_type_ids", "attention_mask"}
            others = {name for name, value in example.items() if torch.is_tensor(value)} - known
            if not others and pairs.agrees_with(self._encode_by_library):
                self._pairs, self._example = pairs, example

    def _load_with(self, dtype: torch.dtype) -> Model | PromptedModel:
        device = self._placement.device
        if self._prompted:
            return PromptedModel(self._prompted, self._folder, self._max_length, dtype).to(device)
        return Model(
            str(self._folder.path),
            device=device,
            max_length=self._max_length,
            trust_remote_code=self._settings.trust_remote_code,
            model_kwargs={"dtype": dtype, "use_safetensors": True},
        )

    def _read_facts(self, labels: int) -> EngineFacts:
        settings = self._settings
        head = read_head(self._config, labels, label=settings.label)
        content = content_hash(settings.folder.path, code=settings.trust_remote_code)
        versions = (torch.__version__, transformers.__version__)
        parts = (
            settings.folder.revision or "",
            content,
            *versions,
            self._placement.dtype,
            self._max_length,
            *(self._prompted.pieces if self._prompted else ()),
        )
        spec = Spec(
            settings.name,
            head.scale,
            fingerprint="|".join(map(str, ("torch", *parts, head.positive))),
            max_tokens=self._max_length,
            weights=f"{content}|{head.positive}",
        )
        return EngineFacts(spec, head, self._packing.placement, "torch", reads_end=self._side == "left")

    def _encoded(self, features: Mapping[str, Any], row: int, pair: Pair) -> Encoded:
        mask = features["attention_mask"][row].bool()
        own = {
            name: value[row][mask] if torch.is_tensor(value) and value.ndim == 2 else value
            for name, value in features.items()
        }
        length = int(mask.sum())
        truncated = 0
        if length >= self._max_length:
            truncated = max(0, self._whole_length(pair) - length)
        return Encoded(length, truncated, own)

    def _features(self, batch: Sequence[Encoded], longest: int) -> dict[str, Any]:
        """Pad the batch to its longest pair, on the tokenizer's padding side."""
        rows = [self._tensors(item) for item in batch]
        first = rows[0]
        features = dict(first)
        left = getattr(self._tokenizer, "padding_side", "right") == "left"
        for name, value in first.items():
            if torch.is_tensor(value) and value.ndim == 1:
                padded = value.new_full((len(batch), longest), self._padding.get(name, 0))
                for row, item in enumerate(batch):
                    start = longest - item.length if left else 0
                    padded[row, start : start + item.length] = rows[row][name]
                features[name] = padded.to(self._placement.device)
        return features

    def _tensors(self, item: Encoded) -> Mapping[str, Any]:
        """Return a pair's features as the library gives them."""
        if self._pairs is None:
            return item.features
        own = {name: torch.from_numpy(value).long() for name, value in item.features.items()}
        own["attention_mask"] = torch.ones(item.length, dtype=torch.long)
        return {name: own.get(name, value) for name, value in self._example.items()}

    def _whole_length(self, pair: Pair) -> int:
        """Return a pair's tokens without truncation, its template included."""
        model = self._open()
        if isinstance(model, PromptedModel):
            return model.preprocess([tuple(pair)], truncation=False)["input_ids"].shape[1]
        kwargs = {"text": {"truncation": False, "verbose": False}}
        features = model.preprocess([tuple(pair)], prompt=self._prompt, processing_kwargs=kwargs)
        return int(features["attention_mask"].sum())

    def _length(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


def _check_architecture(settings: EngineSettings, config: Mapping[str, Any]) -> Prompt | None:
    """Return the prompt of a model whose files don't say how it reads a pair; None where they do.

    :raises ModelError: If the model needs code that comes with it, or nothing says how it reads a pair.
    """
    architecture = ", ".join(config.get("architectures") or ()) or "its architecture"
    if not settings.trust_remote_code:
        check_no_code(settings.name, settings.folder)
    answers = architecture.endswith(("ForCausalLM", "ForConditionalGeneration"))
    prompt = prompt_of(settings.name)
    if not answers or settings.folder.has_modules or (prompt is None and settings.folder.has_pair_template):
        return None
    if prompt is None:
        known = ", ".join(prompt.models for prompt in PROMPTS)
        raise ModelError(
            f"{settings.name} is a language model ({architecture}) without modules.json: nothing says how it reads a "
            f"pair, and which token means relevant. Known by their names are {known}"
        )
    return prompt


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
