"""The page of benchmarks/answer_in_context.py and relevant_per_token.py, made of their JSON files.

usage: python -m benchmarks.answer_page
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.relevant_per_token import table

FOLDER = Path(__file__).parents[1] / "docs" / "benchmarks" / "answer_in_context"
HEAD = """# Answer in context: more of the answer in the same tokens

Made by `benchmarks/answer_in_context.py` and `answer_page.py`: the share of questions of XQuAD's 24 judging articles
whose answer stands in the context (the measure of arXiv 2607.00725), with 95 % intervals. Every system uses the same
cross-encoder, and its context is cut to the same tokens (cl100k). `articles` are long candidates, paragraphs joined; of
`paragraphs` each is one. Near-duplicates are copies with a few words left out.

LlamaIndex's reranker runs with its model replaced by the same scorer; ragcompress 0.1 without its embedder, which it
would download. Window size and the redundancy term were chosen on the other 24 articles."""

RELEVANT = """## Relevant items per token

Made by `benchmarks/relevant_per_token.py` with `{model}`: relevant candidates for 1,000 tokens of the budget, of BM25's
best 100, with 95 % intervals. LangChain's and LlamaIndex's rerankers give the same order; their context is cut at the
budget, and a candidate counts where all of it stands before the cut. `truncate` and `extract` also count a candidate of
which a part is kept, which is no proof that it is the part that matters."""


def main() -> None:
    """Write the page."""
    parts = [HEAD, *(part(json.loads(file.read_text("utf-8"))) for file in sorted(FOLDER.glob("*.json")))]
    relevant = FOLDER.with_name("relevant_per_token.json")
    if relevant.is_file():
        figures = json.loads(relevant.read_text("utf-8"))
        parts.append(RELEVANT.format(model=figures["model"]))
        parts += [table(name, found) for name, found in figures["collections"].items()]
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
