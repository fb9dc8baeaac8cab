"""The page of benchmarks/answer_in_context.py, made of its JSON files.

usage: python benchmarks/answer_page.py
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks" / "answer_in_context"
HEAD = """# Answer in context: more of the answer in the same tokens

Made by `benchmarks/answer_in_context.py` and `answer_page.py`: the share of questions of XQuAD's 24 judging articles
whose answer stands in the context (the measure of arXiv 2607.00725), with 95 % intervals. Every system uses the same
cross-encoder, and its context is cut to the same tokens (cl100k). `articles` are long candidates, paragraphs joined; of
`paragraphs` each is one. Near-duplicates are copies with a few words left out.

LlamaIndex's reranker runs with its model replaced by the same scorer; ragcompress 0.1 without its embedder, which it
would download. Window size and the redundancy term were chosen on the other 24 articles."""


def main() -> None:
    """Write the page."""
    parts = [HEAD, *(part(json.loads(file.read_text("utf-8"))) for file in sorted(FOLDER.glob("*.json")))]
    (FOLDER.with_suffix(".md")).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def part(figures: dict[str, Any]) -> str:
    """Return the section of one form and share of near-duplicates."""
    budgets = list(next(iter(figures["shares"].values())))
    title = f"{figures['form']}, {figures['near_duplicates']:.0%} near-duplicates, `{figures['model']}`"
    lines = [
        f"## {title}, {figures['questions']} questions",
        "",
        f"| | {' | '.join(f'{budget} tokens' for budget in budgets)} |",
        f"| --- |{' --- |' * len(budgets)}",
    ]
    for system, shares in figures["shares"].items():
        cells = (f"{one['mean']:.3f} [{one['low']:.2f}, {one['high']:.2f}]" for one in shares.values())
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
