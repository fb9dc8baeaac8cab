"""Bulk reranking: blocks of files go to an actor pool of Ray Data, and each gives one file."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

from secondpass.cluster.blocks import Block, block_name, blocks_of, check_manifest, digest, input_files
from secondpass.errors import ConfigurationError, InputError, ScoringError, SecondpassError, checked
from secondpass.jsonl import query_and_candidates, read_objects
from secondpass.ranking import Ranking
from secondpass.records import Candidate
from secondpass.reranker import Reranker
from secondpass.scorers.load import load_scorer
from secondpass.scoring.options import LoadOptions
from secondpass.scoring.scorer import OverlapScorer, Scorer
from secondpass.selection.select import Selection

_MANIFEST, _MODEL = "manifest.json", "model.json"
_CHECK = Block("", "", 0, 0)  # no block: where all are there, an actor compares its model with the run's
_ERRORS = {"input": InputError, "scoring": ScoringError}
OnError = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    :param blocks: The output's blocks.
    :param resumed: Those of them that were there before.
    :param queries: Queries reranked in this run.
    :param pairs: Candidates of these queries.
    :param skipped: Rows of this run that were no requests, in files ``errors-*.jsonl``.
    """

    blocks: int
    resumed: int
    queries: int
    pairs: int
    skipped: int = 0


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
    :param on_error: What becomes of a row that is no request.
    """

    def __init__(self, model: str, selection: Selection, workers: Workers, output: str, on_error: OnError) -> None:
        self.output, self.on_error = Path(output), on_error
        self._load = partial(workers.scorer, model)
        self._selection = selection

    @cached_property
    def reranker(self) -> Reranker:
        """The reranker, whose model is that of the run: equal names may stand for other weights."""
        reranker = Reranker(self._load(), selection=self._selection, on_error="raise")
        spec = reranker.scorer.spec
        check_manifest(self.output / _MODEL, {"model": spec.fingerprint, "scale": repr(spec.scale)})
        return reranker

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Rerank one block and return how many queries and pairs it has, or the error, which Ray would wrap."""
        counts = {"queries": 0, "pairs": 0, "skipped": 0}
        try:
            reranker = self.reranker
            if row["name"] != _CHECK.name:
                self._write(Block(**row), reranker, counts)
        except SecondpassError as error:
            kind = next((name for name, of in _ERRORS.items() if isinstance(error, of)), "")
            return counts | {"error": str(error), "kind": kind}
        return counts | {"error": "", "kind": ""}

    def _write(self, block: Block, reranker: Reranker, counts: dict[str, int]) -> None:
        errors: list[dict[str, Any]] = []
        with _complete(self.output / block.name) as file:
            for line in self._ranked(block, reranker, counts, errors):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            if errors:
                with _complete(self.output / block.name.replace("block", "errors")) as skipped:
                    skipped.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in errors)
        counts["skipped"] = len(errors)

    def _ranked(
        self, block: Block, reranker: Reranker, counts: dict[str, int], errors: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Yield the rankings of a block's rows; only the rows are held that are scored together."""
        kept: list[Any] = []

        def requests() -> Iterator[tuple[str, list[Candidate]]]:
            for where, row in block.rows():
                try:
                    if isinstance(row, InputError):
                        raise row
                    query, candidates = query_and_candidates(row)
                    identity = _identity(row.get("id"))
                except InputError as error:
                    message = str(error) if error is row else f"{where}: {error}"
                    if self.on_error == "raise":
                        raise InputError(message) from error
                    errors.append({"where": where, "error": message})
                    continue
                kept.append(identity)
                yield query, candidates

        for ranking in reranker.rerank_many(requests()):
            counts["queries"] += 1
            counts["pairs"] += len(ranking.kept) + len(ranking.dropped)
            yield {"id": kept.pop(0)} | _compact(ranking)


def _identity(value: Any) -> Any:
    """Return a row's id, which JSON must be able to hold, as times and NaN of a Parquet file are not."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f'"id" must be what JSON holds, got {value!r:.80}') from error
    return value


@contextmanager
def _complete(target: Path) -> Iterator[TextIO]:
    """Open a file that appears under its name when it is complete."""
    temporary = target.with_suffix(f".{os.getpid()}.partial")
    with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


def rerank_dataset(
    source: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: str = "small",
    selection: Selection | None = None,
    workers: Workers | None = None,
    block_bytes: int = 16_000_000,
    on_error: OnError = "raise",
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
    :param on_error: ``"raise"`` ends the run at a row that is no request; ``"skip"`` leaves it out, and writes its
        place and the error to the block's file ``errors-*.jsonl``. A run that was ended continues with either.
    :raises ConfigurationError: If there is no input, or the folder holds the output of another run, or of another model
        under the same name.
    :raises InputError: If a row is no request, or was skipped in an earlier run, under ``"raise"``.
    :raises ScoringError: If scoring failed.
    """
    if on_error not in get_args(OnError):
        raise ConfigurationError(f"on_error must be one of {', '.join(get_args(OnError))}; got {on_error!r}")
    workers, selection = workers or Workers(), selection or Selection(duplicates="keep")
    if block_bytes < 1:
        raise ConfigurationError(f"block_bytes must be 1 or more, got {block_bytes}")
    blocks = list(blocks_of(input_files(source), block_bytes))
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"selection": repr(selection), "blocks": digest(blocks), "count": len(blocks)}
    check_manifest(folder / _MANIFEST, plan)
    if on_error == "raise" and (earlier := next(folder.glob("errors-*.jsonl"), None)):
        raise InputError(f'{earlier} holds rows that an earlier run skipped: give on_error="skip", or another folder')
    todo = [block for block in blocks if not (folder / block.name).is_file()]
    counted = _run(todo or [_CHECK], (model, selection, workers, str(folder), on_error), workers)
    for temporary in folder.glob("*.partial"):  # of actors that were lost, now or in an earlier run
        temporary.unlink()
    return Summary(
        len(blocks),
        len(blocks) - len(todo),
        sum(item["queries"] for item in counted),
        sum(item["pairs"] for item in counted),
        sum(item["skipped"] for item in counted),
    )


def rankings(output: str | Path) -> Iterator[dict[str, Any]]:
    """Return the rankings of a finished run in the order of its input.

    :param output: The run's folder.
    :raises ConfigurationError: If it isn't one, or the run isn't finished.
    """
    folder = Path(output)
    try:
        count = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["count"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{folder} must be the output of rerank_dataset, with its {_MANIFEST}") from error
    paths = [folder / block_name(number) for number in range(count)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ConfigurationError(
            f"{folder} lacks {len(missing)} of the run's {count} blocks, such as {missing[0]}: run rerank_dataset again"
        )
    return (line for path in paths for _, line in read_objects(path))


def _run(blocks: Sequence[Block], job: tuple[Any, ...], workers: Workers) -> list[dict[str, Any]]:
    """Rerank blocks by an actor pool; Ray restarts an actor that is lost, and gives its blocks out again.

    :raises SecondpassError: For the first block that failed.
    """
    import ray.data

    resources = workers.resources()
    dataset = ray.data.from_items([asdict(block) for block in blocks], override_num_blocks=len(blocks)).map(
        RerankBlocks,  # type: ignore[arg-type]  # Ray makes it on each worker, and calls it there
        fn_constructor_args=job,
        compute=ray.data.ActorPoolStrategy(size=workers.count, max_tasks_in_flight_per_actor=2),
        num_cpus=resources["num_cpus"],
        num_gpus=resources.get("num_gpus"),
    )
    counted: list[dict[str, Any]] = []
    for row in dataset.iter_rows():
        if row["error"]:
            raise _ERRORS.get(row["kind"], ConfigurationError)(row["error"])
        counted.append(row)
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
