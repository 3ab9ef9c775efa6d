"""The content of pages: names, things, numbers and dates of one language and one split."""

from __future__ import annotations

import datetime
import random

from babel.dates import format_date
from babel.numbers import format_decimal

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.lexicon import LANGUAGES, sample_text, words
from polylens.lab.synthetic.names import NameKind, names, spell
from polylens.lab.synthetic.page import Term, name_term, number_term, word_term
from polylens.lab.synthetic.vocabulary import FIELDS, GOODS, MEASURES, ROLES, of_split

SIGNS = ("€", "$", "£")
PLAIN = 3  # letters: shorter words say too little alone


class Content:
    """Draws the content of a page.

    Args:
        rng: Decides everything.
        language: A key of `LANGUAGES`.
        split: Of the words.
    """

    def __init__(self, rng: random.Random, language: str, split: Split) -> None:
        self.rng, self.language, self.split = rng, language, split

    def subjects(
        self, count: int, kinds: tuple[NameKind, ...] = ("territory", "territory", "language", "city")
    ) -> list[Term]:
        """Draws different names of one kind, for rows of a table or bars of a chart."""
        fitting = [kind for kind in kinds if len(names(kind, self.language, self.split)) >= count]
        kind = self.rng.choice(fitting or ["language"])
        drawn = self.rng.sample(names(kind, self.language, self.split), count)
        return [name_term(name, self.language) for name in drawn]

    def topic(self) -> Term:
        """Draws what is measured: a word in English, the name of a unit in other languages."""
        if self.language == "en":
            return self._capital(self.rng.choice(of_split(MEASURES, self.split)))
        units = names("unit", self.language, self.split)
        return name_term(self.rng.choice(units), self.language)

    def goods(self, count: int) -> list[Term]:
        """Draws different things for sale: goods in English; elsewhere languages, as a translator sells them."""
        if self.language == "en":
            return [self._capital(word) for word in self.rng.sample(of_split(GOODS, self.split), count)]
        return self.subjects(count, ("language",))

    def fields(self, count: int) -> list[Term]:
        """Draws different labels of a form."""
        if self.language == "en":
            return [self._capital(word) for word in self.rng.sample(of_split(FIELDS, self.split), count)]
        return [self._capital(word) for word in self.rng.sample(self._plain_words(), count)]

    def role(self, name: str) -> str:
        """Draws the printed word for a role, such as the total of an invoice; "" in languages other than English."""
        if self.language != "en":
            return ""
        return self._capital(self.rng.choice(of_split(ROLES[name], self.split))).text

    def years(self, count: int) -> list[Term]:
        """Draws successive years, or successive months where the split has enough of them in the language."""
        months = names("month", self.language, self.split)
        if len(months) >= count and self.rng.random() < 0.5:
            chosen = sorted(self.rng.sample(months, count), key=lambda name: int(name.code))
            return [name_term(name, self.language) for name in chosen]
        first = self.rng.randint(1996, 2027 - count)
        return [number_term(str(first + i)) for i in range(count)]

    def proper(self, count: int = 2) -> Term:
        """Draws an invented name of a firm, a person or a place."""
        text = " ".join(word.capitalize() for word in self.rng.sample(self._plain_words(), count))
        return word_term(text, self.language)

    def filler(self, count: int) -> list[str]:
        """Draws words as they might follow one another in a text."""
        return sample_text(self.rng, self.language, self.split, count)

    def amount(self, low: float, high: float, digits: int = 0) -> float:
        """Draws a number, uniformly over the orders of magnitude."""
        return round(low * (high / low) ** self.rng.random(), digits)

    def figure(self, value: float, digits: int = 0) -> Term:
        """The number as the language writes it."""
        pattern = "#,##0" if not digits else "#,##0." + "0" * digits
        text = format_decimal(value, format=pattern, locale=self.language)
        return number_term(text.replace("\u202f", "\u00a0"))

    def date(self) -> Term:
        """Draws a date in digits, as the language writes it."""
        day = datetime.date(self.rng.randint(1998, 2026), self.rng.randint(1, 12), self.rng.randint(1, 28))
        text = format_date(day, "short", locale=self.language)
        plain = text if all(not letter.isalpha() for letter in text) else day.isoformat()
        return number_term(plain.replace("\u200f", "").replace(" ", "\u00a0"))

    def code(self) -> Term:
        """Draws a code that is unlikely to be on two pages."""
        style = self.rng.choice(("{}-{:04}", "{}/{:04}", "{}{:04}"))
        return number_term(style.format(self.rng.randint(10, 99), self.rng.randint(0, 9999)))

    def _capital(self, word: str) -> Term:
        return word_term(word[:1].upper() + word[1:], self.language)

    def _plain_words(self) -> list[str]:
        """The words that are long enough to say something."""
        longest = 4 if LANGUAGES[self.language] in ("Hans", "Jpan", "Hang", "Thai") else 12
        return [word for word in words(self.language, self.split) if PLAIN <= len(word) <= longest]


def said_in(term: Term, language: str, split: Split) -> str | None:
    """The text of a term in another language; None where it has no name there, or one of the other split.

    Numbers are the same in all languages.
    """
    if term.name is None:
        return term.text if term.key.startswith("number:") else None
    text = spell(term.name, language)
    if text is None or term.name not in names(term.name.kind, language, split):
        return None
    return text
