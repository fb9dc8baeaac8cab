"""Device, dtype and batch limits on described machines, and the measurement of this one."""

import os
from pathlib import Path
from typing import Any

import pytest
from nvidia_smi import TWO_GPUS, NvidiaSmi

from secondpass.errors import DeviceError
from secondpass.models.hardware import (
    Gpu,
    Hardware,
    _quota,
    cpu_count,
    cpu_threads,
    nvidia_gpus,
    place,
)
from secondpass.models.hardware import (
    PlacementRequest as Request,
)
from secondpass.scoring.engine import BatchLimits

GIB = 1024**3

LAPTOP = Hardware(cpus=8)
MAC = Hardware(cpus=8, mps=True)
GAMER = Hardware(cpus=8, gpus=(Gpu(0, "RTX 2080", 7 * GIB, bf16=False),))
SERVER = Hardware(cpus=64, gpus=(Gpu(0, "H200", 139 * GIB),))
BUSY_FIRST = Hardware(cpus=64, gpus=(Gpu(0, "A100", 1 * GIB), Gpu(1, "A100", 70 * GIB), Gpu(2, "A100", 40 * GIB)))
TWINS = Hardware(cpus=64, gpus=(Gpu(1, "A100", 70 * GIB), Gpu(0, "A100", 70 * GIB)))
MIXED = Hardware(cpus=64, gpus=(Gpu(0, "A100", 40 * GIB), Gpu(1, "T4", 15 * GIB, bf16=False)))
SILENT = Hardware(cpus=4, gpus=(Gpu(0),))


@pytest.mark.parametrize(
    ("hardware", "request_", "device", "dtype"),
    [
        pytest.param(LAPTOP, Request(), "cpu", "float32", id="a laptop runs on the CPU"),
        pytest.param(LAPTOP, Request(dtype="bfloat16"), "cpu", "bfloat16", id="the requested dtype on a CPU"),
        pytest.param(MAC, Request(), "mps", "float32", id="a Mac runs on Metal"),
        pytest.param(MAC, Request(device="cpu"), "cpu", "float32", id="the CPU of a Mac, as requested"),
        pytest.param(MAC, Request(dtype="float16"), "mps", "float16", id="float16 on Metal, as requested"),
        pytest.param(GAMER, Request(), "cuda:0", "float16", id="float16 on a GPU without bfloat16"),
        pytest.param(GAMER, Request(dtype="float32"), "cuda:0", "float32", id="float32 on a GPU, as requested"),
        pytest.param(SERVER, Request(), "cuda:0", "bfloat16", id="a server runs on its GPU in bfloat16"),
        pytest.param(
            SERVER,
            Request(dtype="float16"),
            "cuda:0",
            "float16",
            id="float16 on a GPU with bfloat16, as requested",
        ),
        pytest.param(SERVER, Request(device="cuda"), "cuda:0", "bfloat16", id="cuda means the first GPU"),
        pytest.param(SERVER, Request(device="cpu"), "cpu", "float32", id="the CPU of a server, as requested"),
        pytest.param(
            BUSY_FIRST, Request(), "cuda:1", "bfloat16", id="of several GPUs the one with the most free memory"
        ),
        pytest.param(BUSY_FIRST, Request(device="cuda:2"), "cuda:2", "bfloat16", id="a requested GPU"),
        pytest.param(TWINS, Request(), "cuda:0", "bfloat16", id="of equal GPUs the one with the lower number"),
        pytest.param(MIXED, Request(device="cuda:1"), "cuda:1", "float16", id="the dtype depends on the chosen GPU"),
        pytest.param(SILENT, Request(), "cuda:0", "bfloat16", id="a GPU without known properties"),
    ],
)
def test_device_and_dtype(hardware: Hardware, request_: Request, device: str, dtype: str) -> None:
    """Device and dtype follow from the machine and the request, and the reason names both."""
    placement = place(request_, hardware)
    assert (placement.device, placement.dtype) == (device, dtype)
    assert device in placement.reason
    assert dtype in placement.reason


@pytest.mark.parametrize(
    ("hardware", "request_", "message"),
    [
        pytest.param(
            LAPTOP,
            Request(device="cuda"),
            r"one that this engine can use \(cpu\), got 'cuda'",
            id="cuda without a GPU",
        ),
        pytest.param(LAPTOP, Request(device="mps"), r"can use \(cpu\), got 'mps'", id="Metal without a Mac"),
        pytest.param(MAC, Request(device="cuda:0"), r"can use \(cpu, mps\), got 'cuda:0'", id="a GPU on a Mac"),
        pytest.param(
            SERVER,
            Request(device="cuda:7"),
            r"can use \(cpu, cuda:0\), got 'cuda:7'",
            id="the eighth GPU of one",
        ),
        pytest.param(GAMER, Request(dtype="bfloat16"), "can't compute in it", id="bfloat16 on a GPU without it"),
        pytest.param(MIXED, Request("cuda:1", "bfloat16"), "can't compute in it", id="bfloat16 on the GPU without it"),
    ],
)
def test_a_request_that_cannot_be_met_is_an_error(hardware: Hardware, request_: Request, message: str) -> None:
    """A requested device or dtype is never silently replaced by another one."""
    with pytest.raises(DeviceError, match=message):
        place(request_, hardware)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"device": "gpu"}, "must be auto, cpu, .* got 'gpu'", id="an invalid device name"),
        pytest.param({"device": "cuda:"}, "must be auto, cpu, .* got 'cuda:'", id="cuda without a number"),
        pytest.param({"dtype": "int4"}, "dtype must be auto, .* got 'int4'", id="an invalid dtype"),
        pytest.param({"batch_tokens": 0}, "batch_tokens must be a whole number from 1", id="batches of no tokens"),
        pytest.param({"batch_size": -1}, "batch_size must be a whole number from 1", id="batches of no pairs"),
        pytest.param({"threads": 0}, "threads must be a whole number from 1", id="no threads"),
        pytest.param({"threads": 1.5}, "threads must be a whole number from 1, or None, got 1.5", id="half a thread"),
    ],
)
def test_an_invalid_request_is_refused_without_looking_at_the_hardware(settings: dict[str, Any], message: str) -> None:
    """Unknown names and limits below 1 are refused where the request is made."""
    with pytest.raises(DeviceError, match=message):
        Request(**settings)


@pytest.mark.parametrize(
    ("hardware", "request_", "limits"),
    [
        pytest.param(LAPTOP, Request(), BatchLimits(768), id="the cache of a CPU"),
        pytest.param(MAC, Request(), BatchLimits(8192, length_step=64), id="few shapes on Metal"),
        pytest.param(
            GAMER, Request(), BatchLimits(7168, length_step=8), id="7 GiB: a quarter of it at 256 KiB a token"
        ),
        pytest.param(SERVER, Request(), BatchLimits(65536, length_step=8), id="139 GiB: the most"),
        pytest.param(BUSY_FIRST, Request("cuda:0"), BatchLimits(2048, length_step=8), id="1 GiB: the least"),
        pytest.param(SILENT, Request(), BatchLimits(2048, length_step=8), id="unknown memory: the least"),
        pytest.param(LAPTOP, Request(batch_tokens=99, batch_size=3), BatchLimits(99, 3), id="as requested"),
        pytest.param(SERVER, Request(batch_size=32), BatchLimits(65536, 32, 8), id="pairs limited, tokens as well"),
    ],
)
def test_batch_limits(hardware: Hardware, request_: Request, limits: BatchLimits) -> None:
    """The limits of a batch follow from the device's memory and the request."""
    assert place(request_, hardware).limits == limits


def test_a_placement_has_its_reasons() -> None:
    """A placement says why its device and its dtype were chosen."""
    assert place(Request(), BUSY_FIRST).reason == (
        "cuda:1, the CUDA device with the most free memory; bfloat16 on a GPU that has it; "
        "experimental: not measured on a GPU yet"
    )
    assert place(Request("cpu", "float16"), LAPTOP).reason == "cpu was requested; float16 was requested"


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("200000 100000", 2), ("50000 100000", 1), ("150000 100000", 1), ("max 100000", None), ("nonsense", None)],
    ids=["two processors", "half a processor is one", "one and a half are one", "no limit", "not a quota"],
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, cpus: int | None) -> None:
    """A container's quota is rounded down to whole processors, at least one; without a quota, all count."""
    (tmp_path / "cpu.max").write_text(quota)
    assert _quota(tmp_path, tmp_path / "missing") == (cpus or os.cpu_count())


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/a.slice/b.scope", {"a.slice/b.scope/cpu.max": "max 100000", "a.slice/cpu.max": "100000 100000"}),
        (
            "3:cpu,cpuacct:/docker/x",
            {"cpu/docker/x/cpu.cfs_quota_us": "100000", "cpu/docker/x/cpu.cfs_period_us": "100000"},
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}),
    ],
    ids=["a parent's, version 2", "version 1", "version 1, in a container"],
)
def test_the_quota_of_the_own_group_counts(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    """The quota of the process's control group and of its parents counts, in both versions of control groups."""
    (tmp_path / "own").write_text(f"5:memory:/elsewhere\n{membership}\n")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert _quota(tmp_path, tmp_path / "own") == 1


def test_without_a_quota_every_processor_counts(tmp_path: Path) -> None:
    """Where there is no quota file, or version 1 says -1, the machine's processors count."""
    assert _quota(tmp_path, tmp_path / "missing") == os.cpu_count()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert _quota(tmp_path, tmp_path / "missing") == os.cpu_count()


def test_processors_of_this_process() -> None:
    """A process has at least one processor, and at most those of the machine."""
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("requested", "declared", "threads"),
    [(3, "5", 3), (None, "5", 5), (None, "", None), (None, "0", None), (None, "many", None), (None, None, None)],
)
def test_cpu_threads(
    monkeypatch: pytest.MonkeyPatch, requested: int | None, declared: str | None, threads: int | None
) -> None:
    """The threads are those of the request, else of a valid ``OMP_NUM_THREADS``, else one a processor."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if declared is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", declared)
    assert cpu_threads(requested) == (threads or cpu_count())


# nvidia-smi

MIB = 1024**2
T4 = Gpu(0, "Tesla T4", 15000 * MIB, bf16=False)
A100 = Gpu(1, "NVIDIA A100-SXM4-40GB", 40000 * MIB)


def test_gpus_are_read_from_nvidia_smi(nvidia_smi: NvidiaSmi) -> None:
    """Each GPU has its number, name and free memory, and bfloat16 from compute capability 8.0 on."""
    nvidia_smi.lists(TWO_GPUS)
    assert nvidia_gpus() == (T4, A100)
    assert nvidia_smi.runs == 1


def test_unknown_properties_of_a_gpu(nvidia_smi: NvidiaSmi) -> None:
    """Where nvidia-smi has no figures, the free memory is unknown, and the GPU counts as one without bfloat16."""
    nvidia_smi.lists('0, GPU-aaaa, "GPU, with a comma", [N/A], [N/A]\n')
    assert nvidia_gpus() == (Gpu(0, "GPU, with a comma", None, bf16=False),)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0,1", ["Tesla T4", "NVIDIA A100-SXM4-40GB"]),
        ("1", ["NVIDIA A100-SXM4-40GB"]),
        ("1, 0", ["NVIDIA A100-SXM4-40GB", "Tesla T4"]),
        ("GPU-bbbb2222-0000-0000-0000-000000000000", ["NVIDIA A100-SXM4-40GB"]),
        ("GPU-bbbb,GPU-aaaa", ["NVIDIA A100-SXM4-40GB", "Tesla T4"]),
        ("", []),
        ("-1", []),
        ("7", []),
        ("1,7,0", ["NVIDIA A100-SXM4-40GB"]),
        ("GPU-cccc,0", []),
    ],
)
def test_visible_devices_decide(
    nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    """``CUDA_VISIBLE_DEVICES`` selects and numbers GPUs by index or UUID; an unknown name ends the list, as in CUDA."""
    nvidia_smi.lists(TWO_GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [(gpu.index, gpu.name) for gpu in nvidia_gpus()] == list(enumerate(names))


def test_without_nvidia_smi_there_are_no_gpus(nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nvidia-smi isn't installed, there are no GPUs and no error."""
    nvidia_smi.remove()
    monkeypatch.setenv("PATH", "")
    assert nvidia_gpus() == ()


def test_a_failing_nvidia_smi_gives_no_gpus(nvidia_smi: NvidiaSmi) -> None:
    """Where nvidia-smi fails, as with a broken driver, there are no GPUs and no error."""
    nvidia_smi.lists(TWO_GPUS, exit_code=9)
    assert nvidia_gpus() == ()
    nvidia_smi.lists("No devices were found\n")
    assert nvidia_gpus() == ()


def test_the_second_of_two_gpus_can_be_requested(nvidia_smi: NvidiaSmi) -> None:
    """Of two listed GPUs ``cuda:1`` is available, with a dtype and limits of its own."""
    nvidia_smi.lists(TWO_GPUS)
    hardware = Hardware(cpus=8, gpus=nvidia_gpus())
    first, second = (place(Request(f"cuda:{number}"), hardware) for number in (0, 1))
    assert [(item.device, item.dtype) for item in (first, second)] == [("cuda:0", "float16"), ("cuda:1", "bfloat16")]
    assert first.limits.max_tokens < second.limits.max_tokens
