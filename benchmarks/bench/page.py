"""The page of a benchmark's results."""

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COLUMNS = {
    "p50 ms": ("p50_ms", "{:.0f}"),
    "p95": ("p95_ms", "{:.0f}"),
    "ratio": ("ratio", "{:.2f}"),
    "tokens/s": ("tokens_a_second", "{:,.0f}"),
    "of peak": ("share_of_peak", "{:.0%}"),
    "top 10 agreement": ("top_10_agreement", "{:.3f}"),
    "Kendall's tau": ("kendall_tau", "{:.3f}"),
    "nDCG@10": ("ndcg_10", "{:.4f}"),
}


def processor() -> str:
    """Return the processor's name, with the instruction sets that decide the speed of int8."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text("utf-8") if cpuinfo.is_file() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    sets = [
        flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if re.search(rf"\b{flag}\b", text)
    ]
    return f"{name[1] if name else platform.processor() or platform.machine()} ({', '.join(sets) or 'no sets known'})"


def as_markdown(result: Mapping[str, Any]) -> str:
    """Return the page: the machine, a table for each workload, memory, and what was skipped."""
    peaks = ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in result["peaks"].items())
    about = (
        f"{result['processor']}, {result['threads']} threads; measured peak of a matrix product: {peaks}. Texts: "
        f"{result['source']}."
    )
    method = (
        f"One run, the order rotated, another question in every repetition; {result['clock']} time. Ratios are medians "
        "against each table's reference, with which orders are compared. The share of the peak counts a full pass of "
        "the model, also where operations are left out."
    )
    lines = ["# Rerankers on this machine", "", about, "", method]
    for work in result["workloads"]:
        lines += ["", f"## {work['count']} {work['kind']}", "", f"{work['tokens']:,.0f} tokens in a call, "]
        lines[-1] += f"{work['repetitions']} repetitions; the reference is {work['reference']}."
        lines += ["", "| | " + " | ".join(_COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
        for name, figures in work["sides"].items():
            cells = [_cell(figures[key], form) for key, form in _COLUMNS.values()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if result["memory_mb"]:
        lines += ["", "## Peak memory of a process", "", "| | MB |", "|---|---|"]
        lines += [f"| {name} | {_cell(value, '{:.0f}')} |" for name, value in result["memory_mb"].items()]
    if result["skipped"]:
        lines += ["", "## Skipped", "", *(f"- {name}: {reason}" for name, reason in result["skipped"].items())]
    return "\n".join([*lines, ""])


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
