"""Two-stage search in production: percentiles, deadline, cache, fallback, a shadow reranker, a manifest, measures."""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from examples.common import ChromaIndex, load_bi_encoder, passages, questions
from secondpass import Cached, Call, Fallback, Pair, Ranking, Reranker, Scored, Scorer, Selection, Spec, load_scorer
from secondpass.errors import ScoringError
from secondpass.evaluation import Question, Settings, collect_candidates, evaluate

PACKAGES = ("secondpass", "chromadb", "onnxruntime", "tokenizers")
DEADLINE_MS = 5000
EDGE_CASES = (("", ["a text"]), ("a query", []), ("a query", [" ", "text"]))


class Monitor:
    """An observer: stage times, causes of degraded passes, and the distribution of the best score."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, list[float]] = {}
        self.degraded: Counter[str] = Counter()
        self.cache: Counter[str] = Counter()
        self.best: list[float] = []

    def __call__(self, ranking: Ranking) -> None:
        """Take one ranking."""
        for stage in ranking.stages:
            self.milliseconds.setdefault(stage.name, []).append(stage.seconds * 1000)
            self.cache.update({name: stage.facts[name] for name in ("hits", "misses") if name in stage.facts})
        self.degraded[str(ranking.degraded.cause) if ranking.degraded else "complete"] += 1
        if ranking.kept and ranking.kept[0].probability is not None:
            self.best.append(ranking.kept[0].probability)

    def percentiles(self) -> dict[str, tuple[float, float, float]]:
        """Return p50, p95 and p99 of each stage in milliseconds."""
        cuts = {name: statistics.quantiles(values * 2, n=100) for name, values in self.milliseconds.items()}
        return {name: (cut[49], cut[94], cut[98]) for name, cut in cuts.items()}


class Shadow:
    """An observer: a second reranker gets the same candidates in the background; its results are only compared.

    :param reranker: The second reranker.
    :param top: How many of the best are compared.
    """

    def __init__(self, reranker: Reranker, top: int = 5) -> None:
        self._reranker, self._top = reranker, top
        self._pool = ThreadPoolExecutor(max_workers=1)
        self.overlaps: list[float] = []

    def __call__(self, ranking: Ranking) -> None:
        """Start the comparison; the caller doesn't wait for it."""
        self._pool.submit(self._compare, ranking)

    def _compare(self, ranking: Ranking) -> None:
        candidates = sorted((*ranking.kept, *ranking.dropped), key=lambda item: item.rank_before)
        other = self._reranker.rerank(ranking.query, [item.candidate for item in candidates])
        best = [{item.candidate.id for item in kept[: self._top]} for kept in (ranking.kept, other.kept)]
        self.overlaps.append(len(best[0] & best[1]) / max(1, len(best[0] | best[1])))

    def close(self) -> None:
        """Wait for the comparisons that were started."""
        self._pool.shutdown()


def manifest(texts: Mapping[str, str], scorers: Mapping[str, Scorer]) -> dict[str, Any]:
    """Return what decides the results: versions, models, and a hash of the texts."""
    content = json.dumps(sorted(texts.items())).encode()
    fingerprints = {name: scorer.spec.fingerprint for name, scorer in scorers.items()}
    return {
        "packages": {name: version(name) for name in PACKAGES},
        "rerankers": {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in fingerprints.items()},
        "bi_encoder": hashlib.sha256(load_bi_encoder().fingerprint.encode()).hexdigest()[:12],
        "texts": len(texts),
        "texts_sha256": hashlib.sha256(content).hexdigest()[:12],
    }


def serve(index: ChromaIndex, reranker: Reranker, asked: Sequence[Question], depth: int) -> list[Ranking]:
    """Answer each question; a deadline or a failure never loses the first stage's order."""
    return [reranker.rerank(question.text, index.search(question.text, depth)) for question in asked]


class Unavailable:
    """A scorer that can't be reached, such as a remote model that is down; ``spec`` is that model's."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Fail."""
        raise ScoringError("connection refused")


def main(
    model: str = "small",
    spare_model: str = "nano",
    topics: Sequence[str] = (),
    depth: int = 30,
    limit: int | None = None,
) -> None:
    """Print monitoring, cache, fallback, shadow comparison, offline measures and the manifest."""
    texts = passages(topics)
    index, asked = ChromaIndex(texts), questions(texts)[:limit]
    selection, spare = Selection(top_n=5), load_scorer(spare_model)
    shadow = Shadow(Reranker(spare, selection=selection))
    with ExitStack() as resources:
        scores = Path(resources.enter_context(TemporaryDirectory())) / "scores.sqlite"  # in production one that stays
        for turn, observers in {"first": [shadow], "again, after a restart": []}.items():
            cached, monitor = Cached(load_scorer(model), scores), Monitor()
            resources.callback(cached.release)
            reranker = Reranker(
                Fallback(cached, spare), selection=selection, deadline_ms=DEADLINE_MS, observers=[monitor, *observers]
            )
            serve(index, reranker, asked, depth)
            print(f"{turn}: {len(asked)} queries, {depth} candidates, {model}, deadline {DEADLINE_MS} ms:", end=" ")
            print(f"{dict(monitor.degraded)}; cache {dict(monitor.cache)}")
            for name, (p50, p95, p99) in monitor.percentiles().items():
                print(f"  {name:8} p50 {p50:7.1f}  p95 {p95:7.1f}  p99 {p99:7.1f} ms")
        shadow.close()
        print(f"best probability: median {statistics.median(monitor.best):.3f}, lowest {min(monitor.best):.3f}")
        print(f"shadow {spare_model}: {statistics.fmean(shadow.overlaps):.2f} of the first 5 in common (Jaccard)")

        down = Reranker(Fallback(Unavailable(cached.spec), spare), selection=selection)
        ranking = serve(index, down, asked[:1], depth)[0]
        print(f"\n{model} down: {ranking.stages[-2].facts}, {ranking.degraded or 'complete'}")
        hurried = Reranker(load_scorer(model), selection=selection, deadline_ms=1)
        print(f"deadline 1 ms, nothing cached: {serve(index, hurried, asked[:1], depth)[0].degraded}")
        edge = [reranker.rerank(query, given) for query, given in EDGE_CASES]
        print("edge cases:", [(len(item.kept), len(item.dropped), str(item.degraded or "complete")) for item in edge])

        collection = collect_candidates(asked, index.search, depth=depth)
        evaluation = evaluate({model: cached, spare_model: spare}, collection, settings=Settings(depths=(), budgets=()))
        print("\n" + evaluation.to_markdown().split("\n\n## Differences")[0])
        print("\n" + json.dumps(manifest(texts, {model: cached, spare_model: spare}), indent=1))


if __name__ == "__main__":
    main()
