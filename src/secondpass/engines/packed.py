"""Encoder classifiers over packed batches: sequences laid end to end, without padding.

The layers' linear parts see one long row of tokens; only attention keeps sequences apart, through transformers'
`AttentionInterface <https://huggingface.co/docs/transformers/attention_interface>`_: on CUDA by torch's own
variable-length attention, elsewhere by a reference that attends within one sequence after the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from secondpass.scoring.engine import Encoded

ATTENTION = "secondpass_packed"
"""The name of the attention in transformers' registry."""
_BERT = {"bert": "bert", "roberta": "roberta", "xlm-roberta": "roberta", "camembert": "roberta"}
"""The attribute with the encoder, by model type: these have the same layers."""
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, ImportError)
_UNLIMITED = (-1, -1)


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a packed batch.

    :param tokens: All tokens.
    :param longest: The most tokens of one sequence.
    """

    tokens: int
    longest: int

    @classmethod
    def of(cls, batch: Sequence[Encoded]) -> "Shape":
        """Return the shape of a batch."""
        lengths = [item.length for item in batch]
        return cls(sum(lengths), max(lengths))


def pack(batch: Sequence[Encoded], first_position: int = 0) -> Any:
    """Return all inputs of a packed batch in one int32 array, so that one copy brings them to the device.

    :param batch: Tokenised pairs, with ``input_ids`` and, where there are several types, ``token_type_ids``.
    :param first_position: The position of each sequence's first token.
    :returns: ids, types and positions of the tokens, then the sequences' starts and the end of the last.
    """
    lengths = np.fromiter((item.length for item in batch), dtype=np.int32, count=len(batch))
    tokens = int(lengths.sum())
    inputs = np.zeros(3 * tokens + len(batch) + 1, dtype=np.int32)
    ids, types, positions = inputs[: 3 * tokens].reshape(3, tokens)
    starts = inputs[3 * tokens :]
    np.cumsum(lengths, out=starts[1:])
    np.concatenate([item.features["input_ids"] for item in batch], out=ids, casting="unsafe")
    if "token_type_ids" in batch[0].features:
        np.concatenate([item.features["token_type_ids"] for item in batch], out=types, casting="unsafe")
    positions[:] = np.arange(tokens, dtype=np.int32) - starts[:-1].repeat(lengths) + first_position
    return inputs


class PackedClassifier:
    """Computes an encoder classifier's outputs for packed batches; the model can't run padded batches afterwards.

    :param model: A sequence classifier of transformers.
    :param whole: What the classifier is a part of: gives scores from padded inputs; None for the classifier's own.
    :raises ValueError: If it is of another architecture, or doesn't give here what the whole gives for a padded batch.
    """

    def __init__(self, model: Any, whole: Callable[..., torch.Tensor] | None = None) -> None:
        kind = model.config.model_type
        if not type(model).__name__.endswith("ForSequenceClassification") or kind not in {*_BERT, "modernbert"}:
            raise ValueError(f"{kind} has no packed form")
        self._model = model
        self._base: Any = getattr(model, _BERT.get(kind, "model"))
        self._modern = kind == "modernbert"
        self.first_position = 0 if self._modern or kind == "bert" else self._base.embeddings.padding_idx + 1
        before = model.config._attn_implementation
        try:
            self._switch(before, whole or (lambda **inputs: model(**inputs).logits))
        except _FAILURES as error:
            model.set_attn_implementation(before)
            raise ValueError(f"{kind} can't be packed here ({type(error).__name__}: {error!s:.200})") from error

    def __call__(self, inputs: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Return the raw outputs, (sequences, labels).

        :param inputs: What ``pack`` returns, on the model's device.
        :param shape: Its shape.
        """
        ids, types, positions = inputs[: 3 * shape.tokens].view(3, 1, shape.tokens)
        starts = inputs[3 * shape.tokens :]
        longest = shape.longest
        within = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}
        compute = self._modern_bert if self._modern else self._bert
        outputs: torch.Tensor = compute(ids, types, positions, within)
        return outputs

    def _bert(self, ids: torch.Tensor, types: torch.Tensor, positions: torch.Tensor, within: dict[str, Any]) -> Any:
        hidden = self._base.embeddings(input_ids=ids, token_type_ids=types, position_ids=positions)
        *layers, last = self._base.encoder.layer
        for layer in layers:
            hidden = layer(hidden, None, **within)
        first = _first_tokens_alone(last, hidden, within)[0][:, None]
        model = self._model
        return model.classifier(first if self._base.pooler is None else self._base.pooler(first))

    def _modern_bert(
        self, ids: torch.Tensor, _: torch.Tensor, positions: torch.Tensor, within: dict[str, Any]
    ) -> torch.Tensor:
        base, model = self._base, self._model
        hidden = base.embeddings(input_ids=ids)
        rotations = {kind: base.rotary_emb(hidden, positions, kind) for kind in set(base.config.layer_types)}
        for layer in base.layers:
            hidden = layer(hidden, None, position_embeddings=rotations[layer.attention_type], **within)
        starts = within["cu_seq_lens_q"]
        pool = _means if base.config.classifier_pooling == "mean" else _firsts
        outputs: torch.Tensor = model.classifier(model.head(pool(base.final_norm(hidden)[0], starts)))
        return outputs

    @torch.inference_mode()
    def _switch(self, before: str, whole: Callable[..., torch.Tensor]) -> None:
        """Switch to packed attention, and compare a small batch with the padded path."""
        model, device = self._model, self._model.device
        lengths = (5, 12, 9)
        padding = model.config.pad_token_id or 0
        ids = np.arange(sum(lengths), dtype=np.int32) % (model.config.vocab_size - padding - 1) + padding + 1
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(row).long() for row in rows], batch_first=True, padding_value=padding
        )
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        wanted = whole(input_ids=padded.to(device), attention_mask=mask.long().to(device)).float()
        wanted = wanted.reshape(len(lengths), -1)
        batch = [Encoded(len(row), 0, {"input_ids": row}) for row in rows]
        _register()
        model.set_attn_implementation(ATTENTION)
        packed = torch.from_numpy(pack(batch, self.first_position)).to(device)
        difference = (self(packed, Shape.of(batch)).float() - wanted).abs()
        if not bool((difference <= _TOLERANCE[model.dtype] * (1 + wanted.abs())).all()):
            raise ValueError(f"its scores differ by {float(difference.max()):.1e} from those of {before} attention")


def packed_attention(
    module: nn.Module,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    scaling: float | None = None,
    sliding_window: int | None = None,
    **within: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of a packed batch, as transformers calls it.

    :param module: The layer.
    :param query: (1, heads, tokens, width), as are key and value.
    :param key: As ``query``; its tokens may be others.
    :param value: As ``key``.
    :param attention_mask: None: which tokens belong together is in ``within``.
    :param scaling: Of the products.
    :param sliding_window: One more than a token sees to each side; None for all.
    :param within: ``cu_seq_lens_q``, ``cu_seq_lens_k``, ``max_length_q`` and ``max_length_k``, as transformers' own.
    :returns: (1, tokens, heads, width).
    """
    window = _UNLIMITED if sliding_window is None else (sliding_window - 1, sliding_window - 1)
    rows = [states[0].transpose(0, 1) for states in (query, key, value)]
    ends = [within[name] for name in ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")]
    attend: Any = reference_attention
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn as attend  # torch 2.10 or later
    options = {} if window == _UNLIMITED else {"window_size": window}
    return attend(*rows, *ends, scale=scaling, **options)[None], None


def reference_attention(  # noqa: PLR0913  the signature of torch's varlen_attn
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts_q: torch.Tensor,
    starts_k: torch.Tensor,
    longest_q: int,  # noqa: ARG001
    longest_k: int,  # noqa: ARG001
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = _UNLIMITED,
) -> torch.Tensor:
    """Attend within one sequence after the other, with the arguments of ``torch.nn.attention.varlen.varlen_attn``."""
    mixed = torch.empty_like(query)
    for (q, end_q), (k, end_k) in zip(pairwise(starts_q.tolist()), pairwise(starts_k.tolist()), strict=True):
        spans = (query[q:end_q], key[k:end_k], value[k:end_k])
        q_own, k_own, v_own = (span.transpose(0, 1)[None] for span in spans)
        mask = None if window_size == _UNLIMITED else _band(end_q - q, window_size[0]).to(query.device)
        own = scaled_dot_product_attention(q_own, k_own, v_own, attn_mask=mask, scale=scale)
        mixed[q:end_q] = own[0].transpose(0, 1)
    return mixed


def _band(length: int, side: int) -> torch.Tensor:
    positions = torch.arange(length)
    return (positions[:, None] - positions).abs() <= side


def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)


def _firsts(rows: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the first token of each sequence, (sequences, width); of an empty one, another's."""
    return rows.index_select(0, starts[:-1].clamp(max=len(rows) - 1))


def _means(rows: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Return the mean of each sequence's tokens, (sequences, width)."""
    places = torch.arange(len(rows), device=rows.device, dtype=starts.dtype)
    of = torch.searchsorted(starts[1:].contiguous(), places, right=True)
    sums = rows.new_zeros((len(starts) - 1, rows.shape[1]), dtype=torch.float32).index_add_(0, of, rows.float())
    return (sums / starts.diff()[:, None].clamp(min=1)).to(rows.dtype)


def _first_tokens_alone(layer: Any, hidden: torch.Tensor, within: dict[str, Any]) -> Any:
    """Return what the last layer of a BERT gives for each sequence's first token: nothing else is read."""
    own, starts = layer.attention.self, within["cu_seq_lens_k"]

    def heads(linear: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = linear(rows)
        return states.view(1, -1, own.num_attention_heads, own.attention_head_size).transpose(1, 2)

    first = _firsts(hidden[0], starts)[None]
    one_each = torch.arange(len(starts), dtype=torch.int32, device=starts.device)
    mixed, _ = packed_attention(
        own,
        heads(own.query, first),
        heads(own.key, hidden),
        heads(own.value, hidden),
        None,
        own.scaling,
        **{**within, "cu_seq_lens_q": one_each, "max_length_q": 1},
    )
    return layer.feed_forward_chunk(layer.attention.output(mixed.flatten(2), first))
