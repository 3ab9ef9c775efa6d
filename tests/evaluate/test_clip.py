"""CLIP's protocols: against slow loops, and from data sets in clip_benchmark's layout that are written here."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.support import tiny_bert
from tests.support.commands import polylens as command

import polylens
from polylens.errors import InputError
from polylens.evaluate import clip
from polylens.evaluate.clip import evaluate, retrieval, zero_shot
from polylens.evaluate.webdataset import ClipSet, find_sets
from polylens.runtime.embedder import Embedder

Parts = Mapping[str, bytes]


@pytest.fixture(scope="module")
def nano() -> Embedder:
    return polylens.load("nano")


def picture(number: int) -> bytes:
    rng = np.random.default_rng(number)
    buffer = io.BytesIO()
    PIL.Image.fromarray(rng.integers(0, 255, (56, 56, 3), dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def write(folder: Path, shards: Sequence[Sequence[Parts]], **files: str) -> ClipSet:
    """Writes a data set: each sample is its files by ending."""
    (folder / "test").mkdir(parents=True)
    (folder / "test" / "nshards.txt").write_text(f"{len(shards)}\n")
    number = 0
    for shard, samples in enumerate(shards):
        with tarfile.open(folder / "test" / f"{shard}.tar", "w") as archive:
            for parts in samples:
                for ending, content in parts.items():
                    member = tarfile.TarInfo(f"s{number:06d}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                number += 1
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return ClipSet(folder, folder.name)


def captioned(folder: Path) -> ClipSet:
    samples = [{"png": picture(i), "txt": f"a picture of {i}\nnumber {i}\n".encode()} for i in range(7)]
    return write(folder, [samples[:4], samples[4:]])


def classified(folder: Path) -> ClipSet:
    samples = [{"cls": str(i % 3).encode(), "png": picture(i)} for i in range(9)]
    prompts = "a photo of {c}.\nthe {c}\n"
    return write(folder, [samples], classnames="cat\nredshank\nferry\n", zeroshot_classification_templates=prompts)


def units(rows: int, width: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 5])
def test_retrieval_against_a_loop(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "QUERIES_AT_ONCE", 7)
    images, texts = units(20, 6, 0), units(50, 6, 1)
    owners = np.random.default_rng(2).integers(0, 18, 50)  # two images without captions, and some with several
    to_image = [owners[t] in np.argsort(-(images @ texts[t]))[:k] for t in range(50)]
    to_text = [any(owners[t] == i for t in np.argsort(-(texts @ images[i]))[:k]) for i in range(20) if i in set(owners)]
    assert retrieval(images, texts, owners, k) == {
        f"text to image R@{k}": pytest.approx(np.mean(to_image)),
        f"image to text R@{k}": pytest.approx(np.mean(to_text)),
    }
    assert 0 < np.mean(to_text) < 1


def test_classification_against_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "QUERIES_AT_ONCE", 4)
    images, classes = units(30, 5, 3), units(8, 5, 4)
    labels = np.random.default_rng(5).integers(0, 7, 30)  # one class without images
    orders = [np.argsort(-(classes @ image)) for image in images]
    firsts = np.array([labels[i] == order[0] for i, order in enumerate(orders)])
    fives = [labels[i] in order[:5] for i, order in enumerate(orders)]
    found = zero_shot(images, classes, labels)
    assert found["top-1"] == pytest.approx(firsts.mean()) and found["top-5"] == pytest.approx(np.mean(fives))
    assert found["mean per class"] == pytest.approx(np.mean([firsts[labels == c].mean() for c in set(labels)]))


def test_captions_from_shards(nano: Embedder, tmp_path: Path) -> None:
    data = captioned(tmp_path / "set")
    keys = [sample.key for sample in data.samples()]
    assert keys == [f"s{i:06d}" for i in range(7)]
    wide, cut = evaluate(nano, data, dims=[256, 64], k=2)
    images = nano.encode_image([polylens.Image(picture(i)) for i in range(7)], "retrieval", truncate_dim=64)
    captions = [text for i in range(7) for text in (f"a picture of {i}", f"number {i}")]
    texts = nano.encode_text(captions, "retrieval", "query", truncate_dim=64)
    assert cut.scores == retrieval(images, texts, np.repeat(np.arange(7), 2), 2)
    assert (wide.dim, cut.dim, cut.items) == (256, 64, 7)


def test_classes_are_means_of_prompts(nano: Embedder, tmp_path: Path) -> None:
    counted: list[int] = []
    [found] = evaluate(nano, classified(tmp_path / "set"), dims=[128], progress=counted.append)
    images = nano.encode_image([polylens.Image(picture(i)) for i in range(9)], "retrieval", truncate_dim=128)
    means = []
    for name in ("cat", "redshank", "ferry"):
        prompts = [f"a photo of {name}.", f"the {name}"]
        mean = nano.encode_text(prompts, "retrieval", "query", truncate_dim=128).mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    assert found.scores == zero_shot(images, np.stack(means), np.arange(9) % 3)
    assert sum(counted) == 9


def test_the_command_has_the_mean_over_languages(tmp_path: Path) -> None:
    for language in ("de", "ja"):
        captioned(tmp_path / "xtd10" / language)
    report = tmp_path / "report.json"
    done = command("eval", "clip", tmp_path / "xtd10", "--dims", "64,256", "--json", report)
    assert done.returncode == 0, done.stderr
    told = json.loads(report.read_text())["data sets"]
    assert [(each["data set"], each["width"]) for each in told] == [
        ("xtd10/de", 64), ("xtd10/de", 256), ("xtd10/ja", 64), ("xtd10/ja", 256),
        ("xtd10, mean of 2", 64), ("xtd10, mean of 2", 256),
    ]  # fmt: skip
    assert told[4]["text to image R@5"] == pytest.approx(
        (told[0]["text to image R@5"] + told[2]["text to image R@5"]) / 2, abs=1e-3
    )


def test_broken_sets(nano: Embedder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold test/nshards.txt, or folders that do"):
        find_sets(tmp_path)
    image = picture(0)
    for name, shards, files, says in [
        ("alone", [[{"png": image}]], {}, r"sample s000000 of .*0.tar must have an image and .txt or .cls, got .png"),
        ("word", [[{"png": image, "cls": b"x"}]], {"classnames": "cat"}, "sample s000000 of .* cannot be read"),
        ("mixed", [[{"png": image, "cls": b"0"}, {"png": image, "txt": b"a"}]],
         {"classnames": "cat", "zeroshot_classification_templates": "{c}"}, "sample s000001 of .* has not a class"),
        ("high", [[{"png": image, "cls": b"4"}]], {"classnames": "cat", "zeroshot_classification_templates": "{c}"},
         "has 1 classes, and a sample of class 4"),
        ("form", [[{"png": image, "cls": b"0"}]], {"classnames": "cat", "zeroshot_classification_templates": "a cat"},
         r"line 1 of .* must have \{c\}"),
        ("empty", [[]], {}, "has no samples"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=says):
            evaluate(nano, write(tmp_path / name, shards, **files))
    lacking = write(tmp_path / "lacking", [[{"png": image, "txt": b"a"}]])
    (lacking.folder / "test" / "nshards.txt").write_text("2")
    with pytest.raises(InputError, match=r"names 2 shards; missing: .*1.tar"):
        list(lacking.samples())
    (lacking.folder / "test" / "1.tar").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"1.tar must be a tar archive"):
        list(lacking.samples())


def test_models_and_widths_that_do_not_fit(nano: Embedder, tmp_path: Path) -> None:
    data = captioned(tmp_path / "set")
    with pytest.raises(InputError, match="dims must be among 64, 128, 256, got 100"):
        evaluate(nano, data, dims=[100])
    texts_only = polylens.load(tiny_bert.write(tmp_path / "bert"), device="cpu", dtype="float32")
    with pytest.raises(InputError, match="this needs a model of texts and images"):
        evaluate(texts_only, data)
