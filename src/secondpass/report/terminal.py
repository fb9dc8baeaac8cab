"""A ranking in a terminal, through rich: tables as wide as the terminal, with fewer columns in a narrow one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from secondpass.ranking import Dropped, Kept, Ranked, Ranking, Reason
from secondpass.report.excerpts import one_line
from secondpass.report.text import LISTED, note_lines, stage_line, why

_NARROW = 72  # columns below which scores and tokens are left out
_ID = 45  # characters of a candidate's id
_LINE = 400  # characters of a text; rich cuts it to the terminal's width


@dataclass(frozen=True, slots=True)
class RankingView:
    """What rich prints for a ranking; texts are never read as markup.

    :param ranking: The ranking.
    :param per_reason: How many dropped candidates are shown for each reason; None shows the first 50 of all.
    """

    ranking: Ranking
    per_reason: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the query, what is kept, what is dropped and why, and the stages."""
        ranking, narrow = self.ranking, options.max_width < _NARROW
        yield Text(one_line(ranking.query, _LINE), style="bold")
        if ranking.degraded:
            yield Text(f"degraded, {one_line(str(ranking.degraded), _LINE)}", style="yellow")
        tokens = "" if ranking.tokens is None else f", {ranking.tokens:,} tokens"
        answerable = "" if ranking.answerable is None else f", answerable {ranking.answerable:.2f}"
        yield Text(f"kept {len(ranking.kept):,} of {len(ranking.kept) + len(ranking.dropped):,}{tokens}{answerable}")
        for line in note_lines(ranking):
            yield Text(line, style="yellow")
        if ranking.kept:
            yield _table(ranking.kept, narrow=narrow)
        if ranking.dropped:
            counts = Counter(item.reason for item in ranking.dropped).most_common()
            yield Text(f"dropped {len(ranking.dropped):,}: {', '.join(f'{count:,} {name}' for name, count in counts)}")
            yield _table([*_best(ranking.dropped, self.per_reason)], narrow=narrow)
        for stage in ranking.stages:
            yield Text(one_line(stage_line(stage), _LINE), style="dim", no_wrap=True, overflow="ellipsis")


def _best(dropped: Sequence[Dropped], most: int | None) -> Iterator[Dropped]:
    """Yield the dropped candidates, a limited number for each reason."""
    seen: Counter[Reason] = Counter()
    for item in dropped:
        seen[item.reason] += 1
        if most is None or seen[item.reason] <= most:
            yield item


def _table(items: Sequence[Ranked], *, narrow: bool) -> Table:
    """Return a table of kept or of dropped candidates, the best LISTED of them; the others are counted."""
    table = Table(box=None, pad_edge=False, show_header=not narrow, header_style="dim", expand=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("was", justify="right", no_wrap=True, style="dim")
    table.add_column("prob", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("text", ratio=1)
    for item in items[:LISTED]:
        wide = () if narrow else (_figure(item.score, ".2f"), _figure(getattr(item, "tokens", None), ","))
        rank = f"{item.rank}" if isinstance(item, Kept) else "x"
        table.add_row(rank, f"{item.rank_before}", _figure(item.probability, ".3f"), *wide, _text(item))
    if len(items) > LISTED:
        table.add_row(*[""] * (len(table.columns) - 1), Text(f"... and {len(items) - LISTED:,} more", style="dim"))
    return table


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _text(item: Ranked) -> Group:
    """Return a line with the text's beginning, and one with the best window, or with the reason."""
    text = item.text if isinstance(item, Kept) else item.candidate.reading
    name = f"{one_line(item.candidate.id, _ID)}  " if item.candidate.id else ""
    lines = [Text.assemble((name, "cyan"), one_line(text, _LINE), no_wrap=True, overflow="ellipsis")]
    if isinstance(item, Dropped):
        lines.append(Text(one_line(why(item), _LINE), style="dim"))
    elif item.best_window:
        lines.append(Text(one_line(item.best_text, _LINE), style="cyan", no_wrap=True, overflow="ellipsis"))
    return Group(*lines)
