"""Windowed scoring: a long text is scored in overlapping windows that end with sentences."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from secondpass.errors import ConfigurationError, checked
from secondpass.records import Call, Pair, Score, Scored, Spec, Stage, Unscored, UnscoredReason, Window
from secondpass.scoring.scorer import ComposedScorer, Scorer, count_tokens, score_checked
from secondpass.scoring.window_cutting import Span, cut_windows

Pooling = Literal["max", "first", "mean"]

_SPECIAL_TOKENS = 4  # those of a pair of RoBERTa; others have fewer
_LONGEST_HEADER = 0.5  # the share of a window that a repeated header takes at most


@checked
@dataclass(frozen=True, slots=True)
class Windows:
    """How texts are cut into windows, and how the values of a text's windows become its score.

    :param max_tokens: The most tokens of a window without its header, counted by the scorer; None takes what the model
        reads beside the query, and with the policy ``"extract"`` a part of the budget, at most 96, without an overlap.
        A scorer that states no limit, such as LangChain's ``BaseCrossEncoder``, is then given whole texts: set a number
        for it.
    :param overlap: The share of a window that the next one repeats, in whole sentences.
    :param max_windows: The most windows of a text that are scored: the first, the last, and others evenly spread
        between them, or the best by ``prune_with``. It bounds the cost of a text.
    :param pooling: The value that counts: ``"max"`` the best window's (MaxP), ``"first"`` the first one's (FirstP),
        ``"mean"`` the mean of the best ``mean_of``. MaxP and FirstP: Dai and Callan, "Deeper text understanding for IR
        with contextual neural language modeling", SIGIR 2019.
    :param mean_of: How many windows the mean is of.
    :raises ConfigurationError: If a setting is out of its range.
    """

    max_tokens: int | None = None
    overlap: float = 0.2
    max_windows: int = 32
    pooling: Pooling = "max"
    mean_of: int = 3

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.max_tokens is not None and self.max_tokens < 8:
            raise ConfigurationError(
                f"a window's max_tokens must be a whole number from 8, or None, got {self.max_tokens!r}"
            )
        if not 0 <= self.overlap <= 0.5:
            raise ConfigurationError(f"the overlap of windows must be within 0 and 0.5, got {self.overlap!r}")
        for name in ("max_windows", "mean_of"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigurationError(f"{name} must be a whole number from 1, got {value!r}")

    def pool(self, values: Sequence[float]) -> float:
        """Return the score of a text from the values of its windows, which are in the text's order."""
        if self.pooling == "first":
            return values[0]
        best = sorted(values, reverse=True)[: self.mean_of if self.pooling == "mean" else 1]
        return sum(best) / len(best)


@dataclass(slots=True)
class _Text:
    """One pair with the windows of its text.

    :param pair: The pair; its header is what is repeated before each window.
    :param spans: All windows, the first with the header.
    :param tokens: Their tokens.
    :param stopped: Why the text was not cut; None where it was.
    :param chosen: The positions of the windows to score.
    :param outcomes: The outcomes of these windows.
    :param partial: Whether the choice of the windows was cut short.
    """

    pair: Pair
    spans: Sequence[Span] = ()
    tokens: Sequence[int] = ()
    stopped: UnscoredReason | None = None
    chosen: list[int] = field(default_factory=list)
    outcomes: dict[int, Score | Unscored] = field(default_factory=dict)
    partial: bool = False

    def window_pair(self, position: int) -> Pair:
        """Return the query with one window, after the header."""
        start, end = self.spans[position]
        text, header = self.pair.text, self.pair.header
        return Pair(self.pair.query, text[:end] if start < header else text[:header] + text[start:end])

    def unread(self) -> int:
        """Return the tokens of the windows without a score; what another window repeats counts once."""
        tokens = reached = 0
        for at, (start, end) in enumerate(self.spans):
            if not isinstance(self.outcomes.get(at), Score):
                following = self.spans[at + 1][0] if isinstance(self.outcomes.get(at + 1), Score) else end
                new = max(0, min(end, following) - max(start, reached))
                tokens += round(self.tokens[at] * new / max(1, end - start))
            reached = end
        return tokens


@checked
class Windowed(ComposedScorer):
    """Scores texts in windows by another scorer; a text that fits a single window gets that scorer's own score.

    The first windows of all texts are scored first, then the second ones, and so on. A text of which a deadline left
    windows unscored gets the score of the others, marked as partial, and one without any stays unscored.

    :param scorer: Scores the windows. Its ``count_tokens`` sizes them; without it, three bytes count as a token.
    :param windows: How texts are cut.
    :param prune_with: A cheap scorer that chooses the windows of texts that have more than ``max_windows``.
    :raises ConfigurationError: If an argument has another type.
    """

    def __init__(self, scorer: Scorer, windows: Windows | None = None, *, prune_with: Scorer | None = None) -> None:
        cheap = () if prune_with is None else (prune_with,)
        super().__init__((scorer, *cheap), "Windowed needs a scorer, such as load_scorer('small')")
        if windows is not None and not isinstance(windows, Windows):
            raise ConfigurationError(f"windows must be a Windows(...) or None, got {windows!r:.80}")
        self.scorer = self.scorers[0]
        self.windows = windows or Windows()
        self.prune_with = self.scorers[1] if cheap else None

    def __repr__(self) -> str:
        """Return the inner scorer and the settings."""
        pruned = f", prune_with={self.prune_with!r}" if self.prune_with else ""
        return f"Windowed({self.scorer!r}, {self.windows!r}{pruned})"

    @property
    def cuts(self) -> bool:
        """Whether a text can be longer than a window: there is a size, or the scorer states a limit."""
        return self.windows.max_tokens is not None or self.scorer.spec.max_tokens is not None

    @property
    def spec(self) -> Spec:
        """The inner scorer's specification, without its limit, and with the settings in the fingerprint."""
        return self._spec(self.scorer.spec, self.prune_with.spec if self.prune_with else None)

    def _spec(self, by: Spec, cheap: Spec | None) -> Spec:
        """Return the specification of a result in which scorers with these specifications answered."""
        specs = [spec for spec in (by, cheap) if spec]
        cut = self.scorer.spec.fingerprint  # sizes the windows, also where another scorer answers
        fingerprint = f"{by.fingerprint} {self.windows!r} {cheap.fingerprint if cheap else ''}".rstrip()
        return replace(
            by,
            fingerprint=fingerprint if cut == by.fingerprint else f"{fingerprint} cut by {cut}",
            max_tokens=None,
            batch_invariant=all(spec.batch_invariant for spec in specs),
            pointwise=all(spec.pointwise for spec in specs),
            returns_spans=False,
        )

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order, with the text's windows.

        :raises ScoringError: If an inner scorer failed.
        """
        call = call or Call()
        started = time.perf_counter()
        texts = self._cut(pairs, call)
        cut = time.perf_counter()
        pruned_by, pruning = self._choose(texts, call)
        chosen = sorted((turn, row) for row, text in enumerate(texts) for turn in range(len(text.chosen)))
        rows = [(texts[row], texts[row].chosen[turn]) for turn, row in chosen]
        scored = score_checked(self.scorer, [text.window_pair(position) for text, position in rows], call)
        for (text, position), outcome in zip(rows, scored.outcomes, strict=True):
            text.outcomes[position] = outcome
        facts = {
            "max_tokens": self.windows.max_tokens or "the model's",
            "windows": sum(len(text.spans) for text in texts),
            "scored": sum(isinstance(outcome, Score) for outcome in scored.outcomes),
        }
        stages = (Stage("windows", cut - started, facts), *pruning, *scored.stages)
        if not scored.stages:
            stages += (Stage("score", time.perf_counter() - cut, {"pairs": len(rows)}),)
        outcomes = tuple(self._outcome(text) for text in texts)
        return Scored(outcomes, self._spec(scored.by, pruned_by), stages, scored.notes)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the inner scorer counts them, else estimated."""
        return count_tokens(self.scorer, texts)

    def for_extraction(self, budget: int | None) -> "Windowed":
        """Return this scorer with windows of a size for extraction within a budget, if theirs was left open."""
        if self.windows.max_tokens is not None:
            return self
        windows = replace(self.windows, max_tokens=extract_tokens(budget), overlap=0.0)
        return Windowed(self.scorer, windows, prune_with=self.prune_with)

    def _left(self, queries: Iterable[str]) -> dict[str, int | None]:
        """Return the most tokens that the model reads beside each query; half of its own at least."""
        model = self.scorer.spec.max_tokens
        different = list(dict.fromkeys(queries))
        if model is None:
            return dict.fromkeys(different)
        counts = self.count_tokens(different)
        return {
            query: max(model // 2 - _SPECIAL_TOKENS, model - count - _SPECIAL_TOKENS, 1)
            for query, count in zip(different, counts, strict=True)
        }

    def _cut(self, pairs: Sequence[Pair], call: Call) -> list[_Text]:
        left = self._left(pair.query for pair in pairs)
        half = None if call.remaining is None else time.monotonic() + call.remaining / 2  # the rest is for scoring
        texts = []
        for pair in pairs:
            late = half is not None and time.monotonic() > half
            stopped = call.stop_reason() or (UnscoredReason.DEADLINE if late else None)
            texts.append(_Text(pair, stopped=stopped) if stopped else self._windows(pair, left[pair.query]))
        return texts

    def _windows(self, pair: Pair, left: int | None) -> _Text:
        """Return the windows of a text: of what is behind its header, where there are several.

        Of a header that takes more than half of a window, the beginning is repeated, and the rest is text.
        """
        limits = [limit for limit in (self.windows.max_tokens, left) if limit is not None]
        limit = min(limits, default=None)
        text, header = pair.text, pair.header
        if not header or limit is None or self.count_tokens([text])[0] <= limit:
            spans, tokens = cut_windows(text, limit, self.windows.overlap, self.count_tokens)
            return _Text(replace(pair, header=0), spans, tokens)
        if left is not None:
            most = max(1, int(_LONGEST_HEADER * left))
            ((_, header), *_), (before, *_) = cut_windows(text[:header], most, 0.0, self.count_tokens)
            limit = min(limit, left - before)
        spans, tokens = cut_windows(text[header:], limit, self.windows.overlap, self.count_tokens)
        spans = [(start + header if at else 0, end + header) for at, (start, end) in enumerate(spans)]
        return _Text(replace(pair, header=header), spans, tokens)

    def _choose(self, texts: Sequence[_Text], call: Call) -> tuple[Spec | None, tuple[Stage, ...]]:
        """Choose the windows to score, and return the cheap scorer's specification, and its stage if it was asked."""
        most = self.windows.max_windows
        long = [text for text in texts if len(text.spans) > most]
        for text in texts:
            text.chosen = _spread(len(text.spans), most)
        if not self.prune_with or not long:
            return self.prune_with.spec if self.prune_with else None, ()
        started = time.perf_counter()
        rows = [(text, position) for text in long for position in range(len(text.spans))]
        pairs = [text.window_pair(position) for text, position in rows]
        scored = score_checked(self.prune_with, pairs, call)
        outcomes = iter(scored.outcomes)
        for text in long:
            values = [next(outcomes) for _ in text.spans]
            text.partial = any(map(_unfinished, values))
            if not any(isinstance(value, Unscored) for value in values):
                text.chosen = _best([value.value for value in values if isinstance(value, Score)], most)
        facts = {"model": scored.by.name, "pairs": len(rows), "texts": len(long)}
        return scored.by, (Stage("prune windows", time.perf_counter() - started, facts),)

    def _outcome(self, text: _Text) -> Score | Unscored:
        scores = {at: item for at, item in sorted(text.outcomes.items()) if isinstance(item, Score)}
        if not scores:
            missing = [item for item in text.outcomes.values() if isinstance(item, Unscored)]
            missing.sort(key=lambda item: item.reason is UnscoredReason.INVALID)  # a deadline counts before NaN
            return next(iter(missing), Unscored(text.stopped or UnscoredReason.FAILED))
        windows = [Window(*text.spans[at], item.value) for at, item in scores.items()]
        truncated = text.unread() + sum(item.truncated for item in scores.values())
        partial = text.partial or any(map(_unfinished, text.outcomes.values()))
        value = self.windows.pool([window.value for window in windows])
        query_cut = max(item.query_cut for item in scores.values())
        return Score(value, truncated, tuple(windows), partial, query_cut)


def in_windows(scorer: Scorer, windows: Windows) -> Windowed:
    """Return a scorer of other windows by the same model."""
    return Windowed(scorer.scorer if isinstance(scorer, Windowed) else scorer, windows)


def for_extraction(scorer: Scorer, budget: int | None) -> Scorer:
    """Return a scorer whose scores come with windows small enough for extraction.

    :param scorer: The scorer; one that returns spans itself stays as it is.
    :param budget: The budget's tokens; None for no budget.
    """
    if scorer.spec.returns_spans:
        return scorer
    return (scorer if isinstance(scorer, Windowed) else Windowed(scorer)).for_extraction(budget)


def check_windows(scorer: Scorer, *, extracts: bool) -> None:
    """Refuse windows without a size over a scorer that reads texts of any length: each text is one window.

    :param scorer: The scorer, with those inside of it.
    :param extracts: Whether the outermost windows have a size of their own, for extraction.
    :raises ConfigurationError: If there are such windows.
    """
    if isinstance(scorer, Windowed) and not (scorer.cuts or extracts):
        raise ConfigurationError(
            f"Windowed has no effect around {scorer.scorer.spec.name}, which states no limit: give it "
            "Windows(max_tokens=...), or leave it out"
        )
    for part in scorer.scorers if isinstance(scorer, ComposedScorer) else ():
        check_windows(part, extracts=False)


def extract_tokens(budget: int | None) -> int:
    """Return the most tokens of a window to be extracted, where nothing else is set.

    On XQuAD's training paragraphs the best windows were the largest that fit, up to 96: 64, 48 and 32 gave fewer
    answers in 128 tokens and more.

    :param budget: The budget's tokens; None for no budget.
    """
    return 96 if budget is None else max(8, min(96, budget))


def _unfinished(outcome: Score | Unscored) -> bool:
    """Return whether another call may give a window another outcome."""
    if isinstance(outcome, Score):
        return outcome.partial
    return outcome.reason not in {UnscoredReason.PRUNED, UnscoredReason.UNREADABLE}


def _spread(windows: int, most: int) -> list[int]:
    """Return at most ``most`` positions: the first, the last, and others evenly spread between them."""
    if windows <= most:
        return list(range(windows))
    return [round(turn * (windows - 1) / max(1, most - 1)) for turn in range(most)]


def _best(values: Sequence[float], most: int) -> list[int]:
    """Return the positions of the highest values, of equal ones the earlier, in rising order."""
    return sorted(sorted(range(len(values)), key=lambda at: -values[at])[:most])
