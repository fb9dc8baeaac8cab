"""Bulk reranking on a Ray cluster, and the server of ``secondpass serve`` as a Ray Serve application (extra ``ray``)."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondpass.candidates import Candidate
from secondpass.errors import ConfigurationError, InputError, require
from secondpass.lines import query_and_candidates, read_object
from secondpass.ranking import Ranking
from secondpass.reranker import Reranker
from secondpass.scoring.load import LoadOptions, load_scorer
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.scorer import Scorer
from secondpass.selection.select import Selection

if TYPE_CHECKING:
    from ray.serve import Application

require("secondpass.cluster", "ray", "ray", "pyarrow")

_MANIFEST = "manifest.json"
_LINES = {".jsonl", ".ndjson", ".json"}


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


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an input file: lines that begin within a range of bytes, or a row group.

    :param name: The block's name, and that of its output.
    :param path: The file.
    :param start: The range's first byte, or the row group's number.
    :param end: The byte after the range, or the number after the row group's.
    """

    name: str
    path: str
    start: int
    end: int

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows, one after the other."""
        if Path(self.path).suffix == ".parquet":
            from pyarrow import parquet

            with parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(64, row_groups=range(self.start, self.end)):
                    yield from batch.to_pylist()
        else:
            yield from map(read_object, self._lines())

    def _lines(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:  # noqa: PTH123
            if self.start:
                file.seek(self.start - 1)
                file.readline()  # of a line that begins before, the rest
            while file.tell() < self.end and (line := file.readline()):
                if line.strip():
                    yield line


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
        self.reranker = Reranker(_scorer(model, workers), selection=selection, on_error="raise")

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
            for number, row in enumerate(block.rows()):
                try:
                    query, candidates = query_and_candidates(_without_nulls(row))
                except InputError as error:
                    raise InputError(f"row {number} of block {block.name} of {block.path}: {error}") from error
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

    Each row or line has ``id``, ``query`` and ``candidates``, as ``secondpass rerank`` reads them. The output is one file
    of JSON Lines for each block: ``{"id", "results", "dropped", "degraded"}``, in the input's order; results refer to
    candidates by ``index`` and ``id``, best first. A run that was cut off continues with the blocks that have no file yet.
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
    blocks = list(_blocks(_files(source), block_bytes))
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _check_manifest(folder / _MANIFEST, {"model": model, "selection": repr(selection), "blocks": _digest(blocks)})
    todo = [block for block in blocks if not (folder / block.name).is_file()]
    counted = _run(todo, (model, selection, workers, str(folder)), workers) if todo else []
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
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def serve_app(
    model: str = "small",
    *,
    selection: Selection | None = None,
    workers: Workers | None = None,
    most_replicas: int = 1,
    most_requests: int = 16,
    needs_key: bool = True,
) -> "Application":
    """Return a Ray Serve application with ``/rerank``, ``/health`` and ``/metrics``, for ``serve.run``.

    :param model: The model's name; each replica loads it.
    :param selection: The selection where a request states nothing else; None keeps all.
    :param workers: How many replicas there are at least, and the processors and GPUs of each.
    :param most_replicas: Ray starts further ones, up to so many, while requests wait.
    :param most_requests: Requests of a replica at once.
    :param needs_key: Whether replicas ask for the API key in their environment's ``SECONDPASS_API_KEY``.
    :raises ConfigurationError: If it is needed and not set here.
    """
    require("serve_app", "ray", "fastapi")
    require("serve_app", "serve", "starlette", "prometheus-client")
    from ray import serve

    workers = workers or Workers()
    key = os.environ.get("SECONDPASS_API_KEY") if needs_key else None
    if needs_key and not key:
        raise ConfigurationError("set an API key in SECONDPASS_API_KEY, or needs_key=False in a network of your own")

    def application() -> Any:
        from secondpass.serve import Settings, create_app

        chosen = selection or Selection(duplicates="keep")
        return create_app(Reranker(_scorer(model, workers), selection=chosen), Settings(api_key=key))

    deployment = serve.deployment(
        name="secondpass",
        ray_actor_options=_resources(workers),
        max_ongoing_requests=most_requests,
        autoscaling_config={
            "min_replicas": workers.count,
            "max_replicas": max(workers.count, most_replicas),
            "target_ongoing_requests": max(1, most_requests // 2),
        },
    )
    bound: Application = deployment(serve.ingress(application)(type("Replica", (), {}))).bind()
    return bound


def _scorer(model: str, workers: Workers) -> Scorer:
    if model == "overlap":
        return OverlapScorer()
    device = "cuda" if workers.gpus else "cpu"
    return load_scorer(model, device=device, options=LoadOptions(threads=workers.cpus))


def _resources(workers: Workers) -> dict[str, float]:
    return {"num_cpus": workers.cpus} | ({"num_gpus": workers.gpus} if workers.gpus else {})


def _run(blocks: Sequence[Block], job: tuple[Any, ...], workers: Workers) -> list[dict[str, int]]:
    """Rerank blocks by an actor pool; Ray restarts an actor that is lost, and gives its blocks out again."""
    import ray.data

    resources = _resources(workers)
    dataset = ray.data.from_items([asdict(block) for block in blocks], override_num_blocks=len(blocks)).map(
        RerankBlocks,
        fn_constructor_args=job,
        compute=ray.data.ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=2),
        num_cpus=resources["num_cpus"],
        num_gpus=resources.get("num_gpus"),
    )
    counted: list[dict[str, int]] = dataset.take_all()
    return counted


def _files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the input files, sorted within each folder.

    :raises ConfigurationError: If there is none, or one of another kind is named.
    """
    named = [Path(item).absolute() for item in ([source] if isinstance(source, str | Path) else source)]
    kinds = {*_LINES, ".parquet"}
    files: list[Path] = []
    for path in named:
        files += sorted(p for p in path.iterdir() if p.suffix in kinds) if path.is_dir() else [path]
    wrong = [path for path in files if path.suffix not in kinds or not path.is_file()]
    if wrong or not files:
        found = wrong[0] if wrong else named
        raise ConfigurationError(f"source must be files or folders of {', '.join(sorted(kinds))}, got {found!s:.200}")
    return files


def _blocks(files: Iterable[Path], block_bytes: int) -> Iterator[Block]:
    number = 0
    for path in files:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            size, step = parquet.read_metadata(path).num_row_groups, 1
        else:
            size, step = path.stat().st_size, block_bytes
        for start in range(0, size, step):
            yield Block(f"block-{number:07d}.jsonl", str(path), start, min(size, start + step))
            number += 1


def _digest(blocks: Sequence[Block]) -> str:
    """Return what names the input: its files with their sizes and times, and how they are cut."""
    files = {block.path: (os.stat(block.path).st_size, os.stat(block.path).st_mtime_ns) for block in blocks}
    return sha256(json.dumps([[asdict(block) for block in blocks], sorted(files.items())]).encode()).hexdigest()


def _check_manifest(path: Path, plan: Mapping[str, str]) -> None:
    """Write the plan of a new run, or compare it with that of the run that is continued.

    :raises ConfigurationError: If they differ.
    """
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(name for name in {*plan, *earlier} if plan.get(name) != earlier.get(name))
    if changed:
        raise ConfigurationError(
            f"{path.parent} holds the output of a run with other {', '.join(changed)}: give another folder"
        )


def _without_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose candidates lack the keys that are null: in Parquet every candidate has all of them."""
    candidates = row.get("candidates")
    if not isinstance(candidates, list):
        return dict(row)
    plain = [
        {name: value for name, value in item.items() if value is not None} if isinstance(item, dict) else item
        for item in candidates
    ]
    return {**row, "candidates": plain}


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
