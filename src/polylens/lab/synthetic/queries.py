"""Queries about a page, of five kinds, and what a page must say to be a right answer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.content import said_in
from polylens.lab.synthetic.lexicon import LANGUAGES, UNSPACED
from polylens.lab.synthetic.page import Fact, SyntheticPage, Term
from polylens.lab.synthetic.templates import (
    TEMPLATE_LANGUAGES,
    TemplateKind,
    draw_template,
    english_description,
    english_questions,
)

QueryKind = Literal["question", "key phrase", "instruction", "description", "other language"]

KINDS: tuple[QueryKind, ...] = get_args(QueryKind)


@dataclass(frozen=True, slots=True)
class Query:
    """A query about pages, and what a page that answers it must say.

    Example:
        >>> query = Query("key phrase", "Kenya 2021", "en", frozenset({"territory:KE", "number:2021"}))
        >>> query.is_answered_by(frozenset({"territory:KE", "number:2021", "number:84"}))
        True
    """

    kind: QueryKind
    text: str
    language: str
    needs: frozenset[str]
    """Keys of everything that the query names."""

    def is_answered_by(self, keys: frozenset[str]) -> bool:
        """Whether a page with these keys says everything that the query names."""
        return self.needs <= keys


def ask(rng: random.Random, page: SyntheticPage, kind: QueryKind, split: Split) -> Query | None:
    """A query about a page.

    Args:
        rng: Decides what is asked about, and how.
        page: Which.
        kind: One of `KINDS`.
        split: Of the templates, and of the words in another language.

    Returns:
        None where the page says nothing that such a query can be about, such as names that another language has words
        of the split for.
    """
    if kind == "question":
        return _question(rng, page, split)
    if kind == "other language":
        return _translated(rng, page, split)
    if kind == "description" and page.summary:
        return _query(kind, page.summary.text, page.language, [page.summary])
    terms = _together(rng, page, {"key phrase": rng.randint(2, 3), "instruction": 2, "description": 3}[kind])
    language = _language(terms, page)
    texts = [term.text for term in terms]
    if kind == "key phrase":
        text = " ".join(texts)
        return _query(kind, text.lower() if rng.random() < 0.5 else text, language, terms)
    if kind == "description" and language == "en":
        text = english_description(rng, split).format(_enumerated(texts, language), look=page.look)
        return _query(kind, text[:1].upper() + text[1:], language, terms)
    return _from_template(
        rng, kind, "instruction" if kind == "instruction" else "description", texts, language, split, terms
    )


def _question(rng: random.Random, page: SyntheticPage, split: Split) -> Query:
    """A question about one fact of the page, in the language of the fact."""
    fact = rng.choice([fact for fact in page.facts if fact.about[0].language])
    language = fact.about[0].language
    title = page.title[0]
    at = fact.about[1] if len(fact.about) > 1 else None
    suitable = [each for each in english_questions(page.kind, split) if at or "{at}" not in each]
    if title.language != "en" or title.key == fact.about[0].key:
        suitable = [each for each in suitable if "{topic}" not in each]
    if language == "en" and suitable:
        template = rng.choice(suitable)
        terms = [title] if "{topic}" in template else []
        terms += [fact.about[0], *([at] if at and "{at}" in template else [])]
        text = template.format(topic=_inside(title.text), subject=fact.about[0].text, at=at.text if at else "")
        return _query("question", text[:1].upper() + text[1:], language, terms)
    terms = list(fact.about)
    if title.language == language and title not in terms:
        terms.insert(0, title)
    if len(terms) == 1:
        terms.append(_neighbour(rng, page, fact))
    return _from_template(rng, "question", "question", [term.text for term in terms], language, split, terms)


def _neighbour(rng: random.Random, page: SyntheticPage, fact: Fact) -> Term:
    """Another term of the page in the language of a fact, or the value of the fact."""
    language = fact.about[0].language
    others = [f.about[0] for f in page.facts if f.about[0].language == language and f.about[0].key != fact.about[0].key]
    if others:
        return rng.choice(others)
    return fact.value if page.prints(fact.value) else page.title[0]


def _together(rng: random.Random, page: SyntheticPage, count: int) -> list[Term]:
    """Terms in one language from different facts, the title among them where it is in that language."""
    first = rng.choice([fact for fact in page.facts if fact.about[0].language] or page.facts)
    language = _language(list(first.about), page)
    pool = {term.key: term for fact in page.facts for term in fact.about if term.language == language}
    title = [term for term in page.title if term.language == language][:1]
    chosen = {term.key: term for term in (*title, first.about[0])}
    rest = [term for key, term in pool.items() if key not in chosen]
    rng.shuffle(rest)
    numbers = [term for term in first.about if not term.language]
    values = [fact.value for fact in (first, *page.facts) if fact.value.language in ("", language)]
    printed = [value for value in values if page.prints(value)]  # a line of a chart has values that stand nowhere
    return list({term.key: term for term in (*chosen.values(), *rest, *numbers, *printed)}.values())[:count]


def _translated(rng: random.Random, page: SyntheticPage, split: Split) -> Query | None:
    """Two or three names of the page, in a language that it is not written in."""
    printed = {term.language for term in page.terms}
    for language in rng.sample(TEMPLATE_LANGUAGES, len(TEMPLATE_LANGUAGES)):
        if language in printed:
            continue
        said = [(term, said_in(term, language, split)) for term in page.terms if term.name]
        fitting = [(term, text) for term, text in said if text and text.casefold() != term.text.casefold()]
        if len(fitting) >= 2:
            chosen = rng.sample(fitting, min(len(fitting), 3))
            terms, texts = [term for term, _ in chosen], [text for _, text in chosen]
            template_kinds: tuple[TemplateKind | None, ...] = (None, "question", "instruction", "description")
            template_kind = rng.choice(template_kinds)
            if template_kind is None:
                return _query("other language", " ".join(texts), language, terms)
            return _from_template(rng, "other language", template_kind, texts, language, split, terms)
    return None


def _from_template(
    rng: random.Random,
    kind: QueryKind,
    template_kind: TemplateKind,
    texts: list[str],
    language: str,
    split: Split,
    terms: list[Term],
) -> Query:
    return _query(
        kind, draw_template(rng, template_kind, language, split).format(_enumerated(texts, language)), language, terms
    )


def _inside(text: str) -> str:
    """A title inside an English sentence: only proper names, which have two words, keep their capitals."""
    return text if " " in text else text.lower()


def _query(kind: QueryKind, text: str, language: str, terms: list[Term]) -> Query:
    return Query(kind, text, language, frozenset(term.key for term in terms))


def _enumerated(texts: list[str], language: str) -> str:
    if LANGUAGES[language] in UNSPACED:
        return "、".join(texts)
    return ("، " if LANGUAGES[language] == "Arab" else ", ").join(texts)


def _language(terms: list[Term], page: SyntheticPage) -> str:
    return next((term.language for term in terms if term.language), page.language)
