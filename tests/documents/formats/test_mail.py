"""Messages and mailboxes: what is read of them, what of their attachments, and what is said of bad ones."""

from __future__ import annotations

import random
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.pages import pages_of, reason, text_of

from polylens.documents.formats import mail
from polylens.errors import DocumentError


def message(subject: str = "New mast", text: str = "The mast arrives on Monday.") -> EmailMessage:
    made = EmailMessage()
    made["From"] = "Åse Nøst <ase@example.org>"
    made["To"] = "harbour@example.org"
    made["Date"] = "Fri, 01 May 2026 08:30:00 +0200"
    made["Subject"] = subject
    made.set_content(text)
    return made


def write(path: Path, made: EmailMessage | bytes) -> Path:
    path.write_bytes(made if isinstance(made, bytes) else made.as_bytes())
    return path


class TestText:
    def test_headers_and_text(self, tmp_path: Path) -> None:
        [page] = pages_of(write(tmp_path / "a.eml", message("Grüße – neuer Mast")))
        assert page.text == (
            "# Grüße – neuer Mast\nFrom: Åse Nøst <ase@example.org>\nTo: harbour@example.org\n"
            "Date: Fri, 01 May 2026 08:30:00 +0200\n\nThe mast arrives on Monday."
        )
        assert page.kind is None and page.image is None

    def test_the_formatted_text_where_there_is_no_other(self, tmp_path: Path) -> None:
        made = message()
        made.set_content("<h1>Offer</h1><p>Two <b>masts</b><script>x()</script>", subtype="html")
        assert text_of(write(tmp_path / "a.eml", made)).endswith("# Offer\nTwo masts")

    def test_the_plain_text_of_two(self, tmp_path: Path) -> None:
        made = message()
        made.add_alternative("<p>The <b>mast</b> arrives on Monday.", subtype="html")
        assert text_of(write(tmp_path / "a.eml", made)).count("mast arrives") == 1

    def test_a_plain_text_that_says_nothing(self, tmp_path: Path) -> None:
        made = message(text="Please use another program.")
        made.add_alternative(f"<p>{'The mast arrives on Monday. ' * 20}", subtype="html")
        text = text_of(write(tmp_path / "a.eml", made))
        assert "arrives on Monday" in text and "another program" not in text

    @pytest.mark.parametrize(
        ("charset", "encoding", "text"),
        [
            ("koi8-r", "koi8-r", "Ледовая обстановка"),
            ("iso-2022-jp", "iso-2022-jp", "津波避難"),
            ("gb2312", "gb18030", "台风防备"),
            ("no-such-charset", "utf-8", "Größe"),
            ("us-ascii", "utf-8", "Größe"),
        ],
    )
    def test_charsets(self, tmp_path: Path, charset: str, encoding: str, text: str) -> None:
        head = f"Subject: x\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n"
        assert text in text_of(write(tmp_path / "a.eml", head.encode() + text.encode(encoding)))

    def test_headers_that_are_not_encoded(self, tmp_path: Path) -> None:
        assert text_of(write(tmp_path / "a.eml", "Subject: Größe\n\nx".encode())).startswith("# Größe")
        assert text_of(write(tmp_path / "b.eml", "Subject: Größe\n\nx".encode("latin-1"))).startswith("# Größe")
        assert text_of(write(tmp_path / "c.eml", b"Subject: =?utf-8?b?!!?= =?made-up?q?a?=\n\nx"))

    def test_headers_cannot_forge_lines(self, tmp_path: Path) -> None:
        [page] = pages_of(write(tmp_path / "a.eml", b"Subject: =?utf-8?q?a=0ADate:_never=E2=80=AE?=\n\nx"))
        assert page.text.splitlines()[0] == "# a Date: never"

    def test_encrypted(self, tmp_path: Path) -> None:
        data = b"Subject: Secret\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nMIAG"
        assert "The message is encrypted (S/MIME)" in text_of(write(tmp_path / "a.eml", data))


class TestAttachments:
    def attach(self, made: EmailMessage, name: str, data: bytes) -> None:
        made.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)

    def test_each_has_pages_under_its_name_and_that_of_the_message(self, tmp_path: Path) -> None:
        made = message()
        papers.make_pdf(tmp_path / "offer.pdf", "one mast", "two masts")
        self.attach(made, "offer.pdf", (tmp_path / "offer.pdf").read_bytes())
        self.attach(made, "list.xlsx", papers.make_xlsx(tmp_path / "l.xlsx").read_bytes())
        self.attach(made, "notes.txt", b"Call the harbour master.")
        first, one, two, moorings, notes, last = pages_of(write(tmp_path / "a.eml", made))
        assert "Attached: offer.pdf; list.xlsx; notes.txt" in first.text
        about = "(attached to “New mast” from Åse Nøst <ase@example.org>, Fri, 01 May 2026 08:30:00 +0200)"
        assert one.text == f"a.eml/offer.pdf\n{about}\none mast" and one.image is not None and one.kind == "pdf"
        assert two.text.endswith("two masts")
        assert moorings.text.startswith("a.eml/list.xlsx\n") and moorings.kind == notes.kind == "sheet"
        assert last.text == f"a.eml/notes.txt\n{about}\nCall the harbour master." and last.kind == "text"

    def test_pictures_in_the_text(self, tmp_path: Path) -> None:
        made = message()
        made.add_alternative('<p>Look: <img src="cid:a">', subtype="html")
        parts = made.get_payload()
        assert isinstance(parts, list)
        html = parts[1]
        assert isinstance(html, EmailMessage)
        html.add_related(papers.picture(1), maintype="image", subtype="png", cid="<a>")
        html.add_related(papers.picture(2, 30, 30), maintype="image", subtype="png", cid="<logo>")
        _, picture = pages_of(write(tmp_path / "a.eml", made))
        assert picture.image is not None and picture.image.size == (160, 120) and picture.kind == "image"
        assert picture.text.startswith("a.eml/part 3.png\n(attached to “New mast”")

    def test_a_bad_one_costs_itself_alone_and_is_named(self, tmp_path: Path) -> None:
        made = message()
        self.attach(made, "broken.docx", b"PK nothing")
        self.attach(made, "song.mp3", b"ID3")
        self.attach(made, "notes.txt", b"Call.")
        first, notes = pages_of(write(tmp_path / "a.eml", made))
        assert (
            "Attached: broken.docx (is damaged, or not of the format that its name says (it is not a zip archive)); "
            "song.mp3 (is of a kind that has no pages); notes.txt"
        ) in first.text
        assert notes.text.endswith("Call.")

    def test_one_level_deep(self, tmp_path: Path) -> None:
        inner = message("Inner", "The forwarded words.")
        self.attach(inner, "deep.txt", b"never read")
        made = message("Outer")
        made.add_attachment(inner)
        outer, forwarded = pages_of(write(tmp_path / "a.eml", made))
        assert "Attached: part 2.eml" in outer.text
        assert "# Inner" in forwarded.text and "The forwarded words." in forwarded.text
        assert "deep.txt (is not searched, because it lies in a file inside another" in forwarded.text

    def test_names_are_shown_and_never_used(self, tmp_path: Path) -> None:
        made = message()
        for name in ("../../evil.txt", "/etc/passwd.txt", "two\u202etxt.txt", "x" * 5_000 + ".txt", "twice.txt"):
            self.attach(made, name, b"words of it")
        self.attach(made, "twice.txt", b"words of it")
        pages = pages_of(write(tmp_path / "a.eml", made))
        assert [page.text.partition("\n")[0] for page in pages[-6:]] == [
            "a.eml/../../evil.txt",
            "a.eml//etc/passwd.txt",
            "a.eml/two txt.txt",
            f"a.eml/{'x' * 100}…{'x' * 95}.txt",
            "a.eml/twice.txt",
            "a.eml/twice.txt (6)",
        ]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.eml"]


class TestMailboxes:
    def box(self, path: Path, *messages: EmailMessage | bytes) -> Path:
        parts = [each if isinstance(each, bytes) else each.as_bytes() for each in messages]
        return write(
            path, b"".join(b"From ase@example.org Fri May  1 08:30:00 2026\n" + part + b"\n" for part in parts)
        )

    def test_each_message_in_order(self, tmp_path: Path) -> None:
        second = message("Second")
        second.add_attachment(b"Call.", maintype="text", subtype="plain", filename="notes.txt")
        box = self.box(tmp_path / "a.mbox", message("First", "one\n\n>From here on"), second, message("Third"))
        texts = [page.text for page in pages_of(box)]
        assert [text.partition("\n")[0] for text in texts] == ["# First", "# Second", "a.mbox/2/notes.txt", "# Third"]
        assert texts[0].endswith("one\n\nFrom here on")

    def test_a_bad_message_costs_itself_alone(self, tmp_path: Path) -> None:
        deep = b"Subject: x\n" + b"".join(
            b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(300)
        )
        texts = [page.text for page in pages_of(self.box(tmp_path / "a.mbox", message("One"), deep, message("Two")))]
        assert texts[0] == "a.mbox/2 has more than 200 parts that have parts themselves"
        assert [text.partition("\n")[0] for text in texts[1:]] == ["# One", "# Two"]

    def test_from_in_a_text_begins_no_message(self, tmp_path: Path) -> None:
        [page] = pages_of(self.box(tmp_path / "a.mbox", message(text="x\n\nFrom here on\nwe sail.")))
        assert page.text.endswith("From here on\nwe sail.")

    def test_windows_line_ends(self, tmp_path: Path) -> None:
        box = self.box(tmp_path / "a.mbox", message("One"), message("Two"))
        box.write_bytes(box.read_bytes().replace(b"\n", b"\r\n"))
        assert [page.text.partition("\n")[0] for page in pages_of(box)] == ["# One", "# Two"]

    def test_too_many(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mail, "MAX_MESSAGES", 3)
        first, *others = pages_of(self.box(tmp_path / "a.mbox", *[message(f"m{n}") for n in range(9)]))
        assert first.text == "(Only the first 3 messages of a mailbox are searched; this one has more.)"
        assert len(others) == 3

    def test_none(self, tmp_path: Path) -> None:
        assert reason(write(tmp_path / "a.mbox", b"")) == "a.mbox is empty (0 bytes)"
        assert "is not a mailbox" in reason(write(tmp_path / "b.mbox", b"just words\n"))


class TestHostile:
    def test_a_million_parts(self, tmp_path: Path) -> None:
        head = b'Subject: Many\nContent-Type: multipart/mixed; boundary="b"\n\n'
        data = head + b"--b\n\nThe first words.\n" + b"--b\n\n\n" * 1_000_000
        [page] = pages_of(write(tmp_path / "a.eml", data))
        assert "The first words." in page.text and "Only the first 1,000 parts of a message are read." in page.text

    def test_many_attachments(self, tmp_path: Path) -> None:
        part = b'--b\nContent-Disposition: attachment; filename="a.txt"\n\nwords\n'
        data = b'Subject: Many\nContent-Type: multipart/mixed; boundary="b"\n\n' + part * 900
        assert sum("(attached to" in page.text for page in pages_of(write(tmp_path / "a.eml", data))) == 200

    def test_messages_in_messages(self, tmp_path: Path) -> None:
        data = b"Subject: x\nContent-Type: message/rfc822\n\n" * 20_000
        assert "has parts in parts without end" in reason(write(tmp_path / "a.eml", data))

    def test_too_long(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(mail, "MAX_MESSAGE", 1_000)
        assert "is longer than" in reason(write(tmp_path / "a.eml", b"Subject: x\n\n" + b"words " * 500))

    def test_no_message(self, tmp_path: Path) -> None:
        assert reason(write(tmp_path / "a.eml", b"")) == "a.eml is empty (0 bytes)"
        assert "does not begin with a header" in reason(write(tmp_path / "b.eml", b"\n\n\x00\x01just bytes"))

    @pytest.mark.parametrize("seed", range(40))
    def test_bytes_changed_and_cut(self, tmp_path: Path, seed: int) -> None:
        """Whatever is done to a message, it gives pages or a DocumentError."""
        rng = random.Random(seed)
        made = message("Grüße")
        made.add_attachment(papers.picture(1, 60, 40), maintype="image", subtype="png", filename="Bild ä.png")
        made.add_attachment(message("Inner"))
        data = bytearray(made.as_bytes())
        for _ in range(rng.randint(1, 60)):
            data[rng.randrange(min(len(data), 3_000 if seed % 2 else len(data)))] = rng.randrange(256)
        if seed % 4 == 0:
            del data[rng.randrange(len(data)) :]
        try:
            pages_of(write(tmp_path / "a.eml", bytes(data)))
        except DocumentError as error:
            assert str(error).startswith("a.eml") and "\n" not in str(error)
