"""The score cache: a pair that comes back isn't scored again."""

import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import NoReturn

from secondpass.errors import ConfigurationError, checked
from secondpass.processes import ForkLock
from secondpass.records import Call, Pair, Score, Scored, Spec, Stage, Unscored
from secondpass.scorers.score_store import ScoreStore
from secondpass.scoring.scorer import ComposedScorer, Scorer, count_tokens, is_loaded, refuse_pickling, score_checked

_KEY_BYTES = 20


@checked
class Cached(ComposedScorer):
    """Looks scores up, in memory and on disk, and asks another scorer for those that are not there.

    Only finite scores of whole texts are kept: what failed or wasn't scored in time is scored the next time. Keys are
    hashes of the scorer's fingerprint, the query and the text; neither text is stored.

    :param scorer: The scorer. Put ``Cached`` inside of ``Fallback``, ``Cascade`` and ``Windowed``.
    :param path: A SQLite file of its own, which may be shared by processes; None keeps scores in memory alone.
    :param max_entries: How many scores are kept in memory, the last used, and on disk, the last written.
    :param allow_batch_dependent: Cache scores that depend on the other pairs of their batch, too.
    :raises ConfigurationError: If the scorer's scores depend on the batch or on the other pairs of a call, the file is
        another application's database, or a setting is out of its range.
    """

    def __init__(
        self,
        scorer: Scorer,
        path: str | Path | None = None,
        *,
        max_entries: int = 1_000_000,
        allow_batch_dependent: bool = False,
    ) -> None:
        super().__init__((scorer,), "the score cache needs a scorer, such as load_scorer('small')")
        (self.scorer,) = self.scorers
        if max_entries < 1:
            raise ConfigurationError(f"max_entries must be 1 or more, got {max_entries!r}")
        self._allow_batch_dependent = allow_batch_dependent
        self._fits = False  # whether the scorer's scores can be kept; known once its model is loaded
        self._check()
        self._memory = _Memory(max_entries)
        self._file = ScoreStore(Path(path).expanduser(), max_entries) if path is not None else None

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        :raises ConfigurationError: Always.
        """
        refuse_pickling("a Cached")

    def __repr__(self) -> str:
        """Return the scorer and the file."""
        return f"Cached({self.scorer!r}{f', {str(self._file.path)!r}' if self._file else ''})"

    @property
    def spec(self) -> Spec:
        """The scorer's specification."""
        return self.scorer.spec

    def _check(self) -> None:
        """Refuse a scorer whose scores aren't the same in each call, once its model is loaded."""
        if self._fits or not is_loaded(self.scorer):
            return
        spec = self.scorer.spec
        if not spec.pointwise:
            raise ConfigurationError(
                "the score cache needs a scorer that gives a pair the same outcome in each call, but in "
                f"{type(self.scorer).__name__} {spec.name!r} pairs compete: put Cached around the scorers inside, "
                "as in Cascade(Cached(a), Cached(b))"
            )
        if not (spec.batch_invariant or self._allow_batch_dependent):
            raise ConfigurationError(
                f"the scores of {spec.name} depend on the other pairs of their batch, and a cached one isn't "
                "what the model gives in another: allow_batch_dependent=True caches them all the same"
            )
        self._fits = True

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ScoringError: If the scorer failed, or gave not one outcome for each pair.
        """
        self._check()
        started = time.perf_counter()
        spec = self.spec  # read once: a scorer may change it between calls
        keys = [_key(spec.fingerprint, pair) for pair in pairs]
        different = dict(zip(keys, pairs, strict=True))
        known = self._memory.read(list(different))
        from_file = self._from_file([key for key in different if key not in known], call)
        self._memory.write(from_file)
        known |= from_file
        unknown = {key: pair for key, pair in different.items() if key not in known}
        facts = {"hits": sum(key in known for key in keys), "misses": len(unknown), "hits_on_disk": len(from_file)}
        stage = Stage("cache", time.perf_counter() - started, facts)
        if not unknown:
            return Scored(tuple(known[key] for key in keys), spec, (stage,))
        outcomes, scored = self._score(unknown, call)
        if known and scored.by.fingerprint != spec.fingerprint:  # another scorer answered: one call, one scale
            known, stage = {}, replace(stage, facts={"hits": 0, "misses": len(different), "hits_on_disk": 0})
            outcomes, scored = self._score(different, call)
        if scored.by.fingerprint == spec.fingerprint:
            self._keep({key: item for key, item in outcomes.items() if isinstance(item, Score) and _lasts(item)}, call)
        return Scored(tuple((known | outcomes)[key] for key in keys), scored.by, (stage, *scored.stages), scored.notes)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the scorer counts them."""
        return count_tokens(self.scorer, texts)

    def release(self) -> None:
        """Free the scorer's memory, and close the file; scores in memory stay."""
        super().release()
        if self._file:
            self._file.close()

    def _score(self, pairs: Mapping[bytes, Pair], call: Call | None) -> tuple[dict[bytes, Score | Unscored], Scored]:
        scored = score_checked(self.scorer, list(pairs.values()), call)
        return dict(zip(pairs, scored.outcomes, strict=True)), scored

    def _from_file(self, keys: Sequence[bytes], call: Call | None) -> dict[bytes, Score]:
        return self._file.read(keys, call) if self._file and not _stopped(call) else {}

    def _keep(self, scores: Mapping[bytes, Score], call: Call | None) -> None:
        """Keep scores, on disk only while the caller has time: it may be busy with another process."""
        self._memory.write(scores)
        if self._file and not _stopped(call):
            self._file.write(scores, call)


def _stopped(call: Call | None) -> bool:
    return call is not None and call.stop_reason() is not None


def _lasts(score: Score) -> bool:
    """Return whether another call gives the same score, and it is one."""
    values = (score.value, *(window.value for window in score.windows))
    return not score.partial and all(map(math.isfinite, values))


class _Memory:
    """Scores by key, the last used ones. Safe across threads and forks."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._scores: OrderedDict[bytes, Score] = OrderedDict()
        self._lock = ForkLock()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        with self._lock:
            found = {key: self._scores[key] for key in keys if key in self._scores}
            for key in found:
                self._scores.move_to_end(key)
            return found

    def write(self, scores: Mapping[bytes, Score]) -> None:
        with self._lock:
            self._scores |= scores
            while len(self._scores) > self._max_entries:
                self._scores.popitem(last=False)


def _key(fingerprint: str, pair: Pair) -> bytes:
    """Return a hash of the parts, each preceded by its length: different parts never join to the same bytes."""
    digest = blake2b(digest_size=_KEY_BYTES)
    for part in (fingerprint, *pair, str(pair.header)):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()
