"""Adapters between secondpass scorers and LangChain's ``BaseCrossEncoder``, in both directions."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder

from secondpass.errors import ConfigurationError, ScoringError
from secondpass.records import Call, Pair, Scale, ScaleKind, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.named import NamedScorer
from secondpass.scoring.options import DEFAULT_MODEL, DEFAULT_OPTIONS, LoadOptions
from secondpass.scoring.scorer import BaseScorer, Scorer, as_scorer


class CrossEncoderModel(BaseCrossEncoder):
    """A secondpass scorer for LangChain's own ``CrossEncoderReranker``.

    :param model: A bundled model's name, a hub id, a folder, or a ``Scorer``; None takes ``small``. A name is loaded on
        the first call, once a process.
    :param options: How a named model is loaded.
    :raises ConfigurationError: If a setting is invalid, or has no effect.
    """

    def __init__(self, model: str | Path | Scorer | None = None, *, options: LoadOptions = DEFAULT_OPTIONS) -> None:
        named = NamedScorer(model or DEFAULT_MODEL, options) if isinstance(model, str | Path | None) else None
        scorer = named or as_scorer(model)
        if scorer is None:
            raise ConfigurationError(f"model must be a model's name, a folder or a Scorer, got {model!r:.80}")
        if not named and options != DEFAULT_OPTIONS:
            raise ConfigurationError("options have no effect with a loaded model: set them there")
        self._scorer = scorer

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return one raw score for each (query, text), higher is better; minus infinity for one that can't be read.

        :raises ScoringError: If a pair has no score for another reason, which this interface can't express.
        """
        outcomes = self._scorer.score_pairs([Pair(*pair) for pair in text_pairs]).outcomes
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
