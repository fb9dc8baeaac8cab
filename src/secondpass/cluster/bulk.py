"""Bulk reranking: blocks of files go to an actor pool of Ray Data, and each gives one file."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from secondpass.candidates import Candidate
from secondpass.cluster.blocks import Block, blocks_of, check_manifest, digest, input_files
from secondpass.errors import ConfigurationError, InputError, checked
from secondpass.jsonl import query_and_candidates, read_objects
from secondpass.ranking import Ranking
from secondpass.reranker import Reranker
from secondpass.scoring.load import LoadOptions, load_scorer
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.scorer import Scorer
from secondpass.selection.select import Selection

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    :param blocks: The output's blocks.
    :param resumed: Those of them that were there before.
    :param queries: Queries reranked in this run.
    :param pairs: Candidates of these queries.
    """

    blocks: int
    resumed: int
    queries: int
    pairs: int


@checked
@dataclass(frozen=True, slots=True)
class Workers:
    """The actors that rerank.

    :param count: How many, each with a model of its own.
    :param cpus: Processors of each; they are also the threads of its model.
    :param gpus: GPUs of each; with any, its model runs on one.
    """

    count: int = 1
    cpus: int = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.count >= 1 and self.cpus >= 1 and self.gpus >= 0):
            raise ConfigurationError(f"workers need a count and cpus from 1 and gpus from 0, got {self}")

    def resources(self) -> dict[str, float]:
        """Return what Ray reserves for each."""
        return {"num_cpus": self.cpus} | ({"num_gpus": self.gpus} if self.gpus else {})

    def scorer(self, model: str) -> Scorer:
        """Load a model on an actor's processors or GPU; ``overlap`` counts shared words."""
        if model == "overlap":
            return OverlapScorer()
        device = "cuda" if self.gpus else "cpu"
        return load_scorer(model, device=device, options=LoadOptions(threads=self.cpus))


class RerankBlocks:
    """An actor: reranks blocks, and writes each into its file, which appears when it is complete.

    A block that is reranked again, because its actor was lost, gives the same file again.

    :param model: The model's name.
    :param selection: The selection.
    :param workers: Processors and GPUs.
    :param output: The folder.
    """

    def __init__(self, model: str, selection: Selection, workers: Workers, output: str) -> None:
        self.output = Path(output)
        self.reranker = Reranker(workers.scorer(model), selection=selection, on_error="raise")

    def __call__(self, row: Mapping[str, Any]) -> dict[str, int]:
        """Rerank one block and return how many queries and pairs it has."""
        block = Block(**row)
        counts = {"queries": 0, "pairs": 0}
        target = self.output / block.name
        partial = target.with_suffix(f".{os.getpid()}.partial")
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for line in self._ranked(block, counts):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        return counts

    def _ranked(self, block: Block, counts: dict[str, int]) -> Iterator[dict[str, Any]]:
        """Yield the rankings of a block's rows; only the rows are held that are scored together."""
        kept: list[Any] = []

        def requests() -> Iterator[tuple[str, list[Candidate]]]:
            for where, row in block.rows():
                try:
                    query, candidates = query_and_candidates(row)
                except InputError as error:
                    raise InputError(f"{where}: {error}") from error
                kept.append(row.get("id"))
                yield query, candidates

        for ranking in self.reranker.rerank_many(requests()):
            counts["queries"] += 1
            counts["pairs"] += len(ranking.kept) + len(ranking.dropped)
            yield {"id": kept.pop(0)} | _compact(ranking)


def rerank_dataset(
    source: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: str = "small",
    selection: Selection | None = None,
    workers: Workers | None = None,
    block_bytes: int = 16_000_000,
) -> Summary:
    """Rerank files of queries with their candidates on Ray, and return what was done.

    Each row or line has ``id``, ``query`` and ``candidates``, as ``secondpass rerank`` reads them. The output is a file
    of JSON Lines for each block: ``{"id", "results", "dropped", "degraded"}`` in the input's order. Results refer to
    candidates by ``index`` and ``id``, best first. A run that was cut off continues with the blocks that have no file.
    Ray starts on this machine unless it is connected to a cluster (``ray.init``); all machines must see the files.

    :param source: Files, or folders of files: ``.parquet`` (a row group is a block), or JSON Lines.
    :param output: The folder for the blocks and the manifest.
    :param model: The model's name; see ``load_scorer``.
    :param selection: How candidates are selected; None keeps all.
    :param workers: The actors.
    :param block_bytes: The size of a block of JSON Lines.
    :raises ConfigurationError: If there is no input, or the folder holds the output of another run.
    :raises InputError: If a row is no request.
    """
    workers, selection = workers or Workers(), selection or Selection(duplicates="keep")
    if block_bytes < 1:
        raise ConfigurationError(f"block_bytes must be 1 or more, got {block_bytes}")
    blocks = list(blocks_of(input_files(source), block_bytes))
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    check_manifest(folder / _MANIFEST, {"model": model, "selection": repr(selection), "blocks": digest(blocks)})
    todo = [block for block in blocks if not (folder / block.name).is_file()]
    counted = _run(todo, (model, selection, workers, str(folder)), workers) if todo else []
    for partial in folder.glob("*.partial"):  # of actors that were lost, now or in an earlier run
        partial.unlink()
    return Summary(
        len(blocks),
        len(blocks) - len(todo),
        sum(item["queries"] for item in counted),
        sum(item["pairs"] for item in counted),
    )


def rankings(output: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the rankings of a finished run in the order of its input.

    :param output: The run's folder.
    """
    for path in sorted(Path(output).glob("block-*.jsonl")):
        for _, line in read_objects(path):
            yield line


def _run(blocks: Sequence[Block], job: tuple[Any, ...], workers: Workers) -> list[dict[str, int]]:
    """Rerank blocks by an actor pool; Ray restarts an actor that is lost, and gives its blocks out again."""
    import ray.data

    resources = workers.resources()
    dataset = ray.data.from_items([asdict(block) for block in blocks], override_num_blocks=len(blocks)).map(
        RerankBlocks,
        fn_constructor_args=job,
        compute=ray.data.ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=2),
        num_cpus=resources["num_cpus"],
        num_gpus=resources.get("num_gpus"),
    )
    counted: list[dict[str, int]] = dataset.take_all()
    return counted


def _compact(ranking: Ranking) -> dict[str, Any]:
    """Return a ranking without texts."""
    kept = sorted(ranking.kept, key=lambda item: item.rank)
    return {
        "results": [
            {"index": item.index, "id": item.candidate.id, "score": item.score, "probability": item.probability}
            for item in kept
        ],
        "dropped": [
            {"index": item.index, "id": item.candidate.id, "reason": str(item.reason)} for item in ranking.dropped
        ],
        "degraded": str(ranking.degraded) if ranking.degraded else None,
    }
