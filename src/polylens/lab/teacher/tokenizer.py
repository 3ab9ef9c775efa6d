"""The teacher's tokenizer, built from the pieces and scores of its file."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from polylens.lab.teacher.file import Pieces


class TeacherTokenizer:
    """Cuts texts into pieces: the likeliest cut of each word under a unigram model (Kudo 2018, arXiv 1804.10959).

    Args:
        pieces: What the file says.
    """

    def __init__(self, pieces: Pieces) -> None:
        vocabulary = list(zip(pieces.pieces, pieces.scores, strict=True))
        self._cutter = Tokenizer(models.Unigram(vocabulary, unk_id=pieces.unknown, byte_fallback=False))
        self._cutter.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
        self._cutter.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        self._normaliser = dict(pieces.normaliser)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of the pieces of each text, without marks."""
        normalised = [text.translate(self._normaliser) for text in texts]
        return [encoding.ids for encoding in self._cutter.encode_batch(normalised, add_special_tokens=False)]
