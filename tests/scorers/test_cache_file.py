"""The score cache on disk: what survives, and what a damaged, full, locked or foreign file costs."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from worlds import Scripted

from secondpass.errors import ConfigurationError
from secondpass.records import Pair, Score, Window
from secondpass.scorers.cached import Cached
from secondpass.scorers.score_store import ScoreStore, is_sound

PAIRS = [Pair("query", "a"), Pair("query", "b"), Pair("query", "a")]
SCRIPT = {"a": Score(1.25, truncated=3), "b": -0.1}


def cached(path: Path) -> tuple[Cached, Scripted]:
    """Return a cache and the scorer in it."""
    scorer = Scripted(SCRIPT)
    return Cached(scorer, path), scorer


def run_sql(path: Path, *statements: str) -> None:
    """Run statements on a database, as another application would."""
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def test_a_file_survives_its_process(tmp_path: Path) -> None:
    """Another cache on the same file finds the scores, with their truncation."""
    cached(tmp_path / "scores.db")[0].score_pairs(PAIRS)
    cache, scorer = cached(tmp_path / "scores.db")
    assert cache.score_pairs(PAIRS).outcomes[0] == Score(1.25, 3)
    assert scorer.asked == []


def test_the_file_is_bounded(tmp_path: Path) -> None:
    """Of more scores than ``max_entries`` the last written stay on disk."""
    file = ScoreStore(tmp_path / "scores.db", max_entries=2)
    for number in range(5):
        file.write({bytes([number]): Score(number)})
    assert file.read([bytes([number]) for number in range(5)]) == {b"\x03": Score(3), b"\x04": Score(4)}


def test_scores_in_numpys_numbers_are_kept(tmp_path: Path) -> None:
    """A user's scorer may give them; they come back as Python's."""
    score = Score(np.float32(0.5), np.int64(2), (Window(np.int64(0), np.int64(3), np.float32(0.5)),))
    ScoreStore(tmp_path / "scores.db", 9).write({b"key": score})
    found = ScoreStore(tmp_path / "scores.db", 9).read([b"key"])[b"key"]
    assert found == Score(0.5, 2, (Window(0, 3, 0.5),))
    assert type(found.value) is float


def damage(path: Path) -> None:
    """Overwrite a file."""
    path.write_bytes(b"no database at all" * 100)


def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The damaged file is renamed and another one begun; a warning names it, and the scores are computed."""
    damage(tmp_path / "scores.db")
    cache, scorer = cached(tmp_path / "scores.db")
    assert cache.score_pairs(PAIRS).outcomes[1] == Score(-0.1)
    cache.score_pairs(PAIRS)
    (aside,) = tmp_path.glob("scores.db.damaged-*")
    assert f"the score cache was damaged: it is now {aside.name}" in caplog.text
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


def test_each_damaged_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    """The second one that a process sets aside doesn't replace the first."""
    for _ in range(2):
        damage(tmp_path / "scores.db")
        cached(tmp_path / "scores.db")[0].score_pairs(PAIRS)
    assert len(list(tmp_path.glob("*.damaged-*"))) == 2


def test_a_locked_file_is_not_known_to_be_damaged(tmp_path: Path) -> None:
    """SQLite can't look into it, which is no reason to rename it."""
    path = tmp_path / "scores.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE scores (key)")
        other.execute("BEGIN EXCLUSIVE")
        assert is_sound(path, wait_seconds=0.0)
    damage(path)
    assert not is_sound(path, wait_seconds=0.0)


def test_a_file_that_was_exchanged_is_opened_anew(tmp_path: Path) -> None:
    """Where another process renamed or deleted the file, an open cache writes to the new one, not to the old."""
    path = tmp_path / "scores.db"
    file = ScoreStore(path, 9)
    file.write({b"old": Score(1.0)})
    path.rename(tmp_path / "aside.db")
    path.with_name("scores.db-wal").unlink()
    path.with_name("scores.db-shm").unlink()
    ScoreStore(path, 9).write({b"new": Score(2.0)})
    assert file.read([b"old", b"new"]) == {b"new": Score(2.0)}
    file.write({b"newer": Score(3.0)})
    file.close()
    assert ScoreStore(path, 9).read([b"new", b"newer"]) == {b"new": Score(2.0), b"newer": Score(3.0)}


def test_a_row_with_a_wrong_checksum_is_not_trusted(tmp_path: Path) -> None:
    """A value that changed on disk is unknown, and written anew."""
    cached(tmp_path / "scores.db")[0].score_pairs(PAIRS)
    with sqlite3.connect(tmp_path / "scores.db") as link:
        rows = [(value.replace(b"1.25", b"9.25"), key) for key, value in link.execute("SELECT key, value FROM scores")]
        link.executemany("UPDATE scores SET value = ? WHERE key = ?", rows)
    link.close()
    cache, scorer = cached(tmp_path / "scores.db")
    assert cache.score_pairs(PAIRS[:1]).outcomes == (Score(1.25, 3),)
    assert scorer.asked == PAIRS[:1]


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE scores (player TEXT, points INTEGER)", "PRAGMA user_version = 7"],
        ["CREATE TABLE scores (id INTEGER, key BLOB, value BLOB)", "CREATE TABLE players (name TEXT)"],
        ["CREATE TABLE scores (id INTEGER, key BLOB, value BLOB)", "PRAGMA application_id = 5"],
        ["PRAGMA application_id = 5"],
    ],
)
def test_another_applications_database_is_refused(tmp_path: Path, statements: list[str]) -> None:
    """A database that isn't a score cache raises where the cache is made, and isn't changed."""
    path = tmp_path / "game.db"
    run_sql(path, *statements)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"game\.db is the SQLite database of another application"):
        cached(path)
    assert path.read_bytes() == before


def test_another_applications_database_that_comes_later_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where such a file replaces that of a cache in use, scores are computed, and the log says why."""
    path = tmp_path / "scores.db"
    cache, _ = cached(path)
    cache.score_pairs(PAIRS[:1])
    cache.release()
    path.unlink()
    run_sql(path, "CREATE TABLE scores (player TEXT)")
    before = path.read_bytes()
    assert cache.score_pairs(PAIRS).outcomes == (Score(1.25, 3), Score(-0.1), Score(1.25, 3))
    assert path.read_bytes() == before
    assert "is the SQLite database of another application" in caplog.text


@pytest.mark.parametrize("version", [0, 1])
def test_a_file_of_an_earlier_version_is_begun_anew(tmp_path: Path, version: int) -> None:
    """The first versions had no application id, and kept scores that a deadline had cut short."""
    path = tmp_path / "scores.db"
    table = "(id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)"
    run_sql(
        path, f"CREATE TABLE scores {table}", f"PRAGMA user_version = {version}", "INSERT INTO scores VALUES (1, 2, 3)"
    )
    cached(path)[0].score_pairs(PAIRS)
    assert cached(path)[0].score_pairs(PAIRS).stages[0].facts["hits_on_disk"] == 2
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM scores").fetchone() == (2,)
        assert database.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"2nds"),)


@pytest.mark.parametrize("pragma", ["max_page_count = 1", "query_only = 1"], ids=["disk full", "read-only"])
def test_a_file_that_can_not_be_written_costs_no_answer(
    tmp_path: Path, pragma: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the disk is full or the file read-only, scores come from the scorer, and one warning is logged."""
    file = ScoreStore(tmp_path / "scores.db", max_entries=10_000)
    file.write({b"first": Score(1.0)})
    file._link.database.execute(f"PRAGMA {pragma}")
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
