"""Kinds of text for the token estimate: interface strings, languages, data, characters drawn at random."""

import base64
import json
import random
from collections.abc import Callable

INTERFACE = {
    "Finnish interface strings": (
        "Tapahtuma|Toiminto:|Lisää|Hallinta|Kaikki päivät|Mikä tahansa päivä|Murupolut|Muokkaa|Vaihda salasana|"
        "Tyhjennä kaikki suodattimet|Tyhjennä valinta|Sulje|Varmista uusi salasana:|Tällä hetkellä:|Tietokantavirhe"
    ),
    "Esperanto interface strings": (
        "Aldoni|Aldonita.|Administrado|Ĉiuj datoj|Ajna dato|Ĉu vi certas?|Ŝanĝi mian pasvorton|Viŝi elekton|Fermi|"
        "Konfirmi pasvorton:|Nuntempe:|Datumbaza eraro|Dato/horo|Forigi plurajn objektojn|Forviŝi?|Forviŝo"
    ),
}
"""Of one to four words each, divided by bars."""

LANGUAGES = {
    "Amharic": "አንቀጽ፡፱፤ ማንም፡ሰው፡ያለፍርድ፡ተይዞ፡እንዲታሰር፡ወይም፡በግዛት፡እንዲኖር፡አይደረግም። አንቀጽ፡",
    "Arabic": "أنه المستوى المشترك الذي ينبغي أن تستهدفه كافة الشعوب والأمم حتى يسعى كل فرد وهيئة في المجتمع،",
    "Armenian": "նպաստել սոցիալական առաջընթացին ու կյանքի պայմանների բարելավմանը․ Քանզի անդամ պետությունները",
    "Burmese": "လည်းကောင်း၊ နိုင်ငံ အချင်းချင်း ချစ်ခင်ရင်းနှီးစွာ ဆက်ဆံရေးက",
    "Chinese": "检索增强生成系统会从向量数据库中取出一百个候选片段，但其中很多与问题无关。",
    "Esperanto": "kaj firme decidis antaŭenigi socian progreson kaj pli altnivelan vivon en pli granda libereco,",
    "Finnish": "oikeuksiin ja kun ne ovat ilmaisseet vakaan tahtonsa edistää sosiaalista kehitystä ja",
    "Georgian": "და ღირებულების და კაცებისა და ქალების თანასწორუფლებიანობისადმი და გადაწყვიტეს ხელი შეუწყონ",
    "German": "Donaudampfschifffahrtsgesellschaften überprüfen Sicherheitsvorschriften und Versicherungsverträge.",
    "Greek": "των Ηνωμένων Εθνών διακήρυξαν και πάλι την πίστη τους στα θεμελιακά δικαιώματα του ανθρώπου,",
    "Hebrew": "זו. לפיכך מכריזה העצרת באזני כל באי העולם את ההכרזה הזאת בדבר זכויות האדם כרמת הישגים כללית",
    "Hindi": "पुनर्प्राप्ति संवर्धित पीढ़ी प्रणालियाँ सौ उम्मीदवारों को लाती हैं।",
    "Japanese": "第４条 何人も、奴隷にされ、又は苦役に服することはない。奴隷制度及び奴隷売買は、いかなる形において",
    "Khmer": "មនុស្ស និងលើសមភាពនៃសិទ្ធិរវាងបុរសនិងស្ដ្រី ហើយប្ដេជ្ញាលើកស្ទ",
    "Korean": "모든 권리와 자유를 향유할 자격이 있다. 더 나아가 개인이 속한 국가 또는 영토가 독립국, 신탁통치지역,",
    "Lao": "ດ້ວຍເຫດວ່າ: ລັດສະມາຊິກຕ່າງໆໄດ້ໃຫ້ຄວາມໝັ້ນສັນຍາວ່າຈະຮ່ວມມືກັບ",
    "Russian": "Быстрая коричневая лиса перепрыгивает через ленивую собаку, а затем возвращается домой к ужину.",
    "Swahili": "bora za maisha ya watu kwa kuwa na uhuru zaidi, Kwa kuwa Nchi zilizo Wanachama zimeahidi, kwa",
    "Tamil": "பற்றிய, ஒவ்வொரு மனிதப் பிறவியினதும் சுயமரியாதை மற்றும் பெறுமதி பற்றிய, ஆண் பெண்ணின் சம உரிமை",
    "Thai": "ระบบดึงข้อมูลจะส่งเอกสารหนึ่งร้อยฉบับไปยังแบบจำลองภาษา",
    "Turkish": "daha geniş bir hürriyet içerisinde daha iyi hayat şartları kurmaya karar verdiklerini beyan",
    "Vietnamese": "nữa khẳng định niềm tin của mình vào những quyền cơ bản của con người, vào nhân",
    "Welsh": "mewn cydweithrediad â’r Cenhedloedd Unedig, i sicrhau hyrwyddo parch cyffredinol i hawliau",
}

BLOCKS = {
    "emoji": (0x1F300, 0x1F64F),
    "Chinese characters": (0x4E00, 0x9FFF),
    "CJK extension B": (0x20000, 0x2A6DF),
    "Hangul": (0xAC00, 0xD7A3),
    "mathematical alphanumerics": (0x1D400, 0x1D7FF),
    "private use": (0xE000, 0xF8FF),
    "combining marks": (0x300, 0x333),
    "arrows and operators": (0x2190, 0x22FF),
    "box drawing": (0x2500, 0x257F),
    "control characters": (0, 31),
}
"""First and last code point; characters are drawn from between."""


def kinds() -> dict[str, list[str]]:
    """Return texts of each kind."""
    chance = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"

    def drawn(make: Callable[[], str]) -> list[str]:
        return [make() for _ in range(20)]

    def block(first: int, last: int) -> str:
        return "".join(chr(chance.randint(first, last)) for _ in range(300))

    return {
        **{name: text.split("|") for name, text in INTERFACE.items()},
        **{f"{name}, together": [text.replace("|", "\n")] for name, text in INTERFACE.items()},
        **{name: [text] for name, text in LANGUAGES.items()},
        **{f"random {name}": drawn(lambda ends=ends: block(*ends)) for name, ends in BLOCKS.items()},  # type: ignore[misc]
        "emoji with joiners": ["👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👩🏽\u200d💻 🇩🇪🇫🇷 1️⃣ " * 10],
        "JSON with \\u escapes": [json.dumps(LANGUAGES[name]) for name in ("Russian", "Chinese", "Hindi", "Amharic")],
        "hexadecimal": drawn(lambda: chance.randbytes(200).hex()),
        "base64": drawn(lambda: base64.b64encode(chance.randbytes(300)).decode()),
        "random letters": drawn(lambda: "".join(chance.choices(letters, k=300))),
        "random words": drawn(lambda: " ".join("".join(chance.choices(letters, k=5)) for _ in range(60))),
        "digits": drawn(lambda: "".join(chance.choices("0123456789", k=300))),
        "numbers": drawn(lambda: " ".join(str(chance.randint(0, 99999)) for _ in range(60))),
        "URLs": drawn(
            lambda: f"https://cdn.example.org/{chance.randbytes(6).hex()}/a-b_c.min.js?v={chance.random()}&q=%C3%A9"
        ),
        "minified JavaScript": [
            '!function(t,e){"use strict";var n=t.r?e[0]:null;for(;n&&!(n.x>>>2);)n=n.p||void 0}(this,{});' * 5
        ],
        "names run together": [
            "getHTTPResponseCode MAX_BUF_SIZE isinstance thequickbrownfox inthebeginning __init__ " * 5
        ],
        "blanks": [" " * length for length in (1, 2, 3, 10, 100, 1000, 10000)],
        "columns set with blanks": ["name      total   x\nalpha         12   -\n" * 10],
        "tabs and line breaks": ["\t" * 100, "\n" * 100, "\r\n" * 100, " \n" * 100, "\t \t \n" * 50],
        "repeated marks": [mark * 300 for mark in "-=_*#.~!"],
        "repeated letters": [letter * 300 for letter in "aehosxyz"],
    }
