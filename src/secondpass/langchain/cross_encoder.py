"""The core behind LangChain's own cross-encoder interface, for LangChain's existing ``CrossEncoderReranker``."""

from langchain_core.cross_encoders import BaseCrossEncoder

from secondpass.errors import ScoringError
from secondpass.scores import Pair, Score
from secondpass.scoring.protocol import Scorer
from secondpass.scoring.registry import load_scorer


class CrossEncoderModel(BaseCrossEncoder):
    """Scores pairs with a secondpass scorer.

    :param model: A folder or a hub id, or a scorer that is there already; a name is loaded on the first call.
    """

    def __init__(self, model: str | Scorer) -> None:
        self._model = model

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return one raw score for each (query, text), higher is better.

        :raises ScoringError: If a pair got no score; this interface has no way to mark it.
        """
        if isinstance(self._model, str):
            self._model = load_scorer(self._model)
        outcomes = self._model.score_pairs([Pair(*pair) for pair in text_pairs]).outcomes
        values = [outcome.value for outcome in outcomes if isinstance(outcome, Score)]
        if len(values) < len(text_pairs):
            raise ScoringError(f"{len(text_pairs) - len(values)} of {len(text_pairs)} pairs got no score")
        return values
