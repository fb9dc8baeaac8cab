"""Devices and threads of both engines, on a machine whose GPUs are a stub's."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from nvidia_smi import TWO_GPUS, NvidiaSmi

from secondpass import LoadOptions, load_scorer
from secondpass.errors import DeviceError
from secondpass.records import Score
from secondpass.scorers.load import ENGINES

Tiny = Callable[..., Path]


@pytest.fixture
def two_gpus(nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch) -> NvidiaSmi:
    """Let both libraries and nvidia-smi report two GPUs."""
    nvidia_smi.lists(TWO_GPUS)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return nvidia_smi


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_engines_see_the_gpus_of_nvidia_smi(two_gpus: NvidiaSmi, engine: str) -> None:
    """An engine whose library supports CUDA can use the GPUs that nvidia-smi lists."""
    hardware = importlib.import_module(ENGINES[engine].module).hardware()
    assert [(gpu.index, gpu.name, gpu.bf16) for gpu in hardware.gpus] == [
        (0, "Tesla T4", False),
        (1, "NVIDIA A100-SXM4-40GB", True),
    ]


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_library_without_cuda_never_runs_nvidia_smi(
    nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """An engine whose library doesn't support CUDA has no GPUs, also where nvidia-smi lists some."""
    nvidia_smi.lists(TWO_GPUS)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert importlib.import_module(ENGINES[engine].module).hardware().gpus == ()
    assert nvidia_smi.runs == 0


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_cpu_on_request_never_runs_nvidia_smi(two_gpus: NvidiaSmi, tiny: Tiny, engine: str) -> None:
    """With ``device="cpu"`` no GPU is looked for, and the scorer runs on the CPU."""
    scorer = load_scorer(tiny(engine), device="cpu")
    assert two_gpus.runs == 0
    assert isinstance(scorer.score("a cat", ["the dog"])[0], Score)
    assert scorer.score_pairs([]).stages[0].facts["device"] == "cpu"


def test_torch_counts_devices_that_nvidia_smi_does_not_list(
    nvidia_smi: NvidiaSmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch has other devices than nvidia-smi lists, as on ROCm, its own count is used."""
    nvidia_smi.remove()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    hardware = importlib.import_module(ENGINES["torch"].module).hardware()
    assert [gpu.index for gpu in hardware.gpus] == [0, 1, 2]


@pytest.fixture
def without_cuda_libraries(two_gpus: NvidiaSmi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each session fall back to the CPU, as ONNX Runtime does where it can't load its CUDA provider."""
    original = onnxruntime.InferenceSession

    def open_on_cpu(path: str, options: onnxruntime.SessionOptions, providers: list[Any]) -> Any:
        return original(path, options, ["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_cpu)


@pytest.mark.usefixtures("without_cuda_libraries")
def test_a_session_without_its_cuda_libraries_reports_the_cpu(tiny: Tiny) -> None:
    """Where ONNX Runtime can't load its CUDA provider, ``auto`` runs on the CPU, and the report says so and why."""
    facts = load_scorer(tiny("onnx")).score_pairs([]).stages[0].facts
    assert facts["device"] == "cpu"
    assert "ONNX Runtime could not load its CUDA provider" in str(facts["placement"])


@pytest.mark.usefixtures("without_cuda_libraries")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_requested_gpu_without_its_cuda_libraries_is_an_error(tiny: Tiny, device: str) -> None:
    """Where ONNX Runtime can't load its CUDA provider, a requested GPU is an error that says what to install."""
    with pytest.raises(DeviceError, match=f"{device} was requested, .* install the CUDA and cuDNN libraries"):
        load_scorer(tiny("onnx"), device=device)


# Threads


def onnx_threads(folder: Path, threads: int | None) -> int:
    """Return the threads of the session that a scorer uses."""
    session = load_scorer(folder, options=LoadOptions(threads=threads))._engine._open()
    return int(session.get_session_options().intra_op_num_threads)


def test_threads_of_an_onnx_session(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session has the requested threads, else those of ``OMP_NUM_THREADS``."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert onnx_threads(tiny("onnx"), 1) == 1
    assert onnx_threads(tiny("onnx"), None) == 3


@pytest.fixture
def torch_threads() -> Iterator[int]:
    """Return torch's number of threads, and set it again after the test."""
    threads = torch.get_num_threads()
    yield threads
    torch.set_num_threads(threads)


def test_threads_of_torch(tiny: Tiny, torch_threads: int) -> None:
    """Torch has the requested threads; without a request its own setting stays."""
    load_scorer(tiny("torch"))
    assert torch.get_num_threads() == torch_threads
    load_scorer(tiny("torch"), options=LoadOptions(threads=torch_threads + 1))
    assert torch.get_num_threads() == torch_threads + 1
