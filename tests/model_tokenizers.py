"""Tokenizers of the published kinds, trained in each run on a few lines: the same components, and some 500 tokens."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ENGLISH = (
    "how long does a flea live?",
    "A flea can live up to a year under the right conditions; without a host it starves within two weeks.",
    "Fleas are wingless insects that feed on the blood of mammals and birds.",
    "The market hall opens at nine o'clock and closes at six in the evening.",
    *["yes\nno\nYes\nNo\ntrue\nfalse\n0\n1"] * 20,  # answers are one token each
)
CHINESE = (
    "跳蚤能活多久？",
    "成年跳蚤在找到宿主后可以活两到三个月；没有宿主，两周之内就会饿死。",
    "市场大厅九点开门，六点关门。",
)
ARABIC = (
    "كم يعيش البرغوث؟",
    "يمكن أن يعيش البرغوث حتى سنة كاملة في الظروف المناسبة.",
    "يفتح السوق في التاسعة ويغلق في السادسة.",
)
CODE = (
    "how do I read a file line by line?",
    'with open("notes.txt", encoding="utf-8") as file:\n    for line in file:\n        print(line.strip())',
    "def area(radius: float) -> float:\n    return 3.14159 * radius ** 2  # πr²",
)
TEMPLATES = (
    "system user assistant query: document: Query: Document: Relevant: Relevance: Instruct think A: B:",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "You are a search relevance expert who evaluates how well documents match search queries.",
    "For each query-document pair, carefully analyze the semantic relationship between them, then judge",
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided.",
    'Note that the answer can only be "yes" or "no".',
    "Given a web search query, retrieve relevant passages that answer the query",
    "Given a query A and a passage B, determine whether the passage contains an answer to the query",
    "by providing a prediction of either 'Yes' or 'No'.",
)
CORPUS = (*ENGLISH, *CHINESE, *ARABIC, *CODE, *TEMPLATES) * 4
QWEN_WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def wordpiece(folder: Path, **config: Any) -> Path:
    """Save BERT's tokenizer, which DistilBERT and ELECTRA use too."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special))
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    tokens = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    more = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None, "mask_token": "[MASK]"}
    vocabulary = tokenizer.get_vocab()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), encoding="utf-8")
    return _save(folder, tokenizer, tokens | more | config)


def roberta(folder: Path, **config: Any) -> Path:
    """Save RoBERTa's tokenizer: BPE over bytes."""
    tokenizer = _byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return _save(
        folder, tokenizer, _S_TOKENS | {"add_prefix_space": False, "tokenizer_class": "RobertaTokenizer"} | config
    )


def xlm_roberta(folder: Path, **config: Any) -> Path:
    """Save XLM-RoBERTa's tokenizer: a unigram model, without the table of characters that only sentencepiece makes."""
    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<unk>")
    tokenizer.post_processor = _template(tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>")
    return _save(folder, tokenizer, _S_TOKENS | {"tokenizer_class": "XLMRobertaTokenizer"} | config)


def deberta(folder: Path, **config: Any) -> Path:
    """Save DeBERTa v3's tokenizer: a unigram model with BERT's special tokens."""
    blanks = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    normalizer = normalizers.Sequence([blanks, normalizers.NFC(), normalizers.Strip(left=False, right=True)])
    tokenizer = _unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], "[UNK]", normalizer)
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    tokens = {"bos_token": "[CLS]", "cls_token": "[CLS]", "eos_token": "[SEP]", "sep_token": "[SEP]"}
    more = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "split_by_punct": False}
    kind = {"do_lower_case": False, "vocab_type": "spm", "tokenizer_class": "DebertaV2Tokenizer"}
    return _save(folder, tokenizer, tokens | more | kind | config)


def modernbert(folder: Path, **config: Any) -> Path:
    """Save ModernBERT's tokenizer: BPE over bytes with BERT's special tokens, and no token types."""
    tokenizer = _byte_level(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = _template(tokenizer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]")
    tokens = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    more = {"model_input_names": ["input_ids", "attention_mask"], "tokenizer_class": "PreTrainedTokenizerFast"}
    return _save(folder, tokenizer, tokens | more | {"mask_token": "[MASK]"} | config)


def qwen(folder: Path, **config: Any) -> Path:
    """Save Qwen's tokenizer: BPE over bytes, where a mark and the line break behind it can be one token."""
    tokenizer = _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], QWEN_WORDS)
    tokenizer.normalizer = normalizers.NFC()
    tokens = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None, "unk_token": None}
    return _save(folder, tokenizer, tokens | {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False} | config)


def gemma(folder: Path, **config: Any) -> Path:
    """Save Gemma's tokenizer: BPE over characters, blanks written as ▁, with bytes for what is unknown."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(?<!▁)(?=▁)|\n"), "merged_with_previous")
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=900, special_tokens=special + fallback))
    tokenizer.post_processor = _template(tokenizer, "<bos> $A", "<bos> $A <bos> $B")
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return _save(folder, tokenizer, tokens | {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True} | config)


def t5(folder: Path, **config: Any) -> Path:
    """Save T5's tokenizer: a unigram model that ends texts with </s>."""
    tokenizer = _unigram(["<pad>", "</s>", "<unk>"], "<unk>")
    learned = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    tokenizer.model = models.Unigram([*learned, ("▁true", -1.0), ("▁false", -1.0)], 2, byte_fallback=False)
    tokenizer.post_processor = _template(tokenizer, "$A </s>", "$A </s> $B </s>")
    tokens = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "extra_ids": 0}
    return _save(
        folder, tokenizer, tokens | {"tokenizer_class": "T5Tokenizer", "additional_special_tokens": []} | config
    )


_S_TOKENS = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"} | {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


def _byte_level(special: list[str], words: Regex | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None)
    split = [pre_tokenizers.Split(words, "isolated"), whole] if words else [whole]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _unigram(special: list[str], unknown: str, normalizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=special, unk_token=unknown)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _template(tokenizer: Tokenizer, single: str, pair: str) -> Any:
    names = {word.partition(":")[0] for word in pair.split()} - {"$A", "$B"}
    special = [(name, tokenizer.token_to_id(name)) for name in sorted(names)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def _save(folder: Path, tokenizer: Tokenizer, config: dict[str, Any]) -> Path:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``, special tokens marked as such."""
    names: Sequence[str] = [value for key, value in config.items() if key.endswith("_token") and isinstance(value, str)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in dict.fromkeys(names)])
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps(config | {"clean_up_tokenization_spaces": False}, ensure_ascii=False, indent=1)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return folder
