"""An evaluation as tables in Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from secondpass.evaluation.context import ContextShare
from secondpass.evaluation.measures import Comparison, Interval
from secondpass.evaluation.results import Evaluation, QueryChange, SystemResult
from secondpass.evaluation.systems import FIRST_STAGE
from secondpass.evaluation.verdict import Verdict

_TEXT_WIDTH = 60


def as_markdown(evaluation: Evaluation) -> str:
    """Return all sections; what wasn't computed has none."""
    parts = [*_head(evaluation), *(_quality(evaluation) if evaluation.measures else ()), *_cost(evaluation.systems)]
    for system in evaluation.systems:
        parts += _depths(system, evaluation.measures) if system.depths else ()
        parts += _contexts(system, evaluation) if system.contexts else ()
        for side, changes in (("won", system.won), ("lost", system.lost)):
            if changes:
                parts += _changes(f"## Queries {side}: {_cell(system.name)}, {evaluation.measures[0]}", changes)
    if any(system.verdict for system in evaluation.systems):
        parts.append("## Verdict")
        parts += (_verdict(system, system.verdict, evaluation) for system in evaluation.systems if system.verdict)
    return "\n\n".join(parts) + "\n"


def _head(evaluation: Evaluation) -> Iterator[str]:
    yield f"# {_cell(evaluation.collection)}: without and with the second pass"
    yield f"{evaluation.queries} queries, {evaluation.judged} of them judged."
    if evaluation.notes:
        yield "\n".join(f"- {_cell(note)}" for note in evaluation.notes)
    for system in evaluation.systems:
        if problems := system.completeness.problems():
            yield f"**{_cell(system.name)}: {problems}. The figures below include them.**"
        if system.without_degraded:
            rows = [[m.measure, m.queries, f"{m.before:.4f}", f"{m.after:.4f}"] for m in system.without_degraded]
            yield f"Without the degraded passes of {_cell(system.name)}:"
            yield _table(["measure", "queries", FIRST_STAGE, system.name], rows)


def _quality(evaluation: Evaluation) -> Iterator[str]:
    quality = {FIRST_STAGE: evaluation.first_stage} | {item.name: item.quality for item in evaluation.systems}
    settings = evaluation.settings
    yield "## Quality"
    yield _table(["", *evaluation.measures], ([name, *of.values()] for name, of in quality.items()))
    yield f"Means over queries, with {settings['sampling']['confidence'] * 100:g} % intervals ({settings['interval']})."
    differences = [(item, item.comparison) for item in evaluation.differences]
    yield "## Differences"
    yield _table(
        ["measure", "from", "to", "difference", "p", "won", "lost", "tied"],
        ([d.measure, d.before, d.after, *_compared(c), c.won, c.lost, c.tied] for d, c in differences),
    )
    yield f"p: {settings['test']}; not corrected for the number of comparisons."


def _cost(systems: Sequence[SystemResult]) -> Iterator[str]:
    rows: list[list[object]] = []
    for system in systems:
        cost = system.cost
        figures = [_number(cost.median_ms), _number(cost.mean_ms), _number(cost.tokens, 0), _number(cost.candidates)]
        stages = ", ".join(f"{name} {ms:.1f}" for name, ms in cost.stages_ms.items())
        rows.append([system.name, *figures, stages, system.completeness.truncated])
    yield "## Cost a query"
    yield _table(["", "ms, median", "ms, mean", "tokens", "candidates", "stages, mean ms", "texts truncated"], rows)


def _depths(system: SystemResult, measures: Sequence[str]) -> Iterator[str]:
    rows: list[list[object]] = []
    for point in system.depths:
        figures = [figure for m in measures for figure in (point.quality[m], f"{point.gain[m]:+.4f}")]
        timing = point.timing
        degraded = f" (and {timing.degraded} degraded)" if timing and timing.degraded else ""
        timed = [_number(timing.median_ms), f"{timing.queries}{degraded}"] if timing else ["-", "-"]
        rows.append([point.depth, *figures, *timed])
    yield f"## Depth: {_cell(system.name)}"
    yield _table(["candidates", *(h for m in measures for h in (m, "gain")), "ms, median", "queries timed"], rows)


def _contexts(system: SystemResult, evaluation: Evaluation) -> Iterator[str]:
    settings, target = evaluation.settings, evaluation.context_target
    yield f"## {target.capitalize()} in context at N tokens: {_cell(system.name)}"
    yield _table(
        ["tokens", "first stage, top k", "first stage, same rules", "second pass", "gain on top k", "p"],
        ([p.budget, p.top_k, p.same_selection, p.second_pass, *_compared(p.gain)] for p in system.contexts),
    )
    yield (
        f"Share of {evaluation.context_queries} queries whose kept texts hold the {target}; in brackets the interval, "
        f"then the mean tokens taken. Tokens as counted by {_cell(settings['counter'])} "
        f"({'exact' if settings['counter_exact'] else 'not exact'})."
    )


def _verdict(system: SystemResult, verdict: Verdict, evaluation: Evaluation) -> str:
    lines = [f"**{_cell(system.name)} {verdict.finding}** over {_cell(evaluation.collection)}.", *verdict.sentences()]
    if system.lost:
        worst = (f"{_cell(item.text)} ({item.after - item.before:+.3f})" for item in system.lost)
        lines.append(f"Lost most: {'; '.join(worst)}.")
    return "\n".join((lines[0], *(f"- {line}" for line in lines[1:])))


def _changes(title: str, changes: Sequence[QueryChange]) -> Iterator[str]:
    yield title
    for change in changes:
        values = f"{change.before:.4f} → {change.after:.4f} ({change.after - change.before:+.4f})"
        yield f"**{_cell(change.query)}** {_cell(change.text)}: {values}"
        rows: list[list[object]] = []
        for move in change.moves:
            after = "dropped" if move.after is None else move.after
            text = _cell(move.text)
            text = text if len(text) <= _TEXT_WIDTH else text[: _TEXT_WIDTH - 1] + "…"
            rows.append([move.id, move.before, after, _number(move.grade, 0), _number(move.score, 2), text])
        yield _table(["id", "was", "is", "grade", "score", "text"], rows)


def _compared(comparison: Comparison) -> list[str]:
    return [f"{comparison.interval:+.4f}", f"{comparison.p_value:.4f}"]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _cell(value: object) -> str:
    """Return a value as text that can't break out of a cell: on one line, without a bar."""
    if isinstance(value, Interval):
        return f"{value:.4f}"
    if isinstance(value, ContextShare):
        return f"{value.share:.4f}, {value.tokens:.0f}"
    return " ".join(str(value).split()).replace("|", "¦")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in [head, ["---"] * len(head), *rows])
