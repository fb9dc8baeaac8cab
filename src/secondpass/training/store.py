"""A file of teacher scores, so that a second run doesn't compute them again."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from secondpass.errors import ConfigurationError, ScoringError
from secondpass.scores import Pair, Score
from secondpass.scoring.scorer import Scorer
from secondpass.training.data import Group

_CHUNK = 512  # pairs between two writes: what a kill can cost


class ScoreStore:
    """A SQLite file of raw scores, each under its scorer's fingerprint, question and text.

    Scores are written in transactions of a few hundred: a kill loses the last of them, and never the file.

    :param path: The file; it is created if missing.
    :raises ConfigurationError: If it can't be opened, or isn't such a file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, value REAL) WITHOUT ROWID")

    def score(self, scorer: Scorer, pairs: Sequence[Pair]) -> Iterator[list[float]]:
        """Yield raw scores for the pairs, in order and a chunk at a time; only unknown pairs are scored.

        :raises ScoringError: If the scorer left a pair without a score.
        """
        for start in range(0, len(pairs), _CHUNK):
            by_key = {_key(scorer.spec.fingerprint, pair): pair for pair in pairs[start : start + _CHUNK]}
            marks = ",".join("?" * len(by_key))
            query = f"SELECT key, value FROM scores WHERE key IN ({marks})"  # noqa: S608  only question marks
            with self._open() as connection:
                known: dict[bytes, float] = dict(connection.execute(query, list(by_key)).fetchall())
            missing = {key: pair for key, pair in by_key.items() if key not in known}
            if missing:
                new = dict(zip(missing, _scores(scorer, list(missing.values())), strict=True))
                with self._open() as connection:
                    connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", new.items())
                known |= new
            yield [known[_key(scorer.spec.fingerprint, pair)] for pair in pairs[start : start + _CHUNK]]

    def score_groups(self, scorer: Scorer, groups: Sequence[Group], name: str, *, progress: bool) -> list[list[float]]:
        """Return the scores of groups, a list for each, with a progress bar of that name."""
        pairs = [pair for group in groups for pair in group.pairs]
        flat: list[float] = []
        with tqdm(total=len(pairs), desc=f"teacher: {name}", unit="pair", disable=not progress) as bar:
            for chunk in self.score(scorer, pairs):
                flat += chunk
                bar.update(len(chunk))
        values = iter(flat)
        return [[next(values) for _ in group.texts] for group in groups]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{self._path} must be a writable SQLite file of scores: {error}; move it away to start anew"
            ) from error


def _scores(scorer: Scorer, pairs: Sequence[Pair]) -> list[float]:
    values = []
    for pair, outcome in zip(pairs, scorer.score_pairs(pairs).outcomes, strict=True):
        if not isinstance(outcome, Score):
            raise ScoringError(
                f"the teacher must score every pair, and left out query {pair.query!r:.60}, text {pair.text!r:.60}: "
                f"{outcome.reason} {outcome.detail}".rstrip()
            )
        values.append(outcome.value)
    return values


def _key(fingerprint: str, pair: Pair) -> bytes:
    """Hash the three parts, each after its length, so that no two keys are equal by concatenation."""
    digest = hashlib.sha256()
    for part in (fingerprint, pair.query, pair.text):
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()
