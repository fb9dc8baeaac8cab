"""Answer in context: the share of questions whose answer stands in the context, beside other libraries' rerankers.

usage: python -m benchmarks.answer_in_context --assets FOLDER [--model NAME] [--questions N] [--split judge|train]
           [--only FORM ...] [--shares SHARE ...] [--out FOLDER] [--scores FILE] [--fresh]

Every system uses the same cross-encoder, and its context is cut to the same tokens of cl100k. The questions are those
of XQuAD's judging articles; candidates are BM25's best of the articles as a whole (``articles``), or of their
paragraphs (``paragraphs``), in a corpus of which 0, 20 or 50 % are near-duplicates: copies with a few words left out.
Each form and share writes its file as soon as it is done, and keeps a file that is there; scores are kept in SQLite: a
run that was killed goes on.
"""

import argparse
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tiktoken
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from llama_index.core.postprocessor import SentenceTransformerRerank
from llama_index.core.schema import NodeWithScore, TextNode

from secondpass import Cached, Candidate, ContextBudget, Reranker, Selection, Windowed, Windows, load_scorer
from secondpass.evaluation.bm25 import Bm25Index
from secondpass.evaluation.context import holds_any
from secondpass.evaluation.measures import compare, interval
from secondpass.evaluation.settings import Sampling
from secondpass.records import Pair

ROOT = Path(__file__).parents[1]
BUDGETS = (32, 64, 128, 256, 512, 1024, 2048)
SHARES = (0.0, 0.2, 0.5)
DEPTHS = {"articles": 10, "paragraphs": 30}  # candidates, near-duplicates aside
TOP_N = (3, 5, 10)
SEPARATOR = "\n\n"
OURS = ("fill", "truncate", "windows, truncate", "extract")
Context = Callable[[int], str]
"""From a budget to the context of one question."""


@dataclass(frozen=True)
class Question:
    """A question, its accepted answers, and its candidates."""

    text: str
    answers: tuple[str, ...]
    candidates: tuple[Candidate, ...]


class Stored(Cached):
    """A cross-encoder whose scores are kept in a file, so that each pair is scored once for all systems."""

    def values(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return raw scores for pairs of question and text, as other libraries ask for them."""
        return [item.value for item in self.score_pairs([Pair(*pair) for pair in pairs]).outcomes]  # type: ignore[union-attr]


class ForLangChain(BaseCrossEncoder):
    """The same cross-encoder behind LangChain's interface."""

    def __init__(self, scorer: Stored) -> None:
        self._scorer = scorer

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Return raw scores."""
        return self._scorer.values(text_pairs)


class ForSentenceTransformers:
    """The same cross-encoder in the place of ``sentence_transformers.CrossEncoder``."""

    def __init__(self, scorer: Stored) -> None:
        self._scorer = scorer

    def predict(self, sentences: Sequence[tuple[str, str]], **_: object) -> list[float]:
        """Return raw scores."""
        return self._scorer.values(sentences)


def main() -> None:
    """Measure each form of the candidates and each share of near-duplicates, and keep what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assets", type=Path, required=True, help="holds data/xquad-en")
    parser.add_argument("--model", default="small", help="known to load_scorer")
    parser.add_argument("--questions", type=int, help="only so many, drawn with a fixed seed")
    parser.add_argument("--split", choices=["judge", "train"], default="judge", help="train: to choose settings")
    parser.add_argument("--only", nargs="*", choices=[*DEPTHS], default=[*DEPTHS])
    parser.add_argument("--shares", nargs="*", type=float, choices=SHARES, default=SHARES, help="of near-duplicates")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "answer_in_context")
    parser.add_argument("--scores", type=Path, default=ROOT / "build" / "answer_in_context.sqlite")
    parser.add_argument("--fresh", action="store_true", help="compute everything anew, but for the scores")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    scorer = Stored(load_scorer(options.model, device="cpu"), options.scores)
    for form in options.only:
        for share in options.shares:
            part = f"{form}-{share:.0%}".rstrip("%")
            limited = f"-{options.questions}" if options.questions else ""
            file = options.out / f"{part}-{Path(options.model).name}-{options.split}{limited}.json"
            if file.is_file() and not options.fresh:
                print(f"{file.name} is there: --fresh computes it anew")
                continue
            asked = questions(options.assets / "data" / "xquad-en" / "xquad.en.json", options.split, form, share)
            if options.questions:
                asked = random.Random(0).sample(asked, options.questions)
            figures = {"model": options.model, "form": form, "near_duplicates": share, "questions": len(asked)}
            figures |= measure(asked, scorer)
            unfinished = file.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
            unfinished.replace(file)
            print(f"{file.name} is written\n{table(figures)}", flush=True)


def questions(file: Path, split: str, form: str, share: float) -> list[Question]:
    """Read the questions of a split, each with BM25's candidates of this form.

    :param file: XQuAD in English.
    :param split: The articles.
    :param form: Whether a candidate is an article or a paragraph.
    :param share: The share of near-duplicates in the corpus.
    """
    titles = json.loads((ROOT / "benchmarks" / "models" / "xquad_articles.json").read_text("utf-8"))[split]
    articles = [article for article in json.loads(file.read_text("utf-8"))["data"] if article["title"] in titles]
    paragraphs = {
        f"{article['title']}/{number}": paragraph["context"]
        for article in articles
        for number, paragraph in enumerate(article["paragraphs"])
    }
    whole = {a["title"]: SEPARATOR.join(paragraph["context"] for paragraph in a["paragraphs"]) for a in articles}
    corpus = with_near_duplicates(whole if form == "articles" else paragraphs, share)
    asked = [qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    depth = round(DEPTHS[form] / (1 - share))
    run = Bm25Index(corpus).run({qa["id"]: qa["question"] for qa in asked}, depth)
    return [
        Question(qa["question"], tuple(answer["text"] for answer in qa["answers"]), tuple(run[qa["id"]]))
        for qa in asked
    ]


def with_near_duplicates(corpus: Mapping[str, str], share: float) -> dict[str, str]:
    """Add copies of texts, each without one word in fifty, until they are this share of the corpus."""
    chance = random.Random(0)
    chosen = chance.sample(sorted(corpus), round(len(corpus) * share / (1 - share)))
    copies = {}
    for key in chosen:
        parts = corpus[key].split(" ")
        left_out = set(chance.sample(range(len(parts)), max(1, len(parts) // 50)))
        copies[f"{key} (copy)"] = " ".join(part for at, part in enumerate(parts) if at not in left_out)
    return {**corpus, **copies}


def measure(asked: Sequence[Question], scorer: Stored) -> dict[str, Any]:
    """Return each system's share of answers in context at each budget, and extraction's gain over the best peer."""
    encoding = cl100k()
    makers: dict[str, Callable[[Question], Context]] = peers(scorer) | {
        name: ours(name, scorer, encoding) for name in OURS
    }
    hits: dict[str, dict[int, list[float]]] = {name: {budget: [] for budget in BUDGETS} for name in makers}
    for number, question in enumerate(asked, 1):
        holds = holds_any(question.answers)
        for name, maker in makers.items():
            context = maker(question)
            for budget in BUDGETS:
                text = encoding.decode(encoding.encode_ordinary(context(budget))[:budget])
                hits[name][budget].append(float(holds(text)))
        if number % 25 == 0:
            print(f"{number} of {len(asked)} questions", flush=True)
    sampling = Sampling()
    shares = {name: {b: asdict(interval(of, sampling)) for b, of in rows.items()} for name, rows in hits.items()}
    gains = {}
    for budget in BUDGETS:
        best = max((name for name in hits if name not in OURS), key=lambda name: sum(hits[name][budget]))
        gain = compare(hits[best][budget], hits["extract"][budget], sampling)
        gains[budget] = {"best_peer": best, **asdict(gain)}
    return {"shares": shares, "gains": gains}


def peers(scorer: Stored) -> dict[str, Callable[[Question], Context]]:
    """Return the other libraries' systems: each gives documents, whose joined text is cut to the budget."""

    def langchain(top_n: int) -> Callable[[Question], Context]:
        reranker = CrossEncoderReranker(model=ForLangChain(scorer), top_n=top_n)

        def context(question: Question) -> Context:
            documents = [Document(page_content=candidate.text) for candidate in question.candidates]
            found = reranker.compress_documents(documents, question.text)
            joined = SEPARATOR.join(document.page_content for document in found)
            return lambda _: joined

        return context

    def first_stage(question: Question) -> Context:
        joined = SEPARATOR.join(candidate.text for candidate in question.candidates)
        return lambda _: joined

    systems = {"first stage": first_stage}
    systems |= {f"LangChain CrossEncoderReranker, top_n={n}": langchain(n) for n in TOP_N}
    systems |= {f"LlamaIndex SentenceTransformerRerank, top_n={n}": llama_index(scorer, n) for n in TOP_N}
    return systems | ({"ragcompress": ragcompress(scorer)} if find_spec("ragcompress") else {})


def llama_index(scorer: Stored, top_n: int) -> Callable[[Question], Context]:
    """Return LlamaIndex's postprocessor, with the same cross-encoder in the place of a torch model."""
    postprocessor = SentenceTransformerRerank.model_construct(top_n=top_n, model=scorer.spec.name)
    postprocessor._model = ForSentenceTransformers(scorer)  # noqa: SLF001  its constructor loads a torch model

    def context(question: Question) -> Context:
        nodes = [NodeWithScore(node=TextNode(text=candidate.text)) for candidate in question.candidates]
        kept = postprocessor.postprocess_nodes(nodes, query_str=question.text)
        joined = SEPARATOR.join(node.node.get_content() for node in kept)
        return lambda _: joined

    return context


def ragcompress(scorer: Stored) -> Callable[[Question], Context]:
    """Return ragcompress, without its embedder, which is a download: redundancy is then found in words alone."""
    from ragcompress import Chunk, Compressor, FixedBudget
    from ragcompress.scoring.cross_encoder import CrossEncoderScorer

    sentences = CrossEncoderScorer(redundancy_lambda=0)
    sentences._cross_encoder = ForSentenceTransformers(scorer)  # noqa: SLF001  as above
    sentences.embed = None

    def context(question: Question) -> Context:
        def compress(budget: int) -> str:
            compressor = Compressor(sentences, FixedBudget(max_tokens=budget), token_counter=count)
            chunks = [Chunk(str(at), str(at), candidate.text) for at, candidate in enumerate(question.candidates)]
            return str(compressor.compress(question.text, chunks).text)

        return compress

    count = lru_cache(2**16)(lambda text: len(cl100k().encode_ordinary(text)))
    return context


def ours(name: str, scorer: Stored, encoding: tiktoken.Encoding) -> Callable[[Question], Context]:
    """Return one of our selections: whole candidates, or windows."""
    policy: Any = name.rpartition(", ")[2]
    reranker = Reranker(Windowed(scorer, Windows()) if name.startswith("windows") else scorer)

    def context(question: Question) -> Context:
        def fill(budget: int) -> str:
            selection = Selection(budget=ContextBudget(budget, encoding, SEPARATOR), policy=policy)
            return reranker.rerank(question.text, question.candidates, selection=selection).context

        return fill

    return context


@cache
def cl100k() -> tiktoken.Encoding:
    """Return OpenAI's encoding from the copy that LlamaIndex installs, without a download."""
    core = find_spec("llama_index.core")
    if core and core.submodule_search_locations:
        folder = Path(core.submodule_search_locations[0]) / "_static" / "tiktoken_cache"
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))
    return tiktoken.get_encoding("cl100k_base")


def table(figures: Mapping[str, Any]) -> str:
    """Return the shares as a table."""
    rows = [f"| {'system':50} | {' | '.join(map(str, BUDGETS))} |"]
    for name, shares in figures["shares"].items():
        rows.append(f"| {name:50} | {' | '.join(format(share['mean'], '.3f') for share in shares.values())} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
