"""The token estimate against real tokenizers, as a table: estimate divided by true count, lowest and median.

usage: TIKTOKEN_CACHE_DIR=FOLDER PYTHONPATH=tests python -m benchmarks.token_estimate XQUAD.json NAME=TOKENIZER.json ...

llama-index-core carries tiktoken's tables, in `_static/tiktoken_cache`. One without a file is left out, by name.
"""

import json
import statistics
import sys
from pathlib import Path

import tiktoken
from token_kinds import kinds
from tokenizers import Tokenizer

from secondpass.models import bundled_models
from secondpass.selection.tokens import TokenCounter, as_counter, estimate_tokens

ROOT = Path(__file__).parents[1]
OTHERS = ("Qwen 3", "DeepSeek V3", "Llama 3", "Gemma 3")


def main(squad_file: str, *named: str) -> None:
    """Print the table."""
    files = dict(name.split("=", 1) for name in named)
    counters = {name: as_counter(tiktoken.get_encoding(f"{name}_base")) for name in ("cl100k", "o200k")}
    files = {"BERT": str(bundled_models()["small"] / "tokenizer.json"), **files}
    counters |= {name: as_counter(Tokenizer.from_file(file)) for name, file in files.items() if Path(file).is_file()}
    for name in OTHERS:
        if name not in counters:
            print(f"{name}: no tokenizer.json, left out", file=sys.stderr)
    print(f"| text | {' | '.join(counters)} |\n|---|{'---|' * len(counters)}")
    for name, texts in {**english(squad_file), **kinds()}.items():
        print(f"| {name} | {' | '.join(ratio(texts, counter) for counter in counters.values())} |")


def ratio(texts: list[str], counter: TokenCounter) -> str:
    """Return the lowest and the median of estimate / count; of a single text just the one."""
    ratios = [estimate_tokens(text) / max(1, counter.count(text)) for text in texts]
    return ", ".join(f"{value:.2f}" for value in (min(ratios), statistics.median(ratios))[: len(ratios)])


def english(squad_file: str) -> dict[str, list[str]]:
    """Return the paragraphs of a file in SQuAD's form, and this library's source in pieces."""
    articles = json.loads(Path(squad_file).read_text(encoding="utf-8"))["data"]
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    return {
        "English paragraphs": [paragraph["context"] for article in articles for paragraph in article["paragraphs"]],
        "Python source": [code[start : start + 800] for start in range(0, len(code) - 800, 800)],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
