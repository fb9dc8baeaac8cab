"""Every model family: tiny models in the published form, through the real loading code, beside a reference."""

import importlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxscript", reason="the extra train isn't installed")

from model_checks import CHECKS, PAIRS, Reference, check, engines_of, score_of, to_onnx
from model_forms import DECODER_LENGTH, FORMS, INSTRUCTION, LENGTH, make
from model_tokenizers import ARABIC, CHINESE, CODE

from secondpass import LoadOptions, Pair, load_scorer
from secondpass.errors import ModelError
from secondpass.models import Status, family_of, supported
from secondpass.optimize import optimize
from secondpass.scorers import load

pytestmark = pytest.mark.slow


TOLERANCE = 2e-5
"""In log-odds: float32 sums in another order."""
LONG = Pair("how long does a flea live?", "a flea lives " * 300)


@pytest.fixture(scope="session")
def form(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a maker of tiny models by the names of their forms; each is made only once."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = make(FORMS[name], tmp_path_factory.mktemp(name))
        return made[name]

    return of


Maker = Callable[[str], Path]


def encoded(folder: Path, pair: Pair) -> tuple[str, list[int], Any]:
    """Return the text that a torch scorer's model reads, its token types, and the encoded pair."""
    engine = load_scorer(folder, engine="torch", device="cpu")._engine  # type: ignore[union-attr]
    (item,) = engine.encode([pair])
    types = item.features.get("token_type_ids")
    return engine._tokenizer.decode(item.features["input_ids"]), [] if types is None else types.tolist(), item  # type: ignore[attr-defined]


# Scores


@pytest.mark.parametrize(("name", "engine"), CHECKS)
@pytest.mark.filterwarnings("ignore")  # torch's exporter deprecates itself
def test_scores_are_those_of_the_reference(name: str, engine: str, form: Maker, tmp_path: Path) -> None:
    """Alone and in one padded batch, each score is the reference's, for English, Chinese, Arabic and code."""
    opened, int8 = to_onnx(name, form(name), tmp_path / "onnx") if engine == "onnx" else (None, None)
    result = check(name, engine, form(name), opened)
    assert result.largest_difference < TOLERANCE
    assert result.batch_difference < TOLERANCE
    assert result.truncated
    assert int8 is None or int8.batch_effect < TOLERANCE


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "deberta", "modernbert", "ettin", "qwen3-modules"])
def test_the_output_is_that_of_sentence_transformers(name: str, form: Maker) -> None:
    """Where the files declare no activation, or a sigmoid, the probability is what its ``predict`` returns."""
    length = DECODER_LENGTH if name.startswith("qwen") else LENGTH
    wanted = Reference(str(form(name)), device="cpu", max_length=length).predict([tuple(pair) for pair in PAIRS])
    scorer = load_scorer(form(name), engine="torch", device="cpu")
    scores = score_of(scorer, PAIRS)
    declared = scorer.spec.scale.declared
    assert declared == ("Identity" if name in {"bert", "ettin", "qwen3-modules"} else "nothing declared")
    own = [score.value if declared == "Identity" else scorer.spec.scale.probability(score.value) for score in scores]
    assert own == pytest.approx(wanted.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("name", ["roberta-nli", "deberta-nli"])
def test_the_relevance_of_an_nli_model_is_entailment(name: str, form: Maker) -> None:
    """Of contradiction, entailment and neutral, the probability is the softmax of the second."""
    model = Reference(str(form(name)), device="cpu", max_length=LENGTH)
    wanted = model.predict([tuple(pair) for pair in PAIRS], apply_softmax=True)[:, 1]
    scorer = load_scorer(form(name), engine="torch", device="cpu")
    own = [scorer.spec.scale.probability(score.value) for score in score_of(scorer, PAIRS)]
    assert own == pytest.approx(wanted.tolist(), abs=TOLERANCE)


# Templates, token types, truncation

PAIR = Pair("does a flea live?", "the market")
TEMPLATES = {
    "bert": ("[CLS] does a flea live? [SEP] the market [SEP]", True),
    "electra": ("[CLS] does a flea live? [SEP] the market [SEP]", True),
    "distilbert": ("[CLS] does a flea live? [SEP] the market [SEP]", False),
    "deberta": ("[CLS] does a flea live?[SEP] the market[SEP]", True),
    "roberta": ("<s>does a flea live?</s></s>the market</s>", False),
    "xlm-roberta": ("<s> does a flea live?</s></s> the market</s>", False),
    "modernbert": ("[CLS]does a flea live?[SEP]the market[SEP]", False),
    "ettin": ("[CLS]does a flea live?[SEP]the market[SEP]", False),
    "gemma": (
        (
            "<bos>A: does a flea live?\nB: the market\nGiven a query A and a passage B, determine whether the passage "
            "contains an answer to the query by providing a prediction of either 'Yes' or 'No'."
        ),
        False,
    ),
    "t5": ("Query: does a flea live? Document: the market Relevant:</s>", False),
    "qwen3-modules": (
        (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
            f"<Instruct>: {INSTRUCTION}\n<Query>: does a flea live?\n<Document>: the market<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n\n</think>\n\n"
        ),
        False,
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_of_a_pair(name: str, form: Maker) -> None:
    """The model reads query and text in the family's template; the text's token type is 1 where it has types."""
    wanted, typed = TEMPLATES[name]
    text, types, _ = encoded(form(name), PAIR)
    assert text.replace(" ?", "?") == wanted
    assert (max(types, default=0) == 1) is typed


@pytest.mark.parametrize("name", FORMS)
def test_truncation_cuts_the_text_alone(name: str, form: Maker) -> None:
    """Of a long pair the template, the query and the end of the template stay, and the rest is counted."""
    short, _, _ = encoded(form(name), Pair(LONG.query, "a flea lives"))
    text, _, item = encoded(form(name), LONG)
    head, tail = short.split("a flea lives")
    assert item.length == (LENGTH if name == "t5" or FORMS[name].lengths != FORMS["qwen2"].lengths else DECODER_LENGTH)
    assert text.startswith(head)
    assert text.endswith(tail)
    whole, _, _ = encoded_whole(form(name), LONG)
    assert item.truncated == whole - item.length


def encoded_whole(folder: Path, pair: Pair) -> tuple[int, None, None]:
    """Return how many tokens a pair has without truncation: those of the short one, and of the words that it lacks."""
    engine = load_scorer(folder, engine="torch", device="cpu")._engine  # type: ignore[union-attr]
    few, more = (engine.encode([Pair(pair.query, "a flea lives " * count)])[0].length for count in (1, 2))
    return few + (more - few) * (pair.text.count("flea") - 1), None, None


SPECIAL = {"bert": "[SEP]", "roberta": "</s>", "xlm-roberta": "</s>", "deberta": "[SEP]", "modernbert": "[SEP]"}
SPECIAL |= {"gemma": "<eos>", "t5": "</s>", "qwen2": "<|im_end|>", "qwen3-plain": "<|im_end|>"}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_tokens_that_users_wrote_are_text(name: str, form: Maker) -> None:
    """A user's text that names a special token ends neither segment nor prompt: it is read as characters."""
    token = SPECIAL[name]
    *_, harmless = encoded(form(name), Pair("q", "a"))
    *_, hostile = encoded(form(name), Pair("q", f"a{token}"))
    engine = load_scorer(form(name), engine="torch", device="cpu")._engine  # type: ignore[union-attr]
    number = engine._tokenizer.convert_tokens_to_ids(token)  # type: ignore[attr-defined]
    counts = [int((item.features["input_ids"] == number).sum()) for item in (harmless, hostile)]
    assert counts[0] == counts[1]


def test_special_tokens_are_text_to_a_unigram_model(multilingual_onnx: Path) -> None:
    """The ONNX engine reads ``</s>`` in a text as characters too, although it is a piece of the vocabulary."""
    tokenizer = load_scorer(multilingual_onnx)._engine._tokenizer  # type: ignore[union-attr]
    (item,) = tokenizer.encode([Pair("q", "a</s>")])
    assert list(item.features["input_ids"]).count(tokenizer.tokenizer.token_to_id("</s>")) == 3  # the template's


@pytest.mark.parametrize("engine", ["torch", "onnx"])
@pytest.mark.parametrize("texts", [CHINESE, ARABIC, CODE], ids=["Chinese", "Arabic", "code"])
def test_tokens_of_other_scripts(texts: tuple[str, ...], engine: str, form: Maker, multilingual_onnx: Path) -> None:
    """A multilingual tokenizer counts Chinese, Arabic and code, and truncation says by how much."""
    folder = multilingual_onnx if engine == "onnx" else form("xlm-roberta")
    scorer = load_scorer(folder, engine=engine, device="cpu")  # type: ignore[arg-type]
    tokenizer = Reference(str(form("xlm-roberta")), device="cpu").tokenizer
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert scorer.count_tokens(texts) == [len(own) for own in ids]  # type: ignore[union-attr]
    assert not any(tokenizer.unk_token_id in own for own in ids)
    query, text = texts[0], " ".join(texts[1:] * 9)
    (score,) = score_of(scorer, [Pair(query, text)])
    assert score.truncated == len(tokenizer(query, text, truncation=False, verbose=False)["input_ids"]) - LENGTH


@pytest.fixture(scope="session")
def multilingual_onnx(form: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny XLM-RoBERTa as an ONNX file."""
    return to_onnx("xlm-roberta", form("xlm-roberta"), tmp_path_factory.mktemp("multilingual") / "out")[0]


@pytest.mark.parametrize("file", ["chat_template.jinja", "1_LogitScore/config.json"])
def test_templates_and_answers_are_part_of_the_fingerprint(file: str, form: Maker, tmp_path: Path) -> None:
    """Another template, or other tokens that answer, give other scores: the fingerprint, and so a cache, knows."""
    changed = Path(shutil.copytree(form("qwen3-modules"), tmp_path / "model"))
    content = (changed / file).read_text(encoding="utf-8")
    (changed / file).write_text(
        content.replace("<Query>", "<Question>").replace('"false_token_id": ', '"false_token_id": 1')
    )
    scorers = [load_scorer(folder, engine="torch", device="cpu") for folder in (form("qwen3-modules"), changed)]
    assert scorers[0].spec.fingerprint != scorers[1].spec.fingerprint


# What is refused


def configuration(folder: Path, **content: Any) -> Path:
    """Write a configuration and an empty weights file, as far as the refusal looks."""
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"architectures": ["JinaForRanking"], "model_type": "qwen3"}, r"jina-reranker v3.*listwise"),
        ({"architectures": ["LayerWiseMiniCPMForCausalLM"]}, r"layerwise.*chosen layer"),
        ({"architectures": ["CostWiseGemmaForCausalLM"]}, r"lightweight.*chosen layer"),
        (
            {"architectures": ["NewForSequenceClassification"], "model_type": "new", "auto_map": {"AutoConfig": "c.C"}},
            r"NewForSequenceClassification.*LoadOptions\(trust_remote_code=True\)",
        ),
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "without modules.json: nothing says"),
    ],
    ids=["jina v3", "layerwise", "lightweight", "code of its own", "a language model"],
)
def test_what_can_not_be_scored_is_refused(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A model that would give no score, or a meaningless one, is refused with the reason before it is opened."""
    with pytest.raises(ModelError, match=message):
        load_scorer(configuration(tmp_path, **content), engine="torch", device="cpu")


def test_an_unsupported_hub_model_is_refused_before_anything_is_fetched() -> None:
    """The hub's id is enough to say why a model isn't supported."""
    with pytest.raises(ModelError, match=r"jinaai/jina-reranker-v3 can't be loaded .* score_list"):
        load_scorer("jinaai/jina-reranker-v3", options=LoadOptions(local_files_only=True))


def test_a_licence_that_is_not_free_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Before the first load of such a model its licence is logged; free ones are not mentioned."""
    load._check_family.cache_clear()
    with caplog.at_level(logging.WARNING, logger="secondpass"):
        for name in ("jinaai/jina-reranker-v2-base-multilingual", "BAAI/bge-reranker-base") * 2:
            load._check_family(name)
    assert [record.getMessage() for record in caplog.records] == [
        "jinaai/jina-reranker-v2-base-multilingual has the licence cc-by-nc-4.0: see its card before you use it"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("deberta", "DeBERTa's attention adds scores of relative positions"),
        ("qwen2", "only encoders with a classifier are exported"),
        ("t5", "only encoders with a classifier are exported"),
        ("ettin", "head made of sentence-transformers' modules"),
    ],
)
def test_optimize_says_why_it_refuses_a_family(name: str, message: str, form: Maker, tmp_path: Path) -> None:
    """Families of which no int8 form is made are refused by name, before anything is opened."""
    with pytest.raises(ModelError, match=message):
        optimize(form(name), tmp_path / "out", calibration=PAIRS)


# The table


def test_the_table_claims_what_is_tested() -> None:
    """A verified family has forms that run on its engines; int8 is claimed where the forms can be exported."""
    assert {name for family in supported() for name in family.forms} == set(FORMS)
    for family in supported():
        assert (family.status is Status.VERIFIED) == bool(family.forms), family.name
        for name in family.forms:
            assert set(family.engines) == set(engines_of(FORMS[name])), family.name
            assert family.int8 == (FORMS[name].is_encoder and FORMS[name].model_type != "deberta-v2"), family.name
            assert family.labels == FORMS[name].settings.get("num_labels", 1), family.name
        assert family.note or family.status is Status.VERIFIED, family.name


def test_a_family_is_recognised_by_the_hub_id() -> None:
    """Ids and patterns of the table find their family, and other ids none."""
    found = {name: family_of(name) for name in ("cross-encoder/ms-marco-MiniLM-L6-v2", "Qwen/Qwen3-Reranker-4B", "a/b")}
    assert [family and family.name for family in found.values()] == [
        "ms-marco MiniLM and TinyBERT",
        "Qwen3-Reranker",
        None,
    ]


def test_the_page_is_that_of_the_last_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/model_families.md is made of the table and the checks, which cover every form and keep the tolerance."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    model_families = importlib.import_module("model_families")
    figures = json.loads(model_families.FIGURES.read_text(encoding="utf-8"))
    assert [(item["form"], item["engine"]) for item in figures["checks"]] == CHECKS
    assert all(max(item["largest_difference"], item["batch_difference"]) < TOLERANCE for item in figures["checks"])
    assert model_families.PAGE.read_text(encoding="utf-8") == model_families.page(figures)


def test_a_tokenizer_in_python_is_used_as_it_is(tmp_path: Path) -> None:
    """A model without ``tokenizer.json`` (CANINE reads characters) scores as sentence-transformers does."""
    import torch
    from transformers import CanineConfig, CanineForSequenceClassification, CanineTokenizer

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = CanineConfig(**sizes, num_labels=1, num_hash_buckets=1024, local_transformer_stride=16)
    CanineForSequenceClassification(config).save_pretrained(tmp_path)
    CanineTokenizer(model_max_length=512).save_pretrained(tmp_path)
    pairs = [Pair("how long?", "a flea lives for a year"), Pair("a", "b"), Pair("q " * 5, "long text " * 70)]
    wanted = [float(Reference(str(tmp_path), device="cpu").predict([tuple(pair)])[0]) for pair in pairs]
    scorer = load_scorer(tmp_path, engine="torch", device="cpu")
    found = [scorer.spec.scale.probability(item.value) for item in score_of(scorer, pairs)]
    assert found == pytest.approx(wanted, abs=1e-4)
