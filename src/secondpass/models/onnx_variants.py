"""Which of a repository's ONNX files suits a machine, by the names that exporters give them.

The names are those of sentence-transformers' ``export_dynamic_quantized_onnx_model`` (one for each instruction set) and
``export_optimized_onnx_model`` (O1 to O4), and of transformers.js. Every file runs on every CPU; on one without the
instructions it is for, 16-bit sums of int8 products can saturate, which changes scores.
"""

import platform
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Variant:
    """A form in which repositories store a graph.

    :param name: The file's name without ``.onnx``.
    :param needs: The instruction sets of which a CPU must have one; none for any CPU.
    """

    name: str
    needs: tuple[str, ...] = ()


FLOAT = (Variant("model"), Variant("model_O3"), Variant("model_O2"), Variant("model_O1"), Variant("model_optimized"))
"""Forms with float32 weights, the usual one first. O4 and fp16 are for GPUs, and must be named."""
INT8 = (
    Variant("model_qint8_avx512_vnni", ("avx512_vnni", "avx_vnni")),
    Variant("model_qint8_avx512", ("avx512f",)),
    Variant("model_qint8_arm64", ("arm64",)),
    Variant("model_quint8_avx2", ("avx2",)),
    Variant("model_int8"),
    Variant("model_quantized"),
    Variant("model_uint8"),
    Variant("model_quint8_avx2"),  # unsigned on both sides, which saturates nowhere
)
"""Quantised forms, the fastest first."""


def choose_graph(files: Collection[str], dtype: str, machine: Collection[str]) -> str | None:
    """Return the ONNX file that suits a machine; None where no file has a known name.

    :param files: Paths in the repository, with forward slashes.
    :param dtype: ``"int8"`` for the quantised forms first; otherwise those with float32 weights come first.
    :param machine: The CPU's instruction sets.
    """
    for variant in (*INT8, *FLOAT) if dtype == "int8" else (*FLOAT, *INT8):
        if variant.needs and not set(variant.needs) & set(machine):
            continue
        for name in (f"{variant.name}.onnx", f"onnx/{variant.name}.onnx"):
            if name in files:
                return name
    return None


def needed_instructions(file: str) -> str:
    """Return the instruction set that a file is for, as its name says; empty for any."""
    stem = PurePosixPath(file).stem
    return next((variant.needs[0] for variant in INT8 if variant.needs and stem == variant.name), "")


@cache
def instruction_sets() -> frozenset[str]:
    """Return the CPU's instruction sets, in Linux's names; empty on x86 where the system doesn't list them."""
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return frozenset({"arm64"})
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())
