"""Languages that can be read, by ISO 639 code: their scripts, and Tesseract's packs for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from polylens.errors import InputError

AUTO, OFF = "auto", "off"

RAPID_SCRIPTS = frozenset({"Latin", "Han", "Japanese"})
"""Scripts whose letters RapidOCR's model knows."""

_NOT_BY_RAPID = frozenset({"vi"})
"""Languages of those scripts with letters that it does not know; Vietnamese loses most of its accents."""

_ROWS = (
    (
        "Latin",
        "af:afr az:aze bs:bos br:bre ca:cat ceb co:cos cs:ces cy:cym da:dan de:deu en:eng eo:epo es:spa et:est eu:eus "
        "fi:fin fil fo:fao fr:fra fy:fry ga:gle gd:gla gl:glg hr:hrv ht:hat hu:hun id:ind is:isl it:ita jv:jav "
        "ku:kmr la:lat lb:ltz lt:lit lv:lav mi:mri ms:msa mt:mlt nl:nld no:nor nb:nor nn:nor oc:oci pl:pol pt:por "
        "qu:que ro:ron sk:slk sl:slv sq:sqi su:sun sv:swe sw:swa to:ton tr:tur uz:uzb vi:vie yo:yor",
    ),
    ("Cyrillic", "be:bel bg:bul kk:kaz ky:kir mk:mkd mn:mon ru:rus sr:srp tg:tgk tt:tat uk:ukr"),
    ("Greek", "el:ell grc"),
    ("Arabic", "ar:ara fa:fas ps:pus sd:snd ug:uig ur:urd"),
    ("Hebrew", "he:heb yi:yid"),
    ("Devanagari", "hi:hin mr:mar ne:nep sa:san"),
    ("Bengali", "bn:ben as:asm"),
    ("Gujarati", "gu:guj"),
    ("Gurmukhi", "pa:pan"),
    ("Kannada", "kn:kan"),
    ("Malayalam", "ml:mal"),
    ("Oriya", "or:ori"),
    ("Tamil", "ta:tam"),
    ("Telugu", "te:tel"),
    ("Sinhala", "si:sin"),
    ("Thai", "th:tha"),
    ("Lao", "lo:lao"),
    ("Khmer", "km:khm"),
    ("Myanmar", "my:mya"),
    ("Tibetan", "bo:bod dz:dzo"),
    ("Georgian", "ka:kat"),
    ("Armenian", "hy:hye"),
    ("Ethiopic", "am:amh ti:tir"),
    ("Hangul", "ko:kor"),
    ("Han", "zh:chi_sim+chi_tra"),
    ("Japanese", "ja:jpn"),
    ("Syriac", "syr"),
    ("Thaana", "dv:div"),
    ("Cherokee", "chr"),
    ("Canadian_Aboriginal", "iu:iku"),
)
"""Scripts by Tesseract's names; codes of languages with the packs that Debian has for them, where named otherwise."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language that some program can read."""

    code: str
    """ISO 639, two letters where there are two."""
    script: str
    packs: tuple[str, ...]
    """Tesseract's packs; any of them will do."""

    @property
    def is_for_rapid(self) -> bool:
        """Whether RapidOCR reads it."""
        return self.script in RAPID_SCRIPTS and self.code not in _NOT_BY_RAPID


def _table() -> dict[str, Language]:
    found = {}
    for script, entries in _ROWS:
        for entry in entries.split():
            code, _, packs = entry.partition(":")
            found[code] = Language(code, script, tuple((packs or code).split("+")))
    return found


LANGUAGES = _table()
"""Every language, by its code."""

_BY_PACK = {pack: language for language in reversed(LANGUAGES.values()) for pack in language.packs}
_BY_NAME = {**_BY_PACK, "zho": LANGUAGES["zh"], **LANGUAGES}


def parse(setting: str) -> str:
    """Brings a setting of OCR into one form.

    Args:
        setting: "auto", "off", or ISO 639 codes of two or three letters with commas between them.

    Returns:
        "auto", "off", or the codes in order, each once.

    Raises:
        InputError: A code is none that any program here could read.

    Example:
        >>> parse("RU, eng,ru")
        'en,ru'
    """
    names = [name.strip().lower() for name in setting.split(",")]
    if names in ([AUTO], [OFF]):
        return names[0]
    wrong = next((name for name in names if name not in _BY_NAME), None)
    if wrong is not None:
        raise InputError(
            f"ocr must be auto, off, or ISO 639 codes of languages, such as de,ru; got {setting!r}"
            + (f", and {wrong!r} is no language that can be read" if len(names) > 1 else "")
        )
    return ",".join(sorted({_BY_NAME[name].code for name in names}))


def languages_of(setting: str) -> tuple[Language, ...]:
    """Returns the languages that a setting in its one form names; none for "auto" and "off"."""
    return () if setting in (AUTO, OFF) else tuple(LANGUAGES[code] for code in setting.split(","))


def packs_by_script(packs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns the given packs of Tesseract by the script that each reads; packs of no known language are left out.

    Example:
        >>> packs_by_script(["eng", "ukr", "osd", "rus"])
        {'Latin': ('eng',), 'Cyrillic': ('rus', 'ukr')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for pack in sorted(packs):
        if pack in _BY_PACK:
            script = _BY_PACK[pack].script
            found[script] = (*found.get(script, ()), pack)
    return found
