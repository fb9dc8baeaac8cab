"""Where a model runs, as what, and how much at once: a table of machines, none of which need be this one."""

import os
from pathlib import Path

import pytest

from secondpass.errors import DeviceError
from secondpass.scoring import hardware as devices
from secondpass.scoring.batching import BatchLimits
from secondpass.scoring.hardware import Gpu, Hardware, Request, place, probe

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
        pytest.param(LAPTOP, Request(), "cpu", "float32", id="a laptop takes its processor"),
        pytest.param(LAPTOP, Request(dtype="bfloat16"), "cpu", "bfloat16", id="a processor computes in what is asked"),
        pytest.param(MAC, Request(), "mps", "float32", id="a Mac takes Metal"),
        pytest.param(MAC, Request(device="cpu"), "cpu", "float32", id="a Mac can be told to take its processor"),
        pytest.param(MAC, Request(dtype="float16"), "mps", "float16", id="Metal computes in float16 if asked"),
        pytest.param(GAMER, Request(), "cuda:0", "float16", id="a card without bfloat16 takes float16"),
        pytest.param(GAMER, Request(dtype="float32"), "cuda:0", "float32", id="a card computes in float32 if asked"),
        pytest.param(SERVER, Request(), "cuda:0", "bfloat16", id="a server takes its card in bfloat16"),
        pytest.param(SERVER, Request(dtype="float16"), "cuda:0", "float16", id="float16 on a card that has bfloat16"),
        pytest.param(SERVER, Request(device="cuda"), "cuda:0", "bfloat16", id="cuda alone is the first card"),
        pytest.param(SERVER, Request(device="cpu"), "cpu", "float32", id="a server can be told to take its processor"),
        pytest.param(BUSY_FIRST, Request(), "cuda:1", "bfloat16", id="of several cards the one with most free memory"),
        pytest.param(BUSY_FIRST, Request(device="cuda:2"), "cuda:2", "bfloat16", id="a named card is taken"),
        pytest.param(TWINS, Request(), "cuda:0", "bfloat16", id="of equal cards the one with the lower number"),
        pytest.param(
            MIXED, Request(device="cuda:1"), "cuda:1", "float16", id="the dtype goes by the card, not the best"
        ),
        pytest.param(SILENT, Request(), "cuda:0", "bfloat16", id="a card of which nothing is known is taken"),
    ],
)
def test_where_a_model_runs(hardware: Hardware, request_: Request, device: str, dtype: str) -> None:
    """Device and dtype follow from what the machine has and what was asked for."""
    placement = place(request_, hardware)
    assert (placement.device, placement.dtype) == (device, dtype)
    assert device in placement.reason
    assert dtype in placement.reason


@pytest.mark.parametrize(
    ("hardware", "request_", "said"),
    [
        pytest.param(LAPTOP, Request(device="cuda"), "sees only cpu$", id="cuda without a card"),
        pytest.param(LAPTOP, Request(device="mps"), "sees only cpu$", id="Metal without a Mac"),
        pytest.param(MAC, Request(device="cuda:0"), "sees only cpu, mps$", id="a card on a Mac"),
        pytest.param(
            SERVER, Request(device="cuda:7"), "'cuda:7' .* sees only cpu, cuda:0$", id="an eighth card of one"
        ),
        pytest.param(LAPTOP, Request(device="gpu"), "must be auto, cpu, .* got 'gpu'", id="no such device name"),
        pytest.param(LAPTOP, Request(device="cuda:"), "must be auto, cpu, .* got 'cuda:'", id="cuda without a number"),
        pytest.param(LAPTOP, Request(dtype="int4"), "dtype must be auto, .* got 'int4'", id="no such dtype"),
        pytest.param(GAMER, Request(dtype="bfloat16"), "can't compute in it", id="bfloat16 on a card without it"),
        pytest.param(MIXED, Request("cuda:1", "bfloat16"), "can't compute in it", id="bfloat16 on the card without it"),
        pytest.param(
            LAPTOP, Request(batch_tokens=0), "batch_tokens must be 1 or more, got 0", id="batches of no tokens"
        ),
        pytest.param(LAPTOP, Request(batch_size=-1), "batch_size must be 1 or more, got -1", id="batches of no pairs"),
    ],
)
def test_what_is_not_there_is_an_error(hardware: Hardware, request_: Request, said: str) -> None:
    """Nothing that was asked for is quietly replaced by something else."""
    with pytest.raises(DeviceError, match=said):
        place(request_, hardware)


@pytest.mark.parametrize(
    ("hardware", "request_", "limits"),
    [
        pytest.param(LAPTOP, Request(), BatchLimits(768), id="a processor's cache"),
        pytest.param(MAC, Request(), BatchLimits(8192, length_step=64), id="Metal compiles few shapes"),
        pytest.param(
            GAMER, Request(), BatchLimits(7168, length_step=8), id="7 GiB: a quarter of it at 256 KiB a token"
        ),
        pytest.param(SERVER, Request(), BatchLimits(65536, length_step=8), id="139 GiB: the most"),
        pytest.param(BUSY_FIRST, Request("cuda:0"), BatchLimits(2048, length_step=8), id="1 GiB: the least"),
        pytest.param(SILENT, Request(), BatchLimits(2048, length_step=8), id="unknown memory: the least"),
        pytest.param(LAPTOP, Request(batch_tokens=99, batch_size=3), BatchLimits(99, 3), id="as asked for"),
        pytest.param(SERVER, Request(batch_size=32), BatchLimits(65536, 32, 8), id="pairs limited, tokens as well"),
    ],
)
def test_how_much_at_once(hardware: Hardware, request_: Request, limits: BatchLimits) -> None:
    """The ceilings of a batch follow from the device's memory and from what was asked for."""
    assert place(request_, hardware).limits == limits


def test_a_placement_tells_its_reasons() -> None:
    """The report can say why the device and why the dtype were chosen."""
    assert place(Request(), BUSY_FIRST).reason == (
        "cuda:1, the CUDA device with the most free memory; bfloat16 on a card that has it"
    )
    assert place(Request("cpu", "float16"), LAPTOP).reason == "cpu was asked for; float16 was asked for"


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("200000 100000", 2), ("50000 100000", 1), ("150000 100000", 1), ("max 100000", None), ("nonsense", None)],
    ids=["two processors", "half a processor is one", "one and a half are one", "no limit", "not a quota"],
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, cpus: int | None) -> None:
    """A container's processor quota comes to whole processors, at least one; without one, all there are."""
    cgroup = tmp_path / "cpu.max"
    cgroup.write_text(quota)
    assert devices._quota(cgroup) == (cpus or os.cpu_count())


def test_a_machine_without_quotas_has_all_its_processors(tmp_path: Path) -> None:
    """Where there is no quota file, every processor counts."""
    assert devices._quota(tmp_path / "missing") == os.cpu_count()


def test_the_probe_sees_processors_and_no_accelerator() -> None:
    """The probe asks no library, so that it knows of processors alone."""
    hardware = probe()
    assert 1 <= hardware.cpus <= (os.cpu_count() or 1)
    assert (hardware.gpus, hardware.mps) == ((), False)
