"""The score cache, in memory and on disk: what is scored again, and what a damaged or full disk costs."""

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import Failing, Scripted

from secondpass import Call, OverlapScorer
from secondpass.errors import ConfigurationError, ScoringError
from secondpass.scores import Pair, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.cache import Cached, _key
from secondpass.scoring.fallback import Fallback
from secondpass.scoring.score_file import ScoreFile
from secondpass.scoring.windows import Windowed, Windows

PAIRS = [Pair("query", "a"), Pair("query", "b"), Pair("query", "a")]
SCRIPT = {"a": Score(1.25, truncated=3), "b": -0.1}


def cached(path: Path | None = None, **settings: int) -> tuple[Cached, Scripted]:
    """Return a cache and the scorer in it."""
    scorer = Scripted(SCRIPT)
    return Cached(scorer, path, **settings), scorer


def test_a_pair_is_scored_once() -> None:
    """Equal pairs of a call are scored once, and not again in the next call; the outcomes are those of the scorer."""
    cache, scorer = cached()
    for _ in range(2):
        assert cache.score_pairs(PAIRS).outcomes == (Score(1.25, 3), Score(-0.1), Score(1.25, 3))
    assert scorer.asked == PAIRS[:2]


def test_hits_and_misses_are_in_the_report() -> None:
    """The stage says how many pairs were known."""
    cache, _ = cached()
    cache.score_pairs(PAIRS[:1])
    assert cache.score_pairs(PAIRS).stages[0].facts == {"hits": 2, "misses": 1, "hits_on_disk": 0}


def test_a_file_survives_its_process(tmp_path: Path) -> None:
    """Another cache on the same file finds the scores, with their truncation."""
    cached(tmp_path / "scores.db")[0].score_pairs(PAIRS)
    cache, scorer = cached(tmp_path / "scores.db")
    assert cache.score_pairs(PAIRS).outcomes[0] == Score(1.25, 3)
    assert scorer.asked == []


def test_what_has_no_score_is_not_kept() -> None:
    """A pair that a deadline left unscored is scored the next time."""
    scorer = Scripted({"a": Unscored(UnscoredReason.DEADLINE)})
    cache = Cached(scorer)
    cache.score_pairs(PAIRS[:1])
    cache.score_pairs(PAIRS[:1])
    assert scorer.asked == PAIRS[:1] * 2


class BatchDependent(Scripted):
    """A scorer whose scores depend on the batch."""

    @property
    def spec(self) -> Spec:
        return Spec("dynamic", super().spec.scale, "dynamic", batch_invariant=False)


def test_scores_that_depend_on_the_batch_are_cached_on_request_alone() -> None:
    """A cached score would be one of several that the model gives for the pair."""
    with pytest.raises(ConfigurationError, match="allow_batch_dependent=True"):
        Cached(BatchDependent({}))
    assert Cached(BatchDependent({}), allow_batch_dependent=True)


TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=4)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=2, max_size=2, unique=True))
def test_different_parts_have_different_keys(parts: list[tuple[str, str, str]]) -> None:
    """Moving characters between fingerprint, query and text changes the key."""
    one, other = (_key(fingerprint, Pair(query, text)) for fingerprint, query, text in parts)
    assert one != other


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    """Of more scores than ``max_entries`` the last used stay in memory, and the last written on disk."""
    cache, scorer = cached(max_entries=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        cache.score_pairs([Pair("query", text)])
    assert [pair.text for pair in scorer.asked] == ["a", "b", "c", "b"]
    file = ScoreFile(tmp_path / "scores.db", max_entries=2)
    for number in range(5):
        file.write({bytes([number]): Score(number)})
    assert file.read([bytes([number]) for number in range(5)]) == {b"\x03": Score(3), b"\x04": Score(4)}


def damage(path: Path) -> None:
    """Overwrite a file."""
    path.write_bytes(b"no database at all" * 100)


def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The damaged file is renamed and another one begun; a warning names it, and the scores are computed."""
    damage(tmp_path / "scores.db")
    cache, scorer = cached(tmp_path / "scores.db")
    assert cache.score_pairs(PAIRS).outcomes[1] == Score(-0.1)
    cache.score_pairs(PAIRS)
    assert [path.name for path in tmp_path.glob("*.damaged-*")] == [f"scores.db.damaged-{os.getpid()}"]
    assert "the score cache was damaged" in caplog.text
    assert cached(tmp_path / "scores.db")[0].score_pairs(PAIRS).stages[0].facts["hits_on_disk"] == 2
    assert len(scorer.asked) == 2


def test_a_file_that_is_damaged_in_use_is_set_aside(tmp_path: Path) -> None:
    """Pages that turn to garbage under an open cache cost scores, and nothing else."""
    cache = Cached(Scripted({str(number): float(number) for number in range(500)}), tmp_path / "scores.db")
    pairs = [Pair("query", str(number)) for number in range(500)]
    cache.score_pairs(pairs)
    cache.release()
    content = bytearray((tmp_path / "scores.db").read_bytes())
    content[100:-4096] = os.urandom(len(content) - 4196)
    (tmp_path / "scores.db").write_bytes(content)
    fresh, scorer = cached(tmp_path / "scores.db")
    assert list(fresh.score_pairs(PAIRS).outcomes) == [Score(1.25, 3), Score(-0.1), Score(1.25, 3)]
    assert scorer.asked == PAIRS[:2]


def test_a_row_with_a_wrong_checksum_is_not_trusted(tmp_path: Path) -> None:
    """A value that changed on disk is unknown, and written anew."""
    cached(tmp_path / "scores.db")[0].score_pairs(PAIRS)
    with sqlite3.connect(tmp_path / "scores.db") as link:
        link.execute("UPDATE scores SET value = replace(value, '1.25', '9.25')")
    link.close()
    cache, scorer = cached(tmp_path / "scores.db")
    assert cache.score_pairs(PAIRS[:1]).outcomes == (Score(1.25, 3),)
    assert scorer.asked == PAIRS[:1]


@pytest.mark.parametrize("pragma", ["max_page_count = 1", "query_only = 1"], ids=["disk full", "read-only"])
def test_a_file_that_can_not_be_written_costs_no_answer(
    tmp_path: Path, pragma: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the disk is full or the file read-only, scores come from the scorer, and one warning is logged."""
    file = ScoreFile(tmp_path / "scores.db", max_entries=10_000)
    file.write({b"first": Score(1.0)})
    file._connections[os.getpid()].execute(f"PRAGMA {pragma}")
    for number in range(20):
        file.write({bytes([number, place % 256, place // 256]): Score(place) for place in range(300)})
    assert file.read([b"first"]) == {b"first": Score(1.0)}
    assert file.failures > 1
    assert caplog.text.count("the score cache can't be used for now") == 1


def test_a_folder_that_can_not_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    """A cache in a place that can't exist is refused at construction."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="the folder of the score cache can't be made"):
        Cached(Scripted({}), tmp_path / "file" / "scores.db")


def _write_for_ever(path: Path) -> None:
    file, number = ScoreFile(path, max_entries=100_000), 0
    while True:
        file.write({number.to_bytes(8, "big"): Score(number)})
        number += 1


def test_killed_writers_damage_nothing(tmp_path: Path) -> None:
    """Processes that are killed while they write leave a sound file, in which every row has its checksum."""
    path, context = tmp_path / "scores.db", multiprocessing.get_context("spawn")
    ScoreFile(path, 100_000).write({b"first": Score(0.5)})
    for _ in range(2):
        writers = [context.Process(target=_write_for_ever, args=(path,)) for _ in range(2)]
        for writer in writers:
            writer.start()
        before = path.with_name("scores.db-wal").stat().st_size if path.with_name("scores.db-wal").exists() else 0
        while not path.with_name("scores.db-wal").exists() or path.with_name("scores.db-wal").stat().st_size <= before:
            time.sleep(0.01)
        for writer in writers:
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
    with sqlite3.connect(path) as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        keys = [key for (key,) in link.execute("SELECT key FROM scores")]
    link.close()
    assert len(ScoreFile(path, 100_000).read(keys)) == len(keys) > 1


def _fill(path: Path, first: int) -> None:
    file = ScoreFile(path, max_entries=100_000)
    for number in range(first, first + 200):
        file.write({number.to_bytes(8, "big"): Score(number)})


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    """What three processes write at once is all there, unless one waited too long for the file."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_fill, args=(tmp_path / "scores.db", 1000 * turn)) for turn in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    keys = [(1000 * turn + number).to_bytes(8, "big") for turn in range(3) for number in range(200)]
    found = ScoreFile(tmp_path / "scores.db", 100_000).read(keys)
    assert len(found) > 300
    assert all(score.value == int.from_bytes(key, "big") for key, score in found.items())


class OtherScale(Scripted):
    """A scorer with another fingerprint."""

    @property
    def spec(self) -> Spec:
        return Spec("other", super().spec.scale, "other")


class FailsLater(Scripted):
    """Answers once."""

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        if self.asked:
            raise ScoringError("broken")
        return super().score_pairs(pairs)


def test_cached_scores_are_never_mixed_with_another_scorers() -> None:
    """Where a fallback in the cache answers by its second scorer, that scores all pairs, and nothing is kept."""
    cache = Cached(Fallback(FailsLater({"a": 1.0}), OtherScale({"a": 7.0, "b": 8.0})))
    cache.score_pairs(PAIRS[:1])
    scored = cache.score_pairs(PAIRS)
    assert [outcome.value for outcome in scored.outcomes if isinstance(outcome, Score)] == [7.0, 8.0, 7.0]
    assert scored.by.name == "other"


def test_a_failing_scorer_raises_through_the_cache() -> None:
    """What isn't known can't be answered."""
    with pytest.raises(ScoringError):
        Cached(Failing(ScoringError("broken"))).score_pairs(PAIRS)


def test_windows_of_a_long_text_are_kept(tmp_path: Path) -> None:
    """A cache around ``Windowed`` returns each window with its span and value, also from disk."""
    text = "A flea lives long. " * 30
    windowed = Windowed(OverlapScorer(), Windows(max_tokens=40))
    first = Cached(windowed, tmp_path / "scores.db").score("how long does a flea live", [text])
    again = Cached(windowed, tmp_path / "scores.db").score("how long does a flea live", [text])
    assert first == again
    assert isinstance(again[0], Score)
    assert len(again[0].windows) > 1
