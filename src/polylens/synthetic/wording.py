"""Ways of asking, in twenty languages and ten scripts. Written for this project; train and test share none.

`{}` is what is asked about: names and numbers with commas between them. The English ones that also know what kind of
page it is have `{topic}`, `{subject}` and `{at}`.
"""

from __future__ import annotations

from typing import Literal

from polylens.synthetic.lexicon import Split

Frame = Literal["question", "instruction", "description"]

_TRAIN: dict[str, tuple[str, str, str]] = {
    "en": ("What is the figure for {}?", "Find the page with {}", "A page about {}"),
    "de": ("Welcher Wert gilt für {}?", "Finde die Seite mit {}", "Eine Seite über {}"),
    "fr": ("Quelle est la valeur pour {} ?", "Trouve la page avec {}", "Une page sur {}"),
    "es": ("¿Cuál es el valor de {}?", "Encuentra la página con {}", "Una página sobre {}"),
    "it": ("Qual è il valore per {}?", "Trova la pagina con {}", "Una pagina su {}"),
    "pt": ("Qual é o valor de {}?", "Encontre a página com {}", "Uma página sobre {}"),
    "nl": ("Wat is de waarde voor {}?", "Zoek de pagina met {}", "Een pagina over {}"),
    "pl": ("Jaka jest wartość: {}?", "Znajdź stronę: {}", "Strona, temat: {}"),
    "cs": ("Jaká je hodnota: {}?", "Najdi stránku: {}", "Stránka, téma: {}"),
    "sv": ("Vad är värdet för {}?", "Hitta sidan med {}", "En sida om {}"),
    "ru": ("Какое значение: {}?", "Найди страницу: {}", "Страница, тема: {}"),
    "uk": ("Яке значення: {}?", "Знайди сторінку: {}", "Сторінка, тема: {}"),
    "el": ("Ποια είναι η τιμή: {};", "Βρες τη σελίδα: {}", "Σελίδα για: {}"),
    "he": ("מה הערך של {}?", "מצא את הדף עם {}", "דף על {}"),
    "ar": ("ما قيمة {}؟", "ابحث عن الصفحة التي فيها {}", "صفحة عن {}"),
    "hi": ("{} का मान क्या है?", "{} वाला पृष्ठ खोजें", "{} के बारे में एक पृष्ठ"),
    "th": ("ค่าของ {} คือเท่าไร", "หาหน้าที่มี {}", "หน้าเกี่ยวกับ {}"),
    "zh": ("{}的数值是多少？", "查找包含{}的页面", "关于{}的页面"),
    "ja": ("{}の値はいくつですか。", "{}のページを探してください", "{}についてのページ"),
    "ko": ("{}의 값은 얼마입니까?", "{} 페이지를 찾아 주세요", "{}에 관한 페이지"),
}

_HELD_OUT: dict[str, tuple[str, str, str]] = {
    "en": ("How much does it say for {}?", "Show me the document that mentions {}", "Document covering {}"),
    "de": ("Wie viel steht dort bei {}?", "Zeig mir das Dokument, in dem {} vorkommt", "Dokument zu {}"),
    "fr": ("Combien est-il indiqué pour {} ?", "Montre-moi le document qui mentionne {}", "Document concernant {}"),
    "es": ("¿Cuánto figura en {}?", "Muéstrame el documento que menciona {}", "Documento acerca de {}"),
    "it": ("Quanto è indicato per {}?", "Mostrami il documento che cita {}", "Documento riguardante {}"),
    "pt": ("Quanto consta em {}?", "Mostre o documento que menciona {}", "Documento acerca de {}"),
    "nl": ("Hoeveel staat er bij {}?", "Toon het document waarin {} voorkomt", "Document betreffende {}"),
    "pl": ("Ile podano: {}?", "Pokaż dokument, w którym jest: {}", "Dokument dotyczący: {}"),
    "cs": ("Kolik je uvedeno: {}?", "Ukaž dokument, kde je: {}", "Dokument zmiňující: {}"),
    "sv": ("Hur mycket står det vid {}?", "Visa dokumentet som nämner {}", "Dokument rörande {}"),
    "ru": ("Сколько указано: {}?", "Покажи документ, где есть: {}", "Документ, в котором есть: {}"),
    "uk": ("Скільки вказано: {}?", "Покажи документ, де є: {}", "Документ, у якому є: {}"),
    "el": ("Πόσο αναφέρεται: {};", "Δείξε μου το έγγραφο με: {}", "Έγγραφο σχετικά με: {}"),
    "he": ("כמה רשום ליד {}?", "הראה לי את המסמך שמזכיר {}", "מסמך בנושא {}"),
    "ar": ("كم المذكور لدى {}؟", "أرني المستند الذي يذكر {}", "مستند يتناول {}"),
    "hi": ("{} के लिए कितना लिखा है?", "मुझे वह दस्तावेज़ दिखाएँ जिसमें {} है", "{} से संबंधित दस्तावेज़"),
    "th": ("ระบุไว้เท่าใดสำหรับ {}", "แสดงเอกสารที่กล่าวถึง {}", "เอกสารว่าด้วย {}"),
    "zh": ("{}写了多少？", "给我看提到{}的文件", "有关{}的文件"),
    "ja": ("{}にはいくらと書いてありますか。", "{}に触れている文書を見せて", "{}に関する文書"),
    "ko": ("{}에는 얼마라고 적혀 있나요?", "{}을(를) 언급한 문서를 보여 줘", "{} 관련 문서"),
}

WORDED: tuple[str, ...] = tuple(_TRAIN)
"""The languages one can ask in."""

_ORDER: tuple[Frame, ...] = ("question", "instruction", "description")

_ENGLISH_QUESTIONS: dict[str, dict[Split, tuple[str, ...]]] = {
    "table": {
        "train": ("What was the {topic} of {subject} in {at}?",),
        "held_out": ("How high was {topic} for {subject} in {at}?", "{topic} figure of {subject} for {at}?"),
    },
    "chart": {
        "train": ("Which chart shows the {topic} of {subject}?",),
        "held_out": ("How large is the bar or slice of {subject} in the diagram of {topic}?",),
    },
    "invoice": {
        "train": ("How much was charged for {subject} by {topic}?",),
        "held_out": ("What did {topic} bill for {subject}?",),
    },
    "slide": {
        "train": ("What number does the slide on {topic} give for {subject}?",),
        "held_out": ("Which figure did the talk about {topic} present for {subject}?",),
    },
    "code": {
        "train": ("What does {subject} do?",),
        "held_out": ("Where is {subject} defined?",),
    },
}

_ENGLISH_DESCRIPTIONS: dict[Split, str] = {"train": "A {look} about {}", "held_out": "{look} covering {}"}


def frame(kind: Frame, language: str, split: Split) -> str:
    """The way of asking in a language.

    Example:
        >>> frame("question", "de", "held_out").format("Kenia, 2021")
        'Wie viel steht dort bei Kenia, 2021?'
    """
    return (_TRAIN if split == "train" else _HELD_OUT)[language][_ORDER.index(kind)]


def english_questions(page: str, split: Split) -> tuple[str, ...]:
    """Ways of asking in English that suit one kind of page; none for the kinds without."""
    return _ENGLISH_QUESTIONS.get(page, {}).get(split, ())


def english_description(split: Split) -> str:
    """The way of describing a page in English, with what one sees as `{look}`."""
    return _ENGLISH_DESCRIPTIONS[split]


def frames(split: Split) -> frozenset[str]:
    """All ways of asking of a split."""
    table = _TRAIN if split == "train" else _HELD_OUT
    english = [text for kinds in _ENGLISH_QUESTIONS.values() for text in kinds[split]]
    return frozenset([*english, english_description(split), *(text for texts in table.values() for text in texts)])
