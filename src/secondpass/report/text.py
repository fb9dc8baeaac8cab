"""A ranking as plain text."""

from collections.abc import Sequence

from secondpass.ranking import Dropped, Kept, Ranked, Ranking
from secondpass.records import Stage
from secondpass.report.excerpts import one_line
from secondpass.text import printable

LISTED = 50
"""How many kept and how many dropped candidates a cut report lists; the others are counted."""
_TEXT_WIDTH = 60
_QUERY_WIDTH = 2000
_NOTE_WIDTH = 400


def as_text(ranking: Ranking, most: int | None = None) -> str:
    """Return a table of kept and dropped candidates, with the reasons, and the time of each stage.

    :param most: How many of the kept and of the dropped are listed, the rest being counted; None lists all.
    """
    lines = [f"query: {one_line(ranking.query, _QUERY_WIDTH)}"]
    if ranking.degraded:
        lines.append(f"DEGRADED, {ranking.degraded}")
    lines += note_lines(ranking)
    tokens = "" if ranking.tokens is None else f", {ranking.tokens} tokens"
    answerable = "" if ranking.answerable is None else f", answerable {ranking.answerable:.2f}"
    lines += [
        f"kept {len(ranking.kept)}{tokens}{answerable}",
        f"{'rank':>6} {'was':>4} {'prob':>6} {'score':>7} {'tokens':>6}  text",
    ]
    for kept in ranking.kept[:most]:
        count = "-" if kept.tokens is None else str(kept.tokens)
        lines.append(f"{kept.rank:>6} {_figures(kept)} {count:>6}  {one_line(kept.text, _TEXT_WIDTH)}")
        lines += _highlight(kept)
    lines += _rest(ranking.kept, most)
    lines.append(f"dropped {len(ranking.dropped)}")
    for dropped in ranking.dropped[:most]:
        text = one_line(dropped.candidate.reading, _TEXT_WIDTH)
        lines.append(f"{'':>6} {_figures(dropped)} {'':>6}  {text}  [{why(dropped)}]")
    lines += _rest(ranking.dropped, most)
    lines += [stage_line(stage) for stage in ranking.stages]
    return "\n".join(printable(line, line=True) for line in lines)


def why(item: Dropped) -> str:
    """Return why a candidate was dropped, in one line."""
    return f"{item.reason}: {item.detail}" if item.detail else str(item.reason)


def note_lines(ranking: Ranking) -> list[str]:
    """Return a line for each note."""
    return [f"note: {one_line(note.text, _NOTE_WIDTH)}" for note in ranking.notes]


def stage_line(stage: Stage) -> str:
    """Return what a stage did, and its milliseconds, in one line."""
    facts = ", ".join(f"{name} {fact}" for name, fact in stage.facts.items())
    return f"{stage.name}: {stage.seconds * 1000:.1f} ms" + (f" ({facts})" if facts else "")


def _rest(items: Sequence[Ranked], most: int | None) -> list[str]:
    return [] if most is None or len(items) <= most else [f"{'':>6} ... and {len(items) - most:,} more"]


def _figures(item: Ranked) -> str:
    probability = "-" if item.probability is None else f"{item.probability:.3f}"
    score = "-" if item.score is None else f"{item.score:.2f}"
    return f"{item.rank_before:>4} {probability:>6} {score:>7}"


def _highlight(kept: Kept) -> list[str]:
    """Return a line with the best window of a candidate that was scored in windows."""
    window = kept.best_window
    if not window:
        return []
    where = f"best window, characters {window.start} to {window.end}: "
    return [f"{'':>6} {'':>4} {'':>6} {'':>7} {'':>6}  {where}{one_line(kept.best_text, _TEXT_WIDTH)}"]
