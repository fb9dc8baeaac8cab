"""A torch checkpoint, opened with transformers: the model, its tokeniser, and what they make of a pair."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from secondpass.errors import ModelError
from secondpass.scores import Pair
from secondpass.scoring.batching import BatchLimits, plan_batches
from secondpass.scoring.heads import Head, read_head, read_max_length
from secondpass.scoring.model_files import ModelFolder, describe_contents

_FOREIGN = (OSError, ValueError, TypeError, KeyError, RuntimeError, ImportError, AttributeError, SafetensorError)
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")
_BATCH_TOKENS = 1024  # padded tokens in a forward pass


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint.

    :param folder: Its files.
    :param model: The classifier, float32, on the CPU.
    :param tokenizer: Its fast tokeniser.
    :param head: How a row of logits becomes one score.
    :param max_length: The longest pair that it reads, in tokens.
    """

    folder: ModelFolder
    model: Any
    tokenizer: Any
    head: Head
    max_length: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the model is fed, in the order of the graph's inputs."""
        known = ("input_ids", "attention_mask", "token_type_ids")
        return tuple(name for name in known if name in self.tokenizer.model_input_names)

    def features(self, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """Return the pairs' tokens, padded to the longest: integers (pairs, tokens) under each input's name."""
        features = self._tokenize(pairs, padding=True, return_tensors="pt")
        return {name: features[name] for name in self.inputs}

    def equal_length_batches(self, pairs: Sequence[Pair]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the features of pairs with the same number of tokens, batch by batch: nothing is padded."""
        by_length: dict[int, list[Pair]] = {}
        for pair, length in zip(pairs, self._lengths(pairs), strict=True):
            by_length.setdefault(length, []).append(pair)
        for length, equal in by_length.items():
            rows = max(1, _BATCH_TOKENS // length)
            yield from (self.features(equal[start : start + rows]) for start in range(0, len(equal), rows))

    def scores(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the float model's score for each pair, in logits."""
        scores = [0.0] * len(pairs)
        with torch.inference_mode():
            for positions in plan_batches(self._lengths(pairs), BatchLimits(_BATCH_TOKENS)):
                logits = self.model(**self.features([pairs[position] for position in positions])).logits
                for position, row in zip(positions, logits.double().tolist(), strict=True):
                    scores[position] = self.head.value(row)
        return scores

    def _lengths(self, pairs: Sequence[Pair]) -> list[int]:
        return [len(ids) for ids in self._tokenize(pairs)["input_ids"]] if pairs else []

    def _tokenize(self, pairs: Sequence[Pair], **options: Any) -> Any:
        queries, texts = [pair.query for pair in pairs], [pair.text for pair in pairs]
        return self.tokenizer(queries, texts, truncation="longest_first", max_length=self.max_length, **options)


def open_checkpoint(folder: ModelFolder, label: int | None) -> Checkpoint:
    """Open a checkpoint.

    :param folder: A folder with config.json, safetensors weights and a tokeniser.
    :param label: The output column that means "relevant", where the configuration leaves it open.
    :raises ModelError: If there are no such weights, or transformers can't make a trained classifier of them.
    """
    if not folder.has_checkpoint:
        raise ModelError(
            f"a checkpoint must have config.json and safetensors weights; {folder.path} has {describe_contents(folder)}"
        )
    if not any((folder.path / name).is_file() for name in _TOKENIZERS):  # transformers would make an empty one
        raise ModelError(f"{folder.path} must have a tokeniser, and has none of {', '.join(_TOKENIZERS)}")
    model, tokenizer = _open(folder.path)
    config = folder.json("config.json")
    tokenizer_config = folder.json("tokenizer_config.json")
    head = read_head(config, model.config.num_labels, label=label)
    return Checkpoint(folder, model, tokenizer, head, read_max_length(None, config, tokenizer_config))


def _open(path: Path) -> tuple[Any, Any]:
    opening = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet():
            model, found = transformers.AutoModelForSequenceClassification.from_pretrained(
                path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **opening
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **opening)
    except _FOREIGN as error:
        raise ModelError(f"transformers can't open {path} as a classifier: {error!s:.500}") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{path} must hold a trained classifier, and has no weights for {', '.join(missing[:5])}: "
            "was it trained as an embedding model?"
        )
    if not tokenizer.is_fast:
        raise ModelError(f"{path} must have a tokeniser that can be saved as tokenizer.json, and its kind can't be")
    return model.eval(), tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' loading bar and its report of missing weights, which is ours to make, out of the logs."""
    logging = transformers.utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
