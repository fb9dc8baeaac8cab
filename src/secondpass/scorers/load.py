"""Loading a scorer: finds the model's files, chooses engine and device, and opens the model."""

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondpass.calibration import RECORD_FILES, Answerability, Calibration
from secondpass.engines.opening import EngineSettings
from secondpass.errors import ConfigurationError, MissingExtra, ModelError, checked, is_installed
from secondpass.models import CASCADES, ModelFamily, Status, bundled_names, family_of, unsupported
from secondpass.models.content import check_sha256
from secondpass.models.dialects import is_remote
from secondpass.models.files import ModelFolder, check_name, describe_contents, find_model, is_folder
from secondpass.models.hardware import PlacementRequest, split_devices
from secondpass.models.hub import HubAccess
from secondpass.processes import ForkLock
from secondpass.scorers.cascade import Cascade
from secondpass.scorers.devices import Devices
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engine import Engine
from secondpass.scoring.options import DEFAULT_MODEL, DEFAULT_OPTIONS, EngineName, LoadOptions
from secondpass.scoring.scorer import Scorer
from secondpass.scoring.worker import WorkerSettings

if TYPE_CHECKING:
    from secondpass.scorers.remote import RemoteScorer

logger = logging.getLogger("secondpass")


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """The module of an engine, and its dependency.

    :param module: The engine's module.
    :param factory: The class in it.
    :param package: The distribution that it imports.
    :param extra: The extra of secondpass that installs the distribution; empty for the base install.
    """

    module: str
    factory: str
    package: str
    extra: str

    @property
    def installed(self) -> bool:
        """Whether the distribution is installed; nothing is imported."""
        return is_installed(self.package)


ENGINES = {
    "onnx": EngineEntry("secondpass.engines.onnx", "OnnxEngine", "onnxruntime", ""),
    "torch": EngineEntry("secondpass.engines.torch", "TorchEngine", "sentence-transformers", "torch"),
}


@checked
def load_scorer(
    model: str | Path = DEFAULT_MODEL,
    *,
    engine: EngineName = "auto",
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    revision: str | None = None,
    options: LoadOptions = DEFAULT_OPTIONS,
) -> "CrossEncoder | Cascade | Devices | RemoteScorer":
    """Load a cross-encoder. Load it once and share it: it is safe across threads, chains and query engines.

    :param model: A bundled model (``"small"``, ``"nano"``: no download, no extra), ``"fast"`` (the cascade of the two),
        a folder, a hub id such as ``"cross-encoder/ms-marco-MiniLM-L6-v2"``, or a server's model such as
        ``"cohere:rerank-v3.5"`` (``RemoteScorer.named``; the other settings are refused with it). Of a folder with
        several forms, as ``secondpass.optimize`` writes it, int8 on a CPU and float32 on an accelerator.
    :param engine: As in ``LoadOptions``; so are ``device``, ``dtype``, ``max_length`` and ``revision``.
    :param options: All further options.
    :raises ModelNotFound: If there is no such model.
    :raises ModelError: If the model can't be used as a cross-encoder.
    :raises DeviceError: If the device or dtype is not available.
    :raises MissingExtra: If the engine is not installed.
    :raises ConfigurationError: If a setting is out of its range, given twice, or has no effect on this model.
    """
    beside = {"engine": engine, "device": device, "dtype": dtype, "max_length": max_length, "revision": revision}
    options = options.with_settings(**beside)
    if options.while_loading != "wait":
        raise ConfigurationError("while_loading has no effect on load_scorer, which waits: give it to an integration")
    check_loading(model, options)
    return open_scorer(model, options)


def open_scorer(model: str | Path, options: LoadOptions) -> "CrossEncoder | Cascade | Devices | RemoteScorer":
    """Return the scorer that ``load_scorer`` returns; what ``check_loading`` checks is taken as checked."""
    if isinstance(model, str) and model in CASCADES:
        return cascade_of(model, lambda name: open_scorer(name, options))
    if is_remote(model):
        remote: Callable[[str], RemoteScorer] = _imported("secondpass.scorers.remote").RemoteScorer.named
        return remote(str(model))
    _check_family(str(model))
    device = options.device
    hub = HubAccess(
        *(options.revision, options.local_files_only, options.cache_folder),
        *(options.file, options.dtype, options.trust_remote_code),
    )
    name, folder = _find(model, options.engine, device, hub)
    if device == "cuda:all" or "," in device:
        several = split_devices(device, _engine_module(name).hardware(device))
        return Devices([open_scorer(model, replace(options, device=one)) for one in several], several)
    _refuse(str(model), unsupported(folder.config.get("architectures") or ()))
    settings = EngineSettings(
        folder.name(str(model)),
        folder,
        _request(options),
        options.max_length,
        options.label,
        options.trust_remote_code,
        options.packed,
    )
    if options.sha256 is not None:
        check_sha256(folder, name, options.sha256)
    open_engine = partial(_open_engine, getattr(_engine_module(name), ENGINES[name].factory), settings)
    limits = WorkerSettings(options.max_queued_pairs, options.watchdog_seconds)
    return CrossEncoder(open_engine(), reopen=open_engine, limits=limits)


def check_loading(model: str | Path, options: LoadOptions) -> None:
    """Check what needs neither weights nor a connection: the name, the device, the limits, and that all has an effect.

    A server's model is loaded there, and only a hub has revisions.

    :raises ConfigurationError: If a setting is out of its range, or has no effect on this model.
    """
    _request(options)
    check_name(model)
    given = [name for name in options.given() if name != "while_loading"]
    bundled = isinstance(model, str) and model in bundled_names()
    if bundled or not is_remote(model):
        of_a_hub = {"revision", "file"} if bundled else {"revision"} if is_folder(model) else set()
        given = [name for name in given if name in of_a_hub]
    if given:
        why = (
            "is part of this package" if bundled else "is a folder" if not is_remote(model) else "is loaded by a server"
        )
        raise ConfigurationError(f"{', '.join(given)} has no effect on {str(model)!r:.200}, which {why}")


def _request(options: LoadOptions) -> PlacementRequest:
    """Return the requested placement.

    :raises DeviceError: If a name is unknown, or a limit below 1.
    """
    return PlacementRequest(options.device, options.dtype, options.batch_tokens, options.batch_size, options.threads)


@cache
def _check_family(model: str) -> None:
    """Log the licence of a hub model that is not an open-source one, once.

    :raises ModelError: If the model is known not to work; before anything is fetched.
    """
    family = family_of(model)
    if family is not None and family.status is Status.UNSUPPORTED:
        _refuse(model, family)
    if family is not None and not family.free:
        logger.warning("%s has the licence %s: see its card before you use it", model, family.licence)


def _refuse(model: str, family: ModelFamily | None) -> None:
    if family is not None:
        raise ModelError(f"{model} can't be loaded ({family.name}): {family.note}")


def _open_engine(factory: Callable[[EngineSettings], Engine], settings: EngineSettings) -> Engine:
    """Open a model with what lies calibrated in its folder.

    :raises ConfigurationError: If that was fitted on another model.
    """
    with ForkLock(waited=True):  # libraries import while they open a model
        engine = factory(settings)
    calibration, answerability = map(settings.folder.json, RECORD_FILES)
    spec = engine.facts.spec.calibrated(
        Calibration.from_dict(calibration) if calibration else None,
        Answerability.from_dict(answerability) if answerability else None,
    )
    engine.facts = replace(engine.facts, spec=spec)
    return engine


def cascade_of(name: str, load: Callable[[str], Scorer]) -> Cascade:
    """Return a bundled cascade, its models loaded by a function of their names."""
    cheap, precise, keep, first_stage_weight = CASCADES[name]
    return Cascade(load(cheap), load(precise), keep=keep, first_stage_weight=first_stage_weight, name=name)


def _find(model: str | Path, engine: str, device: str, hub: HubAccess) -> tuple[str, ModelFolder]:
    """Return the engine's name and the model's folder."""
    if not str(model).strip():
        raise ConfigurationError(
            f"model must be a bundled model ({', '.join(bundled_names())}), a folder or a hub id, got {model!r}"
        )
    if engine != "auto":
        _require(engine)
        return engine, _fastest_form(find_model(model, engine, hub), device)
    torch = ENGINES["torch"].installed and not hub.file and hub.dtype != "int8"
    folder = find_model(model, "torch" if torch else "onnx", hub)
    if folder.revision and not folder.has_checkpoint and folder.graph is None:
        folder = find_model(model, "onnx", hub)  # the hub has no safetensors of it, but perhaps a graph
    folder = _fastest_form(folder, device)
    chosen = _choose(folder, device)
    _require(chosen)
    return chosen, folder


def _fastest_form(folder: ModelFolder, device: str) -> ModelFolder:
    """Return the folder of the form that is fastest on a device; a folder with one form is that form's."""
    forms = folder.forms
    if len(forms) < 2:
        return folder
    accelerated = device not in ("auto", "cpu") or _engine_module("onnx").hardware(device).gpus
    return ModelFolder(forms["float32" if accelerated else "int8"])


def _choose(folder: ModelFolder, device: str) -> str:
    """Return the engine for the form of the model that a folder has."""
    if folder.file or (folder.dtype == "int8" and folder.graph is not None):
        return "onnx"
    if folder.graph is None and not folder.has_checkpoint:
        raise ModelError(
            f"a model's folder must hold model.onnx with tokenizer.json, or config.json with safetensors weights; "
            f"{folder.path} has {describe_contents(folder)}"
        )
    if folder.graph is None:
        return "torch"
    if not folder.has_checkpoint or not ENGINES["torch"].installed or device == "cpu":
        return "onnx"
    hardware = _engine_module("torch").hardware(device)
    return "torch" if device != "auto" or hardware.gpus or hardware.mps else "onnx"


def _engine_module(engine: str) -> Any:
    return _imported(ENGINES[engine].module)


def _imported(module: str) -> Any:
    """Import a module; a fork waits, since what is half-imported stays so in the child."""
    with ForkLock(waited=True):
        return importlib.import_module(module)


def _require(engine: str) -> None:
    entry = ENGINES[engine]
    if not entry.installed:
        raise MissingExtra(f"the {engine} engine", entry.package, entry.extra)
