"""The data of one part of jina-clip-v2's training: text pairs, captions with their images, and held-out pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from polylens.errors import InputError
from polylens.train.clip_recipe import ClipPart
from polylens.train.pairs import Pair, PairFile, read_pairs


@dataclass(frozen=True, slots=True)
class ClipData:
    """The files that a part reads."""

    texts: tuple[PairFile, ...]
    captions: tuple[PairFile, ...]
    """Each pair is a caption and its image, in this order."""
    held_out: PairFile | None

    @property
    def sources(self) -> tuple[PairFile, ...]:
        """All files."""
        return (*self.texts, *self.captions, *([] if self.held_out is None else [self.held_out]))


def read_data(part: ClipPart) -> ClipData:
    """Reads the files of a part.

    Raises:
        InputError: A file cannot be read, or holds other pairs than it should.
    """
    texts = tuple(_texts(read_pairs(Path(path)), part.hard_negatives) for path in part.texts)
    captions = tuple(_captions(read_pairs(Path(path))) for path in part.captions)
    if not texts or not captions:
        raise InputError(
            f"{part.name} needs files of text pairs and files of captions, got {len(texts)} and {len(captions)}"
        )
    if part.evaluation is None:
        return ClipData(texts, captions, None)
    held_out = read_pairs(Path(part.evaluation))
    pairs = tuple(_text_first(pair, f"{held_out.path}: pair {i}") for i, pair in enumerate(held_out.pairs, start=1))
    return ClipData(texts, captions, replace(held_out, pairs=pairs))


def _texts(source: PairFile, hard_negatives: int) -> PairFile:
    """A file of text pairs, each with at most `hard_negatives` of its negatives."""
    if source.graded:
        raise InputError(f"{source.path} has pairs with scores; the stages take pairs without")
    if source.has_images:
        raise InputError(f"{source.path} has images among its texts; put pairs with images into a file of captions")
    bare = next((i for i, pair in enumerate(source.pairs, start=1) if not pair.negatives), None)
    if hard_negatives and bare is not None:
        raise InputError(
            f"{source.path}: pair {bare} has no negatives; a triplet needs at least one, and `polylens mine` finds them"
        )
    pairs = tuple(replace(pair, negatives=pair.negatives[:hard_negatives]) for pair in source.pairs)
    return replace(source, pairs=pairs)


def _captions(source: PairFile) -> PairFile:
    """A file of captions and their images, in either order, with the captions moved first."""
    if source.graded:
        raise InputError(f"{source.path} has pairs with scores; the stages take pairs without")
    pairs = []
    for i, pair in enumerate(source.pairs, start=1):
        turned = _text_first(pair, f"{source.path}: pair {i}")
        if isinstance(turned.document, str):
            raise InputError(f"{source.path}: pair {i} has no image; each caption must be paired with one")
        if pair.negatives:
            raise InputError(
                f"{source.path}: pair {i} has negatives; captions are contrasted with those of their batch only"
            )
        pairs.append(turned)
    return replace(source, pairs=tuple(pairs))


def _text_first(pair: Pair, where: str) -> Pair:
    if isinstance(pair.query, str):
        return pair
    if isinstance(pair.document, str):
        return replace(pair, query=pair.document, document=pair.query)
    raise InputError(f"{where} has images on both sides; one side must be a text")
