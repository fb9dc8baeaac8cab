"""Where a model runs, as what, and how much at once: pure functions of a hardware record.

``probe`` fills the record for the processor; an engine adds the accelerators that its library can see.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from secondpass.errors import DeviceError
from secondpass.scoring.batching import BatchLimits

CPU_BATCH_TOKENS = 768  # activations of a small encoder then stay in the cache; docs/benchmarks has the sweep
MPS_BATCH_TOKENS = 8192
GPU_BATCH_TOKENS = (2048, 65536)  # at least, at most
GPU_BYTES_PER_TOKEN = 256 * 1024  # what a token of a large encoder takes, roomily
GPU_MEMORY_SHARE = 0.25  # of the free memory: other users of the card are expected


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device.

    :param index: Its number.
    :param name: Its name.
    :param free_bytes: The memory that is free on it; None where nobody can tell.
    :param bf16: Whether it computes in bfloat16.
    """

    index: int
    name: str = ""
    free_bytes: int | None = None
    bf16: bool = True


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine has, as far as an engine can use it.

    :param cpus: Processors that this process may use, container limits respected.
    :param gpus: CUDA devices.
    :param mps: Whether Apple's Metal can be used.
    """

    cpus: int
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for; ``"auto"`` and None leave it to the functions of this module.

    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    :param dtype: ``"auto"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``.
    :param batch_tokens: The ceiling of a batch in padded tokens.
    :param batch_size: The ceiling of a batch in pairs.
    """

    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs, and why there.

    :param device: ``"cpu"``, ``"cuda:N"`` or ``"mps"``.
    :param dtype: What it computes in.
    :param limits: The ceilings of a batch.
    :param reason: Why, in words, for the report.
    """

    device: str
    dtype: str
    limits: BatchLimits
    reason: str


def probe() -> Hardware:
    """Return what this machine has without asking any library about accelerators."""
    return Hardware(cpus=min(_affinity(), _quota()))


def place(request: Request, hardware: Hardware) -> Placement:
    """Choose device, dtype and batch ceilings.

    :raises DeviceError: If what was asked for isn't there.
    """
    device, why_device = choose_device(request.device, hardware)
    dtype, why_dtype = choose_dtype(request.dtype, device, hardware)
    return Placement(device, dtype, choose_limits(request, device, hardware), f"{why_device}; {why_dtype}")


def choose_device(requested: str, hardware: Hardware) -> tuple[str, str]:
    """Return the device and the reason: the CUDA device with the most free memory, else MPS, else the processor.

    :raises DeviceError: If the device that was asked for isn't there, or its name isn't one.
    """
    if requested == "auto":
        if hardware.gpus:
            best = max(hardware.gpus, key=lambda gpu: (gpu.free_bytes or 0, -gpu.index))
            return f"cuda:{best.index}", f"cuda:{best.index}, the CUDA device with the most free memory"
        return ("mps", "mps: no CUDA device") if hardware.mps else ("cpu", "cpu: no accelerator to be seen")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", requested):
        raise DeviceError(f"device must be auto, cpu, mps, cuda or cuda:N, got {requested!r}")
    wanted = "cuda:0" if requested == "cuda" else requested
    there = ["cpu", *(f"cuda:{gpu.index}" for gpu in hardware.gpus), *(["mps"] if hardware.mps else [])]
    if wanted not in there:
        raise DeviceError(f"device {requested!r} was asked for, and this engine sees only {', '.join(there)}")
    return wanted, f"{wanted} was asked for"


def choose_dtype(requested: str, device: str, hardware: Hardware) -> tuple[str, str]:
    """Return the dtype and the reason: float32, or on CUDA bfloat16 where the card computes in it, else float16.

    :raises DeviceError: If the dtype's name isn't one, or the device can't compute in it.
    """
    bf16 = any(gpu.bf16 for gpu in hardware.gpus if f"cuda:{gpu.index}" == device)
    if requested == "auto":
        if device.startswith("cuda"):
            return ("bfloat16", "bfloat16 on a card that has it") if bf16 else ("float16", "float16: no bfloat16 here")
        return "float32", f"float32 on {device}"
    if requested not in {"float32", "float16", "bfloat16"}:
        raise DeviceError(f"dtype must be auto, float32, float16 or bfloat16, got {requested!r}")
    if requested == "bfloat16" and device.startswith("cuda") and not bf16:
        raise DeviceError(f"bfloat16 was asked for, and {device} can't compute in it: take float16 or float32")
    return requested, f"{requested} was asked for"


def choose_limits(request: Request, device: str, hardware: Hardware) -> BatchLimits:
    """Return the ceilings of a batch.

    :raises DeviceError: If a ceiling that was asked for isn't above 0.
    """
    for name, value in (("batch_tokens", request.batch_tokens), ("batch_size", request.batch_size)):
        if value is not None and value < 1:
            raise DeviceError(f"{name} must be 1 or more, got {value}")
    limits = BatchLimits(CPU_BATCH_TOKENS, request.batch_size)
    if device == "mps":
        limits = BatchLimits(MPS_BATCH_TOKENS, request.batch_size, length_step=64)  # Metal compiles for each shape
    if device.startswith("cuda"):
        free = next((gpu.free_bytes for gpu in hardware.gpus if f"cuda:{gpu.index}" == device), None)
        least, most = GPU_BATCH_TOKENS
        fitting = least if free is None else int(free * GPU_MEMORY_SHARE / GPU_BYTES_PER_TOKEN)
        limits = BatchLimits(min(most, max(least, fitting)), request.batch_size, length_step=8)
    return replace(limits, max_tokens=request.batch_tokens or limits.max_tokens)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the processors that a container's quota comes to, at least one; without a quota, all there are."""
    try:
        quota, period = cgroup.read_text().split()
    except (OSError, ValueError):
        return os.cpu_count() or 1
    return (os.cpu_count() or 1) if quota == "max" else max(1, int(quota) // int(period))
