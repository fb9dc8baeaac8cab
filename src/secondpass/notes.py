"""Notes on a ranking: why its context may be wrong, although the call succeeded."""

import logging
from dataclasses import replace

from secondpass.logs import REPEATED_WARNINGS
from secondpass.ranking import FAR, Ranking
from secondpass.scores import Note, NoteKind

UNLIKELY = 0.05
"""Where no candidate is above this probability, a note says so."""
FUSION_LEFT_OUT = Note(
    NoteKind.FUSION_LEFT_OUT, "the fusion rule was left out: it was fitted on another model than the one that answered"
)
_COMMON = (NoteKind.BEST_FELL, NoteKind.UNLIKELY)  # ordinary results of a second pass: logged as information


def noted(ranking: Ranking) -> Ranking:
    """Return the ranking with the notes that are about all of it, and log its notes: each kind once in a while."""
    own = (_best_fell(ranking), _unlikely(ranking))
    ranking = replace(ranking, notes=(*ranking.notes, *(note for note in own if note)))
    for note in ranking.notes:
        by = ranking.by.name if ranking.by else "no scorer"
        level = logging.INFO if note.kind in _COMMON else logging.WARNING
        REPEATED_WARNINGS.warn((note.kind, by), "the context may be wrong: %s (%s)", note, by, level=level)
    return ranking


def _best_fell(ranking: Ranking) -> Note | None:
    """Return a note where the first stage's best candidate fell far, or was pruned."""
    rank = ranking.rank_of_first
    if rank is None or (rank <= FAR and not _first_was_pruned(ranking)):
        return None
    below = f", below the {rank - 1} that were scored: it was pruned" if _first_was_pruned(ranking) else ""
    return Note(NoteKind.BEST_FELL, f"the first stage's best fell to rank {rank}{below}")


def _first_was_pruned(ranking: Ranking) -> bool:
    return any(item.rank_before == 1 and item.pruned for item in ranking.everything)


def _unlikely(ranking: Ranking) -> Note | None:
    """Return a note where the most probable of the scored candidates is improbable."""
    highest = max((item.probability for item in ranking.everything if item.probability is not None), default=None)
    if highest is None or highest > UNLIKELY:
        return None
    return Note(NoteKind.UNLIKELY, f"no candidate is above a probability of {UNLIKELY}: the best is at {highest:.3f}")
