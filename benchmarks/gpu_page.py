"""The page of ``benchmarks/gpu.py``: targets, table and chart, from its JSON."""

from collections.abc import Callable, Sequence
from typing import Any

BAR = 40
_INTRO = """# Reranking on a GPU

`make bench-gpu` writes this page and `gpu.json`: secondpass against sentence-transformers' `CrossEncoder.predict`, with
the same random weights and the same new texts, from strings to the ordered result. Both give raw logits. "Peak" is the
share of the operations that a product of large matrices reached on this device in the same dtype. The operations are
the whole model's, without padding, although secondpass computes the last layer for the first tokens alone.
"""
Cell = dict[str, Any]


def write_page(result: dict[str, Any]) -> str:
    """Return the page in Markdown."""
    peaks = ", ".join(f"{dtype} {peak:g} TFLOP/s" for dtype, peak in result["peak_tflops"].items())
    facts = (
        f"{result['device']}, torch {result['torch']}, transformers {result['transformers']}; matrix products: {peaks}."
        f" Placement: {result['placement']}."
    )
    parts = [_INTRO.strip(), facts]
    if result["dry"]:
        parts.append("**A dry run on the CPU with tiny models: its figures say nothing about a GPU.**")
    if result["left_out"]:
        parts.append(f"{result['left_out']} measurements were left out: the time was over.")
    parts += [
        "## Targets",
        targets(result["cells"]),
        "## Chart",
        chart(result["cells"]),
        "## All",
        table(result["cells"]),
    ]
    return "\n\n".join(parts) + "\n"


def targets(cells: Sequence[Cell]) -> str:
    """Return what was aimed at on an H100 or H200, and what was measured."""
    rows = [
        ("100 candidates of 90 tokens, MiniLM-L6, p50", "8 ms, aim 3 ms", of(cells, "MiniLM-L6", 100, "ms")),
        ("the same, against `predict` in float32", "4 times, aim 10", of(cells, "MiniLM-L6", 100, "default")),
        ("10,000 of mixed length, MiniLM-L6, against `predict` in bfloat16", "2 times, aim 4",
         of(cells, "MiniLM-L6", 10_000, "times", "mixed")),
        ("MiniLM-L12, 10,000 of 90 tokens", "15,000 pairs/s, aim 33,000", of(cells, "MiniLM-L12", 10_000, "pairs")),
        ("bge-reranker-base size, 10,000 of 90 tokens, share of the bfloat16 peak", "35 %, aim 55 %",
         of(cells, "bge-reranker-base size", 10_000, "share")),
    ]  # fmt: skip
    return "| | at least | measured |\n|---|---|---|\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def of(cells: Sequence[Cell], model: str, candidates: int, what: str, lengths: str = "90 tokens") -> str:
    """Return one figure of ours in bfloat16, or "not measured"."""

    def cell(side: str, dtype: str) -> Cell:
        wanted = {"model": model, "candidates": candidates, "lengths": lengths, "side": side, "dtype": dtype}
        return next(item for item in cells if wanted.items() <= item.items())

    figures: dict[str, Callable[[Cell], str]] = {
        "ms": lambda own: f"{own['p50_ms']:.2f} ms",
        "default": lambda own: f"{cell('predict', 'float32')['p50_ms'] / own['p50_ms']:.1f} times",
        "times": lambda own: f"{cell('predict', 'bfloat16')['p50_ms'] / own['p50_ms']:.1f} times",
        "pairs": lambda own: f"{own['pairs_per_second']:,.0f} pairs/s",
        "share": lambda own: f"{own['peak_share']:.0%}",
    }
    try:
        return figures[what](cell("secondpass", "bfloat16"))
    except StopIteration:
        return "not measured"


def chart(cells: Sequence[Cell]) -> str:
    """Return bars of pairs a second, for the most candidates of each model and kind."""
    lines = []
    most = max((cell["candidates"] for cell in cells), default=0)
    for model, lengths in dict.fromkeys((cell["model"], cell["lengths"]) for cell in cells):
        own = [c for c in cells if (c["model"], c["lengths"], c["candidates"]) == (model, lengths, most)]
        longest = max((cell["pairs_per_second"] for cell in own), default=1.0)
        lines += [f"{model}, {lengths}, {most} candidates: pairs a second"] if own else []
        for cell in own:
            rate = cell["pairs_per_second"]
            lines.append(
                f"  {cell['side']:10} {cell['dtype']:8} {'█' * max(1, round(BAR * rate / longest))} {rate:,.0f}"
            )
    return "\n".join(["```text", *lines, "```"])


def table(cells: Sequence[Cell]) -> str:
    """Return all figures."""
    head = "| model | texts | candidates | dtype | side | p50 ms | p95 ms | calls | pairs/s | peak | MB | difference |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    order = sorted(cells, key=lambda c: (c["model"], c["lengths"], c["candidates"], c["dtype"], c["side"]))
    lines += [
        f"| {c['model']} | {c['lengths']} | {c['candidates']:,} | {c['dtype']} | {c['side']} | {c['p50_ms']:.2f} | "
        f"{c['p95_ms']:.2f} | {c['repetitions']} | {c['pairs_per_second']:,.0f} | {c['peak_share']:.1%} | "
        f"{c['memory_mb']:,.0f} | {c['difference']:.1e} |"
        for c in order
    ]
    return "\n".join(lines)
