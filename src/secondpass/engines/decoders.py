"""Rerankers that answer a prompt, where their repositories don't say how: templates, and the score of the next token.

Sources: mixedbread-ai/mxbai-rerank, FlagOpen/FlagEmbedding, the model card of Qwen/Qwen3-Reranker-0.6B, and
castorini/pygaggle (monoT5, https://arxiv.org/abs/2003.06713). A repository with ``modules.json`` says it itself.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from secondpass.engines.tokens import hide_special_pieces
from secondpass.models.files import ModelFolder

_QWEN3 = (
    (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    ),
    (
        "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
        "<Query>: {query}\n<Document>: {text}"
    ),
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
)
_MXBAI = (
    (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n"
    ),
    "query: {query}",
    "\n",
    "document: {text}",
    "\n",
    (
        "You are a search relevance expert who evaluates how well documents match search queries. For each "
        "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
        "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
    ),
    "<|im_end|>\n<|im_start|>assistant\n",
)
_GEMMA = (
    "<bos>",
    "A: {query}",
    "\n",
    "B: {text}",
    "\n",
    (
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
        "prediction of either 'Yes' or 'No'."
    ),
)
_T5 = ("Query: {query} Document: {text}", "Relevant:", "</s>")


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a model reads a pair, and which tokens answer.

    :param models: A regular expression for the names of models.
    :param pieces: The prompt's pieces, each tokenised by itself, as the models' own code does it.
    :param positive: The answer for relevant.
    :param negative: The answer for not relevant; empty where the score is the logit of ``positive`` alone.
    :param seq2seq: Whether the answer is the first token of a decoder beside an encoder.
    """

    models: str
    pieces: Sequence[str]
    positive: str
    negative: str = ""
    seq2seq: bool = False


PROMPTS = (
    Prompt(r"qwen3-reranker", _QWEN3, "yes", "no"),
    Prompt(r"mxbai-rerank-\w+-v2", _MXBAI, "1", "0"),
    Prompt(r"bge-reranker-v2-gemma", _GEMMA, "Yes"),
    Prompt(r"monot5", _T5, "true", "false", seq2seq=True),
)


def prompt_of(name: str) -> Prompt | None:
    """Return the prompt of a model by its name."""
    return next((prompt for prompt in PROMPTS if re.search(prompt.models, name, re.IGNORECASE)), None)


class PromptedModel(nn.Module):
    """A language model that answers a prompt, with the interface of sentence-transformers' models.

    :param prompt: How it reads a pair.
    :param folder: Its files.
    :param max_length: The longest prompt in tokens.
    :param dtype: The dtype of its weights.
    """

    num_labels = 1
    default_prompt_name = None

    def __init__(self, prompt: Prompt, folder: ModelFolder, max_length: int, dtype: torch.dtype) -> None:
        super().__init__()
        kind = AutoModelForSeq2SeqLM if prompt.seq2seq else AutoModelForCausalLM
        path = str(folder.path)
        self.model = kind.from_pretrained(path, dtype=dtype, use_safetensors=True, local_files_only=True)
        side = "right" if prompt.seq2seq else "left"
        self.tokenizer = AutoTokenizer.from_pretrained(path, padding_side=side, local_files_only=True)
        hide_special_pieces(self.tokenizer.backend_tokenizer)
        self.prompts: dict[str, str] = {}
        self._prompt = prompt
        self._max_length = max_length
        answers = {answer: self._ids(answer) for answer in (prompt.positive, prompt.negative) if answer}
        if any(len(ids) != 1 for ids in answers.values()):
            raise ValueError(
                f"the answers {', '.join(answers)} must be one token each, and are {list(answers.values())}"
            )
        self._answers = [ids[0] for ids in answers.values()]

    def preprocess(
        self,
        pairs: Sequence[tuple[str, ...]],
        prompt: object = None,  # noqa: ARG002
        *,
        truncation: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Return ids and mask of pairs, (pairs, tokens). Of a long pair the text is cut, never the template.

        :param pairs: Queries and texts.
        :param prompt: Not used: the template is the prompt.
        :param truncation: Whether pairs are cut to the model's length.
        """
        rows = [self._pair(query, text, self._max_length if truncation else None) for query, text in pairs]
        width = max(map(len, rows))
        left = self.tokenizer.padding_side == "left"
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.full((len(rows), width), pad)
        mask = torch.zeros_like(ids)
        for row, own in enumerate(rows):
            span = slice(width - len(own), None) if left else slice(len(own))
            ids[row, span] = torch.tensor(own)
            mask[row, span] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def forward(self, features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the log-odds of the answers, or the logit of the only one, as ``scores``: (pairs, 1)."""
        inputs: dict[str, Any] = {name: features[name] for name in ("input_ids", "attention_mask")}
        if self._prompt.seq2seq:
            start = self.model.config.decoder_start_token_id
            inputs["decoder_input_ids"] = inputs["input_ids"].new_full((len(inputs["input_ids"]), 1), start)
        else:
            inputs["logits_to_keep"] = 1
        answers = self.model(**inputs, use_cache=False).logits[:, -1, self._answers]
        scores = answers[:, :1] - answers[:, 1:] if answers.shape[1] > 1 else answers
        return {"scores": scores}

    def _pair(self, query: str, text: str, limit: int | None) -> list[int]:
        pieces = self._prompt.pieces
        of_user = ["{" in piece for piece in pieces]
        ids = [
            self._ids(piece.replace("{query}", query, 1).replace("{text}", text, 1) if own else piece, as_text=own)
            for piece, own in zip(pieces, of_user, strict=True)
        ]
        if limit is not None:
            room = limit - sum(len(part) for part, own in zip(ids, of_user, strict=True) if not own)
            for at in (at for at, own in enumerate(of_user) if own):
                last = "{text}" in pieces[at]
                ids[at] = self._cut(ids[at], pieces[at], max(0, room if last else min(room, limit * 3 // 4)))
                room -= len(ids[at])
        return [token for part in ids for token in part]

    def _cut(self, ids: list[int], piece: str, limit: int) -> list[int]:
        """Return a piece's tokens, cut to a limit at the tokenizer's side, but not in what precedes the user's text."""
        if self.tokenizer.truncation_side != "left":
            return ids[:limit]
        start = min(limit, len(self._ids(piece.partition("{")[0])))
        return [*ids[:start], *ids[max(start, len(ids) - limit + start) :]]

    def _ids(self, text: str, *, as_text: bool = False) -> list[int]:
        """Return a piece's tokens; in what users wrote, the names of special tokens are text."""
        tokens: list[int] = self.tokenizer(
            text, add_special_tokens=False, verbose=False, truncation=False, split_special_tokens=as_text
        )["input_ids"]
        return tokens
