"""The encoding of a text: by its mark, by what it declares, by its bytes. Each text is made here, in its encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from polylens.documents import open_document
from polylens.documents.formats.encodings import declared_encoding, decode, known_encoding
from polylens.errors import DocumentError

RUSSIAN = "Смотритель маяка записал в журнал туман и ветер с моря. Паром сегодня не придёт, сказал он нам."
CZECH = "Strážce majáku zapsal mlhu a vítr; žluť, řeka, ťuk. Příští loď přijede až v pondělí, řekl nám."
TEXTS = {
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "cp866": RUSSIAN,
    "iso8859-5": RUSSIAN,
    "cp1250": CZECH,
    "iso8859-2": CZECH,
    "cp1252": "Die Fähre fährt um zwölf Uhr – „für Gäste“ – aus dem Hafen über die Außenmole; 5 € je Person.",
    "cp1253": "Ο φύλακας του φάρου έγραψε στο ημερολόγιο την ομίχλη και τον άνεμο από τη θάλασσα.",
    "cp1255": "שומר המגדלור רשם ביומן את הערפל ואת הרוח מן הים, והמעבורת לא תגיע היום.",
    "cp1256": "كتب حارس المنارة في السجل عن الضباب والريح القادمة من البحر هذا المساء",
    "cp932": "灯台守は霧と海からの風を日誌に書いた。今日は船が来ないと言った。",
    "euc_jp": "灯台守は霧と海からの風を日誌に書いた。今日は船が来ないと言った。",
    "iso2022_jp": "灯台守は霧と風を日誌に書いた。",
    "gb18030": "灯塔看守人在日志里记下了雾和海上吹来的风，今天没有船来。",
    "big5": "燈塔看守人在日誌裡記下了霧和海上吹來的風，今天沒有船來。",
    "cp949": "등대지기는 안개와 바다에서 부는 바람을 일지에 적었다. 오늘은 배가 오지 않는다.",
}


class TestUndeclared:
    @pytest.mark.parametrize("encoding", TEXTS)
    def test_detected(self, encoding: str) -> None:
        text = TEXTS[encoding]
        assert decode(text.encode(encoding)) == text

    @pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
    @pytest.mark.parametrize(
        "text", ["soundings taken at dusk\n", RUSSIAN, TEXTS["cp1253"], TEXTS["cp1255"], TEXTS["cp932"]]
    )
    def test_wide_without_a_mark(self, order: str, text: str) -> None:
        assert decode(text.encode(order)) == text

    @pytest.mark.parametrize(
        "text",
        [
            "It’s late. “Why?” – he couldn’t know… They’re done, she’d said; we don’t sail.",
            "Temperatur: 20 °C, 25 °C; Preis 5 €, 7 €; Fläche 3 m², ± 5 µm, § 12, ½ Liter",
            "Name;Straße;Ort\nMüller;Hauptstraße 5;Köln\nGrün;Bäckerweg 3;München\n",
            "naïve",
            "Résumé",
        ],
    )
    def test_a_few_western_letters_are_no_rare_encoding(self, text: str) -> None:
        assert decode(text.encode("cp1252")) == text


class TestDeclared:
    """Obeyed wherever a text declares it: XML, HTML, style sheets, source files, LaTeX, catalogues of translations."""

    @pytest.mark.parametrize(
        ("suffix", "encoding", "head"),
        [
            ("xml", "cp1251", '<?xml version="1.0" encoding="windows-1251"?>'),
            ("xml", "euc_jp", "<?xml version='1.0' encoding='EUC-JP' standalone='yes'?>"),
            ("xsd", "cp866", '<?xml version="1.0" encoding="IBM866"?>'),
            ("css", "koi8-r", '@charset "KOI8-R";'),
            ("py", "cp1251", "#!/usr/bin/python\n# -*- coding: windows-1251 -*-\n"),
            ("rb", "euc_jp", "# encoding: euc-jp\n"),
            ("tex", "cp1252", "\\documentclass{book}\n\\usepackage[latin1]{inputenc}\n"),
            ("po", "iso8859-2", 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=ISO-8859-2\\n"\n'),
        ],
    )
    def test_short_texts(self, tmp_path: Path, suffix: str, encoding: str, head: str) -> None:
        """So short that nothing could be detected: the declaration alone tells."""
        word = {"cp1251": "лёд", "cp866": "лёд", "koi8-r": "лёд", "euc_jp": "霧", "cp1252": "Öl", "iso8859-2": "Žluť"}[
            encoding
        ]
        (tmp_path / f"a.{suffix}").write_bytes((head + word).encode(encoding))
        with open_document(tmp_path / f"a.{suffix}") as document:
            assert word in next(iter(document)).text

    def test_a_mark_is_stronger(self) -> None:
        assert decode('<?xml version="1.0" encoding="cp1251"?><a>ö</a>'.encode("utf-8-sig")).endswith("<a>ö</a>")

    def test_a_wrong_one_is_not_obeyed(self) -> None:
        head = '<?xml version="1.0" encoding="utf-8"?>'
        assert decode(head.encode() + RUSSIAN.encode("cp1251")) == head + RUSSIAN

    def test_the_one_around_a_file_is_stronger_than_its_own(self) -> None:
        page = "<meta charset=koi8-r><p>лёд"
        assert decode(page.encode("cp1251"), declared="windows-1251") == page
        assert decode(page.encode("koi8-r"), declared="made-up") == page

    def test_wide_xml(self) -> None:
        text = '<?xml version="1.0" encoding="UTF-16"?><a>лёд</a>'
        assert decode(text.encode("utf-16-le")) == text

    def test_words_about_encodings_declare_none(self) -> None:
        assert declared_encoding(b"Write <meta charset=koi8-r> there") is None
        assert declared_encoding(b"the coding: koi8-r") is None
        assert [
            known_encoding(name) for name in ("hex", "utf-7", "cp037", "unicode_escape", "punycode", "zip", "")
        ] == [None] * 7


class TestMistakes:
    """A byte or two that do not belong there change no other."""

    def test_a_stray_byte_in_utf8(self) -> None:
        text = "geprüfte Kupferdrähte, grün\n" * 4
        assert decode(text.encode() + "café\n".encode("latin-1")) == text + "café\n"
        assert decode(text.encode() + b"cut \xe2\x82\n") == text + "cut \ufffd\n"
        assert decode(b"\xff" + text.encode()) == "ÿ" + text

    def test_a_stray_byte_in_other_encodings(self) -> None:
        text = TEXTS["cp932"] * 3
        assert decode(text.encode("cp932") + b"\xff").startswith(text)

    def test_a_cut_wide_text(self) -> None:
        assert decode("\ufeffsoundings at dusk".encode("utf-16-le")[:-1]) == "soundings at dus\ufffd"

    def test_zeros(self) -> None:
        assert decode(b"port,berths\nAveiro,12\x00\nBrest,40\n") == "port,berths\nAveiro,12\nBrest,40\n"
        assert decode(b"a log\n" + bytes(4096)) == "a log\n"
        assert decode(b"written in DOS\r\n\x1a") == "written in DOS\n"

    @pytest.mark.parametrize(
        "data", [bytes(range(256)) * 4, b"\x89PNG\r\n\x1a\n" + bytes(range(64)) * 9, b"\x00\x01" * 99]
    )
    def test_what_is_no_text(self, data: bytes) -> None:
        with pytest.raises(DocumentError, match="is not text"):
            decode(data)
