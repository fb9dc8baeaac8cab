"""Whether a model's scores depend on the processor: the same pairs scored here, and compared with another machine's.

usage: python -m benchmarks.processors score --assets FOLDER --out FILE MODEL ... [--queries N] [--candidates N]
       python -m benchmarks.processors compare FILE FILE

``score`` writes each model's scores of BM25's candidates for the first queries of TREC DL 2019. Run it on a processor
with AVX-512 VNNI and on one without, or under an emulator: ``qemu-x86_64 -cpu max python ...`` has AVX2, but neither
AVX-512 nor VNNI.
"""

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.trec_json import read_trec_json
from secondpass import load_scorer
from secondpass.records import Score

TOP = 10


def main() -> None:
    """Read the command line, and score or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("models", nargs="+", help="a bundled model or a folder")
    scoring.add_argument("--assets", type=Path, required=True)
    scoring.add_argument("--out", type=Path, required=True)
    scoring.add_argument("--queries", type=int, default=43)
    scoring.add_argument("--candidates", type=int, default=100)
    scoring.set_defaults(run=score)
    comparing = commands.add_parser("compare")
    comparing.add_argument("files", type=Path, nargs=2)
    comparing.set_defaults(run=compare)
    arguments = parser.parse_args()
    arguments.run(arguments)


def score(arguments: argparse.Namespace) -> None:
    """Score the pairs with each model, one query a call, and write the values as soon as a query is done."""
    folder = arguments.assets / "data" / "trec-dl"
    collection = read_trec_json(folder / "bm25_top100_dl19.json", folder / "qrels.dl19-passage.txt")
    scores: dict[str, dict[str, list[float]]] = {}
    for model in arguments.models:
        scorer = load_scorer(model, engine="onnx", device="cpu")
        values = scores.setdefault(scorer.spec.name, {})
        for key, query in list(collection.queries.items())[: arguments.queries]:
            texts = [candidate.text for candidate in collection.run[key][: arguments.candidates]]
            values[key] = [outcome.value for outcome in scorer.score(query, texts) if isinstance(outcome, Score)]
            arguments.out.write_text(json.dumps(scores), encoding="utf-8")


def compare(arguments: argparse.Namespace) -> None:
    """Print how far the scores and the top 10 of two files differ."""
    one, other = (json.loads(file.read_text(encoding="utf-8")) for file in arguments.files)
    print(f"| model | queries | mean difference | largest difference | another top {TOP} | the same, other order |")
    print("| --- | --- | --- | --- | --- | --- |")
    for model in one.keys() & other.keys():
        queries = sorted(one[model].keys() & other[model].keys())
        pairs = [(one[model][query], other[model][query]) for query in queries]
        differences = [abs(left - right) for both in pairs for left, right in zip(*both, strict=True)]
        tops = [(_top(left), _top(right)) for left, right in pairs]
        others = sum(set(left) != set(right) for left, right in tops)
        moved = sum(set(left) == set(right) and left != right for left, right in tops)
        print(
            f"| {model} | {len(queries)} | {statistics.fmean(differences):.4f} | {max(differences):.4f} | "
            f"{others} | {moved} |"
        )


def _top(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda position: -values[position])[:TOP]


if __name__ == "__main__":
    main()
