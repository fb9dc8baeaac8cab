"""An evaluation as tables in Markdown."""

from collections.abc import Iterable, Sequence

from secondpass.evaluation.changes import Changed, Moved
from secondpass.evaluation.depth import Timing
from secondpass.evaluation.estimates import Interval, Paired
from secondpass.evaluation.results import Contained, Evaluation, SystemResult
from secondpass.evaluation.systems import FIRST_STAGE

_TEXT_WIDTH = 60


def as_markdown(evaluation: Evaluation) -> str:
    """Return the whole story; what wasn't looked at has no section."""
    parts = [*_head(evaluation), *_quality(evaluation), *_differences(evaluation), *_cost(evaluation)]
    for system in evaluation.systems:
        parts += [*_depths(system, evaluation.measures), *_contexts(system, evaluation)]
        parts += _changes(system, "won", system.won, evaluation.measures)
        parts += _changes(system, "lost", system.lost, evaluation.measures)
    return "\n\n".join(parts) + "\n"


def _head(evaluation: Evaluation) -> Iterable[str]:
    yield f"# {_cell(evaluation.collection)}: without and with the second pass"
    yield f"{evaluation.queries} queries, {evaluation.judged} of them judged."
    if evaluation.notes:
        yield "\n".join(f"- {_cell(note)}" for note in evaluation.notes)
    for system in evaluation.systems:
        if not system.passes.whole:
            yield f"**{_cell(system.name)}: {system.passes.trouble()}. The figures below hold them as they came.**"
        if system.whole:
            rows = [[w.measure, str(w.queries), f"{w.before:.4f}", f"{w.after:.4f}"] for w in system.whole]
            yield f"Without the degraded passes of {_cell(system.name)}:"
            yield _table(["measure", "queries", FIRST_STAGE, _cell(system.name)], rows)


def _quality(evaluation: Evaluation) -> Iterable[str]:
    if not evaluation.measures:
        return
    quality = {FIRST_STAGE: evaluation.first_stage} | {item.name: item.quality for item in evaluation.systems}
    rows = [[_cell(name), *(_mean(found[m]) for m in evaluation.measures)] for name, found in quality.items()]
    yield "## Quality"
    yield _table(["", *evaluation.measures], rows)
    yield f"Means over queries, with {_confidence(evaluation)} intervals ({evaluation.settings['interval']})."


def _differences(evaluation: Evaluation) -> Iterable[str]:
    if not evaluation.differences:
        return
    rows = [
        [item.measure, _cell(item.before), _cell(item.after), *_paired(item.found), *_counted(item.found)]
        for item in evaluation.differences
    ]
    yield "## Differences"
    yield _table(["measure", "from", "to", "difference", "p", "won", "lost", "tied"], rows)
    yield f"p: {evaluation.settings['test']}; not corrected for the number of comparisons."


def _cost(evaluation: Evaluation) -> Iterable[str]:
    rows = []
    for system in evaluation.systems:
        cost = system.cost
        stages = ", ".join(f"{name} {ms:.1f}" for name, ms in cost.stages_ms.items())
        figures = [_number(cost.median_ms), _number(cost.mean_ms), _number(cost.tokens, 0), _number(cost.candidates)]
        rows.append([_cell(system.name), *figures, stages, str(system.passes.truncated)])
    yield "## Cost a query"
    yield _table(["", "ms, median", "ms, mean", "tokens", "candidates", "stages, mean ms", "texts truncated"], rows)


def _depths(system: SystemResult, measures: Sequence[str]) -> Iterable[str]:
    if not system.depths:
        return
    rows = []
    for point in system.depths:
        figures = [f for m in measures for f in (_mean(point.quality[m]), f"{point.gain[m]:+.4f}")]
        rows.append([str(point.depth), *figures, *_time(point.timing)])
    yield f"## Depth: {_cell(system.name)}"
    yield _table(["candidates", *(h for m in measures for h in (m, "gain")), "ms, median", "queries timed"], rows)


def _contexts(system: SystemResult, evaluation: Evaluation) -> Iterable[str]:
    if not system.contexts:
        return
    rows = [
        [str(point.budget), *map(_contained, (point.plain, point.rules, point.second)), *_paired(point.gain)]
        for point in system.contexts
    ]
    exact = "exact" if evaluation.settings["counter_exact"] else "not exact"
    yield f"## {evaluation.looked_for.capitalize()} in context at N tokens: {_cell(system.name)}"
    yield _table(["tokens", "first stage, top k", "first stage, same rules", "second pass", "gain on top k", "p"], rows)
    yield (
        f"Share of {evaluation.asked} queries whose kept texts hold the {evaluation.looked_for}; in brackets the "
        f"interval, then the mean tokens taken. Tokens as counted by {_cell(evaluation.settings['counter'])} ({exact})."
    )


def _changes(system: SystemResult, how: str, changes: Sequence[Changed], measures: Sequence[str]) -> Iterable[str]:
    if not changes:
        return
    yield f"## Queries {how}: {_cell(system.name)}, {measures[0]}"
    for item in changes:
        yield f"**{_cell(item.query)}** {_cell(item.text)}: {item.before:.4f} → {item.after:.4f} ({item.gain:+.4f})"
        yield _table(["id", "was", "is", "grade", "score", "text"], map(_move, item.moved))


def _move(moved: Moved) -> list[str]:
    after = "dropped" if moved.after is None else str(moved.after)
    grade = "-" if moved.grade is None else str(moved.grade)
    return [_cell(moved.id), str(moved.before), after, grade, _number(moved.score, 2), _start(moved.text)]


def _confidence(evaluation: Evaluation) -> str:
    return f"{evaluation.settings['confidence'] * 100:g} %"


def _contained(found: Contained) -> str:
    return f"{_mean(found.share)}, {found.tokens:.0f}"


def _paired(found: Paired) -> list[str]:
    return [_mean(found.interval, sign="+"), f"{found.p_value:.4f}"]


def _counted(found: Paired) -> list[str]:
    return [str(count) for count in (found.won, found.lost, found.tied)]


def _mean(found: Interval, sign: str = "") -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:{sign}.4f}"
    return f"{found.mean:{sign}.4f} [{found.low:{sign}.4f}, {found.high:{sign}.4f}]"


def _time(timing: Timing | None) -> list[str]:
    if timing is None:
        return ["-", "-"]
    degraded = f" (and {timing.degraded} degraded)" if timing.degraded else ""
    return [_number(timing.median_ms), f"{timing.passes}{degraded}"]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _start(text: str) -> str:
    line = _cell(text)
    return line if len(line) <= _TEXT_WIDTH else line[: _TEXT_WIDTH - 1] + "…"


def _cell(text: str) -> str:
    """Return text that can't break out of a cell: on one line, without a bar."""
    return " ".join(text.split()).replace("|", "¦")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
