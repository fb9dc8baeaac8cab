"""Teacher scores on disk: scored once, never mixed up, never trusted when damaged."""

import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

from secondpass.call import Call
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.scores import LOGIT, Pair, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.scorer import BaseScorer
from secondpass.training.store import ScoreStore


class Counting(BaseScorer):
    """Scores a pair by its length, and remembers which pairs it was asked for."""

    def __init__(self, fingerprint: str = "f", *, fails: bool = False) -> None:
        self.spec = Spec("counting", LOGIT, fingerprint)
        self.asked: list[Pair] = []
        self._fails = fails

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.asked += pairs
        outcomes = [Unscored(UnscoredReason.INVALID) if self._fails else Score(float(len("".join(p)))) for p in pairs]
        return Scored(tuple(outcomes), self.spec)


def scores(store: ScoreStore, scorer: Counting, pairs: Sequence[Pair]) -> list[float]:
    return list(chain.from_iterable(store.score(scorer, pairs)))


def test_a_pair_is_scored_once_and_then_read_from_disk(tmp_path: Path) -> None:
    """A second run asks the teacher for nothing, and one with more pairs only for the new ones."""
    pairs = [Pair("q", "a" * n) for n in range(1, 700)]
    first, second = Counting(), Counting()
    expected = [float(len(pair.text) + 1) for pair in pairs]
    assert scores(ScoreStore(tmp_path / "s.sqlite"), first, [*pairs, pairs[0]]) == [*expected, expected[0]]
    assert first.asked == pairs
    assert scores(ScoreStore(tmp_path / "s.sqlite"), second, [*pairs, Pair("q", "new")]) == [*expected, 4.0]
    assert second.asked == [Pair("q", "new")]


def test_no_two_keys_meet_by_concatenation(tmp_path: Path) -> None:
    """What one part of the key ends with never counts as the start of the next, and teachers keep apart."""
    store = ScoreStore(tmp_path / "s.sqlite")
    for scorer, pair in [
        (Counting("f"), Pair("ab", "c")),
        (Counting("f"), Pair("a", "bc")),
        (Counting("fa"), Pair("b", "c")),
        (Counting("f"), Pair("abc", "")),
    ]:
        scores(store, scorer, [pair])
        assert scorer.asked == [pair]


def test_a_pair_without_a_score_stops_the_run(tmp_path: Path) -> None:
    """A teacher that can't score a pair is not learned from, and the error says which pair it was."""
    with pytest.raises(ScoringError, match="left out query 'q', text 'broken': invalid"):
        scores(ScoreStore(tmp_path / "s.sqlite"), Counting(fails=True), [Pair("q", "broken")])


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """Something else under that name is never overwritten."""
    path = tmp_path / "s.sqlite"
    path.write_text("a diary " * 200)
    with pytest.raises(ConfigurationError, match="move it away"):
        ScoreStore(path)
    assert path.read_text().startswith("a diary")


def test_what_was_scored_before_a_kill_is_kept(tmp_path: Path) -> None:
    """A process that is killed between two chunks leaves the first one's scores."""
    path = tmp_path / "s.sqlite"
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_store import Counting, Pair, ScoreStore
for _ in ScoreStore(Path({str(path)!r})).score(Counting(), [Pair("q", str(n)) for n in range(1000)]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    after = Counting()
    scores(ScoreStore(path), after, [Pair("q", str(n)) for n in range(1000)])
    assert len(after.asked) == 488
