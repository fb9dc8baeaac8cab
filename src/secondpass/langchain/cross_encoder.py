"""Adapters between secondpass scorers and LangChain's ``BaseCrossEncoder``, in both directions."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder

from secondpass.errors import ConfigurationError, ScoringError
from secondpass.records import Call, Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.named import SHARED_MODELS, LoadKey
from secondpass.scoring.options import DEFAULT_MODEL, EngineName
from secondpass.scoring.scorer import BaseScorer, Scorer


class CrossEncoderModel(BaseCrossEncoder):
    """A secondpass scorer for LangChain's own ``CrossEncoderReranker``.

    :param model: A bundled model's name, a hub id, a folder, or a ``Scorer``; None takes ``small``. A name is loaded on
        the first call, once a process.
    :param engine: As in ``load_scorer``.
    :param device: As in ``load_scorer``.
    :raises ConfigurationError: If a setting is invalid, or has no effect.
    """

    def __init__(
        self, model: str | Path | Scorer | None = None, *, engine: EngineName = "auto", device: str = "auto"
    ) -> None:
        self._model: Scorer | LoadKey
        if isinstance(model, Scorer):
            if (engine, device) != ("auto", "auto"):
                raise ConfigurationError("engine and device have no effect with a loaded model: set them there")
            self._model = model
        else:
            self._model = LoadKey(DEFAULT_MODEL if model is None else model, engine=engine, device=device)
            self._model.check()

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return one raw score for each (query, text), higher is better; minus infinity for one that can't be read.

        :raises ScoringError: If a pair has no score for another reason, which this interface can't express.
        """
        scorer = SHARED_MODELS.get(self._model) if isinstance(self._model, LoadKey) else self._model
        outcomes = scorer.score_pairs([Pair(*pair) for pair in text_pairs]).outcomes
        values = [
            outcome.value if isinstance(outcome, Score) else -math.inf
            for outcome in outcomes
            if isinstance(outcome, Score) or outcome.reason is UnscoredReason.UNREADABLE
        ]
        if len(values) < len(text_pairs):
            raise ScoringError(f"{len(text_pairs) - len(values)} of {len(text_pairs)} pairs got no score")
        return values


class LangChainScorer(BaseScorer):
    """A LangChain ``BaseCrossEncoder``, local or hosted, as a scorer.

    What its numbers mean is not declared anywhere, so that their scale is unknown: they order, and have no probability.

    :param model: The cross-encoder.
    """

    def __init__(self, model: BaseCrossEncoder) -> None:
        self._model = model
        name = str(getattr(model, "model_name", None) or type(model).__name__)
        self.spec = Spec(name, Scale(ScaleKind.UNKNOWN), fingerprint=f"langchain|{name}", batch_invariant=False)

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        """Return one outcome for each pair; the deadline is checked before the call alone.

        :raises ScoringError: If the cross-encoder failed.
        """
        reason = call.stop_reason() if call else None
        if reason:
            return Scored(tuple(Unscored(reason) for _ in pairs), self.spec)
        try:
            scores = self._model.score([(pair.query, pair.text) for pair in pairs])
            values = np.asarray(scores, dtype=np.float64).reshape(-1).tolist()  # some return (pairs, 1)
        except Exception as error:  # hosted ones raise their client's errors, or fail to read its answer
            raise ScoringError(f"{self.spec.name} failed: {type(error).__name__}: {error!s:.300}") from error
        return Scored(tuple(map(Score, values)), self.spec)
