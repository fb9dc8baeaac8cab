"""A ranking as plain text."""

from secondpass.ranking import FAR, Kept, Ranked, Ranking
from secondpass.scores import Stage

_TEXT_WIDTH = 60


def as_text(ranking: Ranking) -> str:
    """Return a table of kept and dropped candidates, with the reasons, and the time of each stage."""
    lines = [f"query: {ranking.query}"]
    if ranking.degraded:
        lines.append(f"DEGRADED, {ranking.degraded}")
    tokens = "" if ranking.tokens is None else f", {ranking.tokens} tokens"
    answerable = "" if ranking.answerable is None else f", answerable {ranking.answerable:.2f}"
    lines += [
        f"kept {len(ranking.kept)}{tokens}{answerable}",
        f"{'rank':>6} {'was':>4} {'prob':>6} {'score':>7} {'tokens':>6}  text",
    ]
    for kept in ranking.kept:
        count = "-" if kept.tokens is None else str(kept.tokens)
        lines.append(f"{kept.rank:>6} {_figures(kept)} {count:>6}  {_shortened(kept.text)}")
        lines += _highlight(kept)
    lines.append(f"dropped {len(ranking.dropped)}")
    for dropped in ranking.dropped:
        why = f"{dropped.reason}: {dropped.detail}" if dropped.detail else str(dropped.reason)
        lines.append(f"{'':>6} {_figures(dropped)} {'':>6}  {_shortened(dropped.candidate.reading)}  [{why}]")
    if ranking.rank_of_first is not None and ranking.rank_of_first > FAR:
        lines.append(f"note: the first stage's best fell to rank {ranking.rank_of_first}")
    lines += [_stage(stage) for stage in ranking.stages]
    return "\n".join(lines)


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
    return [f"{'':>6} {'':>4} {'':>6} {'':>7} {'':>6}  {where}{_shortened(kept.best_text)}"]


def _shortened(text: str) -> str:
    line = " ".join(text[: _TEXT_WIDTH * 4].split())
    return line if len(line) <= _TEXT_WIDTH else line[: _TEXT_WIDTH - 1] + "…"


def _stage(stage: Stage) -> str:
    facts = ", ".join(f"{name} {fact}" for name, fact in stage.facts.items())
    return f"{stage.name}: {stage.seconds * 1000:.1f} ms ({facts})"
