"""Scores of tiny models through the engines, beside those of a reference: sentence-transformers, or transformers."""

import math
import random
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from model_forms import DECODER_LENGTH, FORMS, INSTRUCTION, LENGTH, Form
from model_tokenizers import ARABIC, CHINESE, CODE, ENGLISH
from sentence_transformers import CrossEncoder as Reference

from secondpass import LoadOptions, Pair, Score, load_scorer
from secondpass.optimize import Bounds, FormReport, OptimizeSettings, optimize

LONG = " ".join(ENGLISH[1:4]) * 8
PAIRS = [
    *(Pair(ENGLISH[0], text) for text in (*ENGLISH[1:4], ENGLISH[1] + " " + ENGLISH[2], "flea", LONG)),
    Pair(CHINESE[0], CHINESE[1]),
    Pair(ARABIC[0], ARABIC[1]),
    Pair(CODE[0], CODE[1]),
]
"""Short and long texts, one that is truncated, and Chinese, Arabic and code."""
TOGETHER = LoadOptions(batch_size=len(PAIRS), batch_tokens=100_000)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one form on one engine.

    :param form: The form's name.
    :param engine: The engine.
    :param reference: What it was compared with.
    :param largest_difference: Of a score, each pair alone, from the reference.
    :param batch_difference: Of a score, between a pair alone and all pairs in one padded batch.
    :param truncated: How many of the pairs were truncated.
    """

    form: str
    engine: str
    reference: str
    largest_difference: float
    batch_difference: float
    truncated: int


def check(name: str, engine: str, folder: Path, opened: Path | None = None) -> Check:
    """Compare a form's scores on an engine with the reference's.

    :param folder: The checkpoint, which the reference opens.
    :param opened: What the engine opens; None for the checkpoint.
    """
    wanted, reference = reference_scores(name, folder)
    scorer = load_scorer(opened or folder, engine=engine, device="cpu", options=TOGETHER)  # type: ignore[arg-type]
    alone = [score_of(scorer, [pair])[0] for pair in PAIRS]
    together = score_of(scorer, PAIRS)
    (stage,) = scorer.score_pairs(PAIRS).stages
    assert stage.facts["batches"] == 1
    return Check(
        name,
        engine,
        reference,
        max(abs(own.value - value) for own, value in zip(alone, wanted, strict=True)),
        max(abs(own.value - other.value) for own, other in zip(alone, together, strict=True)),
        sum(item.truncated > 0 for item in together),
    )


def score_of(scorer: Any, pairs: Sequence[Pair]) -> list[Score]:
    """Return the score of each pair; every pair must have one."""
    return [outcome for outcome in scorer.score_pairs(pairs).outcomes if isinstance(outcome, Score)]


def reference_scores(name: str, folder: Path) -> tuple[list[float], str]:
    """Return the value that a reference gives each pair alone, as log-odds, and the reference's name."""
    if name in PROMPTED:
        return [PROMPTED[name](folder, pair) for pair in PAIRS], "transformers, and the prompt of the model's own code"
    model = Reference(str(folder), device="cpu", max_length=DECODER_LENGTH if "qwen" in name else LENGTH)
    rows = [model.predict([tuple(pair)], activation_fn=torch.nn.Identity()).reshape(-1).tolist() for pair in PAIRS]
    if len(rows[0]) == 1:
        return [row[0] for row in rows], "sentence-transformers"
    entailment = [float(torch.tensor(row).softmax(0)[1]) for row in rows]
    return [math.log(value / (1 - value)) for value in entailment], "sentence-transformers, softmax"


def to_onnx(name: str, folder: Path, out: Path) -> tuple[Path, FormReport | None]:
    """Return a folder that the ONNX engine opens, and what its int8 form loses where ``optimize`` makes one."""
    if name.startswith("deberta"):
        return plain_export(folder, out), None
    words = " ".join((*ENGLISH[:4], *CHINESE, *ARABIC, *CODE)).split()
    choose = random.Random(7)
    pairs = [
        Pair(" ".join(choose.choices(words, k=4)), " ".join(choose.choices(words, k=choose.randint(2, 20))))
        for _ in range(10)
    ]
    pairs = [Pair(pair.query, text) for pair in pairs for text in (pair.text, pair.text[::2], words[-1])]
    loose = OptimizeSettings(int8=Bounds(mean_difference=0.5, agreement=0.5, batch_effect=0.02))  # of random weights
    report = optimize(folder, out, calibration=pairs, forms=("float32", "int8"), settings=loose)
    return out / "float32", report.forms[1]


def plain_export(folder: Path, out: Path) -> Path:
    """Export a classifier into ``onnx/model.onnx``, as repositories of the hub have it."""
    model = Reference(str(folder), device="cpu", max_length=LENGTH).eval()
    features = model.preprocess([("a flea", "how long"), ("a market hall", "it opens at nine"), ("a", "b")])
    names = [name for name in features if torch.is_tensor(features[name]) and features[name].ndim == 2]
    (out / "onnx").mkdir(parents=True)
    axes = {0: torch.export.Dim("pairs"), 1: torch.export.Dim("tokens")}

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.model

        def forward(self, *values: torch.Tensor) -> Any:
            return self.model(**dict(zip(names, values, strict=True))).logits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits().eval(),
            tuple(features[name] for name in names),
            out / "onnx" / "model.onnx",
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(tuple(axes for _ in names),),
            opset_version=20,
            verbose=False,
        )
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copyfile(folder / file, out / file)
    return out


def engines_of(form: Form) -> tuple[str, ...]:
    """Return the engines that claim a form."""
    return ("torch", "onnx") if form.is_encoder else ("torch",)


# The models' own code, in short: how it writes a pair, and which token's logit it reads.


def _ids(tokenizer: Any, text: str, **how: Any) -> list[int]:
    return tokenizer(text, add_special_tokens=False, **how)["input_ids"]  # type: ignore[no-any-return]


def _answer(folder: Path, tokenizer: Any, ids: list[int], positive: str, negative: str | None) -> float:
    """Return the log-odds of the answers as the next token, in float32, without padding."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, -1]
    score = logits[_ids(tokenizer, positive)[0]]
    return float(score if negative is None else score - logits[_ids(tokenizer, negative)[0]])


def mxbai_v2(folder: Path, pair: Pair) -> float:
    """Score as ``mxbai_rerank.MxbaiRerankV2``, the text cut so that the whole fits."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    before = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    task = (
        "You are a search relevance expert who evaluates how well documents match search queries. For each "
        "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
        "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
    )
    head = (
        _ids(tokenizer, before + "<|im_start|>user\n") + _ids(tokenizer, f"query: {pair.query}") + _ids(tokenizer, "\n")
    )
    tail = _ids(tokenizer, "\n") + _ids(tokenizer, task) + _ids(tokenizer, "<|im_end|>\n<|im_start|>assistant\n")
    text = _ids(tokenizer, f"document: {pair.text}")[: DECODER_LENGTH - len(head) - len(tail)]
    return _answer(folder, tokenizer, head + text + tail, "1", "0")


def bge_gemma(folder: Path, pair: Pair) -> float:
    """Score as ``FlagEmbedding.FlagLLMReranker``."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = (
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
        "prediction of either 'Yes' or 'No'."
    )
    line = _ids(tokenizer, "\n")
    head = [tokenizer.bos_token_id, *_ids(tokenizer, f"A: {pair.query}"), *line]
    tail = line + _ids(tokenizer, prompt)
    text = _ids(tokenizer, f"B: {pair.text}")[: DECODER_LENGTH - len(head) - len(tail)]
    return _answer(folder, tokenizer, head + text + tail, "Yes", None)


def qwen3(folder: Path, pair: Pair) -> float:
    """Score as the model card of Qwen3-Reranker does."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prefix = _ids(
        tokenizer,
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    )
    suffix = _ids(tokenizer, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    length = DECODER_LENGTH - len(prefix) - len(suffix)
    middle = f"<Instruct>: {INSTRUCTION}\n<Query>: {pair.query}\n<Document>: {pair.text}"
    ids = prefix + _ids(tokenizer, middle, truncation=True, max_length=length) + suffix
    return _answer(folder, tokenizer, ids, "yes", "no")


def monot5(folder: Path, pair: Pair) -> float:
    """Score as pygaggle's monoT5, the text cut so that the end of the prompt stays."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tail = _ids(tokenizer, "Relevant:")
    cut = _ids(tokenizer, f"Query: {pair.query} Document: {pair.text}")[: LENGTH - len(tail) - 1]
    ids = torch.tensor([[*cut, *tail, tokenizer.eos_token_id]])
    start = torch.full((1, 1), model.config.decoder_start_token_id)
    with torch.inference_mode():
        logits = model(ids, decoder_input_ids=start).logits[0, 0]
    true, false = (tokenizer.convert_tokens_to_ids(name) for name in ("▁true", "▁false"))
    return float(logits[true] - logits[false])


PROMPTED = {"qwen2": mxbai_v2, "qwen3-plain": qwen3, "gemma": bge_gemma, "t5": monot5}
CHECKS = [(name, engine) for name, form in FORMS.items() for engine in engines_of(form)]
