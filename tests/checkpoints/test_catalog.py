import json
import re
from pathlib import Path

import pytest

import polylens
from polylens.checkpoints.catalog import CATALOG, find, known_names
from polylens.checkpoints.fetch import resolve
from polylens.errors import ModelNotFoundError

NOT_PINNED = {"vidore/colqwen2-v1.0-hf"}
"""Models of which no source names a commit."""

NANO = Path(polylens.__file__).parent / "assets" / "nano"


def test_a_name_and_its_aliases_mean_the_same_model() -> None:
    assert find("jina-embeddings-v4") is find("jinaai/jina-embeddings-v4")


def test_names_and_aliases_are_all_different() -> None:
    written = [name for entry in CATALOG for name in (entry.name, *entry.aliases)]
    assert len(known_names()) == len(written)


def test_an_unknown_name_says_what_exists_and_the_closest() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        find("jina-embedding-v4")
    message = str(caught.value)
    assert "Did you mean 'jina-embeddings-v4'?" in message
    assert "`polylens models` lists those known by name" in message
    shown = message.partition("among them ")[2].partition(". ")[0].split(", ")
    assert len(shown) == 3 and set(shown) <= set(known_names())
    assert "folder" in message


@pytest.mark.parametrize(
    "name", ["jinaai/jina-embedding-s-en-v1", "jina-embedding-b-en-v1", "jinaai/jina-embedding-l-en-v1"]
)
def test_a_published_model_that_cannot_be_loaded_says_why(name: str) -> None:
    """Before anything is asked of the hub: the catalog itself knows."""
    for look_up in (find, resolve):
        with pytest.raises(ModelNotFoundError) as caught:
            look_up(name)
        message = str(caught.value)
        assert message.startswith(f"{name!r} is a T5 encoder") and "polylens could not load that folder" in message
        assert "jina-embeddings-v2-small-en" in message


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_every_entry_is_whole(entry) -> None:
    # A branch name would let the weights change under a name that people cite.
    assert entry.repository is None or entry.name in NOT_PINNED or re.fullmatch("[0-9a-f]{40}", entry.revision)
    assert list(entry.dims) == sorted(set(entry.dims))
    assert entry.parameters is None or entry.parameters > 0
    assert entry.licence


def test_nano_is_described_as_it_ships() -> None:
    config = json.loads((NANO / "config.json").read_text(encoding="utf-8"))
    nano = find("nano")
    assert list(nano.dims) == config["matryoshka_dims"]
    assert nano.multivector_dim == config["multi_vector_projector_dim"]
    assert nano.parameters == sum(_sizes(NANO / "model.safetensors")) + sum(
        _sizes(NANO / "adapters" / "adapter_model.safetensors")
    )


def _sizes(file: Path) -> list[int]:
    """Numbers in each tensor, from the header alone."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    sizes = []
    for tensor in header.values():
        size = 1
        for length in tensor["shape"]:
            size *= length
        sizes.append(size)
    return sizes
