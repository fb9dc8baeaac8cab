"""How the demo looks in a terminal: progress to standard error, answers to standard output."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from secondpass.demo.index import Report
from secondpass.demo.run import Answer
from secondpass.ranking import Dropped, Judged, Kept, Ranking, Reason
from secondpass.scores import Stage

PLAIN_WIDTH = 100  # columns where the output is no terminal
_SHOWN_PER_REASON = 2
_START = 200  # characters of a text, more than a row can show
_LEGEND = "was: the vector store's rank; prob, score: the cross-encoder's; tokens: of the LLM's context budget."
_UP, _DOWN, _SAME = "▲", "▼", "="


class RichView:
    """Shows the demo with rich.

    :param out: Where answers go.
    :param err: Where progress goes.
    """

    def __init__(self, out: Console, err: Console) -> None:
        self._out = out
        self._err = err

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        """Show a step while it runs: a bar once it tells how far it is, and a plain line where nobody watches."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), TaskProgressColumn())
        watched = self._err.is_terminal
        bar = Progress(*columns, TimeElapsedColumn(), console=self._err, transient=True, disable=not watched)
        with bar as progress:
            yield _Reporter(progress, progress.add_task(name, total=None), None if watched else self._err)

    def ready(self, setup: tuple[Stage, ...]) -> None:
        """Say what was done before the first question, and how long it took."""
        index = next(stage for stage in setup if stage.name == "index")
        origin = "in the index of an earlier run" if index.facts["reused"] else "embedded now; the next run reuses them"
        line = f"{index.facts['passages']} passages of Python's language reference in Chroma, {origin}."
        self._out.print(Text(line), Text(_LEGEND), Text(f"time: {_times(setup)}", style="dim"), sep="\n")

    def answered(self, answer: Answer) -> None:
        """Show one question: what was kept, what was dropped and why, and the time of each stage."""
        ranking = answer.ranking
        self._out.print("", Text(f"Q: {ranking.query}", style="bold"), sep="\n")
        if ranking.degraded:
            self._out.print(Text(f"DEGRADED, {ranking.degraded}", style="bold red"))
        self._out.print(Text(_kept_line(ranking)))
        if ranking.kept:
            self._out.print(_kept_table(ranking.kept), _quotation(ranking.kept[0]))
        self._out.print(Text(_dropped_line(ranking.dropped)))
        if ranking.dropped:
            self._out.print(_dropped_table(_best_of_each_reason(ranking.dropped)))
        self._out.print(Text(f"time: {_times(answer.stages)}", style="dim"))


class _Reporter:
    """Tells a progress bar how far a step is; without one, says once that the step is under way."""

    def __init__(self, progress: Progress, task: TaskID, plain: Console | None) -> None:
        self._progress = progress
        self._task = task
        self._plain = plain

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)
        if self._plain:
            self._plain.print(Text(f"{self._progress.tasks[0].description} ..."))
            self._plain = None


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, show_edge=False, pad_edge=False, collapse_padding=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("candidate", no_wrap=True, max_width=20, overflow="ellipsis", style="cyan")
    return table


def _kept_table(kept: Sequence[Kept]) -> Table:
    table = _table("rank", "was", "moved", "prob", "score", "tokens")
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    for item in kept:
        tokens = "-" if item.tokens is None else str(item.tokens)
        figures = (str(item.rank), str(item.rank_before), _moved(item.rank_before - item.rank), *_figures(item), tokens)
        table.add_row(*figures, Text(item.candidate.id or ""), Text(_start(item.text)))
    return table


def _dropped_table(dropped: Sequence[Dropped]) -> Table:
    table = _table("was", "prob", "score")
    table.add_column("why", no_wrap=True, overflow="ellipsis", max_width=45)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    for item in dropped:
        name, start = Text(item.candidate.id or ""), Text(_start(item.candidate.reading))
        table.add_row(str(item.rank_before), *_figures(item), name, Text(_why(item)), start)
    return table


def _quotation(best: Kept) -> Padding:
    """Return what the context begins with in full, for a reader to judge."""
    return Padding(Text.assemble((f"{best.candidate.id}: ", "cyan"), best.text), (1, 4), expand=False)


def _kept_line(ranking: Ranking) -> str:
    """Say how much of the budget is taken, who counted, and what the first stage alone would have missed."""
    count = len(ranking.kept)
    facts = next((stage.facts for stage in ranking.stages if stage.name == "select"), {})
    counter = f"{facts.get('counter')}, {'exact' if facts.get('exact') else 'on the safe side'}"
    budget = "" if ranking.tokens is None else f", {ranking.tokens} of {facts.get('max_tokens')} tokens ({counter})"
    deeper = sum(item.rank_before > count for item in ranking.kept)
    return f"kept {count}{budget}" + (f"; {deeper} from below the first stage's top {count}" if deeper else "")


def _dropped_line(dropped: Sequence[Dropped]) -> str:
    reasons = Counter(str(item.reason) for item in dropped).most_common()
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons)
    return f"dropped {len(dropped)}" + (f": {counts}; the best of each reason:" if dropped else "")


def _best_of_each_reason(dropped: Sequence[Dropped]) -> list[Dropped]:
    shown: Counter[Reason] = Counter()
    chosen = []
    for item in dropped:
        shown[item.reason] += 1
        if shown[item.reason] <= _SHOWN_PER_REASON:
            chosen.append(item)
    return chosen


def _why(item: Dropped) -> str:
    if item.because_of and item.because_of.id:
        return f"{item.reason} of {item.because_of.id}"
    return f"{item.reason}: {item.detail}" if item.detail else str(item.reason)


def _moved(places: int) -> Text:
    if places == 0:
        return Text(_SAME, style="dim")
    return Text(f"{_UP}{places}", style="green") if places > 0 else Text(f"{_DOWN}{-places}", style="red")


def _figures(judged: Judged) -> tuple[str, str]:
    probability = "-" if judged.probability is None else f"{judged.probability:.3f}"
    return probability, "-" if judged.score is None else f"{judged.score:.2f}"


def _start(text: str) -> str:
    """Return a text's start in one line, without the heading that all passages of a section share."""
    body = text.partition("\n\n")[2] or text
    return " ".join(body[:_START].split())


def _times(stages: Sequence[Stage]) -> str:
    total = sum(stage.seconds for stage in stages)
    return ", ".join(f"{stage.name} {_seconds(stage.seconds)}" for stage in stages) + f"; {_seconds(total)} in all"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
