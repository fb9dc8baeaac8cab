"""How a model is loaded: its name, its engine, its device, and advanced options."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from secondpass.errors import ConfigurationError, checked
from secondpass.records import changed_fields

DEFAULT_MODEL = "small"
"""What is loaded where no other model is named."""

EngineName = Literal["auto", "onnx", "torch"]
WhileLoading = Literal["wait", "degrade"]
"""What a call does while a model that was named is loading."""


@checked
@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded, and how it runs.

    :param engine: ``"onnx"`` (base install), ``"torch"`` (extra ``torch``), or ``"auto"``: the form that the folder
        has; with both forms torch on an accelerator, else ONNX Runtime; for a hub id torch if it is installed.
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``. Several GPUs share the work with
        ``"cuda:all"`` or ``"cuda:0,cuda:1"``.
    :param dtype: ``"auto"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``; of an ONNX graph its own. Of several ONNX
        files ``"int8"`` takes the quantised one for this CPU's instruction set.
    :param max_length: The longest pair in tokens; None takes the model's own.
    :param revision: A branch, tag or commit of a hub model.
    :param batch_size: The limit of a batch in pairs, beside the limit in tokens.
    :param batch_tokens: The limit of a batch in padded tokens; None chooses it from the hardware.
    :param file: The ONNX file in the folder or hub repository, such as ``"onnx/model_qint8_avx512.onnx"``; None takes
        ``model.onnx``, ``onnx/model.onnx``, another with float32 weights, the quantised one for this CPU, or the only
        one.
    :param threads: CPU threads of a forward pass; None takes ``OMP_NUM_THREADS``, else one a processor. With several
        models or worker processes on one machine, give each its share.
    :param label: The output column that means "relevant", where the model's configuration doesn't name it.
    :param trust_remote_code: Whether Python code that comes with the model is fetched and may run.
    :param packed: Whether the torch engine packs encoders' batches, without padding: None for where they can
        be packed, but not on MPS.
    :param local_files_only: Take files from the hub's cache, and never connect to the hub.
    :param cache_folder: The hub's cache; None takes the hub library's own.
    :param sha256: The SHA-256 of the ONNX or safetensors file, as hexadecimal digits; other weights are refused, and so
        are weights in several files.
    :param max_queued_pairs: How many pairs may wait for the device; a call beyond it fails with ``QueueFull``.
    :param watchdog_seconds: How long one batch may take before its calls fail and its thread is replaced.
    :param while_loading: What a call of an integration does while the model is loading: ``"wait"``, or ``"degrade"``,
        which has it loaded in the background, and returns the first stage's order, marked.
    :raises ConfigurationError: If a limit is out of its range.
    """

    engine: EngineName = "auto"
    device: str = "auto"
    dtype: str = "auto"
    max_length: int | None = None
    revision: str | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    file: str | None = None
    threads: int | None = None
    label: int | None = None
    trust_remote_code: bool = False
    packed: bool | None = None
    local_files_only: bool = False
    cache_folder: str | None = None
    sha256: str | None = None
    max_queued_pairs: int = 100_000
    watchdog_seconds: float = 300.0
    while_loading: WhileLoading = "wait"

    def __post_init__(self) -> None:
        """Check the limits."""
        if not (self.max_queued_pairs >= 1 and self.watchdog_seconds > 0):
            raise ConfigurationError(
                f"max_queued_pairs must be 1 or more and watchdog_seconds above 0, got {self.max_queued_pairs!r} and "
                f"{self.watchdog_seconds!r}"
            )

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name."""
        return changed_fields(self)

    def with_settings(self, **settings: Any) -> Self:
        """Return these options with settings that were given beside them; those at their defaults change nothing.

        :param settings: Fields of this record.
        :raises ConfigurationError: If one is given here, too.
        """
        beside, own = type(self)(**settings).given(), self.given()
        twice = sorted(beside.keys() & own.keys())
        if twice:
            raise ConfigurationError(
                f"{twice[0]} is given twice: {twice[0]}={beside[twice[0]]!r}, and {own[twice[0]]!r} in options"
            )
        return replace(self, **beside) if beside else self


DEFAULT_OPTIONS = LoadOptions()
