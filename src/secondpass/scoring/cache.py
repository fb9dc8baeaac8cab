"""The score cache: a pair that comes back isn't scored again."""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from secondpass.call import Call
from secondpass.errors import ConfigurationError
from secondpass.scores import Pair, Score, Scored, Spec, Stage
from secondpass.scoring.score_file import ScoreFile
from secondpass.scoring.scorer import BaseScorer, Scorer, count_tokens, release_memory, warm_up

_KEY_BYTES = 20


class Cached(BaseScorer):
    """Looks scores up, in memory and on disk, and asks another scorer for those that are not there.

    Only scores are kept: what failed or wasn't scored in time is scored the next time. Keys are hashes of the scorer's
    fingerprint, the query and the text; neither text is stored.

    :param scorer: The scorer. Put ``Cached`` inside of ``Fallback``, ``Cascade`` and ``Windowed``.
    :param path: A SQLite file, which may be shared by processes; None keeps scores in memory alone.
    :param max_entries: How many scores are kept in memory, the last used, and on disk, the last written.
    :param allow_batch_dependent: Cache scores that depend on the other pairs of their batch, too.
    :raises ConfigurationError: If the scorer's scores depend on the batch, or a setting is out of its range.
    """

    def __init__(
        self,
        scorer: Scorer,
        path: str | Path | None = None,
        *,
        max_entries: int = 1_000_000,
        allow_batch_dependent: bool = False,
    ) -> None:
        if not isinstance(scorer, Scorer) or isinstance(scorer, type):
            raise ConfigurationError(
                f"the score cache needs a scorer, such as load_scorer('small'), got {scorer!r:.80}"
            )
        if max_entries < 1:
            raise ConfigurationError(f"max_entries must be 1 or more, got {max_entries!r}")
        if not (scorer.spec.batch_invariant or allow_batch_dependent):
            raise ConfigurationError(
                f"the scores of {scorer.spec.name} depend on the other pairs of their batch, and a cached one isn't "
                "what the model gives in another: allow_batch_dependent=True caches them all the same"
            )
        self.scorer = scorer
        self._memory = _Memory(max_entries)
        self._file = ScoreFile(Path(path).expanduser(), max_entries) if path is not None else None

    def __repr__(self) -> str:
        """Return the scorer and the file."""
        return f"Cached({self.scorer!r}{f', {str(self._file.path)!r}' if self._file else ''})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Share scorer and cache."""
        return self

    @property
    def spec(self) -> Spec:
        """The scorer's specification."""
        return self.scorer.spec

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair, in their order.

        :raises ScoringError: If the scorer failed.
        """
        started = time.perf_counter()
        spec = self.spec
        keys = [_key(spec.fingerprint, pair) for pair in pairs]
        known = self._memory.read(keys)
        from_file = self._from_file([key for key in dict.fromkeys(keys) if key not in known], call)
        self._memory.write(from_file)
        known |= from_file
        unknown = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
        facts = {"hits": sum(key in known for key in keys), "misses": len(unknown), "hits_on_disk": len(from_file)}
        stage = Stage("cache", time.perf_counter() - started, facts)
        if not unknown:
            return Scored(tuple(known[key] for key in keys), spec, (stage,))
        scored = self.scorer.score_pairs(list(unknown.values()), call=call)
        if scored.by.fingerprint != spec.fingerprint:  # another scorer answered: one call, one scale
            return self.scorer.score_pairs(pairs, call=call) if known else scored
        outcomes = dict(zip(unknown, scored.outcomes, strict=True))
        self._keep({key: outcome for key, outcome in outcomes.items() if isinstance(outcome, Score)}, call)
        return Scored(tuple((known | outcomes)[key] for key in keys), spec, (stage, *scored.stages))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, as the scorer counts them."""
        return count_tokens(self.scorer, texts)

    def warmup(self) -> None:
        """Warm up the scorer."""
        warm_up(self.scorer)

    def release(self) -> None:
        """Free the scorer's memory, and close the file; scores in memory stay."""
        release_memory(self.scorer)
        if self._file:
            self._file.close()

    def _from_file(self, keys: Sequence[bytes], call: Call | None) -> dict[bytes, Score]:
        return self._file.read(keys) if self._file and not _stopped(call) else {}

    def _keep(self, scores: Mapping[bytes, Score], call: Call | None) -> None:
        """Keep scores, on disk only while the caller has time: it may be busy with another process."""
        self._memory.write(scores)
        if self._file and not _stopped(call):
            self._file.write(scores)


def _stopped(call: Call | None) -> bool:
    return call is not None and call.stop_reason() is not None


class _Memory:
    """Scores by key, the last used ones. Safe across threads."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._scores: OrderedDict[bytes, Score] = OrderedDict()
        self._lock = threading.Lock()

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
    for part in (fingerprint, *pair):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()
