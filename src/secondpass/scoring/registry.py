"""From a model's name to a scorer: which engine, which files, which device."""

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from secondpass.errors import ConfigurationError, MissingExtra, ModelError
from secondpass.models import DEFAULT_MODEL
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.devices import Request
from secondpass.scoring.engine import EngineSettings
from secondpass.scoring.model_files import HubAccess, ModelFolder, describe_contents, find_model

EngineName = Literal["auto", "onnx", "torch"]


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """Where an engine is, and what it needs.

    :param module: The engine's own file.
    :param factory: The class in it.
    :param package: The package without which it can't be imported.
    :param extra: The extra of secondpass that brings the package; empty where the base install does.
    """

    module: str
    factory: str
    package: str
    extra: str

    @property
    def installed(self) -> bool:
        """Whether the package is there; nothing is imported to find out."""
        return find_spec(self.package.replace("-", "_")) is not None


ENGINES = {
    "onnx": EngineEntry("secondpass.scoring.engines.onnx", "OnnxEngine", "onnxruntime", ""),
    "torch": EngineEntry("secondpass.scoring.engines.torch", "TorchEngine", "sentence-transformers", "torch"),
}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What few people need to say about a model.

    :param batch_size: The ceiling of a batch in pairs; the ceiling in tokens holds as well.
    :param batch_tokens: The ceiling of a batch in padded tokens; None chooses it from the hardware.
    :param label: The output column that means "relevant", where the model's configuration leaves it open.
    :param trust_remote_code: Whether Python code that comes with the model may run.
    :param local_files_only: Take what the hub's cache has, and never ask the hub.
    :param cache_folder: The hub's cache; None takes the hub library's own.
    """

    batch_size: int | None = None
    batch_tokens: int | None = None
    label: int | None = None
    trust_remote_code: bool = False
    local_files_only: bool = False
    cache_folder: str | None = None


DEFAULT_OPTIONS = LoadOptions()


def load_scorer(
    model: str | Path = DEFAULT_MODEL,
    *,
    engine: EngineName = "auto",
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    revision: str | None = None,
    options: LoadOptions = DEFAULT_OPTIONS,
) -> CrossEncoder:
    """Load a cross-encoder. Do it once and share the scorer: it is safe across threads, chains and engines.

    :param model: A bundled model (``"small"``, ``"nano"``: no download, no extra), a folder, or a hub id such as
        ``"cross-encoder/ms-marco-MiniLM-L6-v2"``.
    :param engine: ``"onnx"`` (base install), ``"torch"`` (extra ``torch``), or ``"auto"``: what the folder holds; with
        both forms, torch where it finds an accelerator and else ONNX Runtime; for a hub id, torch if installed.
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    :param dtype: ``"auto"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param revision: A branch, tag or commit of a hub model.
    :param options: What few people need to say.
    :raises ModelNotFound: If there is no such model.
    :raises ModelError: If the model can't be used as a cross-encoder.
    :raises DeviceError: If the device or dtype isn't there.
    :raises MissingExtra: If the engine isn't installed.
    """
    hub = HubAccess(revision, options.local_files_only, options.cache_folder)
    name, folder = _find(model, engine, device, hub)
    request = Request(device, dtype, options.batch_tokens, options.batch_size)
    settings = EngineSettings(
        folder.name(str(model)), folder.path, folder.revision, request, max_length, options.label, options.trust_remote_code
    )
    entry = ENGINES[name]
    return CrossEncoder(getattr(importlib.import_module(entry.module), entry.factory)(settings))


def _find(model: str | Path, engine: str, device: str, hub: HubAccess) -> tuple[str, ModelFolder]:
    """Return the engine to take and the model's folder."""
    if not isinstance(model, str | Path) or not str(model).strip():
        raise ConfigurationError(f"model must be a bundled model, a folder or a hub id, got {model!r}")
    if engine != "auto":
        if engine not in ENGINES:
            raise ConfigurationError(f"engine must be auto, {' or '.join(ENGINES)}; got {engine!r}")
        _require(engine)
        return engine, find_model(model, engine, hub)
    folder = find_model(model, "torch" if ENGINES["torch"].installed else "onnx", hub)
    if folder.revision and not folder.has_checkpoint and folder.graph is None:
        folder = find_model(model, "onnx", hub)  # the hub has no safetensors of it, but perhaps a graph
    chosen = _choose(folder, device)
    _require(chosen)
    return chosen, folder


def _choose(folder: ModelFolder, device: str) -> str:
    """Return the engine for what a folder holds."""
    if folder.graph is None and not folder.has_checkpoint:
        raise ModelError(
            f"a model's folder must hold model.onnx with tokenizer.json, or config.json with safetensors weights; "
            f"{folder.path} has {describe_contents(folder)}"
        )
    if folder.graph is None:
        return "torch"
    if not folder.has_checkpoint or not ENGINES["torch"].installed:
        return "onnx"
    if device == "cpu":
        return "onnx"
    hardware = importlib.import_module(ENGINES["torch"].module).hardware()
    return "torch" if device != "auto" or hardware.gpus or hardware.mps else "onnx"


def _require(engine: str) -> None:
    entry = ENGINES[engine]
    if not entry.installed:
        raise MissingExtra(f"the {engine} engine", entry.package, entry.extra)
