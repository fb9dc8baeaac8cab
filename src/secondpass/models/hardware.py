"""Device, dtype and batch limits as pure functions of a hardware record.

``cpu_count`` and ``nvidia_gpus`` measure the machine; engines put the record together from what their library can use.
"""

import csv
import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from secondpass.errors import DeviceError
from secondpass.scoring.engine import BatchLimits, Placement

CPU_BATCH_TOKENS = 768
"""Keeps the activations of a small encoder in the cache; measured in docs/benchmarks/engines.md."""
MPS_BATCH_TOKENS = 8192
GPU_BATCH_TOKENS = (2048, 65536)
"""At least, and at most."""
GPU_BYTES_PER_TOKEN = 256 * 1024
"""An upper estimate of the activations of a large encoder."""
GPU_MEMORY_SHARE = 0.25
"""Of the free memory, since other processes use the GPU too."""

EXPERIMENTAL = "experimental: not measured on a GPU yet"
"""A part of the reason of every placement but the CPU's."""

DTYPES = ("float32", "float16", "bfloat16")
_BF16_CAPABILITY = 8.0  # Ampere


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device.

    :param index: Its number in this process.
    :param name: Its name.
    :param free_bytes: Its free memory; None if unknown.
    :param bf16: Whether it computes in bfloat16.
    """

    index: int
    name: str = ""
    free_bytes: int | None = None
    bf16: bool = True


@dataclass(frozen=True, slots=True)
class Hardware:
    """The devices that an engine can use.

    :param cpus: Processors available to this process, container limits included.
    :param gpus: CUDA devices.
    :param mps: Whether Apple's Metal is available.
    """

    cpus: int
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """The requested placement; ``"auto"`` and None choose from the hardware.

    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``; of several, ``"cuda:all"`` or
        ``"cuda:0,cuda:1"``, see ``split_devices``.
    :param dtype: ``"auto"``, ``"float32"``, ``"float16"`` or ``"bfloat16"``.
    :param batch_tokens: The limit of a batch in padded tokens.
    :param batch_size: The limit of a batch in pairs.
    :param threads: CPU threads of a forward pass.
    :raises DeviceError: If a name is unknown, or a limit below 1.
    """

    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    batch_size: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check what needs no hardware."""
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?|cuda:all|cuda:\d+(,cuda:\d+)+", str(self.device)):
            raise DeviceError(f"device must be auto, cpu, mps, cuda or cuda:N, got {self.device!r}")
        if self.dtype not in ("auto", "int8", *DTYPES):  # int8 is that of a graph
            raise DeviceError(f"dtype must be auto, {', '.join(DTYPES)}, got {self.dtype!r}")
        for name in ("batch_tokens", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= 1):
                raise DeviceError(f"{name} must be a whole number from 1, or None, got {value!r}")


def place(request: PlacementRequest, hardware: Hardware) -> Placement:
    """Choose device, dtype and batch limits.

    :raises DeviceError: If the request can't be met.
    """
    device, why_device = choose_device(request.device, hardware)
    dtype, why_dtype = choose_dtype(request.dtype, device, hardware)
    reason = f"{why_device}; {why_dtype}" + ("" if device == "cpu" else f"; {EXPERIMENTAL}")
    return Placement(device, dtype, choose_limits(request, device, hardware), reason)


def choose_device(requested: str, hardware: Hardware) -> tuple[str, str]:
    """Return the device and the reason: the CUDA device with the most free memory, else MPS, else the CPU.

    :raises DeviceError: If the requested device is not available.
    """
    if requested == "auto":
        if hardware.gpus:
            best = max(hardware.gpus, key=lambda gpu: (gpu.free_bytes or 0, -gpu.index))
            return f"cuda:{best.index}", f"cuda:{best.index}, the CUDA device with the most free memory"
        return ("mps", "mps: no CUDA device") if hardware.mps else ("cpu", "cpu: no accelerator available")
    device = "cuda:0" if requested == "cuda" else requested
    available = ["cpu", *(f"cuda:{gpu.index}" for gpu in hardware.gpus), *(["mps"] if hardware.mps else [])]
    if device not in available:
        raise DeviceError(f"device must be one that this engine can use ({', '.join(available)}), got {requested!r}")
    return device, f"{device} was requested"


def split_devices(requested: str, hardware: Hardware) -> list[str]:
    """Return the single devices of a request for several, each once; other requests as they are.

    :raises DeviceError: If all CUDA devices are requested, and there is none.
    """
    if requested == "cuda:all":
        if not hardware.gpus:
            raise DeviceError("cuda:all was requested, and this engine can use no CUDA device")
        return [f"cuda:{gpu.index}" for gpu in hardware.gpus]
    return list(dict.fromkeys(str(requested).split(",")))


def choose_dtype(requested: str, device: str, hardware: Hardware) -> tuple[str, str]:
    """Return the dtype and the reason: float32; on CUDA bfloat16 if the GPU supports it, else float16.

    :raises DeviceError: If the dtype is none of torch's, or the device can't compute in it.
    """
    bf16 = any(gpu.bf16 for gpu in hardware.gpus if f"cuda:{gpu.index}" == device)
    if requested == "auto":
        if device.startswith("cuda"):
            return ("bfloat16", "bfloat16 on a GPU that has it") if bf16 else ("float16", "float16: no bfloat16 here")
        return "float32", f"float32 on {device}"
    if requested not in DTYPES:
        raise DeviceError(f"dtype must be auto, {', '.join(DTYPES)}, got {requested!r}")
    if requested == "bfloat16" and device.startswith("cuda") and not bf16:
        raise DeviceError(f"bfloat16 was requested, and {device} can't compute in it: use float16 or float32")
    return requested, f"{requested} was requested"


def choose_limits(request: PlacementRequest, device: str, hardware: Hardware) -> BatchLimits:
    """Return the limits of a batch."""
    limits = BatchLimits(CPU_BATCH_TOKENS, request.batch_size)
    if device == "mps":
        limits = BatchLimits(MPS_BATCH_TOKENS, request.batch_size, length_step=64)  # Metal compiles for each shape
    if device.startswith("cuda"):
        free = next((gpu.free_bytes for gpu in hardware.gpus if f"cuda:{gpu.index}" == device), None)
        least, most = GPU_BATCH_TOKENS
        tokens = least if free is None else int(free * GPU_MEMORY_SHARE / GPU_BYTES_PER_TOKEN)
        limits = BatchLimits(min(most, max(least, tokens)), request.batch_size, length_step=8)
    return replace(limits, max_tokens=request.batch_tokens or limits.max_tokens)


def token_budget(free_bytes: int, bytes_per_token: float) -> int:
    """Return how many tokens a packed batch may have, from what was measured on a GPU.

    :param free_bytes: Its free memory, of which a share is used: others use it too.
    :param bytes_per_token: What a token of a batch takes.
    """
    least, most = GPU_BATCH_TOKENS
    return min(most, max(least, int(free_bytes * GPU_MEMORY_SHARE / max(1.0, bytes_per_token))))


def cpu_threads(requested: int | None) -> int:
    """Return the CPU threads of a forward pass: the request, else ``OMP_NUM_THREADS``, else one a processor."""
    declared = os.environ.get("OMP_NUM_THREADS", "")
    return requested or (int(declared) if declared.isdecimal() and int(declared) else cpu_count())


def cpu_count() -> int:
    """Return the processors available to this process: its affinity, at most its container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(affinity, _quota())


def nvidia_gpus() -> tuple[Gpu, ...]:
    """Return the CUDA devices that this process may use, as ``nvidia-smi`` lists them; none where it is missing.

    It creates no CUDA context, which would take some hundred megabytes on every GPU. ``CUDA_VISIBLE_DEVICES`` decides
    which GPUs there are and how they are numbered.
    """
    query = "--query-gpu=index,uuid,name,memory.free,compute_cap"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)  # noqa: S603  # fixed
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [row for row in csv.reader(listed.stdout.splitlines(), skipinitialspace=True) if len(row) == 5]
    return tuple(
        Gpu(number, name, int(float(free) * 2**20) if _is_number(free) else None, _computes_bf16(capability))
        for number, (_, _, name, free, capability) in enumerate(_visible(rows))
    )


def _visible(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows that ``CUDA_VISIBLE_DEVICES`` names, in its order, up to the first unknown name, as CUDA does."""
    declared = os.environ.get("CUDA_VISIBLE_DEVICES")
    if declared is None:
        return rows
    visible: list[list[str]] = []
    for name in declared.split(","):
        matches = [row for row in rows if name.strip() == row[0] or (name.strip() and row[1].startswith(name.strip()))]
        if not matches:
            break
        visible.append(matches[0])
    return visible


def _computes_bf16(capability: str) -> bool:
    return _is_number(capability) and float(capability) >= _BF16_CAPABILITY


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the processors of a container's quota, at least one; without a quota, all of the machine.

    The lowest quota counts among those of the process's control group and its parents, of version 1 and 2.
    """
    try:
        memberships = [line.split(":", 2)[1:] for line in own.read_text().splitlines()]
    except (OSError, IndexError):
        memberships = []
    folders = [root, root / "cpu"]  # in a container, its own group is the root
    for controllers, path in memberships:
        if not controllers or "cpu" in controllers.split(","):
            base = root / "cpu" if controllers else root
            group = base / path.lstrip("/")
            folders += [folder for folder in (group, *group.parents) if folder.is_relative_to(base)]
    quotas = [quota for folder in folders if (quota := _group_quota(folder))]
    return min([os.cpu_count() or 1, *(max(1, int(quota)) for quota in quotas)])


def _group_quota(folder: Path) -> float | None:
    """Return the processors of one control group's quota, or None without one."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            return int(quota) / int(period) if int(quota) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
            continue
    return None
