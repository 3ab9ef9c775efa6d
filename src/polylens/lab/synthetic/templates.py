"""Templates of queries, in twenty languages and ten scripts. Written for this project; the two splits share none.

`{}` stands for what is asked about: names and numbers, separated by commas. English templates for one kind of page have
`{topic}`, `{subject}` and `{at}` instead.
"""

from __future__ import annotations

import itertools
import random
from typing import Literal

from polylens.lab.corpora.split import Split

TemplateKind = Literal["question", "instruction", "description"]

# fmt: off
_VERBS = (
    "Find", "Get me", "I need", "I am looking for", "Look for", "Open", "Please find", "Could you find", "Search for",
)
_SHEETS = ("the page", "a page", "the sheet", "the document", "a file", "the one", "the paper", "that page", "the scan")
_LINKS = (
    "with", "about", "where it says", "that has", "which lists", "on", "containing", "that shows", "dealing with",
)
_ASKED = (
    "What is the figure for {}?", "What is given for {}?", "Which number belongs to {}?", "Tell me the value of {}",
    "What does the page say about {}?", "What was recorded for {}?", "What is {}?", "Do you know the number for {}?",
    "What is the amount of {}?", "How many are there for {}?", "Where can I read about {}?",
    "Which value is next to {}?",
)
_ABOUT = (
    "A page about {}", "Something on {}", "Information about {}", "Details of {}", "A text that deals with {}",
    "A sheet listing {}", "Facts on {}", "A file with {} in it", "An overview of {}", "Notes on {}",
)
# fmt: on
_ENGLISH = (_ASKED, tuple(" ".join([*parts, "{}"]) for parts in itertools.product(_VERBS, _SHEETS, _LINKS)), _ABOUT)

_ByKind = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Questions, instructions, descriptions."""

# fmt: off
_TRAIN: dict[str, _ByKind] = {
    "en": _ENGLISH,
    "de": (
        ("Welcher Wert gilt für {}?", "Was ist für {} angegeben?", "Welche Zahl gehört zu {}?", "Wie hoch ist {}?"),
        ("Finde die Seite mit {}", "Suche das Blatt, auf dem {} steht", "Ich brauche die Unterlage über {}",
         "Bitte öffne die Datei mit {}", "Wo finde ich {}"),
        ("Eine Seite über {}", "Angaben zu {}", "Etwas über {}", "Ein Blatt, das von {} handelt"),
    ),
    "fr": (
        ("Quelle est la valeur pour {} ?", "Que dit la page sur {} ?", "Quel chiffre correspond à {} ?",
         "Quel est le montant de {} ?"),
        ("Trouve la page avec {}", "Cherche la feuille où figure {}", "J'ai besoin du fichier sur {}",
         "Ouvre la page qui contient {}", "Où puis-je lire {}"),
        ("Une page sur {}", "Des informations sur {}", "Une feuille à propos de {}", "Quelque chose sur {}"),
    ),
    "es": (
        ("¿Cuál es el valor de {}?", "¿Qué dice la página sobre {}?", "¿Qué cifra corresponde a {}?",
         "¿Cuánto es {}?"),
        ("Encuentra la página con {}", "Busca la hoja donde aparece {}", "Necesito el archivo sobre {}",
         "Abre la página que contiene {}", "Dónde puedo leer {}"),
        ("Una página sobre {}", "Información sobre {}", "Una hoja que trata de {}", "Algo sobre {}"),
    ),
    "it": (
        ("Qual è il valore per {}?", "Che cosa dice la pagina su {}?", "Quale cifra corrisponde a {}?",
         "Quanto vale {}?"),
        ("Trova la pagina con {}", "Cerca il foglio dove c'è {}", "Ho bisogno del file su {}",
         "Apri la pagina che contiene {}", "Dove posso leggere {}"),
        ("Una pagina su {}", "Informazioni su {}", "Un foglio che parla di {}", "Qualcosa su {}"),
    ),
    "pt": (
        ("Qual é o valor de {}?", "O que diz a página sobre {}?", "Que número corresponde a {}?", "Quanto é {}?"),
        ("Encontre a página com {}", "Procure a folha onde aparece {}", "Preciso do arquivo sobre {}",
         "Abra a página que contém {}", "Onde posso ler {}"),
        ("Uma página sobre {}", "Informações sobre {}", "Uma folha que trata de {}", "Algo sobre {}"),
    ),
    "nl": (
        ("Wat is de waarde voor {}?", "Wat zegt de pagina over {}?", "Welk getal hoort bij {}?", "Hoe hoog is {}?"),
        ("Zoek de pagina met {}", "Vind het blad waarop {} staat", "Ik heb het bestand over {} nodig",
         "Open de pagina met daarop {}", "Waar kan ik {} lezen"),
        ("Een pagina over {}", "Informatie over {}", "Een blad dat gaat over {}", "Iets over {}"),
    ),
    "pl": (
        ("Jaka jest wartość: {}?", "Co strona mówi o: {}?", "Która liczba dotyczy: {}?"),
        ("Znajdź stronę: {}", "Szukam kartki, na której jest: {}", "Potrzebuję pliku: {}", "Otwórz stronę z: {}"),
        ("Strona, temat: {}", "Informacje: {}", "Coś o: {}"),
    ),
    "cs": (
        ("Jaká je hodnota: {}?", "Co říká stránka o: {}?", "Které číslo patří k: {}?"),
        ("Najdi stránku: {}", "Hledám list, na kterém je: {}", "Potřebuji soubor: {}", "Otevři stránku s: {}"),
        ("Stránka, téma: {}", "Informace: {}", "Něco o: {}"),
    ),
    "sv": (
        ("Vad är värdet för {}?", "Vad säger sidan om {}?", "Vilket tal hör till {}?", "Hur stort är {}?"),
        ("Hitta sidan med {}", "Sök bladet där {} står", "Jag behöver filen om {}", "Öppna sidan som har {}"),
        ("En sida om {}", "Uppgifter om {}", "Ett blad som handlar om {}", "Något om {}"),
    ),
    "ru": (
        ("Какое значение: {}?", "Что сказано о: {}?", "Какое число относится к: {}?"),
        ("Найди страницу: {}", "Ищу лист, на котором есть: {}", "Мне нужен файл: {}", "Открой страницу с: {}"),
        ("Страница, тема: {}", "Сведения: {}", "Что-нибудь о: {}"),
    ),
    "uk": (
        ("Яке значення: {}?", "Що сказано про: {}?", "Яке число стосується: {}?"),
        ("Знайди сторінку: {}", "Шукаю аркуш, на якому є: {}", "Мені потрібен файл: {}", "Відкрий сторінку з: {}"),
        ("Сторінка, тема: {}", "Відомості: {}", "Щось про: {}"),
    ),
    "el": (
        ("Ποια είναι η τιμή: {};", "Τι λέει η σελίδα για: {};", "Ποιος αριθμός ανήκει σε: {};"),
        ("Βρες τη σελίδα: {}", "Ψάχνω το φύλλο όπου υπάρχει: {}", "Χρειάζομαι το αρχείο: {}",
         "Άνοιξε τη σελίδα με: {}"),
        ("Σελίδα για: {}", "Πληροφορίες για: {}", "Κάτι για: {}"),
    ),
    "he": (
        ("מה הערך של {}?", "מה כתוב בדף על {}?", "איזה מספר שייך ל: {}?"),
        ("מצא את הדף עם {}", "אני מחפש את הגיליון שבו יש {}", "אני צריך את הקובץ על {}"),
        ("דף על {}", "מידע על {}", "משהו על {}"),
    ),
    "ar": (
        ("ما قيمة {}؟", "ماذا تقول الصفحة عن {}؟", "أي رقم يخص {}؟"),
        ("ابحث عن الصفحة التي فيها {}", "أريد الورقة التي تحتوي على {}", "أحتاج إلى الملف عن {}"),
        ("صفحة عن {}", "معلومات عن {}", "شيء عن {}"),
    ),
    "hi": (
        ("{} का मान क्या है?", "पृष्ठ {} के बारे में क्या कहता है?", "{} की संख्या क्या है?"),
        ("{} वाला पृष्ठ खोजें", "वह पन्ना ढूँढें जिस पर {} है", "मुझे {} की फ़ाइल चाहिए"),
        ("{} के बारे में एक पृष्ठ", "{} की जानकारी", "{} के बारे में कुछ"),
    ),
    "th": (
        ("ค่าของ {} คือเท่าไร", "หน้านี้บอกอะไรเกี่ยวกับ {}", "ตัวเลขของ {} คืออะไร"),
        ("หาหน้าที่มี {}", "ค้นหาแผ่นที่มี {}", "ต้องการไฟล์เรื่อง {}"),
        ("หน้าเกี่ยวกับ {}", "ข้อมูลของ {}", "บางอย่างเกี่ยวกับ {}"),
    ),
    "zh": (
        ("{}的数值是多少？", "这一页怎么说{}？", "哪个数字属于{}？"),
        ("查找包含{}的页面", "我在找有{}的那张纸", "请打开{}的资料"),
        ("关于{}的页面", "{}的信息", "有{}的内容"),
    ),
    "ja": (
        ("{}の値はいくつですか。", "{}についてページには何とありますか。", "{}の数字は何ですか。"),
        ("{}のページを探してください", "{}が載っている紙を探しています", "{}のファイルを開いて"),
        ("{}についてのページ", "{}の情報", "{}のこと"),
    ),
    "ko": (
        ("{}의 값은 얼마입니까?", "이 페이지는 {}에 대해 무엇이라고 합니까?", "{}의 숫자는 무엇입니까?"),
        ("{} 페이지를 찾아 주세요", "{}이(가) 있는 종이를 찾고 있어요", "{} 파일이 필요해요"),
        ("{}에 관한 페이지", "{}의 정보", "{}에 대한 것"),
    ),
}
# fmt: on

_HELD_OUT: dict[str, _ByKind] = {
    "en": (("How much does it say for {}?",), ("Show me the document that mentions {}",), ("Document covering {}",)),
    "de": (("Wie viel steht dort bei {}?",), ("Zeig mir das Dokument, in dem {} vorkommt",), ("Dokument zu {}",)),
    "fr": (
        ("Combien est-il indiqué pour {} ?",),
        ("Montre-moi le document qui mentionne {}",),
        ("Document concernant {}",),
    ),
    "es": (("¿Cuánto figura en {}?",), ("Muéstrame el documento que menciona {}",), ("Documento acerca de {}",)),
    "it": (("Quanto è indicato per {}?",), ("Mostrami il documento che cita {}",), ("Documento riguardante {}",)),
    "pt": (("Quanto consta em {}?",), ("Mostre o documento que menciona {}",), ("Documento acerca de {}",)),
    "nl": (("Hoeveel staat er bij {}?",), ("Toon het document waarin {} voorkomt",), ("Document betreffende {}",)),
    "pl": (("Ile podano: {}?",), ("Pokaż dokument, w którym jest: {}",), ("Dokument dotyczący: {}",)),
    "cs": (("Kolik je uvedeno: {}?",), ("Ukaž dokument, kde je: {}",), ("Dokument zmiňující: {}",)),
    "sv": (("Hur mycket står det vid {}?",), ("Visa dokumentet som nämner {}",), ("Dokument rörande {}",)),
    "ru": (("Сколько указано: {}?",), ("Покажи документ, где есть: {}",), ("Документ, в котором есть: {}",)),
    "uk": (("Скільки вказано: {}?",), ("Покажи документ, де є: {}",), ("Документ, у якому є: {}",)),
    "el": (("Πόσο αναφέρεται: {};",), ("Δείξε μου το έγγραφο με: {}",), ("Έγγραφο σχετικά με: {}",)),
    "he": (("כמה רשום ליד {}?",), ("הראה לי את המסמך שמזכיר {}",), ("מסמך בנושא {}",)),
    "ar": (("كم المذكور لدى {}؟",), ("أرني المستند الذي يذكر {}",), ("مستند يتناول {}",)),
    "hi": (("{} के लिए कितना लिखा है?",), ("मुझे वह दस्तावेज़ दिखाएँ जिसमें {} है",), ("{} से संबंधित दस्तावेज़",)),
    "th": (("ระบุไว้เท่าใดสำหรับ {}",), ("แสดงเอกสารที่กล่าวถึง {}",), ("เอกสารว่าด้วย {}",)),
    "zh": (("{}写了多少？",), ("给我看提到{}的文件",), ("有关{}的文件",)),
    "ja": (("{}にはいくらと書いてありますか。",), ("{}に触れている文書を見せて",), ("{}に関する文書",)),
    "ko": (("{}에는 얼마라고 적혀 있나요?",), ("{}을(를) 언급한 문서를 보여 줘",), ("{} 관련 문서",)),
}

TEMPLATE_LANGUAGES: tuple[str, ...] = tuple(_TRAIN)
"""The languages that have templates."""

_ORDER: tuple[TemplateKind, ...] = ("question", "instruction", "description")

_ENGLISH_QUESTIONS: dict[str, dict[Split, tuple[str, ...]]] = {
    "table": {
        "train": ("What was the {topic} of {subject} in {at}?",),
        "held_out": ("How high was {topic} for {subject} in {at}?", "{topic} figure of {subject} for {at}?"),
    },
    "chart": {
        "train": (
            "Which chart shows the {topic} of {subject}?",
            "What does the graph of {topic} say about {subject}?",
            "Where is {subject} compared by {topic}?",
        ),
        "held_out": ("How large is the bar or slice of {subject} in the diagram of {topic}?",),
    },
    "invoice": {
        "train": (
            "How much was charged for {subject} by {topic}?",
            "What did {subject} cost at {topic}?",
            "What is the price of {subject} in the invoice from {topic}?",
        ),
        "held_out": ("What did {topic} bill for {subject}?",),
    },
    "slide": {
        "train": (
            "What number does the slide on {topic} give for {subject}?",
            "In the presentation on {topic}, what is said of {subject}?",
            "What is the value of {subject} under {topic}?",
        ),
        "held_out": ("Which figure did the talk about {topic} present for {subject}?",),
    },
    "code": {
        "train": (
            "What does {subject} do?",
            "How is {subject} implemented?",
            "Which function or class is {subject}?",
            "Show the code of {subject}",
        ),
        "held_out": ("Where is {subject} defined?",),
    },
}

_ENGLISH_DESCRIPTIONS: dict[Split, tuple[str, ...]] = {
    "train": (
        "A {look} about {}",
        "{look} with {}",
        "A {look} on {}",
        "{look} that shows {}",
        "Some {look} listing {}",
    ),
    "held_out": ("{look} covering {}",),
}


def draw_template(rng: random.Random, kind: TemplateKind, language: str, split: Split) -> str:
    """Draws a template of a kind in a language.

    Example:
        >>> draw_template(random.Random(1), "question", "de", "held_out").format("Kenia, 2021")
        'Wie viel steht dort bei Kenia, 2021?'
    """
    return _one(rng, (_TRAIN if split == "train" else _HELD_OUT)[language][_ORDER.index(kind)])


def english_questions(page: str, split: Split) -> tuple[str, ...]:
    """English questions for one kind of page; empty for the kinds that have none of their own."""
    return _ENGLISH_QUESTIONS.get(page, {}).get(split, ())


def english_description(rng: random.Random, split: Split) -> str:
    """Draws an English description of a page, with what one sees as `{look}`."""
    return _one(rng, _ENGLISH_DESCRIPTIONS[split])


def all_templates(split: Split) -> frozenset[str]:
    """All templates of a split."""
    table = _TRAIN if split == "train" else _HELD_OUT
    english = [text for kinds in _ENGLISH_QUESTIONS.values() for text in kinds[split]]
    others = [text for by_kind in table.values() for kind in by_kind for text in kind]
    return frozenset([*english, *_ENGLISH_DESCRIPTIONS[split], *others])


def _one(rng: random.Random, templates: tuple[str, ...]) -> str:
    return rng.choice(templates) if len(templates) > 1 else templates[0]  # a single one leaves the generator as it is
