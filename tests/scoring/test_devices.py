"""Where a model runs, as a table of situations; no accelerator is needed to read it."""

from pathlib import Path

import pytest

from secondpass.errors import DeviceError
from secondpass.scoring import devices
from secondpass.scoring.devices import Gpu, Hardware, Request, choose_limits, place, probe

GIB = 1024**3
LAPTOP = Hardware(cpus=8)
MAC = Hardware(cpus=8, mps=True)
TURING = Hardware(cpus=8, gpus=(Gpu(0, "T4", 14 * GIB, bf16=False),))
SERVER = Hardware(cpus=64, gpus=(Gpu(0, "H200", 20 * GIB), Gpu(1, "H200", 130 * GIB)))

CHOICES = [
    pytest.param(LAPTOP, Request(), "cpu", "float32", id="a laptop computes on its processor"),
    pytest.param(MAC, Request(), "mps", "float32", id="a mac takes metal, in float32"),
    pytest.param(TURING, Request(), "cuda:0", "float16", id="a card without bfloat16 takes float16"),
    pytest.param(SERVER, Request(), "cuda:1", "bfloat16", id="of two cards the one with more free memory"),
    pytest.param(SERVER, Request("cuda"), "cuda:0", "bfloat16", id="cuda without a number is the first"),
    pytest.param(SERVER, Request("cuda:1"), "cuda:1", "bfloat16", id="a numbered card"),
    pytest.param(SERVER, Request("cpu"), "cpu", "float32", id="the processor although there is a card"),
    pytest.param(SERVER, Request("cuda:0", "float32"), "cuda:0", "float32", id="float32 on a card"),
    pytest.param(SERVER, Request("cuda:0", "float16"), "cuda:0", "float16", id="float16 on a card with bfloat16"),
    pytest.param(LAPTOP, Request("cpu", "bfloat16"), "cpu", "bfloat16", id="bfloat16 on a processor if asked"),
    pytest.param(MAC, Request("cpu"), "cpu", "float32", id="the processor of a mac"),
    pytest.param(MAC, Request("mps", "float16"), "mps", "float16", id="float16 on metal if asked"),
]

REFUSALS = [
    pytest.param(LAPTOP, Request("cuda"), "sees only cpu", id="no card at all"),
    pytest.param(SERVER, Request("cuda:7"), "cuda:0, cuda:1", id="no card of this number"),
    pytest.param(LAPTOP, Request("mps"), "sees only cpu", id="no metal"),
    pytest.param(LAPTOP, Request("gpu"), "must be auto, cpu", id="no device's name"),
    pytest.param(LAPTOP, Request(dtype="int4"), "dtype must be", id="no dtype's name"),
    pytest.param(TURING, Request("cuda:0", "bfloat16"), "can't compute", id="bfloat16 on a card without"),
    pytest.param(LAPTOP, Request(batch_tokens=0), "batch_tokens must be 1", id="an empty token ceiling"),
    pytest.param(LAPTOP, Request(batch_size=-1), "batch_size must be 1", id="a negative batch"),
]


@pytest.mark.parametrize(("hardware", "request_", "device", "dtype"), CHOICES)
def test_device_and_dtype(hardware: Hardware, request_: Request, device: str, dtype: str) -> None:
    """Device and dtype follow from the hardware and the request alone, and the reason names both."""
    placement = place(request_, hardware)
    assert (placement.device, placement.dtype) == (device, dtype)
    assert device.split(":", maxsplit=1)[0] in placement.reason
    assert dtype in placement.reason


@pytest.mark.parametrize(("hardware", "request_", "message"), REFUSALS)
def test_what_is_not_there_is_refused(hardware: Hardware, request_: Request, message: str) -> None:
    """A device or dtype that the machine lacks is an error that says what there is."""
    with pytest.raises(DeviceError, match=message):
        place(request_, hardware)


@pytest.mark.parametrize(
    ("hardware", "device", "tokens"),
    [
        pytest.param(LAPTOP, "cpu", devices.CPU_BATCH_TOKENS, id="cpu"),
        pytest.param(MAC, "mps", devices.MPS_BATCH_TOKENS, id="mps"),
        pytest.param(SERVER, "cuda:0", 20 * GIB // 4 // devices.GPU_BYTES_PER_TOKEN, id="a quarter of 20 GiB"),
        pytest.param(SERVER, "cuda:1", devices.GPU_BATCH_TOKENS[1], id="never more than the most"),
        pytest.param(Hardware(1, (Gpu(0, free_bytes=1),)), "cuda:0", devices.GPU_BATCH_TOKENS[0], id="nor less"),
        pytest.param(Hardware(1, (Gpu(0),)), "cuda:0", devices.GPU_BATCH_TOKENS[0], id="memory unknown"),
    ],
)
def test_token_ceilings(hardware: Hardware, device: str, tokens: int) -> None:
    """A batch's ceiling is fixed on processors, and a share of the free memory on cards."""
    assert choose_limits(Request(), device, hardware).max_tokens == tokens


def test_a_requested_ceiling_wins() -> None:
    """What the user asks for is what is used."""
    limits = choose_limits(Request(batch_tokens=99, batch_size=3), "cpu", LAPTOP)
    assert (limits.max_tokens, limits.max_rows) == (99, 3)


@pytest.mark.parametrize(("content", "cpus"), [("200000 100000", 2), ("50000 100000", 1), ("max 100000", None)])
def test_a_containers_quota_counts(tmp_path: Path, content: str, cpus: int | None) -> None:
    """A quota of processor time limits the processors, and is at least one."""
    (tmp_path / "cpu.max").write_text(content)
    found = devices._quota(tmp_path / "cpu.max")
    assert found == (cpus or devices.os.cpu_count())


def test_probing_finds_a_processor() -> None:
    """Every machine that runs this has one."""
    assert probe().cpus >= 1
