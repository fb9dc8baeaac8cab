"""What a model's configuration says of its output head and its limits."""

from collections.abc import Mapping
from typing import Any

from secondpass.errors import ModelError
from secondpass.records import Scale, ScaleKind
from secondpass.scoring.engine import Head

_POSITIVE = ("entailment", "relevant", "positive", "yes", "true")
_SQUASHED = {"sigmoid": ScaleKind.PROBABILITY, "softmax": ScaleKind.PROBABILITY}


def read_head(config: Mapping[str, Any], labels: int, squashed_by: str = "", label: int | None = None) -> Head:
    """Return the head that a model's ``config.json`` describes.

    :param config: The configuration, possibly empty.
    :param labels: The number of outputs of each pair.
    :param squashed_by: ``"sigmoid"`` or ``"softmax"`` where the model itself ends in one.
    :param label: The positive column, where the user names it.
    :raises ModelError: If none of several labels is known to mean "relevant".
    """
    declared = squashed_by or _declared_activation(config) or "nothing declared"
    scale = Scale(_SQUASHED.get(squashed_by, ScaleKind.LOGIT), declared=declared)
    return Head(labels, _positive_label(config, labels, label), scale)


def read_max_length(requested: int | None, config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> int:
    """Return the longest pair that the model reads, in tokens: the request, else the smallest declared limit.

    :raises ModelError: If the request exceeds the model's positions, or is below 8.
    """
    declared = [
        int(limit)
        for limit in (tokenizer_config.get("model_max_length"), _positions(config))
        if isinstance(limit, int | float) and 0 < limit < 1_000_000  # tokenizers say 1e30 for "no limit"
    ]
    if requested is None:
        return min(declared, default=512)
    positions = _positions(config)
    if requested < 8 or (positions and requested > positions):
        raise ModelError(f"max_length must be from 8 to {positions or 'the model’s'} tokens, got {requested}")
    return requested


def truncation_side(tokenizer_config: Mapping[str, Any]) -> str:
    """Return at which side a model's tokenizer cuts a long text: ``"right"`` or ``"left"``."""
    return "left" if tokenizer_config.get("truncation_side") == "left" else "right"


def _positions(config: Mapping[str, Any]) -> int | None:
    """Return the number of positions; RoBERTa and its descendants count their padding index as well."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions <= 0:
        return None
    padded = config.get("model_type") in {"roberta", "xlm-roberta", "camembert"}
    padding = config.get("pad_token_id")
    return positions - ((1 if padding is None else padding) + 1 if padded else 0)


def _declared_activation(config: Mapping[str, Any]) -> str:
    nested = config.get("sentence_transformers") or {}
    declared = nested.get("activation_fn") or config.get("sbert_ce_default_activation_function") or ""
    return str(declared).rsplit(".", 1)[-1]


def _positive_label(config: Mapping[str, Any], labels: int, label: int | None) -> int:
    if label is not None:
        if not 0 <= label < labels:
            raise ModelError(f"label must be a column from 0 to {labels - 1}, got {label}")
        return label
    if labels <= 1:
        return 0
    names = {int(column): str(name).casefold() for column, name in (config.get("id2label") or {}).items()}
    for wanted in _POSITIVE:
        for column, name in names.items():
            if name == wanted and column < labels:
                return column
    if labels == 2:
        return 1
    raise ModelError(
        f"the model has {labels} labels ({', '.join(names.values()) or 'unnamed'}) and none is named entailment or "
        "relevant: say which column means relevant with LoadOptions(label=...)"
    )
