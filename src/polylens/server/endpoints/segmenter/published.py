"""The tokenizers that Jina's segmenter offers by name. They are tiktoken's, and so are their files."""

from __future__ import annotations

import hashlib
import importlib
import os
from functools import cache
from pathlib import Path

from polylens.errors import InputError
from polylens.server.endpoints.segmenter.tokenizers import TiktokenTokenizer

HOST = "https://openaipublic.blob.core.windows.net"
_P50K = {"encodings/p50k_base.tiktoken": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"}
VOCABULARIES = {
    "cl100k_base": {
        "encodings/cl100k_base.tiktoken": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    },
    "o200k_base": {"encodings/o200k_base.tiktoken": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"},
    "p50k_base": _P50K,
    "r50k_base": {"encodings/r50k_base.tiktoken": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"},
    "p50k_edit": _P50K,
    "gpt2": {
        "gpt-2/encodings/main/vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        "gpt-2/encodings/main/encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    },
}
"""Published name -> the files of its vocabulary at `HOST`, and the sha256 of each, as in tiktoken 0.14."""

PUBLISHED_TOKENIZERS = tuple(VOCABULARIES)


@cache
def published_tokenizer(name: str) -> TiktokenTokenizer:
    """Loads a tokenizer by its name in Jina's segmenter. Nothing is fetched: the files must be on this machine.

    Args:
        name: One of `PUBLISHED_TOKENIZERS`.

    Raises:
        InputError: The name is unknown, tiktoken is not installed, or the vocabulary is not in TIKTOKEN_CACHE_DIR.
    """
    if name not in VOCABULARIES:
        raise InputError(f"tokenizer must be one of {', '.join(PUBLISHED_TOKENIZERS)}, got {name[:40]!r}")
    try:
        tiktoken = importlib.import_module("tiktoken")
    except ImportError as error:
        raise InputError(
            f"tokenizer {name} requires tiktoken, which is not installed; pip install 'polylens[segment]'"
        ) from error
    _require_vocabulary(name)
    try:
        return TiktokenTokenizer(tiktoken.get_encoding(name))
    except (OSError, ValueError) as error:
        raise InputError(f"tokenizer {name} cannot be loaded by this tiktoken ({error})") from error


def _require_vocabulary(name: str) -> None:
    """Refuses a vocabulary that is missing or damaged: tiktoken would download it, without a time limit."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", "")
    for file, sha256 in VOCABULARIES[name].items():
        url = f"{HOST}/{file}"
        path = Path(folder, hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest())
        try:
            intact = folder != "" and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        except OSError:
            intact = False
        if not intact:
            raise InputError(
                f"the vocabulary of tokenizer {name} is not on this machine, and this server downloads none; save "
                f"{url} as {path.name} in a folder, and set TIKTOKEN_CACHE_DIR to that folder"
            )
