"""A folder kept searchable: what changes in it, what is broken in it, and what dies meanwhile."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.support import commands
from tests.support.fakes import FakeEmbedder
from tests.support.papers import make_image, make_pdf

from polylens import types
from polylens.errors import InputError, LibraryBusyError, LibraryNotFoundError, ModelMismatchError, ModelNotFoundError
from polylens.index.ranking.filters import Filters
from polylens.index.table.store import Store
from polylens.library import page_embedding, saving
from polylens.library import update as updating_module
from polylens.library.library import Library
from polylens.library.location import find_library
from polylens.library.page_embedding import join
from polylens.library.progress import UpdateProgress
from polylens.library.sources import FolderSource
from polylens.types import Embedding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    make_pdf(folder / "reports" / "harbour.pdf", "ships leave the harbour", "cranes and containers")
    make_image(folder / "red.png", "red")
    (folder / "notes.md").write_text("The plumber wrote an invoice in May.")
    return folder


def whole(folder: Path) -> dict[str, int]:
    return {file: record.num_pages for file, record in Store.open(folder / ".polylens").files().items()}


ALL = {"notes.md": 1, "red.png": 1, "reports/harbour.pdf": 2}


def lengths(folder: Path) -> dict[tuple[str, int], int]:
    """How many vectors each page of an index has."""
    return {
        (row["file"], row["page"]): len(row["multivector"])
        for batch in Store.open(folder / ".polylens").snapshot().batches()
        for row in batch.to_pylist()
    }


class TestSearch:
    def test_finds_pages_of_every_kind(self, folder: Path) -> None:
        embedder = FakeEmbedder()
        library = Library(folder, embedder)
        report = library.update()
        assert (report.indexed, report.pages, report.failed) == (3, 4, [])
        hits = library.search("plumber invoice")
        assert (hits[0].file, hits[0].page, hits[0].kind) == ("notes.md", 1, "text")
        assert hits[0].text == hits[0].snippet == "The plumber wrote an invoice in May."
        assert len(hits) == 4 and [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        [best] = library.search("cranes and containers", top=1)
        assert (best.file, best.page, best.text) == ("reports/harbour.pdf", 2, "cranes and containers")
        for query in (PIL.Image.new("RGB", (9, 9), "red"), types.Image(PIL.Image.new("RGB", (9, 9), "red"))):
            [best] = library.search(query, top=1)
            assert (best.file, best.text, best.snippet) == ("red.png", "", "")
        assert library.count() == 4
        assert {file: record.num_pages for file, record in library.files().items()} == ALL

    def test_a_page_is_embedded_by_its_picture_and_its_text(self, folder: Path) -> None:
        embedder = FakeEmbedder()
        Library(folder, embedder).update()
        assert set(embedder.prompt_names) == {"passage"}
        snapshot = Store.open(folder / ".polylens").snapshot()
        image, text = (
            item
            for item in embedder.calls[-1]
            if item == "cranes and containers" or _previous(embedder.calls[-1], item)
        )
        picture, words = FakeEmbedder().embed([image]), FakeEmbedder().embed([text])
        dense = picture[0].dense + words[0].dense
        rows = snapshot.pages_of("reports/harbour.pdf").to_pylist()
        assert np.allclose(rows[1]["dense"], dense / np.linalg.norm(dense), atol=1e-6)
        tokens = np.concatenate([picture[0].multivector, words[0].multivector]).astype(np.float16)
        assert np.array_equal(np.array(rows[1]["multivector"], np.float16), tokens)

    def test_long_text_layers_are_cut_for_the_model_only(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page_embedding, "MAX_EMBEDDED_CHARS", 10)
        embedder = FakeEmbedder()
        Library(folder, embedder).update()
        assert max(len(item) for call in embedder.calls for item in call if isinstance(item, str)) == 10
        rows = Store.open(folder / ".polylens").snapshot().pages_of("reports/harbour.pdf")
        assert rows["text"].to_pylist() == ["ships leave the harbour", "cranes and containers"]

    def test_ranked_by_each_stage(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update()
        for by in ("fused", "late", "dense", "text"):
            hits = library.search("cranes and containers", by=by)
            assert (hits[0].file, hits[0].page) == ("reports/harbour.pdf", 2)
            assert hits[0].text_score > 0 and hits[0].found_by == ("dense", "text")
            assert len(hits) == (1 if by == "text" else 4)
        assert library.search('"cranes" AND (containers', by="text")[0].page == 2
        red = PIL.Image.new("RGB", (9, 9), "red")
        assert library.search(red, top=1)[0].text_score is None
        assert library.search([red, "plumber"], by="text")[0].file == "notes.md"
        assert library.like("notes.md", 1, by="dense")[0].dense_score < 1

    @pytest.mark.parametrize("words", [[], [""], [" \n"]])
    def test_what_has_no_words_is_not_ranked_by_them(self, folder: Path, words: list[str]) -> None:
        library = Library(folder, FakeEmbedder())
        library.update()
        with pytest.raises(InputError, match="full text needs words, and this query has none"):
            library.search([PIL.Image.new("RGB", (9, 9), "red"), *words], by="text")
        with pytest.raises(InputError, match="full text needs words"):
            library.like("notes.md", 1, by="text")
        with pytest.raises(InputError, match="by must be one of fused, late, dense, text, got 'bm25'"):
            library.search("x", by="bm25")

    def test_why_nothing_was_found(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update()
        assert library.search("zebra", by="text") == []
        assert library.why_nothing(by="text").startswith("no page has any of these words in its text")
        assert library.search("plumber", by="text", filters=Filters.of("reports")) == []
        assert library.why_nothing(by="text", filters=Filters.of("reports")).startswith(
            "no page that matches the filters has any of"
        )
        assert library.search("plumber", filters=Filters.of("reports", ["text"])) == []
        assert "remove a filter" in library.why_nothing(filters=Filters.of("reports", ["text"]))
        assert library.like("notes.md", 1, filters=Filters.of(kinds=["text"])) == []
        assert library.why_nothing(filters=Filters.of(kinds=["text"])) == "no other page matches the filters"
        for file in (folder / "notes.md", folder / "red.png"):
            file.unlink()
        shutil.rmtree(folder / "reports")
        library.update()
        assert library.search("plumber") == []
        assert "the index is empty" in library.why_nothing(by="text", filters=Filters.of("reports"))

    def test_why_nothing_names_the_filters_that_leave_none(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update()

        def why(**filters: object) -> str:
            assert library.search("plumber", filters=Filters.of(**filters)) == []
            return library.why_nothing(filters=Filters.of(**filters))

        after = "; remove a filter"
        assert why(languages=["fi"], kinds=["pdf"]) == "no page is in the language fi" + after
        assert why(folder="none", until="1999-12-31") == (
            "no page is of a file modified until 1999-12-31 nor in the folder none" + after
        )
        assert why(folder="reports", kinds=["text", "image"]) == (  # each alone leaves some
            "no page is in the folder reports and of the kind text or image" + after
        )
        assert library.search("plumber", filters=Filters.of(languages=["en"], since="2000-01-01"))[0].file == "notes.md"
        with pytest.raises(InputError, match="since must be a date such as 2026-11-01, got 'May'"):
            Filters.of(since="May")
        with pytest.raises(InputError, match="ISO 639"):
            Filters(languages=("English",))

    def test_multivectors_of_another_width(self, folder: Path) -> None:
        embedder = FakeEmbedder(token_dim=48)
        Library(folder, embedder).update()
        assert Library.open(folder, embedder).search("cranes and containers")[0].page == 2

    def test_bad_arguments(self, folder: Path) -> None:
        with pytest.raises(InputError, match="top must be at least 1, got 0"):
            Library(folder, FakeEmbedder()).search("x", top=0)
        with pytest.raises(LibraryNotFoundError, match="polylens index"):
            Library(folder, FakeEmbedder()).search("x")
        with pytest.raises(LibraryNotFoundError, match="polylens index"):
            Library.open(folder)
        with pytest.raises(LibraryNotFoundError, match="is not a folder"):
            Library(folder / "nowhere")

    def test_join_keeps_unit_length_and_survives_opposites(self) -> None:
        one = Embedding(np.array([1, 0], np.float32), np.ones((2, 128), np.float32))
        other = Embedding(np.array([0, 1], np.float32), np.zeros((3, 128), np.float32))
        assert np.allclose(join([one, other]).dense, [0.5**0.5, 0.5**0.5])
        assert join([one, other]).multivector.shape == (5, 128)
        assert join([one]) is one
        assert join([one, Embedding(-one.dense, one.multivector)]).dense.tolist() == [0, 0]


def _previous(call: list[object], item: object) -> bool:
    position = next(i for i, other in enumerate(call) if other is item)
    return position + 1 < len(call) and call[position + 1] == "cranes and containers"


def test_none_of_it_needs_torch() -> None:
    code = (
        "import sys, polylens.library.library, polylens.documents.formats.pdf, polylens.documents.formats.image\n"
        "import polylens.documents.formats.text, polylens.index.search; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("False", "")


class TestPooling:
    def test_pages_keep_one_vector_in_so_many(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update()
        every = lengths(folder)
        library.update(rebuild=True, pool=3)
        assert lengths(folder) == {page: -(-count // 3) for page, count in every.items()} and max(every.values()) > 3
        assert library.search("plumber invoice", top=1)[0].file == "notes.md"

    def test_an_index_goes_on_as_it_was_made(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update(pool=2)
        (folder / "more.md").write_text("one two three four five six seven")
        assert library.update().indexed == 1
        assert lengths(folder)["more.md", 1] == 4  # of eight tokens
        with pytest.raises(InputError, match=r"keeps one of every 2 vectors of a page, got pool 3.*--rebuild --pool 3"):
            library.update(pool=3)
        with pytest.raises(InputError, match="at least 1, got 0"):
            library.update(rebuild=True, pool=0)
        assert library.update(pool=2).unchanged == 4

    def test_what_cannot_be_done_begins_no_index(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
        with pytest.raises(InputError, match="scipy"):
            Library(folder, FakeEmbedder()).update(pool=3)
        assert not (folder / ".polylens").exists()
        library = Library(folder, FakeEmbedder())
        library.update()
        with pytest.raises(InputError, match="scipy"):
            library.update(rebuild=True, pool=3)
        assert not (folder / ".polylens" / "rebuild.json").exists()


class TestIncremental:
    def test_nothing_changed_nothing_opened(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Library(folder, FakeEmbedder()).update()
        monkeypatch.setattr(FolderSource, "digest", lambda _, file: pytest.fail(f"{file} was read"))
        monkeypatch.setattr(FolderSource, "inspect", lambda *_: pytest.fail("a file was opened"))
        monkeypatch.setattr("polylens.library.reading.readers", lambda: pytest.fail("a file was opened"))
        embedder = FakeEmbedder()
        report = Library(folder, embedder).update()
        assert (report.indexed, report.unchanged, report.pages, embedder.num_inputs) == (0, 3, 0, 0)

    def test_changed_removed_and_added(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        make_pdf(folder / "reports" / "harbour.pdf", "only one page now")
        (folder / "red.png").unlink()
        (folder / "more.txt").write_text("more")
        report = Library(folder, FakeEmbedder()).update()
        assert (report.indexed, report.unchanged, report.removed, report.pages) == (2, 1, 1, 2)
        assert whole(folder) == {"more.txt": 1, "notes.md": 1, "reports/harbour.pdf": 1}
        hits = Library(folder, FakeEmbedder()).search("cranes and containers")
        assert "cranes and containers" not in [hit.text for hit in hits]

    def test_touched_moved_and_copied_are_not_embedded_again(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        os.utime(folder / "notes.md", ns=(1, 1))
        (folder / "elsewhere").mkdir()
        (folder / "reports" / "harbour.pdf").rename(folder / "elsewhere" / "port.pdf")
        shutil.copyfile(folder / "red.png", folder / "copy.png")
        embedder = FakeEmbedder()
        report = Library(folder, embedder).update()
        assert (report.indexed, report.unchanged, report.moved, report.removed) == (0, 2, 2, 0)
        assert embedder.num_inputs == 0
        assert whole(folder) == {"copy.png": 1, "elsewhere/port.pdf": 2, "notes.md": 1, "red.png": 1}
        assert Library(folder, FakeEmbedder()).update().unchanged == 4
        [best] = Library(folder, FakeEmbedder()).search("cranes and containers", top=1)
        assert best.file == "elsewhere/port.pdf"

    def test_two_files_that_change_places(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(saving, "COMMIT_PAGES", 1)
        (folder / "a.txt").write_text("apples")
        (folder / "b.txt").write_text("bananas")
        Library(folder, FakeEmbedder()).update()
        (folder / "a.txt").rename(folder / "c")
        (folder / "b.txt").rename(folder / "a.txt")
        (folder / "c").rename(folder / "b.txt")
        os.utime(folder / "a.txt", ns=(1, 1))
        os.utime(folder / "b.txt", ns=(2, 2))
        report = Library(folder, FakeEmbedder()).update()
        assert (report.moved, report.removed, report.indexed) == (2, 0, 0)
        snapshot = Store.open(folder / ".polylens").snapshot()
        assert snapshot.pages_of("a.txt")["text"].to_pylist() == ["bananas"]
        assert snapshot.pages_of("b.txt")["text"].to_pylist() == ["apples"]

    def test_what_is_left_out(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polylens.documents.scan.MAX_FILE_BYTES", 10_000)
        for name in (".hidden/a.txt", "node_modules/a.js", "sub/__pycache__/a.py", "sub/.b.txt", ".polylens/c.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("never")
        (folder / "song.mp3").write_bytes(b"la")
        (folder / "empty.txt").write_text("")
        (folder / "large.txt").write_text("x" * 10_001)
        os.mkfifo(folder / "pipe.txt")
        (folder / "sub" / "loop").symlink_to(folder)
        report = Library(folder, FakeEmbedder()).update()
        assert whole(folder) == ALL
        assert (report.skipped, report.failed) == (4, [])

    def test_rebuild(self, folder: Path) -> None:
        Library(folder, FakeEmbedder("one")).update()
        with pytest.raises(ModelMismatchError, match=r"'one'.*'two'"):
            Library(folder, FakeEmbedder("two")).update()
        with pytest.raises(ModelMismatchError, match=r"'one'.*'two'"):
            Library(folder, FakeEmbedder("two")).search("x")
        with pytest.raises(ModelMismatchError, match=r"'one'.*'two'"):
            Library.open(folder, FakeEmbedder("two"))
        report = Library(folder, FakeEmbedder("two", dim=16)).update(rebuild=True)
        assert report.indexed == 3
        assert Library.open(folder, FakeEmbedder("two", dim=16)).search("plumber")[0].file == "notes.md"

    def test_an_open_library_sees_what_others_write(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        reader = Library.open(folder, FakeEmbedder())
        assert reader.search("zebra", top=1)[0].file != "zebra.txt"
        (folder / "zebra.txt").write_text("zebra")
        Library(folder, FakeEmbedder()).update()
        assert reader.search("zebra", top=1)[0].file == "zebra.txt"


class TestBrokenFiles:
    def test_each_is_named_and_the_rest_goes_on(self, folder: Path) -> None:
        (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nonsense")
        make_pdf(folder / "locked.pdf", "secret", password="secret")
        (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        (folder / "junk.txt").write_bytes(bytes(range(256)) * 9)
        (folder / "nowhere.txt").symlink_to(folder / "missing")
        (folder / "circle.txt").symlink_to(folder / "circle.txt")
        report = Library(folder, FakeEmbedder()).update()
        assert whole(folder) == ALL
        reasons = dict(report.failed)
        assert sorted(reasons) == ["broken.pdf", "circle.txt", "cut.png", "junk.txt", "locked.pdf", "nowhere.txt"]
        assert "is broken" in reasons["broken.pdf"]
        assert "password" in reasons["locked.pdf"]
        assert "not a complete image" in reasons["cut.png"]
        assert "not text" in reasons["junk.txt"]
        assert "cannot be read" in reasons["nowhere.txt"]
        assert report.indexed == 3
        again = Library(folder, FakeEmbedder()).update()
        assert (again.unchanged, sorted(dict(again.failed))) == (3, sorted(reasons))

    def test_a_file_that_breaks_leaves_the_index(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        (folder / "red.png").write_bytes(b"no longer an image")
        report = Library(folder, FakeEmbedder()).update()
        assert [file for file, _ in report.failed] == ["red.png"]
        assert "red.png" not in whole(folder)

    def test_a_page_that_the_model_refuses_costs_itself_only(self, folder: Path) -> None:
        wide = PIL.Image.new("L", (300, 2))
        frames = [PIL.Image.new("L", (20, 20)), wide, PIL.Image.new("L", (20, 20))]
        frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
        events: list[UpdateProgress] = []
        report = Library(folder, FakeEmbedder()).update(events.append)
        assert (report.failed, report.partly) == ([], [("pages.tif", "page 2", "is 300 x 2, far too wide")])
        assert whole(folder) == {**ALL, "pages.tif": 2}
        assert events[-1].done_pages == events[-1].total_pages

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user who may be refused")
    def test_unreadable_folders_and_files_keep_their_pages(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        (folder / "reports").chmod(0)
        try:
            report = Library(folder, FakeEmbedder()).update()
        finally:
            (folder / "reports").chmod(0o755)
        assert [file for file, _ in report.failed] == ["reports/"]
        assert whole(folder) == ALL

    def test_refused_by_the_system_keeps_its_pages(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As above, for a user who is never refused."""
        Library(folder, FakeEmbedder()).update()
        os.utime(folder / "red.png", ns=(1, 1))

        def refuse(_source: FolderSource, file: str) -> str:
            raise PermissionError(13, "Permission denied", file)

        monkeypatch.setattr(FolderSource, "digest", refuse)
        real_walk = os.walk

        def walk(top: Path, onerror: object = None) -> object:
            for root, folders, names in real_walk(top):
                if "reports" in folders:
                    folders.remove("reports")
                    onerror(PermissionError(13, "Permission denied", str(Path(root, "reports"))))  # type: ignore[operator]
                yield root, folders, names

        monkeypatch.setattr("os.walk", walk)
        report = Library(folder, FakeEmbedder()).update()
        assert sorted(file for file, _ in report.failed) == ["red.png", "reports/"]
        assert whole(folder) == ALL

    def test_a_name_that_is_no_text(self, folder: Path) -> None:
        try:
            Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.txt")).write_text("x")
        except OSError:
            pytest.skip("this file system takes no such names")
        report = Library(folder, FakeEmbedder()).update()
        assert report.failed == [("bad?.txt", "its name is not valid UTF-8; rename it")]
        assert whole(folder) == ALL

    def test_a_file_that_vanishes_or_changes_while_it_is_indexed(self, folder: Path) -> None:
        def interfere(progress: UpdateProgress) -> None:
            if progress.phase == "indexing" and progress.file == "notes.md":
                (folder / "red.png").unlink(missing_ok=True)
                make_pdf(folder / "reports" / "harbour.pdf", "one", "two", "three")

        events: list[UpdateProgress] = []
        report = Library(folder, FakeEmbedder()).update(lambda event: (interfere(event), events.append(event)))
        assert [file for file, _ in report.failed] == ["red.png"]
        assert whole(folder) == {"notes.md": 1, "reports/harbour.pdf": 3}
        assert (events[-1].done_pages, events[-1].total_pages) == (4, 4)
        report = Library(folder, FakeEmbedder()).update()
        assert (report.indexed, report.unchanged) == (1, 1)  # what was hashed was not what was read


class TestProgress:
    def test_total_is_known_and_reached(self, folder: Path) -> None:
        for i in range(7):
            make_pdf(folder / f"{i}.pdf", *"abc")
        events: list[UpdateProgress] = []
        Library(folder, FakeEmbedder()).update(events.append)
        assert [event.phase for event in events if event.phase == "scanning"] == ["scanning"] * 10
        indexing = [event for event in events if event.phase == "indexing"]
        assert {(event.total_pages, event.total_files) for event in indexing} == {(25, 10)}
        done = [event.done_pages for event in indexing]
        assert done == sorted(done) and done[-1] == 25
        assert events[-1].phase == "finishing" and events[-1].done_files == 10
        saved = [file for event in events for file in event.saved]
        assert sorted(saved) == sorted(whole(folder))

    def test_batches_cross_files_and_are_bounded_by_pixels(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for i in range(16):
            (folder / f"{i}.txt").write_text("text")
        embedder = FakeEmbedder()
        Library(folder, embedder).update()
        # One to see how wide the vectors are; then 20 pages, of which the two of the PDF are two inputs each.
        assert [len(call) for call in embedder.calls] == [1, 8, 8, 6]
        monkeypatch.setattr(updating_module, "BATCH_PIXELS", 300)
        for i in range(4):
            make_image(folder / f"{i}.png", "blue", size=(20, 10 + i))
        embedder = FakeEmbedder()
        Library(folder, embedder).update()
        assert [len(call) for call in embedder.calls] == [2, 2]


class TestInterruption:
    def test_ctrl_c_keeps_what_is_finished(self, folder: Path) -> None:
        for i in range(20):
            (folder / f"{i:02}.txt").write_text(f"text {i}")

        def interrupt(progress: UpdateProgress) -> None:
            if progress.done_pages >= 16:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Library(folder, FakeEmbedder()).update(interrupt)
        assert len(whole(folder)) == 8  # the first batch; of the second, the callback came before the files were closed
        embedder = FakeEmbedder()
        assert Library(folder, embedder).update().unchanged == 8
        assert len(whole(folder)) == 23

    def test_ctrl_c_within_a_commit_waits_for_it(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Store.commit
        commits = 0

        def commit(self: Store, *args: object, **options: object) -> None:
            nonlocal commits
            commits += 1
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            real(self, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Store, "commit", commit)
        with pytest.raises(KeyboardInterrupt):
            Library(folder, FakeEmbedder()).update()
        assert commits == 1
        assert whole(folder) == ALL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_an_error_of_the_model_keeps_what_is_finished(self, folder: Path) -> None:
        for i in range(20):
            (folder / f"{i:02}.txt").write_text(f"text {i}")

        class Dying(FakeEmbedder):
            def embed(self, *args: object, **options: object) -> list[Embedding]:  # type: ignore[override]
                if self.num_inputs >= 16:
                    raise RuntimeError("out of memory")
                return super().embed(*args, **options)  # type: ignore[arg-type]

        with pytest.raises(RuntimeError, match="out of memory"):
            Library(folder, Dying()).update()
        assert len(whole(folder)) == 16

    def test_two_writers(self, folder: Path) -> None:
        Store.create(folder / ".polylens", "fake", 32).close()
        making = Store.stage(folder / ".polylens", "fake", 32)
        with making, pytest.raises(LibraryBusyError, match=f"{os.getpid()}"):
            Library(folder, FakeEmbedder()).update()

    @pytest.mark.skipif(os.name == "nt", reason="needs signals")
    @pytest.mark.parametrize("attempts", [4, pytest.param(8, marks=pytest.mark.slow)])
    def test_killed_again_and_again(self, tmp_path: Path, attempts: int) -> None:
        """After any death: what was said to be saved is there, nothing is there by halves, and the rest follows."""
        folder = tmp_path / "folder"
        rng = random.Random(0)
        texts: dict[str, list[str]] = {}  # content hash -> text of each page, for every state that ever was
        saved: set[str] = set()  # files said to be saved in their present state

        def write(file: str) -> None:
            pages = [f"{file} page {n} of state {len(texts)}" for n in range(rng.randint(1, 5))]
            make_pdf(folder / file, *pages)
            texts[_digest(folder / file)] = pages
            saved.discard(file)

        for i in range(24):
            write(f"{i:02}.pdf")
        deaths = attempt = 0
        # A run may be through before its end comes, or have saved little before: then it tries again.
        while attempt < attempts or deaths < attempts // 3 or len(saved) < 12:
            assert attempt < 80
            lines, died = _index_and_kill(folder, rng, interrupt=attempt % 4 == 3)
            deaths += died
            saved |= {line[6:] for line in lines if line.startswith("saved ")}
            store = Store.open(folder / ".polylens") if Store.exists(folder / ".polylens") else None
            there = store.files() if store else {}
            assert all(there[file].hash == _digest(folder / file) for file in saved)
            for file, record in there.items():
                assert store is not None
                rows = store.snapshot().pages_of(file)
                assert rows["text"].to_pylist() == texts[record.hash]
                assert rows["page"].to_pylist() == list(range(1, record.num_pages + 1))
            for file in rng.sample(sorted(saved), min(len(saved), 1 if died else 6)) or ["00.pdf"]:
                write(file)  # so that the next run has some to replace
            attempt += 1
        Library(folder, FakeEmbedder()).update()
        there = Store.open(folder / ".polylens").files()
        assert {file: record.hash for file, record in there.items()} == {
            path.name: _digest(path) for path in folder.glob("*.pdf")
        }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _index_and_kill(folder: Path, rng: random.Random, *, interrupt: bool) -> tuple[list[str], bool]:
    """Index in another process and end it at a random moment; what it said, and whether it died of that.

    The moment lies shortly after one of its lines, by number: by the clock a busy machine would always die too early.
    """
    with commands.Piped(commands.module("tests.support.indexing"), folder, "0.006") as process:
        lines = [process.stdout.readline().strip() for _ in range(rng.randint(1, 30))]
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGINT if interrupt else signal.SIGKILL)
        lines += process.stdout.read().split("\n")
        process.wait()
        errors = process.errors
    assert "complete" in lines or not errors or "KeyboardInterrupt" in errors, errors
    return lines, "complete" not in lines


class TestFinding:
    def test_upwards(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(LibraryNotFoundError, match="or above it"):
            find_library(folder / "reports")
        Library(folder, FakeEmbedder()).update()
        assert find_library(folder / "reports") == find_library(folder) == folder.resolve()
        monkeypatch.chdir(folder / "reports")
        assert find_library() == folder.resolve()

    def test_the_model_of_the_index_is_loaded_by_name(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def load(name: str, quantization: str | None = None) -> FakeEmbedder:
            asked.append(name)
            if name == "elsewhere":
                raise ModelNotFoundError(name)
            return FakeEmbedder(f"{name}@1234" + (f"+{quantization}" if quantization else ""))

        monkeypatch.setattr("polylens.runtime.embedder.load", load)
        Library(folder).update()
        assert Library(folder).search("plumber")[0].file == "notes.md"
        assert asked == ["nano", "nano"]
        Library(folder, FakeEmbedder("org/name@1234+int8")).update(rebuild=True)
        assert Library(folder).embedder.model_id == "org/name@1234+int8"
        Library(folder, FakeEmbedder("org/name@5678")).update(rebuild=True)
        with pytest.raises(ModelMismatchError, match=r"'org/name@5678'.*'org/name@1234'"):
            Library(folder).search("plumber")
        Library(folder, FakeEmbedder("elsewhere@1234")).update(rebuild=True)
        with pytest.raises(ModelMismatchError, match=r"'elsewhere@1234'.*--model"):
            Library(folder).search("plumber")
