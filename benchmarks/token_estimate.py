"""The token estimate against real tokenizers, as a table: estimate divided by true count, lowest and median.

usage: python -m benchmarks.token_estimate CANDIDATES.json TOKENIZER.json   (tiktoken's tables must be in its cache)
"""

import base64
import json
import random
import statistics
import sys
from pathlib import Path

import tiktoken
from tokenizers import Tokenizer

from secondpass.selection.tokens import TokenCounter, as_counter, estimate_tokens

NATURAL = {
    "German": "Donaudampfschifffahrtsgesellschaften überprüfen Sicherheitsvorschriften und Versicherungsverträge.",
    "Russian": "Быстрая коричневая лиса перепрыгивает через ленивую собаку, а затем возвращается домой к ужину.",
    "Chinese": "检索增强生成系统会从向量数据库中取出一百个候选片段，但其中很多与问题无关。",
    "Hindi": "पुनर्प्राप्ति संवर्धित पीढ़ी प्रणालियाँ सौ उम्मीदवारों को लाती हैं।",
    "Thai": "ระบบดึงข้อมูลจะส่งเอกสารหนึ่งร้อยฉบับไปยังแบบจำลองภาษา",
}


def main(candidates_file: str, tokenizer_file: str) -> None:
    """Print the table."""
    counters = [as_counter(tiktoken.get_encoding(name)) for name in ("cl100k_base", "o200k_base")]
    counters.append(as_counter(Tokenizer.from_file(tokenizer_file)))
    heads = ["cl100k", "o200k", "BERT word pieces"]
    print(f"| text | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, texts in samples(candidates_file).items():
        print(f"| {name} | {' | '.join(ratio(texts, counter) for counter in counters)} |")


def ratio(texts: list[str], counter: TokenCounter) -> str:
    """Return the lowest and the median of estimate / count."""
    ratios = [estimate_tokens(text) / max(1, counter.count(text)) for text in texts]
    return f"{min(ratios):.2f}, {statistics.median(ratios):.2f}"


def samples(candidates_file: str) -> dict[str, list[str]]:
    """Return texts of several kinds."""
    topics = json.loads(Path(candidates_file).read_text(encoding="utf-8"))
    code = Path(json.__file__).with_name("decoder.py").read_text() + Path(random.__file__).read_text()
    data = json.dumps(topics[0])[:60000]
    chance = random.Random(0)
    return {
        "English passages": [hit["content"] for topic in topics for hit in topic["hits"]],
        "Python source": [code[start : start + 800] for start in range(0, len(code) - 800, 800)],
        "JSON": [data[start : start + 600] for start in range(0, len(data) - 600, 600)],
        **{name: [text] for name, text in NATURAL.items()},
        "base64": [base64.b64encode(chance.randbytes(300)).decode() for _ in range(50)],
        "hexadecimal": [chance.randbytes(200).hex() for _ in range(50)],
        "random CJK characters": ["".join(chr(chance.randint(0x4E00, 0x9FFF)) for _ in range(100)) for _ in range(50)],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
