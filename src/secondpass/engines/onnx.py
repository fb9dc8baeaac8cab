"""The ONNX Runtime engine: a folder with ``model.onnx`` and ``tokenizer.json``, without torch."""

import ctypes
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from tokenizers import Tokenizer

from secondpass.engines.heads import read_head, read_max_length, truncation_side
from secondpass.engines.opening import EngineSettings, scoring_errors
from secondpass.engines.tokens import PairTokenizer
from secondpass.errors import DeviceError, ModelError, OutOfMemory
from secondpass.models.content import content_hash
from secondpass.models.files import GRAPHS, describe_contents
from secondpass.models.hardware import Hardware, PlacementRequest, cpu_count, cpu_threads, nvidia_gpus, place
from secondpass.models.onnx_graph import GraphFacts, read_graph
from secondpass.models.onnx_variants import needed_instructions
from secondpass.processes import end_without_destructors, renew_in_child
from secondpass.records import Pair, Spec
from secondpass.scoring.engine import Encoded, EngineFacts, Placement

_ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    error for error in vars(ort_errors).values() if isinstance(error, type) and issubclass(error, Exception)
)
_FOREIGN: tuple[type[Exception], ...] = (*_ORT_ERRORS, RuntimeError, MemoryError)
_OPENING: tuple[type[Exception], ...] = (*_FOREIGN, ValueError)
_OUT_OF_MEMORY: tuple[type[Exception], ...] = (*_ORT_ERRORS, MemoryError)
_PADDING = {"input_ids", "attention_mask", "token_type_ids"}
_CUDA = "CUDAExecutionProvider"
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


_LIBC: Any = ctypes.CDLL(None) if os.name == "posix" else None
_OPEN: "weakref.WeakSet[ort.InferenceSession]" = weakref.WeakSet()


def _leave_to_parent() -> None:
    """In a forked process, never close the parent's sessions: that would wait for threads which aren't there.

    They are kept for ever, and what ONNX Runtime's library holds isn't closed at the end of the process.
    """
    sessions = tuple(_OPEN)
    for session in sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    if sessions:
        end_without_destructors()


def hardware(device: str = "auto") -> Hardware:
    """Return the devices that this build of ONNX Runtime can use.

    :param device: The requested device; for ``"cpu"`` GPUs are not looked for.
    """
    with_cuda = device != "cpu" and _CUDA in ort.get_available_providers()
    return Hardware(cpu_count(), nvidia_gpus() if with_cuda else ())


class OnnxEngine:
    """Runs a cross-encoder with ONNX Runtime.

    :param settings: The model's folder, and the requested placement.
    :raises ModelError: If the folder has no usable model.
    :raises DeviceError: If the device or the dtype is not available.
    """

    def __init__(self, settings: EngineSettings) -> None:
        folder = settings.folder
        if folder.graph is None:
            raise ModelError(
                f"the onnx engine needs model.onnx and tokenizer.json in {folder.path}, "
                f"and finds {describe_contents(folder)}"
            )
        self._folder = folder
        self._graph = folder.graph
        request = settings.request
        self._threads = cpu_threads(request.threads)
        graph_dtype = replace(request, dtype="auto")  # an ONNX graph computes in its own dtype
        self._placement = place(graph_dtype, hardware(request.device))
        self._session: ort.InferenceSession | None = None
        session = self._open()
        if self._placement.device != "cpu" and _CUDA not in session.get_providers():
            self._placement = self._without_cuda(graph_dtype)
        self._inputs = {item.name: _integer(item.type) for item in session.get_inputs()}
        unknown = sorted(self._inputs.keys() - _PADDING)
        if unknown:
            raise ModelError(f"a graph's inputs must be among {', '.join(sorted(_PADDING))}, and one has {unknown}")
        self._output = _score_output(session)
        config, tokenizer_config = folder.config, folder.tokenizer_config
        max_length = read_max_length(settings.max_length, config, tokenizer_config)
        self._side = truncation_side(tokenizer_config)
        self._tokenizer = PairTokenizer(folder.path / "tokenizer.json", max_length, self._side)
        self._pad_id = _pad_id(self._tokenizer.tokenizer, config, tokenizer_config)
        self.facts = self._read_facts(settings, config, max_length)

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Tokenise pairs, truncated to the model's length."""
        return self._tokenizer.encode(pairs)

    def forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Return the raw outputs, (pairs, labels).

        :raises ScoringError: If ONNX Runtime failed.
        :raises ModelError: If the output has another shape.
        """
        longest = self.facts.placement.limits.padded(max(item.length for item in batch))
        fill = {"input_ids": self._pad_id, "token_type_ids": 0}
        feeds = {
            name: _mask(batch, longest, dtype)
            if name == "attention_mask"
            else _padded([item.features[name] for item in batch], longest, fill[name], dtype)
            for name, dtype in self._inputs.items()
        }
        with scoring_errors("onnxruntime", _FOREIGN):
            try:
                (output,) = self._open().run([self._output.name], feeds)
            except _OUT_OF_MEMORY as error:
                if isinstance(error, MemoryError) or "allocate memory" in str(error):
                    raise OutOfMemory(f"{len(batch)} pairs of {longest} tokens do not fit into memory") from error
                raise
        rows = np.asarray(output, dtype=np.float64)
        if rows.size != len(batch) * self.facts.head.labels:
            raise ModelError(
                f"{self.facts.spec.name}: a batch of {len(batch)} pairs must give ({len(batch)}, "
                f"{self.facts.head.labels}) outputs, got {rows.shape}"
            )
        return rows.reshape(len(batch), -1).tolist()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens."""
        return self._tokenizer.count(texts)

    def release(self) -> None:
        """Close the session, and give its memory back to the system; the next ``forward`` opens it again."""
        self._session = None
        if hasattr(_LIBC, "malloc_trim"):  # glibc keeps freed memory otherwise
            _LIBC.malloc_trim(0)

    def _open(self) -> ort.InferenceSession:
        session = self._session  # read once: a release after a batch that hangs runs beside that batch
        if session is None:
            options = ort.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3  # its warnings are about its own graph optimisation
            try:
                session = ort.InferenceSession(str(self._graph), options, _providers(self._placement.device))
                _OPEN.add(session)
            except _OPENING as error:
                raise ModelError(f"onnxruntime can't open {self._graph}: {error!s:.300}") from error
            self._session = session
        return session

    def _without_cuda(self, request: PlacementRequest) -> Placement:
        """Return the placement of a session that fell back to the CPU because CUDA's libraries are missing.

        :raises DeviceError: If a CUDA device was requested.
        """
        if request.device != "auto":
            raise DeviceError(
                f"{request.device} was requested, and ONNX Runtime could not load its CUDA provider: install the CUDA "
                "and cuDNN libraries that this version of onnxruntime-gpu needs, or use device='cpu'"
            )
        placement = place(replace(request, device="cpu"), Hardware(cpu_count()))
        reason = "cpu: ONNX Runtime could not load its CUDA provider; float32 on cpu"
        return replace(placement, reason=reason)

    def _read_facts(self, settings: EngineSettings, config: Mapping[str, Any], max_length: int) -> EngineFacts:
        graph = read_graph(self._graph, self._output.name)
        dtype = _dtype(settings.request.dtype, graph, self._output)
        head = read_head(config, _label_count(self._output, config), graph.squashed_by, settings.label)
        external = {Path(os.path.normpath(self._graph.parent / name)) for name in graph.external}
        content = content_hash(self._folder.path, {self._graph, *external})
        parts = (
            settings.folder.revision or "",
            content,
            ort.__version__,
            dtype,
            max_length,
            head.positive,
            self._side,
        )
        spec = Spec(
            settings.name,
            head.scale,
            fingerprint="|".join(map(str, ("onnx", *parts))),
            max_tokens=max_length,
            batch_invariant=not graph.dynamic,
            weights=f"{content}|{head.positive}",
        )
        file = self._graph.relative_to(self._folder.path).as_posix()
        instructions = needed_instructions(file)
        reason = f"{self._placement.reason.split(';')[0]}; the graph computes in {dtype}"
        reason += f" ({file}{f', for {instructions}' if instructions else ''})" if file not in GRAPHS else ""
        placement = replace(self._placement, dtype=dtype, reason=reason)
        return EngineFacts(spec, head, placement, "onnx", reads_end=self._side == "left")


renew_in_child(OnnxEngine, lambda _: _leave_to_parent())


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    return [(_CUDA, {"device_id": int(device.rpartition(":")[2])}), "CPUExecutionProvider"]


def _integer(declared: str) -> Any:
    return np.int32 if declared == "tensor(int32)" else np.int64


def _dtype(requested: str, graph: GraphFacts, output: Any) -> str:
    dtype = "int8" if graph.quantised else _DTYPES.get(output.type, output.type)
    if requested not in {"auto", dtype}:
        raise DeviceError(f"dtype must be auto or {dtype}, in which this ONNX graph computes, got {requested!r}")
    return dtype


def _score_output(session: ort.InferenceSession) -> Any:
    outputs = session.get_outputs()
    return next((output for output in outputs if output.name in {"logits", "scores"}), outputs[0])


def _label_count(output: Any, config: Mapping[str, Any]) -> int:
    """Return the number of outputs of each pair, from the graph's shape, else from the configuration.

    :raises ModelError: If the output is not (pairs, labels), as with embedding models.
    """
    shape = list(output.shape)
    if len(shape) > 2:
        raise ModelError(
            f"a cross-encoder's output must be (pairs, labels), and {output.name!r} is {shape}: "
            "is this an embedding model?"
        )
    if len(shape) == 2 and isinstance(shape[1], int):
        return shape[1]
    return int(config.get("num_labels") or len(config.get("id2label") or {}) or 1) if len(shape) == 2 else 1


def _pad_id(tokenizer: Tokenizer, config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> int:
    declared = tokenizer_config.get("pad_token")
    token = declared.get("content") if isinstance(declared, dict) else declared
    found = tokenizer.token_to_id(token) if token else None
    return int(found if found is not None else config.get("pad_token_id") or 0)


def _padded(rows: Sequence[Any], width: int, fill: int, dtype: Any) -> Any:
    batch = np.full((len(rows), width), fill, dtype=dtype)
    for position, row in enumerate(rows):
        batch[position, : len(row)] = row
    return batch


def _mask(batch: Sequence[Encoded], width: int, dtype: Any) -> Any:
    lengths = np.array([item.length for item in batch])
    return (np.arange(width) < lengths[:, None]).astype(dtype)
