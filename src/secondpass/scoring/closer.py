"""A second call for one candidate: its parts are scored, where it doesn't fit the context budget as a whole."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from secondpass.errors import ScoringError
from secondpass.ranking import Ranked
from secondpass.records import Call, Candidate, Pair, Score, Spec, Stage
from secondpass.scoring.scorer import Scorer, score_checked
from secondpass.scoring.windows import Windows, in_windows

_MOST = 64  # windows; the call stays small


@dataclass(slots=True)
class CloserReading:
    """Scores small windows of a candidate's best window, or of its text where it was scored as a whole.

    It never fails: a candidate of which no windows could be scored stays as it was.

    :param scorer: Scores the windows, as it scored the candidates.
    :param by: The specification of the candidates' scores.
    :param query: The query.
    :param size: Returns the most tokens of a candidate's windows.
    :param call: Deadline and cancellation.
    :param stages: What the calls did.
    """

    scorer: Scorer
    by: Spec
    query: str
    size: Callable[[Candidate], int]
    call: Call
    stages: list[Stage] = field(default_factory=list)

    def __call__(self, item: Ranked) -> Ranked:
        """Return a candidate with its score, and with small windows."""
        outcome, best = item.outcome, item.best_window
        if not isinstance(outcome, Score) or self.by.returns_spans or self.call.stop_reason():
            return item
        started, text, header = time.perf_counter(), item.candidate.text, item.candidate.text_header
        start, end = (max(best.start, header), best.end) if best else (header, len(text))
        max_tokens = self.size(item.candidate)
        scorer = in_windows(self.scorer, Windows(max_tokens, overlap=0.0, max_windows=_MOST))
        pair = Pair(self.query, text[:header] + text[start:end], header)
        facts: dict[str, object] = {"max_tokens": max_tokens}
        try:
            scored = score_checked(scorer, [pair], self.call)
        except (ScoringError, OSError) as error:  # OSError: as in score_requests
            self.stages.append(Stage("closer reading", time.perf_counter() - started, facts | {"error": str(error)}))
            return item
        (closer,) = scored.outcomes
        windows = closer.windows if isinstance(closer, Score) and scored.by.scale == self.by.scale else ()
        self.stages.append(Stage("closer reading", time.perf_counter() - started, facts | {"windows": len(windows)}))
        if len(windows) < 2:
            return item
        shift = start - header  # the header stands before each window
        windows = tuple(replace(one, start=max(one.start, header) + shift, end=one.end + shift) for one in windows)
        return replace(item, outcome=self.by.scale.applied_to(replace(outcome, windows=windows)))
